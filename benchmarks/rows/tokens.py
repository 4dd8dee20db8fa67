"""What a streamed token costs, compared with a bare loop over the HTTP library and a JSON parser in C, on Trio.

Both read the same answer from a server in another process, in turns, timed in CPU time of this process.

    python -m benchmarks.rows.tokens            every row
    python -m benchmarks.rows.tokens gemini     those of one vendor
"""

from __future__ import annotations

import importlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import msgspec
import trio
from benchmarks.rows.wire import VENDORS, served

import allm

_DELTAS = (allm.TextDelta, allm.ToolCallDelta)


@attrs.frozen
class Ratio:
    """CPU seconds of this library and of the bare loop, the median of some rounds.

    Attributes:
        ours, bare: The medians.
        spread: Of the ratios of single rounds: the smallest and the largest.
    """

    ours: float
    bare: float
    spread: tuple[float, float]

    @property
    def ratio(self) -> float:
        """How many times the cost of the bare loop."""
        return self.ours / self.bare


# --- the bare loop ---------------------------------------------------------------------------------------------------

_PATHS = {
    "openai": "/chat/completions",
    "openai_responses": "/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/m:streamGenerateContent?alt=sse",
}


def _chat_piece(event: dict[str, Any]) -> Any:
    choices = event["choices"]
    if not choices:
        return None
    delta = choices[0]["delta"]
    return delta["tool_calls"][0]["function"]["arguments"] if "tool_calls" in delta else delta.get("content")


def _responses_piece(event: dict[str, Any]) -> Any:
    return event["delta"] if event["type"].endswith(".delta") else None


def _anthropic_piece(event: dict[str, Any]) -> Any:
    if event["type"] != "content_block_delta":
        return None
    delta = event["delta"]
    return delta["text"] if delta["type"] == "text_delta" else delta["partial_json"]


def _gemini_piece(event: dict[str, Any]) -> Any:
    part = event["candidates"][0]["content"]["parts"][0]
    if "functionCall" not in part:
        return part["text"]
    more = part["functionCall"].get("partialArgs")
    return more[0]["stringValue"] if more else None


_PIECE_OF: dict[str, Callable[[dict[str, Any]], Any]] = {
    "openai": _chat_piece,
    "openai_responses": _responses_piece,
    "anthropic": _anthropic_piece,
    "gemini": _gemini_piece,
}


async def bare(client: Any, vendor: str, url: str) -> str:
    """Read the answer as a script would that knows what comes; its text, or the arguments of its call."""
    decode, piece_of = msgspec.json.Decoder().decode, _PIECE_OF[vendor]
    rest, end, found = b"", b"\r\n\r\n" if vendor == "gemini" else b"\n\n", list[str]()
    async with client.stream("POST", url + _PATHS[vendor], json={"stream": True}) as response:
        async for data in response.aiter_raw():
            *events, rest = (rest + data).split(end)
            for event in events:
                text = event[event.index(b"data: ") + 6 :]
                if text[:1] == b"{" and (piece := piece_of(decode(text))):
                    found.append(piece)
    return "".join(found)


# --- this library ----------------------------------------------------------------------------------------------------


def engine(vendor: str, url: str, client: Any = None) -> allm.Engine:
    """An engine that asks the server at `url` in the words of a vendor."""
    given: dict[str, Any] = {"api_key": "k", "base_url": url, "http_client": client}
    if vendor == "anthropic":
        return allm.Engine(adapter=allm.providers.Anthropic(**given), model="claude-haiku-4-5")
    if vendor == "gemini":
        return allm.Engine(adapter=allm.providers.Gemini(**given), model="gemini-3.5-flash")
    endpoint: Any = "chat_completions" if vendor == "openai" else "responses"
    return allm.Engine(adapter=allm.providers.OpenAI(**given, endpoint=endpoint), model="gpt-5-mini")


async def streamed(client: Any, vendor: str, url: str) -> str:
    """Read the answer event by event; its text, or the arguments of its call."""
    count = 0
    async with allm.stream_generate(engine(vendor, url, client), "hi") as events:
        async for event in events:
            count += isinstance(event, _DELTAS)
        response = events.result()
    assert count
    assert response.finish_reason in {"stop", "tool_calls"}, response
    return response.tool_calls[0].raw_arguments or "" if response.tool_calls else response.output_text


# --- the rows --------------------------------------------------------------------------------------------------------


