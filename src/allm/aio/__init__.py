"""allm for programs on asyncio: FastAPI, Django, aiohttp, notebooks.

Example::

    async with allm.aio.stream_generate(engine, "Tell me a joke") as events:
        async for piece in events.text():
            print(piece, end="", flush=True)

Every function has the arguments, results and errors of the function of the same name in `allm`. The calls run on Trio,
in a thread of their own. Functions that the program gives (tools, `on_event`, `halt_when`, keys) are called on the
event loop of the call; sync tools run in worker threads, as they do everywhere. Cancelling a task cancels its call,
which has ended when the cancellation goes on; leaving a block closes its connection.
"""

from __future__ import annotations

import allm
from allm.aio import caches, files, session
from allm.aio.calls import run
from allm.aio.mapped import mapped

__all__ = [
    "bulk",
    "caches",
    "chat",
    "classify",
    "count_tokens",
    "edit_image",
    "embed",
    "fetch_image",
    "files",
    "generate",
    "generate_image",
    "image_variations",
    "list_models",
    "moderate",
    "rerank",
    "run",
    "run_shard",
    "session",
    "step",
    "stream",
    "stream_embed",
    "stream_generate",
    "stream_step",
    "stream_synthesize",
    "stream_transcribe",
    "synthesize",
    "transcribe",
    "warm_up",
]

# The types are in the stub beside this file.
bulk = mapped(allm.bulk)
chat = mapped(allm.chat)
classify = mapped(allm.classify)
count_tokens = mapped(allm.count_tokens)
edit_image = mapped(allm.edit_image)
embed = mapped(allm.embed)
fetch_image = mapped(allm.fetch_image)
generate = mapped(allm.generate)
generate_image = mapped(allm.generate_image)
image_variations = mapped(allm.image_variations)
list_models = mapped(allm.list_models)
moderate = mapped(allm.moderate)
rerank = mapped(allm.rerank)
run_shard = mapped(allm.run_shard)
step = mapped(allm.step)
stream = mapped(allm.stream)
stream_embed = mapped(allm.stream_embed)
stream_generate = mapped(allm.stream_generate)
stream_step = mapped(allm.stream_step)
stream_synthesize = mapped(allm.stream_synthesize)
stream_transcribe = mapped(allm.stream_transcribe)
synthesize = mapped(allm.synthesize)
transcribe = mapped(allm.transcribe)
warm_up = mapped(allm.warm_up)
