"""The package `litellm`, on asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import litellm
from worker import Meter, check, serve

HI: Any = [{"role": "user", "content": "hi"}]
litellm.suppress_debug_info = True


def where(url: str) -> dict[str, Any]:
    return {"model": "openai/gpt-4.1-mini", "messages": HI, "api_base": f"{url}/v1", "api_key": "k"}


async def read(url: str) -> int:
    count = 0
    async for chunk in await litellm.acompletion(**where(url), stream=True):
        count += bool(chunk.choices and chunk.choices[0].delta.content)
    return count


async def tokens(meter: Meter, *, url: str, format: str, tokens: int) -> None:  # noqa: A002
    await read(url.replace(f"tokens={tokens}", "tokens=20"))
    with meter.measure():
        count = await read(url)
    check(ok=count >= tokens, what=count)


async def short(meter: Meter, *, url: str, calls: int) -> None:
    for warm in (True, False):
        with Meter().measure() if warm else meter.measure():
            for _ in range(5 if warm else calls):
                response = await litellm.acompletion(**where(url))
                text = response.choices[0].message.content
    check(ok="word19" in text, what=text)


if __name__ == "__main__":
    serve({"tokens": tokens, "short": short}, lambda main: asyncio.run(main()))