async def _compared(vendor: str, url: str, rounds: int) -> list[tuple[float, float]]:
    library = importlib.import_module("httpx")
    times: list[tuple[float, float]] = []
    async with library.AsyncClient(timeout=None) as client:
        for _ in range(rounds + 1):
            spent: list[float] = []
            for candidate in (streamed, bare):
                begun = time.process_time()
                await candidate(client, vendor, url)
                spent.append(time.process_time() - begun)
            times.append((spent[0], spent[1]))
    return times[1:]  # the first ones import and connect


def compare(
    vendor: str, count: int, per_chunk: int, *, call: bool = False, one_by_one: bool = False, rounds: int = 9
) -> Ratio:
    """Stream an answer of `count` pieces, `per_chunk` events in each chunk of HTTP."""
    with served(vendor, count, per_chunk, call=call, one_by_one=one_by_one) as url:
        times = trio.run(_compared, vendor, url, rounds)
    ratios = [ours / alone for ours, alone in times]
    ours, alone = (statistics.median(column) for column in zip(*times, strict=True))
    return Ratio(ours, alone, (min(ratios), max(ratios)))


def token(vendor: str, *, per_chunk: int = 1, tokens: int = 4000, one_by_one: bool = False, rounds: int = 9) -> Ratio:
    """A token of text."""
    return compare(vendor, tokens, per_chunk, one_by_one=one_by_one, rounds=rounds)


def tool_call_delta(vendor: str, *, pieces: int = 100_000, per_chunk: int = 1, rounds: int = 3) -> Ratio:
    """A piece of the arguments of a long call."""
    return compare(vendor, pieces, per_chunk, call=True, rounds=rounds)


def long_stream(vendor: str = "openai", *, tokens: int = 1_000_000, per_chunk: int = 1) -> Ratio:
    """A token of a very long answer."""
    return compare(vendor, tokens, per_chunk, rounds=1)


def memory_of_long_stream(vendor: str = "openai", *, tokens: int = 1_000_000) -> float:
    """How many times the size of its text a long answer takes at the peak, in a process of its own."""
    code = f"from benchmarks.rows.tokens import _memory; print(_memory({vendor!r}, {tokens}))"
    command = [sys.executable, "-c", code]
    folder = Path(__file__).parents[2]
    return float(subprocess.run(command, capture_output=True, check=True, cwd=folder).stdout)


def _memory(vendor: str, tokens: int) -> float:
    def peak() -> int:  # `ru_maxrss` has that of the process that started this one
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    async def read(url: str) -> int:
        return len(await streamed(None, vendor, url))

    with served(vendor, 1000) as url:
        trio.run(read, url)
    with served(vendor, tokens) as url:
        before = peak()
        return (peak() - before) / size if (size := trio.run(read, url)) else 0.0


async def _looking(url: str, vendor: str) -> float:
    begun = time.process_time()
    async with allm.stream_generate(engine(vendor, url), "hi") as events:
        async for _ in events:
            events.result()
    return time.process_time() - begun


def looking_growth(vendor: str = "openai", *, tokens: tuple[int, int] = (2000, 8000)) -> float:
    """How the cost of `result()` after every event grows: 1 is flat for each event, larger is the factor it grew by."""
    costs: list[float] = []
    for count in tokens:
        with served(vendor, count) as url:
            costs.append(min(trio.run(_looking, url, vendor) for _ in range(3)) / count)
    return costs[1] / costs[0]


def main() -> None:
    """Print every row."""
    vendors = sys.argv[1:] or VENDORS
    for per_chunk in (1, 50):
        for vendor in vendors:
            _show(f"token, {per_chunk} per chunk", vendor, token(vendor, per_chunk=per_chunk), 4000)
    for vendor in vendors:
        _show("piece of a long call", vendor, tool_call_delta(vendor), 100_000)
    for vendor in vendors:
        _show("token of 1,000,000", vendor, long_stream(vendor), 1_000_000)
        print(f"{'memory of it, x its text':24}{vendor:18}{memory_of_long_stream(vendor):6.2f}")
        print(f"{'result() each, growth':24}{vendor:18}{looking_growth(vendor):6.2f}")


def _show(row: str, vendor: str, found: Ratio, count: int) -> None:
    low, high = found.spread
    each = f"{found.ours / count * 1e6:7.1f} us, bare {found.bare / count * 1e6:6.1f}"
    print(f"{row:24}{vendor:18}{found.ratio:6.2f}  ({low:.2f} to {high:.2f})  {each}", flush=True)


if __name__ == "__main__":
    main()
