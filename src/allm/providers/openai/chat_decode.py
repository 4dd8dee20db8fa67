"""Chat Completions answers as events, streamed chunks and plain JSON alike.

What the recordings show beyond the vendor's documents: usage comes in an extra chunk with `"choices": []`, in a chunk
that has a choice (OpenRouter), in the choice itself (Moonshot), or three times (Groq); Azure's first chunk has empty
ids; only choice 0 counts; a forced tool ends with `finish_reason: "stop"`; a failure inside the stream is an object
with `error`, or is one itself (`"object": "error"`, vLLM), or stands in the choice (OpenRouter) or in `x_groq`, and
often no `[DONE]` follows. The calls are in `chat_call_decode`, thinking is in `chat_reasoning`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from allm.data.errors import AdapterError
from allm.data.events import (
    AdapterEvent,
    Failed,
    MessageCompleted,
    MessageStarted,
    RawChunk,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    UsageReported,
)
from allm.data.json.text import JsonTextError, loads
from allm.data.json.wire import as_count, as_list, as_object, as_objects, as_text
from allm.data.message_builder import MessageBuilder
from allm.data.response import FinishReason, Usage
from allm.http.error_body import stray_error
from allm.http.errors import malformed, request_id_of
from allm.providers.openai.chat_call_decode import CallDecoder
from allm.providers.openai.chat_reasoning import Reasoning, may_think
from allm.providers.openai.errors import stream_error
from allm.providers.openai.shared_encode import CUSTOM_CALL

__all__ = ["ChatDecoder", "chat_usage"]

_DONE = b"[DONE]"
_ERROR = "error"  # a finish reason of Mistral and OpenRouter
_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",  # Mistral: the context is full
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def chat_usage(usage: dict[str, Any]) -> Usage:
    """`usage` of Chat Completions; counts that are not there stay None."""
    prompt = as_object(usage.get("prompt_tokens_details"))
    completion = as_object(usage.get("completion_tokens_details"))
    inputs, outputs = as_count(usage.get("prompt_tokens")), as_count(usage.get("completion_tokens"))
    reasoning, total = as_count(completion.get("reasoning_tokens")), as_count(usage.get("total_tokens"))
    cached = as_count(prompt.get("cached_tokens"))
    if reasoning and inputs is not None and outputs is not None and inputs + outputs + reasoning == total:
        outputs += reasoning  # xAI counts it beside the completion
    return Usage(
        input_tokens=inputs,
        output_tokens=outputs,
        # DeepSeek has the count at the top level.
        cached_input_tokens=as_count(usage.get("prompt_cache_hit_tokens")) if cached is None else cached,
        cache_write_input_tokens=as_count(prompt.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
        total_tokens=total,
    )


def _first_choice(choices: Any) -> dict[str, Any]:
    """Choice 0 of a chunk; with n > 1 the others are left alone."""
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and not choice.get("index"):
            return choice
    return {}


@attrs.define(eq=False)
class ChatDecoder:
    """One answer. States: not begun, begun (the first chunk with an id, a model or a choice), done.

    Attributes:
        sends_done: The service ends a stream with `[DONE]`.
    """

    provider: str = "openai"
    sends_done: bool = True
    done: bool = attrs.field(default=False, init=False)
    _assembly: MessageBuilder = attrs.field(factory=MessageBuilder, init=False)
    _calls: CallDecoder = attrs.field(factory=CallDecoder, init=False)
    _reasoning: Reasoning = attrs.field(factory=Reasoning, init=False)
    _annotations: list[Any] = attrs.field(factory=list[Any], init=False)
    _begun: bool = attrs.field(default=False, init=False)
    _strange: str = attrs.field(default="", init=False)  # the first chunk that said nothing
    _finish: str | None = attrs.field(default=None, init=False)
    _request_id: str | None = attrs.field(default=None, init=False)
    _id: str | None = attrs.field(default=None, init=False)
    _model: str | None = attrs.field(default=None, init=False)

    def begin(self, headers: Mapping[str, str]) -> None:
        """The answer's HTTP headers are there."""
        self._request_id = request_id_of(headers)

    def decode(self, name: str, data: bytes) -> list[AdapterEvent]:
        """One server-sent event."""
        if data[:1] != b"{" and data.strip() == _DONE:
            return self._complete()
        try:
            chunk = loads(data)
        except JsonTextError as error:
            raise malformed(self.provider, f"an event of the stream is not JSON ({error})", data) from error
        if isinstance(chunk, list) and chunk:  # Gemini puts an error into an array
            chunk = chunk[0]
        if not isinstance(chunk, dict):
            raise malformed(self.provider, "an event of the stream is not a JSON object", data)
        choice = _first_choice(chunk.get("choices"))
        failure = chunk if name == _ERROR else _failure(chunk, choice)
        if failure is not None:
            return self._fail(failure)
        return self._chunk(chunk, choice, "delta")

    def decode_document(self, document: Any) -> list[AdapterEvent]:
        """A plain JSON answer, which some gateways give to a streaming request."""
        if not isinstance(document, dict):
            raise malformed(self.provider, "the answer is not a JSON object", repr(document))
        choice = _first_choice(document.get("choices"))
        failure = _failure(document, choice)
        if failure is not None:
            return self._fail(failure)
        if not isinstance(document.get("choices"), list):
            raise malformed(self.provider, "the answer has no choices", repr(document))
        return self._chunk(document, choice, "message") + self._complete()

    def end(self, stray: str) -> list[AdapterEvent]:
        """The body ended without `[DONE]`, which every complete stream has, but for the services that never send it."""
        error = stray_error(stray)
        if error is not None:
            return self._fail(error)
        if not self.sends_done and self._finish is not None:
            return self._complete()
        raise AdapterError(
            "the stream ended without its end marker [DONE]: the answer is cut off",
            reason="stream_truncated",
            provider=self.provider,
        )

    def _fail(self, body: Any) -> list[AdapterEvent]:
        self.done = True
        return [Failed(stream_error(self.provider, body))]

    def _chunk(self, chunk: dict[str, Any], choice: dict[str, Any], content_key: str) -> list[AdapterEvent]:
        # Once per token: what is rare is looked for where a key says that it may be there.
        events: list[AdapterEvent] = []
        if self._id is None or self._model is None or not self._begun:
            self._begin(chunk, choice, events)
        if choice:
            # Some services end a stream with one whole message.
            content = as_object(choice[content_key] if content_key in choice else choice.get("message"))
            if may_think(content) and (thought := self._reasoning.take(content)):
                self._add(ReasoningDelta("reasoning-0", thought), events)
            for key, value in content.items():
                take = _TAKE.get(key)
                if take is not None and value:
                    take(self, value, events)
            self._finish = as_text(choice.get("finish_reason")) or self._finish
        usage = chunk.get("usage") or choice.get("usage")
        if usage is None and "x_groq" in chunk:
            usage = as_object(chunk["x_groq"]).get("usage")
        if isinstance(usage, dict):
            events.append(UsageReported(chat_usage(usage)))
        if not events:
            events.append(RawChunk("chunk", chunk))
            self._strange = self._strange or repr(chunk)
        return events

    def _begin(self, chunk: dict[str, Any], choice: dict[str, Any], events: list[AdapterEvent]) -> None:
        self._id = self._id or as_text(chunk.get("id"))
        self._model = self._model or as_text(chunk.get("model"))
        if not self._begun and (self._id or self._model or choice):
            self._begun = True
            events.append(MessageStarted(id=self._id, model=self._model, request_id=self._request_id))

    def _content(self, value: Any, events: list[AdapterEvent]) -> None:
        if isinstance(value, str):
            if value:
                self._add(TextDelta("text-0", value), events)
            return
        for part in as_objects(value):  # Mistral's reasoning models send parts
            self._content(part.get("text"), events)
            self._refusal(part.get("refusal"), events)

    def _annotate(self, value: Any, _events: list[AdapterEvent]) -> None:
        self._annotations += as_list(value)

    def _refusal(self, value: Any, events: list[AdapterEvent]) -> None:
        if value and isinstance(value, str):
            self._add(TextDelta("refusal-0", value, refusal=True), events)

    def _tool_calls(self, value: Any, events: list[AdapterEvent]) -> None:
        for event in self._calls.decode(value):
            self._add(event, events)

    def _function_call(self, value: Any, events: list[AdapterEvent]) -> None:
        self._tool_calls([{"function": value}], events)

    def _add(self, event: AdapterEvent, events: list[AdapterEvent]) -> None:
        self._assembly.add(event)
        events.append(event)

    def _complete(self) -> list[AdapterEvent]:
        self.done = True
        if not self._begun:
            raise malformed(self.provider, "the stream ended without an answer", self._strange)
        events: list[AdapterEvent] = []
        for event in self._calls.complete():
            self._add(event, events)
        events += [self._replayable(event) for event in self._assembly.complete()]
        if self._reasoning.details and not any(isinstance(event, ReasoningCompleted) for event in events):
            events.append(self._replayable(ReasoningCompleted("reasoning-0", "")))
        if self._finish == _ERROR:
            what = "the service ended the answer with the finish reason 'error', and did not say why"
            error = AdapterError(what, reason="provider_unavailable", provider=self.provider)
            return [*events, Failed(error, raw_finish_reason=self._finish)]
        finish: FinishReason = _FINISH.get(self._finish or "", "other")
        # A forced tool ends with "stop", and some services end without a word: what the answer holds decides.
        called = self._assembly.has_tool_calls()
        if finish in {"stop", "tool_calls"} or (self._finish is None and called):
            finish = "tool_calls" if called else "stop"
        message = self._assembly.message()
        completed = MessageCompleted(message, finish, raw_finish_reason=self._finish, id=self._id, model=self._model)
        return [*events, completed]

    def _replayable(self, event: AdapterEvent) -> AdapterEvent:
        """The completion of a block with what has to go back with it, or belongs to it."""
        if isinstance(event, ReasoningCompleted):
            event = self._reasoning.completed(event, self.provider)
        elif isinstance(event, TextCompleted) and self._annotations and not event.refusal:
            event = attrs.evolve(event, metadata={self.provider: {"annotations": self._annotations}})
        elif isinstance(event, ToolCallCompleted) and event.id in self._calls.custom:
            event = attrs.evolve(event, arguments=None, metadata={self.provider: {"type": CUSTOM_CALL}})
        self._assembly.add(event)
        return event


def _failure(chunk: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any] | None:
    """The error that a chunk, or a plain answer, stands for."""
    if chunk.get("error") or chunk.get("object") == _ERROR:
        return chunk
    error = choice.get("error") or ("x_groq" in chunk and as_object(chunk["x_groq"]).get("error"))
    return {"error": error} if error else None


_TAKE: dict[str, Callable[[ChatDecoder, Any, list[AdapterEvent]], None]] = {
    "content": ChatDecoder._content,
    "refusal": ChatDecoder._refusal,
    "tool_calls": ChatDecoder._tool_calls,
    "function_call": ChatDecoder._function_call,  # before there were tools
    "annotations": ChatDecoder._annotate,
}
