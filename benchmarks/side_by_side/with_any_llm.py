"""The package `any-llm-sdk`, on asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

from any_llm import acompletion
from worker import Meter, check, serve

HI: Any = [{"role": "user", "content": "hi"}]


async def short(meter: Meter, *, url: str, calls: int) -> None:
    for warm in (True, False):
        with Meter().measure() if warm else meter.measure():
            for _ in range(5 if warm else calls):
                response: Any = await acompletion(
                    model="gpt-4.1-mini", provider="openai", messages=HI, api_base=f"{url}/v1", api_key="k"
                )
                text = response.choices[0].message.content
    check(ok="word19" in text, what=text)


if __name__ == "__main__":
    serve({"short": short}, lambda main: asyncio.run(main()))
