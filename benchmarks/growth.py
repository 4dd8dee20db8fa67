"""How the time for an answer grows with what it holds: 1 is in proportion, 2 in the square.

For each wire format and each kind of content, an answer of n items is written by the scripted server, decoded, folded,
saved as JSON, and sent again. The table has the milliseconds of CPU for the largest n, and the exponent from the second
largest to it. `tests/test_linear.py` holds the same by counting steps; what C does is seen only here.

    python benchmarks/growth.py [sizes, such as 4000,8000,16000]
"""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import allm
from allm import fake
from allm.adapters import AdapterOptions, SSEDecoder
from allm.providers.anthropic.decode import MessagesDecoder
from allm.providers.gemini.decode import GeminiDecoder
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.responses_decode import ResponsesDecoder
from allm.testing import Reply

SIZES = [int(size) for size in sys.argv[1].split(",")] if len(sys.argv) > 1 else [1000, 2000, 4000]
FORMATS: dict[Any, tuple[Any, Any, str]] = {
    "openai": (ChatDecoder, allm.providers.OpenAI(api_key="k", endpoint="chat_completions"), "gpt-5.4"),
    "openai_responses": (ResponsesDecoder, allm.providers.OpenAI(api_key="k", endpoint="responses"), "gpt-5.4"),
    "anthropic": (MessagesDecoder, allm.providers.Anthropic(api_key="k"), "claude-haiku-4-5"),
    "gemini": (GeminiDecoder, allm.providers.Gemini(api_key="k"), "gemini-3-pro"),
}
SCRIPTS: dict[str, Callable[[int], list[Any]]] = {
    "text": lambda n: [fake.text(f"w{i} ") for i in range(n)],
    "parts": lambda n: [item for i in range(n // 2) for item in (fake.text(f"w{i} "), fake.reasoning(f"r{i} "))],
    "calls": lambda n: [fake.tool_call("f", {"a": i}) for i in range(n)],
    "one call": lambda n: [fake.tool_call("f", {"a": "w " * n})],
}


def decoded(name: str, body: bytes) -> list[Any]:
    """The events of a body."""
    decoder, reader = FORMATS[name][0](), SSEDecoder()
    decoder.begin({})
    events = [event for kind, data in reader.feed(body) for event in decoder.decode(kind, data)]
    return events if decoder.done else [*events, *decoder.end("")]


def folded(events: list[Any]) -> allm.Response:
    """The response of the events."""
    collector = allm.StreamCollector()
    for event in events:
        collector.add(event)
    return collector.response()


def sent(name: str, response: allm.Response) -> Any:
    """The next request."""
    results = [allm.tool_result(call.id, "ok") for call in response.tool_calls]
    messages = (allm.user("hi"), response.message, *results, allm.user("go on"))
    _, adapter, model = FORMATS[name]
    return adapter.prepare(allm.Request(messages, model=model), AdapterOptions())


def timed(times: list[float], function: Callable[..., Any], *args: Any) -> Any:
    """Call the function, and note the CPU time that it took."""
    begun = time.process_time()
    value = function(*args)
    times.append(time.process_time() - begun)
    return value


def main() -> None:
    """Print the table."""
    gc.disable()  # its rounds grow with the heap, whoever filled it
    for what, script in SCRIPTS.items():
        for name in FORMATS:
            rows: list[list[float]] = []
            for size in SIZES:
                rows.append(times := [])
                body = timed(times, Reply.script, name, script(size)).body
                response = timed(times, folded, timed(times, decoded, name, body))
                timed(times, sent, name, response)
                timed(times, allm.to_json, response)
            cells = [f"{name:17}{what:9}"]
            steps = math.log(SIZES[-1] / SIZES[-2])
            for stage, *_, before, last in zip(("script", "decode", "fold", "send", "save"), *rows, strict=True):
                cells.append(f"{stage} {last * 1000:7.1f} ms ^{math.log(last / before) / steps:5.2f}")
            print("  ".join(cells), flush=True)


if __name__ == "__main__":
    main()
