"""What is measured: the rows, and who takes part in each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

# Candidate: the script that plays it, and what its environment needs. Without requirements it runs in this one.
CANDIDATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "bare": ("bare.py", ()),
    "allm": ("with_allm.py", ()),
    "openai": ("with_openai.py", ("openai",)),
    "anthropic": ("with_anthropic.py", ("anthropic",)),
    "google-genai": ("with_genai.py", ("google-genai",)),
    "litellm": ("with_litellm.py", ("litellm",)),
    "any-llm": ("with_any_llm.py", ("any-llm-sdk[openai]",)),
    "pydantic-ai": ("with_pydantic_ai.py", ("pydantic-ai-slim[openai]",)),
    "openai-agents": ("with_agents.py", ("openai-agents",)),
}


@dataclasses.dataclass(frozen=True)
class Measure:
    """One cost of a row.

    Attributes:
        key: `cpu` or `wall` in seconds, `connections` that were made, or a cost that the worker notes.
        goal: The ratio to the first candidate that this library must not exceed.
        per: What the cost is divided by, such as the number of tokens.
        unit: The unit of the result.
        absolute: The goal is for the cost itself, not for the ratio.
    """

    key: str = "cpu"
    goal: float | None = None
    per: float = 1
    unit: str = "s"
    absolute: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: In the table, and for choosing rows.
        does: The row of the workers.
        arguments: Its arguments; `{url}` in a text stands for the server's address.
        candidates: Those who take part. Ratios are relative to the first.
        sizes: An argument and its values, if the row runs for several sizes; then the exponent of growth is shown.
        fresh: Whether each round needs a new process, because it measures memory or a start.
        rounds: The most rounds, for rows that take long.
    """

    name: str
    does: str
    arguments: Mapping[str, Any]
    candidates: tuple[str, ...]
    measures: tuple[Measure, ...]
    sizes: tuple[str, tuple[int, ...]] | None = None
    fresh: bool = False
    rounds: int = 99


def _each(count: int, what: str, goal: float | None, key: str = "cpu") -> Measure:
    """Microseconds for one of `count`."""
    return Measure(key, goal, count / 1e6, f"us/{what}")


def _tokens(format_: str, events: int, *peers: str, goal: float, tool: bool = False, tokens: int = 2000) -> Row:
    url = f"{{url}}/tokens={tokens},events={events}{',tool=1' if tool else ''}"
    return Row(
        f"{'tool-call delta' if tool else 'token'}, {events} in a chunk: {format_}",
        "tokens",
        {"url": url, "format": format_, "tokens": tokens},
        ("bare", "allm", *peers),
        (_each(tokens, "delta" if tool else "token", goal),),
        rounds=99 if tokens < 10_000 else 3,
    )


_PEERS = {
    "chat": ("openai", "litellm", "pydantic-ai", "openai-agents"),
    "responses": ("openai",),
    "anthropic": ("anthropic",),
    "gemini": ("google-genai",),
}
_SHORT = "{url}/tokens=20"
_MB = 1 << 20

ROWS = (
    *(_tokens(format_, 1, *peers, goal=1.4) for format_, peers in _PEERS.items()),
    *(_tokens(format_, 50, *peers, goal=1.8) for format_, peers in _PEERS.items()),
    _tokens("chat", 1, "openai", goal=1.5, tool=True, tokens=100_000),
    Row(
        "a million tokens",
        "tokens",
        {"url": "{url}/tokens=1000000,events=50", "format": "chat", "tokens": 1_000_000},
        ("bare", "allm"),
        # " word0" to " word999999": 10.9 MB of text
        (_each(1_000_000, "token", 2), Measure("growth", 2, 10_888_890, "bytes/byte", absolute=True)),
        fresh=True,
        rounds=1,
    ),
    Row(
        "short call of 20 tokens",
        "short",
        {"url": _SHORT, "calls": 100},
        ("bare", "allm", "openai", "any-llm", "litellm", "pydantic-ai"),
        (_each(100, "call", 2.4),),
    ),
    Row(
        "first token",
        "first_token",
        {"url": _SHORT, "calls": 100},
        ("bare", "allm", "openai"),
        (_each(100, "call", 1.3),),
    ),
    Row("call of an idle adapter", "nothing", {"calls": 500}, ("bare", "allm"), (_each(500, "call", 3),)),
    Row(
        "1,000 slow streams",
        "streams",
        {"url": "{url}/tokens=20,pause=0.3", "streams": 1000, "tokens": 20},
        ("bare", "allm", "openai"),
        (
            _each(20_000, "token", 1.2),
            Measure("memory", 1.4, 1024, "KB/stream"),
            Measure("open", 1.1, 1, "s until all are open"),
        ),
        fresh=True,
        rounds=3,
    ),
    Row(
        "turn over a thread",
        "thread",
        {"url": _SHORT, "turns": 5},
        ("bare", "allm", "openai-agents", "pydantic-ai"),
        (Measure("cpu", 2, 5e-3, "ms/turn"),),
        sizes=("messages", (100, 1000, 10_000)),
        rounds=3,
    ),
    Row(
        "codec",
        "codec",
        {"repeat": 5},
        ("bare", "allm", "pydantic-ai"),
        (Measure("encode", 2, 5e-3, "ms to JSON"), Measure("decode", 2, 5e-3, "ms from JSON")),
        sizes=("messages", (100, 1000, 10_000)),
        rounds=3,
    ),
    Row(
        "turns of one SQLite session",
        "store",
        {"url": _SHORT},
        ("openai-agents", "allm"),
        (Measure("late", 1, 1e-3, "ms/last turn"), Measure("disk", None, 1024, "KB on disk")),
        sizes=("turns", (50, 200, 800)),
        rounds=1,
    ),
    Row(
        "1,000 tools in one batch",
        "tools",
        {"calls": 1000},
        ("pydantic-ai", "allm"),
        (_each(1000, "tool", 0.33),),
    ),
    Row(
        "1,500 calls, 200 at once",
        "connections",
        {"url": "{url}/tokens=20,latency=0.3", "calls": 1500, "at_once": 200},
        ("openai", "allm"),
        (Measure("connections", 200, 1, "connections", absolute=True), _each(1500, "call", None)),
        fresh=True,
        rounds=1,
    ),
    Row(
        "embeddings",
        "embeddings",
        {"url": "{url}/dimensions=256", "texts": 20_000, "batch": 1000},
        ("bare", "allm", "openai"),
        (_each(20_000, "text", 1.3),),
    ),
    Row(
        "a picture of 20 MB",
        "image",
        {"url": _SHORT, "megabytes": 20},
        ("bare", "allm", "openai"),
        (Measure("peak", 1.5, 20 * _MB, "bytes/byte", absolute=True),),
        fresh=True,
        rounds=3,
    ),
    Row(
        "cold start to the first token",
        "cold",
        {"url": _SHORT},
        ("bare", "allm", "openai"),
        (Measure("process", 1.2, 1e-3, "ms"),),
        fresh=True,
        rounds=3,
    ),
    Row("the command line's --help", "command", {}, ("bare", "allm"), (Measure("cpu", 2.2, 1e-3, "ms"),), rounds=3),
)
