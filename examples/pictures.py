"""Make a picture, look at it with a chat model, and change it.

With ALLM_MODEL set, pictures are made by OpenAI.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import demo
import trio

import allm
from allm.providers import FakeImages


async def main(folder: Path) -> None:
    """Draw, describe, change."""
    async with demo.engine(lambda asked: f"I see {asked.text.count('[image_url]')} picture. It needs a moon.") as chat:
        if demo.is_real():
            engine = chat.with_services(image_model="openai:gpt-image-2")
        else:
            engine = allm.Engine(adapter=chat.adapter, model="demo", image_adapter=FakeImages())
        fox = (await allm.generate_image(engine, "a red fox in the snow", size="1024x1024")).image
        print("drawn:", fox.save(folder / "fox.png").name)
        seen = await allm.generate(engine, allm.user("What does this picture lack? One sentence.", fox))
        print("seen:", allm.unwrap(seen))
        better = (await allm.edit_image(engine, [fox], allm.unwrap(seen))).image
        print("changed:", better.save(folder / "fox-2.png").name)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        trio.run(main, Path(name))
