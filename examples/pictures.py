"""Make a picture, look at it with a chat model, and change it.

    python examples/pictures.py [FOLDER]       # writes fox.png and fox-2.png there; default: a temporary folder

With ALLM_MODEL set, pictures are made by OpenAI: they need OPENAI_API_KEY.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import demo
import trio

import allm


def look(asked: demo.Asked) -> str:
    """The demo model sees whether there is a picture."""
    return f"I see {asked.text.count('[image_url]')} picture. It needs a moon."


async def main(folder: Path) -> None:
    """Draw, describe, change."""
    async with demo.engine(look, image_model="openai:gpt-image-2") as engine:
        fox = (await allm.generate_image(engine, "a red fox in the snow", size="1024x1024")).image
        print("drawn:", fox.save(folder / "fox.png").name)
        seen = await allm.generate(engine, allm.user("What does this picture lack? One sentence.", fox))
        print("seen:", allm.unwrap(seen))
        better = (await allm.edit_image(engine, [fox], allm.unwrap(seen))).image
        print("changed:", better.save(folder / "fox-2.png").name)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        trio.run(main, Path(sys.argv[1] if sys.argv[1:] else temporary))
