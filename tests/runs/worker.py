"""A bulk run in a process of its own: `python worker.py JOURNAL RUN URL COUNT LIMIT OUT [FIRST]`.

It asks a server at URL, and appends a line to OUT for each new item, after it was delivered.
"""

from __future__ import annotations

import json
import os
import sys

import trio

import allm


async def main(journal, run, url, count, limit, out, first="0"):
    adapter = allm.providers.OpenAI(api_key="k", base_url=url, endpoint="chat_completions")
    engine = allm.Engine(adapter=adapter, model="m")
    begin = int(first)
    inputs = (f"q{index}" for index in range(begin, begin + int(count)))
    file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    block = allm.bulk(
        engine,
        inputs,
        limit=int(limit),
        journal=journal,
        run=run,
        key=lambda index, _: str(begin + index),
    )
    async with block as items:
        async for item in items:
            if not item.replayed:
                os.write(file, json.dumps([item.key, item.response.output_text]).encode() + b"\n")


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
