"""Chat Completions answers as events, streamed chunks and plain JSON alike.

What the recordings show beyond the vendor's documents: usage comes in an extra chunk with `"choices": []`, in a chunk
that has a choice (OpenRouter), or three times (Groq); Azure's first chunk has empty ids; only choice 0 counts; the
arguments of a call come in pieces under its `index`; a forced tool ends with `finish_reason: "stop"`; a failure inside
the stream is an object with `error` and no `[DONE]` follows; thinking is `reasoning` (Groq, OpenRouter) or
`reasoning_content` (DeepSeek, vLLM, llama.cpp).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from allm.data.assembly import MessageAssembly
from allm.data.errors import AdapterError
from allm.data.events import (
    AdapterEvent,
    Failed,
    MessageCompleted,
    MessageStarted,
    RawChunk,
    ReasoningCompleted,
    ReasoningDelta,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from allm.data.jsontext import JsonTextError, dumps, loads
from allm.data.jsonvalues import as_count, as_object, as_objects, as_text
from allm.data.response import FinishReason, Usage
from allm.providers.openai.errors import stream_error
from allm.providers.openai.shared_encode import CUSTOM_CALL
from allm.runtime.http_answers import malformed

__all__ = ["ChatDecoder", "chat_usage"]

_DONE = b"[DONE]"
_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def chat_usage(usage: dict[str, Any]) -> Usage:
    """`usage` of Chat Completions; counts that are not there stay None."""
    prompt = as_object(usage.get("prompt_tokens_details"))
    completion = as_object(usage.get("completion_tokens_details"))
    return Usage(
        input_tokens=as_count(usage.get("prompt_tokens")),
        output_tokens=as_count(usage.get("completion_tokens")),
        # DeepSeek has the count at the top level.
        cached_input_tokens=as_count(prompt.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))),
        cache_write_input_tokens=as_count(prompt.get("cache_write_tokens")),
        reasoning_tokens=as_count(completion.get("reasoning_tokens")),
        total_tokens=as_count(usage.get("total_tokens")),
    )


def _first_choice(choices: Any) -> dict[str, Any]:
    """Choice 0 of a chunk; with n > 1 the others are left alone."""
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and not choice.get("index"):
            return choice
    return {}


@attrs.define(eq=False)
class _Call:
    id: str
    name: str = ""
    started: bool = False
    waiting: list[str] = attrs.field(factory=list)  # argument pieces that came before the name


@attrs.define(eq=False)
class ChatDecoder:
    """One answer. States: not begun, begun (the first chunk with an id, a model or a choice), done.

    Attributes:
        sends_done: The service ends a stream with `[DONE]`.
    """

    provider: str = "openai"
    sends_done: bool = True
    done: bool = attrs.field(default=False, init=False)
    _assembly: MessageAssembly = attrs.field(factory=MessageAssembly, init=False)
    _calls: dict[Any, _Call] = attrs.field(factory=dict, init=False)
    _custom: set[str] = attrs.field(factory=set[str], init=False)  # ids of calls whose input is free text
    _begun: bool = attrs.field(default=False, init=False)
    _finish: str | None = attrs.field(default=None, init=False)
    _request_id: str | None = attrs.field(default=None, init=False)
    _id: str | None = attrs.field(default=None, init=False)
    _model: str | None = attrs.field(default=None, init=False)

    def begin(self, request_id: str | None) -> None:
        """The answer's HTTP headers are there."""
        self._request_id = request_id

    def decode(self, name: str, data: bytes) -> list[AdapterEvent]:
        """One server-sent event."""
        if data[:1] != b"{" and data.strip() == _DONE:
            return self._complete()
        try:
            chunk = loads(data)
        except JsonTextError as error:
            raise malformed(self.provider, f"an event of the stream is not JSON ({error})", data) from error
        if not isinstance(chunk, dict):
            raise malformed(self.provider, "an event of the stream is not a JSON object", data)
        if chunk.get("error") or name == "error":
            return [Failed(stream_error(self.provider, chunk))]
        events: list[AdapterEvent] = []
        self._chunk(chunk, "delta", events)
        return events

    def decode_document(self, document: Any) -> list[AdapterEvent]:
        """A plain JSON answer, which some gateways give to a streaming request."""
        if not isinstance(document, dict):
            raise malformed(self.provider, "the answer is not a JSON object", repr(document))
        if document.get("error"):
            return [Failed(stream_error(self.provider, document))]
        if not isinstance(document.get("choices"), list):
            raise malformed(self.provider, "the answer has no choices", repr(document))
        events: list[AdapterEvent] = []
        self._chunk(document, "message", events)
        return events + self._complete()

    def end(self, _stray: str) -> list[AdapterEvent]:
        """The body ended without `[DONE]`, which every complete stream has, but for the services that never send it."""
        if not self.sends_done and self._finish is not None:
            return self._complete()
        raise AdapterError(
            "the stream ended without its end marker [DONE]: the answer is cut off",
            reason="stream_truncated",
            provider=self.provider,
        )

    def _chunk(self, chunk: dict[str, Any], content_key: str, events: list[AdapterEvent]) -> None:
        choice = _first_choice(chunk.get("choices"))
        if not self._begun:
            self._id = self._id or as_text(chunk.get("id"))
            self._model = self._model or as_text(chunk.get("model"))
            if self._id or self._model or choice:
                self._begun = True
                events.append(MessageStarted(id=self._id, model=self._model, request_id=self._request_id))
        if choice:
            content = choice.get(content_key)
            for key, value in content.items() if isinstance(content, dict) else ():
                take = _TAKE.get(key)
                if take is not None and value:
                    take(self, value, events)
            self._finish = as_text(choice.get("finish_reason")) or self._finish
        usage = chunk.get("usage")
        if usage is None and "x_groq" in chunk:
            usage = as_object(chunk["x_groq"]).get("usage")
        if isinstance(usage, dict):
            events.append(UsageReported(chat_usage(usage)))
        if not events:
            events.append(RawChunk("chunk", chunk))

    def _reasoning(self, value: Any, events: list[AdapterEvent]) -> None:
        if value and isinstance(value, str):
            self._add(ReasoningDelta("reasoning-0", value), events)

    def _content(self, value: Any, events: list[AdapterEvent]) -> None:
        if value and isinstance(value, str):
            self._add(TextDelta("text-0", value), events)
        for part in value if isinstance(value, list) else ():  # Mistral's reasoning models send parts
            if isinstance(part, dict):
                self._content(part.get("text"), events)
                for thought in as_objects(part.get("thinking")):
                    self._reasoning(thought.get("text"), events)

    def _refusal(self, value: Any, events: list[AdapterEvent]) -> None:
        if isinstance(value, str):
            self._add(TextDelta("refusal-0", value, refusal=True), events)

    def _tool_calls(self, value: Any, events: list[AdapterEvent]) -> None:
        for position, call in enumerate(value if isinstance(value, list) else ()):
            if isinstance(call, dict):
                self._call(call, position, events)

    def _call(self, delta: dict[str, Any], position: int, events: list[AdapterEvent]) -> None:
        index = delta.get("index")
        key = index if isinstance(index, (int, str)) else position
        call = self._calls.get(key)
        call_id = as_text(delta.get("id"))
        if call is None or (call_id and call.id != call_id):  # some gateways give every call index 0
            call = self._calls[key] = _Call(call_id or f"call_{len(self._calls)}")
        custom = as_object(delta.get("custom"))
        function = as_object(delta.get("function")) or custom
        if custom:
            self._custom.add(call.id)
        call.name = call.name or as_text(function.get("name")) or ""
        piece = function.get("arguments", function.get("input"))
        if isinstance(piece, dict):  # Ollama sends the object itself
            piece = dumps(piece).decode()
        if isinstance(piece, str) and piece:
            call.waiting.append(piece)
        if not call.name:
            return
        if not call.started:
            call.started = True
            self._add(ToolCallStarted(call.id, call.name), events)
        for text in call.waiting:
            self._add(ToolCallDelta(call.id, text), events)
        call.waiting.clear()

    def _add(self, event: AdapterEvent, events: list[AdapterEvent]) -> None:
        self._assembly.add(event)
        events.append(event)

    def _complete(self) -> list[AdapterEvent]:
        self.done = True
        events = [self._replayable(event) for event in self._assembly.complete()]
        finish: FinishReason = _FINISH.get(self._finish or "", "other")
        # A forced tool ends with "stop": what the answer holds decides, not the word.
        if finish == "stop" and self._assembly.has_tool_calls():
            finish = "tool_calls"
        message = self._assembly.message()
        completed = MessageCompleted(message, finish, raw_finish_reason=self._finish, id=self._id, model=self._model)
        return [*events, completed]

    def _replayable(self, event: AdapterEvent) -> AdapterEvent:
        """The completion of a block with what has to go back with it."""
        if isinstance(event, ReasoningCompleted):
            event = attrs.evolve(event, provider=self.provider)
        elif isinstance(event, ToolCallCompleted) and event.id in self._custom:
            event = attrs.evolve(event, arguments=None, metadata={self.provider: {"type": CUSTOM_CALL}})
        self._assembly.add(event)
        return event


_TAKE: dict[str, Callable[[ChatDecoder, Any, list[AdapterEvent]], None]] = {
    "reasoning": ChatDecoder._reasoning,
    "reasoning_content": ChatDecoder._reasoning,
    "content": ChatDecoder._content,
    "refusal": ChatDecoder._refusal,
    "tool_calls": ChatDecoder._tool_calls,
}
