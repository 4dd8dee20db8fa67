"""allm for scripts and plain threads, without `async`.

Example::

    for event in allm.blocking.stream_generate(engine, "Tell me a joke"):
        ...

    with allm.blocking.stream(engine, "Is it warm in Zug?") as events:
        for piece in events.text():
            print(piece, end="", flush=True)

Every function has the arguments, results and errors of the function of the same name in `allm`. The calls run on Trio,
in a thread of their own, so this works beside a running event loop too, such as that of a notebook. Sync functions that
the program gives (`on_event`, `halt_when`, keys) are called in the thread that waits, sync tools in worker threads, and
async functions on Trio. Ctrl-C cancels the call.
"""

from __future__ import annotations

import allm
from allm.blocking import caches, files, session
from allm.blocking.calls import run
from allm.blocking.mapped import mapped

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
