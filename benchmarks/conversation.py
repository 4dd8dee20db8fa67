"""What a long conversation costs: written and read as JSON, sent with a turn, and with a large image in it.

Each function is one row of the table, and returns one figure, a ratio of medians of CPU time measured side by side:

- `writing`, `reading`: `to_json` and `from_json` of a thread, to `json.dumps` and `json.loads` of the same document.
- `first_request`, `next_request`: checking and encoding a request, to `json.dumps` of its body; a request is the next
  one if all but two of its messages have been sent before.
- `turn`: a turn over an adapter that does nothing beside encoding, to `json.dumps` of the body.
- `image_peak`: the most memory that a request takes while it is sent, to the size of its image.

    python benchmarks/conversation.py [messages ...]
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import trio

import allm
from allm.adapters import AdapterOptions, Emit

ROUNDS = 7
ADAPTERS: dict[str, tuple[Any, str]] = {
    "chat": (allm.providers.OpenAI(api_key="k", endpoint="chat_completions"), "gpt-4.1-mini"),
    "responses": (allm.providers.OpenAI(api_key="k", endpoint="responses"), "gpt-4.1-mini"),
    "anthropic": (allm.providers.Anthropic(api_key="k"), "claude-haiku-4-5"),
    "gemini": (allm.providers.Gemini(api_key="k"), "gemini-3-flash"),
}
IMAGE_BYTES = {"chat": 20_000_000, "responses": 20_000_000, "anthropic": 7_500_000, "gemini": 20_000_000}
"""Anthropic takes no larger one."""


def conversation(messages: int) -> tuple[allm.Message, ...]:
    """Turns of four messages: a question, a call beside a text, its result, an answer in a part."""
    said: list[allm.Message] = []
    for number in range(messages // 4):
        call = allm.ToolCall(f"call_{number}", "look", {"city": f"Zug {number}"}, f'{{"city":"Zug {number}"}}')
        said += [
            allm.user(f"Question {number}: what is the weather like? " * 5),
            allm.assistant(allm.TextPart("I look it up."), call),
            allm.tool_result(call.id, f"result {number} " * 20),
            allm.assistant(allm.TextPart(f"answer {number} " * 40)),
        ]
    return tuple(said)


def median(function: Callable[[], Any]) -> float:
    """Seconds of CPU time of one call."""
    function()
    times: list[float] = []
    for _ in range(ROUNDS):
        gc.collect()
        begun = time.process_time()
        function()
        times.append(time.process_time() - begun)
    return statistics.median(times)


def writing(messages: int) -> float:
    """The ratio of `to_json`, for a thread that was never written before."""
    document = json.loads(allm.to_json(allm.Thread(conversation(messages))))
    threads = iter([allm.Thread(conversation(messages)) for _ in range(ROUNDS + 1)])
    return median(lambda: allm.to_json(next(threads))) / median(lambda: json.dumps(document))


def reading(messages: int) -> float:
    """The ratio of `from_json`."""
    text = allm.to_json(allm.Thread(conversation(messages)))
    return median(lambda: allm.from_json(text)) / median(lambda: json.loads(text))


def _body(adapter: Any, request: allm.Request) -> bytes:
    body: bytes = adapter.prepare(request, AdapterOptions()).body
    return body


def first_request(messages: int, name: str) -> float:
    """The ratio of a request whose messages are all new."""
    adapter, model = ADAPTERS[name]
    body = json.loads(_body(adapter, allm.Request(conversation(messages), model=model)))
    requests = iter([allm.Request(conversation(messages), model=model) for _ in range(ROUNDS + 1)])
    return median(lambda: _body(adapter, next(requests))) / median(lambda: json.dumps(body))


def next_request(messages: int, name: str) -> float:
    """The ratio of a request that has two messages more than the one before."""
    adapter, model = ADAPTERS[name]
    said = conversation(messages)
    body = json.loads(_body(adapter, allm.Request(said, model=model)))
    more = [allm.user("And tomorrow?"), allm.assistant("Sunny.")]

    def send() -> None:
        nonlocal said
        said = (*said, *more)
        _body(adapter, allm.Request((*said, allm.user("And then?")), model=model))

    return median(send) / median(lambda: json.dumps(body))


class Encoding:
    """An adapter that encodes as another one does, and answers at once."""

    requires_model = False

    def __init__(self, adapter: Any) -> None:
        self.adapter, self.provider = adapter, adapter.provider

    def prepare(self, request: allm.Request, options: AdapterOptions) -> Any:
        """Encode the request."""
        return self.adapter.prepare(request, options)

    async def stream(self, _prepared: Any, emit: Emit) -> None:
        """Answer."""
        await emit(allm.MessageStarted(), allm.TextDelta("t", "x"), allm.MessageCompleted(allm.assistant("x"), "stop"))


def turn(messages: int, name: str) -> float:
    """The ratio of a turn of a conversation that goes on."""
    adapter, model = ADAPTERS[name]
    engine = allm.Engine(adapter=Encoding(adapter), model=model)
    thread = allm.Thread(conversation(messages))
    body = json.loads(_body(adapter, allm.Request(thread.messages, model=model)))

    async def go_on() -> None:
        nonlocal thread
        thread = (await allm.chat(engine, thread.add(allm.user("And tomorrow?")))).thread

    return median(lambda: trio.run(go_on)) / median(lambda: json.dumps(body))


def image_peak(name: str) -> float:
    """The ratio of the memory for a request with a large image."""
    adapter, model = ADAPTERS[name]
    image = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(IMAGE_BYTES[name]))
    message = allm.user("What is this?", image)
    _body(adapter, allm.Request((allm.user("hi"),), model=model))
    tracemalloc.start()
    prepared = adapter.prepare(allm.Request((message,), model=model), AdapterOptions())
    pieces = (prepared.body,) if isinstance(prepared.body, bytes) else prepared.body.open()
    sent = sum(map(len, pieces))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sent > IMAGE_BYTES[name]
    return peak / IMAGE_BYTES[name]


def main() -> None:
    """Print the rows."""
    sizes = [int(word) for word in sys.argv[1:]] or [1_000, 10_000]
    for size in sizes:
        print(f"{size} messages: to_json {writing(size):.1f} x json.dumps, from_json {reading(size):.1f} x json.loads")
        for name in ADAPTERS:
            first, following, whole = first_request(size, name), next_request(size, name), turn(size, name)
            print(f"  {name:10} first request {first:.1f}, next one {following:.1f}, turn {whole:.1f} x json.dumps")
    for name in ADAPTERS:
        print(f"{IMAGE_BYTES[name] / 1e6:g} MB image, {name:10} {image_peak(name):.1f} x its size")


if __name__ == "__main__":
    main()
