"""The package `anthropic`, on asyncio: the plain stream of events, its cheapest."""

from __future__ import annotations

import asyncio

from anthropic import AsyncAnthropic
from worker import Meter, check, serve


async def read(url: str, meter: Meter) -> int:
    async with AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as client:
        with meter.measure():
            pieces: list[str] = []
            stream = await client.messages.create(
                model="claude-sonnet-4-6", max_tokens=1000, messages=[{"role": "user", "content": "hi"}], stream=True
            )
            async for event in stream:
                if event.type == "content_block_delta":
                    if event.delta.type == "text_delta":
                        pieces.append(event.delta.text)
                    elif event.delta.type == "input_json_delta":
                        pieces.append(event.delta.partial_json)
    return len(pieces)


async def tokens(meter: Meter, *, url: str, format: str, tokens: int) -> None:  # noqa: A002
    await read(url.replace(f"tokens={tokens}", "tokens=20"), Meter())
    count = await read(url, meter)
    check(ok=count >= tokens, what=count)


if __name__ == "__main__":
    serve({"tokens": tokens}, lambda main: asyncio.run(main()))
