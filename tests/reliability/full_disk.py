"""Write something where files may have LIMIT bytes at most, for the trials of a full disk.

`python full_disk.py WHAT PATH LIMIT URL`; URL is that of a server that plays OpenAI. A limit is the size of the
largest file that the process may write (RLIMIT_FSIZE), so that a write fails in its middle as on a full disk; 0 means
that there is none. Prints `ok`, or the error's type, reason and message.
"""

from __future__ import annotations

import resource
import sys

import trio

import allm
from allm.testing import record


async def sqlite(path, url):
    async with allm.session.open_store(f"sqlite:///{path}") as store, store.turn("s") as turn:
        if turn.interrupted is not None:
            await turn.discard()
        await turn.reply(engine(url), "hi" * 20_000)


async def cassette(path, url):
    with record(path):
        await allm.generate(engine(url), "hi" * 20_000)


async def image(path, url):
    allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100_000), "image/png").save(path)
    await trio.lowlevel.checkpoint()


def engine(url):
    return allm.Engine(adapter=allm.providers.OpenAI(api_key="k", base_url=url), model="m", retry=None)


def main(what, path, limit, url):
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        trio.run({"sqlite": sqlite, "cassette": cassette, "image": image}[what], path, url)
    except (allm.AllmError, OSError) as error:
        print(type(error).__name__, getattr(error, "reason", ""), error)
    else:
        print("ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
