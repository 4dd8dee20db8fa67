"""The package `google-genai`, on asyncio."""

from __future__ import annotations

import asyncio

from google import genai
from google.genai import types
from worker import Meter, check, serve


async def read(url: str, meter: Meter) -> int:
    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=url))
    with meter.measure():
        count = 0
        async for chunk in await client.aio.models.generate_content_stream(model="gemini-3-flash", contents="hi"):
            count += bool(chunk.text)
    await client.aio.aclose()
    return count


async def tokens(meter: Meter, *, url: str, format: str, tokens: int) -> None:  # noqa: A002
    await read(url.replace(f"tokens={tokens}", "tokens=20"), Meter())
    count = await read(url, meter)
    check(ok=count >= tokens, what=count)


if __name__ == "__main__":
    serve({"tokens": tokens}, lambda main: asyncio.run(main()))
