"""What the examples run on: a real model if ALLM_MODEL names one, else a demo server on this machine.

    python examples/deadline.py                                        # the demo server, without a key
    ALLM_MODEL=anthropic:claude-sonnet-4-6 python examples/deadline.py # a real model; its key from the environment

Your own program has `engine = allm.Engine.from_model("provider:id")` in the place of `demo.engine()`, and no function
that plays the model. What one of these programs cannot go on after, such as a missing key or file, and Ctrl-C, end it
with one line instead of a traceback.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

import attrs

import allm
from allm import fake
from allm.providers import FakeEmbeddings, FakeImages, FakeRerank, FakeSpeech, FakeTranscription, OpenAI
from allm.testing import RecordedRequest, Reply, WireServer

Say = Callable[["Asked"], str | Sequence[Any] | Reply]
SERVICES: dict[str, Callable[[], Any]] = {
    "embedding": FakeEmbeddings,
    "image": FakeImages,
    "rerank": FakeRerank,
    "speech": FakeSpeech,
    "transcription": lambda: FakeTranscription(["How is the weather?"]),
}


@attrs.frozen
class Asked:
    """What the demo server was asked.

    Attributes:
        text: What the user said last.
        results: Texts of the tools' results since then.
        tools: Names of the tools.
        schema: That of the answer, if one was asked for.
        messages: All messages, as OpenAI's format has them.
        key: The API key that was sent.
    """

    text: str
    results: list[str]
    tools: list[str]
    schema: dict[str, Any] | None
    messages: list[dict[str, Any]]
    key: str


@asynccontextmanager
async def engine(
    say: Say | None = None,
    *,
    name: str = "demo",
    model: str | None = None,
    api_key: str | None = "demo",
    **fields: Any,
) -> AsyncGenerator[allm.Engine]:
    """An engine with a chat model.

    Args:
        say: What the demo server answers: a text, items of `allm.fake`, or a reply such as `Reply.error(...)`. Default:
            it repeats the question.
        name: That of the demo server's model.
        model: The real model; default: that of ALLM_MODEL.
        api_key: The demo server's key; None for the one of the block around the call.
        fields: As `Engine.from_model` takes them, such as `tools`. Fakes are in the place of the models of other
            services, such as `image_model`, on the demo server.
    """
    if model := model or os.environ.get("ALLM_MODEL"):
        yield allm.Engine.from_model(model, **fields)
        return
    _tell_of_demo()
    async with WireServer(default=lambda request: _reply(request, say or _repeat)) as server:
        fields["adapter"] = OpenAI(api_key=api_key, base_url=server.url("openai"), endpoint="chat_completions")
        for service, make in SERVICES.items():
            if fields.pop(f"{service}_model", None) is not None:
                fields[f"{service}_adapter"] = make()
        yield allm.Engine(model=name, **fields)


@functools.cache  # once, however many engines a program has
def _tell_of_demo() -> None:
    print("No model: this is the demo server. ALLM_MODEL=provider:id takes a real one.", file=sys.stderr)


def _repeat(asked: Asked) -> str:
    return f"You said: {asked.text}"


def _reply(request: RecordedRequest, say: Say) -> Reply:
    body = request.json()
    messages = body["messages"]
    last = max((index for index, message in enumerate(messages) if message["role"] == "user"), default=0)
    asked = Asked(
        text=_text(messages[last]["content"]),
        results=[_text(message["content"]) for message in messages[last:] if message["role"] == "tool"],
        tools=[tool["function"]["name"] for tool in body.get("tools", ())],
        schema=body.get("response_format", {}).get("json_schema", {}).get("schema"),
        messages=messages,
        key=request.headers["authorization"].removeprefix("Bearer "),
    )
    said = say(asked)
    if isinstance(said, Reply):
        return said
    items = [fake.text(word) for word in said.replace(" ", " \0").split("\0")] if isinstance(said, str) else list(said)
    counts = fake.usage(input_tokens=len(json.dumps(messages)) // 4, output_tokens=len(items))
    return Reply.script("openai", [*items, counts])


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", f"[{part['type']}]") for part in content)


# What is no mistake in the program: failures of calls, packages and files that are not there, and its own last word.
ENDS = allm.AllmError | ImportError | OSError | KeyboardInterrupt | SystemExit


def _tell_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    ends = list(_ends(error))
    if not all(isinstance(end, ENDS) for end in ends):
        sys.__excepthook__(kind, error, trace)
        return
    for text in dict.fromkeys(str(end) or "interrupted" for end in ends):
        print(text, file=sys.stderr)


def _ends(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _ends(inner)
    else:
        yield error


sys.excepthook = _tell_end
