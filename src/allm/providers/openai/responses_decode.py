"""Responses API answers as events, streamed and plain JSON alike.

What the recordings show beyond the vendor's documents: `keepalive` events take a sequence number and mean nothing; an
error inside the stream is nested while the published schema is flat, and `response.failed` repeats it; a reasoning
item's `encrypted_content` is unfinished in `output_item.added` and final in `output_item.done`; a function call has an
item id and a `call_id`, and only the latter counts; usage comes with the terminal event. llama.cpp sends the same
events without any index. `output_item.done` is the authority for its item, the terminal event for items that had none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from allm.data.assembly import MessageAssembly
from allm.data.content import ProviderPart
from allm.data.errors import AdapterError
from allm.data.events import (
    AdapterEvent,
    Failed,
    MessageCompleted,
    MessageStarted,
    ProviderPartCompleted,
    RawChunk,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from allm.data.jsontext import JsonTextError, loads, parse_arguments
from allm.data.response import FinishReason, Usage
from allm.providers.openai.errors import stream_error
from allm.runtime.http_answers import malformed

__all__ = ["ResponsesDecoder", "responses_usage"]

_INCOMPLETE: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Item types that are calls for the caller, and the field that holds what the model wrote."""

Events = list[AdapterEvent]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    return value if type(value) is int else None


def responses_usage(usage: dict[str, Any]) -> Usage:
    """`usage` of a response; counts that are not there stay None."""
    inputs, outputs = _object(usage.get("input_tokens_details")), _object(usage.get("output_tokens_details"))
    return Usage(
        input_tokens=_count(usage.get("input_tokens")),
        output_tokens=_count(usage.get("output_tokens")),
        cached_input_tokens=_count(inputs.get("cached_tokens")),
        cache_write_input_tokens=_count(inputs.get("cache_write_tokens")),
        reasoning_tokens=_count(outputs.get("reasoning_tokens")),
        total_tokens=_count(usage.get("total_tokens")),
    )


@attrs.define(eq=False)
class ResponsesDecoder:
    """One answer: items one after the other, each begun, filled and done; then a terminal event."""

    provider: str = "openai"
    done: bool = attrs.field(default=False, init=False)
    _assembly: MessageAssembly = attrs.field(factory=MessageAssembly, init=False)
    _begun: bool = attrs.field(default=False, init=False)
    _request_id: str | None = attrs.field(default=None, init=False)
    _calls: dict[str, str] = attrs.field(factory=dict[str, str], init=False)  # item id: call id
    _last_call: str = attrs.field(default="", init=False)
    _item: str = attrs.field(default="item", init=False)  # the id of the item being filled
    _finished: set[str] = attrs.field(factory=set[str], init=False)

    def begin(self, request_id: str | None) -> None:
        """The answer's HTTP headers are there."""
        self._request_id = request_id

    def decode(self, name: str, data: bytes) -> Events:
        """One server-sent event; its `type` field says what it is, as its name does."""
        try:
            event = loads(data)
        except JsonTextError as error:
            if data.strip() == b"[DONE]":  # some gateways add Chat Completions' end marker
                return []
            raise malformed(self.provider, f"an event of the stream is not JSON ({error})", data) from error
        if not isinstance(event, dict):
            raise malformed(self.provider, "an event of the stream is not a JSON object", data)
        kind = _text(event.get("type")) or name
        if kind == "error" or (event.get("error") and not _text(event.get("type"))):
            self.done = True
            return [Failed(stream_error(self.provider, event))]
        take = _TAKE.get(kind)
        events: Events = []
        if take is not None:
            take(self, event, events)
        return events or [RawChunk(kind, event)]

    def decode_document(self, document: Any) -> Events:
        """A plain JSON answer: the object that a stream's terminal event holds."""
        response = _object(document)
        if response.get("error") and response.get("object") != "response":
            return [Failed(stream_error(self.provider, response))]
        if not isinstance(response.get("output"), list):
            raise malformed(self.provider, "the answer has no output", repr(document))
        events: Events = []
        self._terminal({"response": response}, events)
        return events

    def end(self, _stray: str) -> Events:
        """The body ended without a terminal event."""
        raise AdapterError(
            "the stream ended without response.completed, response.incomplete or response.failed: it is cut off",
            reason="stream_truncated",
            provider=self.provider,
        )

    def _add(self, event: AdapterEvent, events: Events) -> None:
        self._assembly.add(event)
        events.append(event)

    def _start(self, event: dict[str, Any], events: Events) -> None:
        response = _object(event.get("response"))
        if not self._begun:
            self._begun = True
            started = MessageStarted(
                id=_text(response.get("id")), model=_text(response.get("model")), request_id=self._request_id
            )
            events.append(started)

    def _item_added(self, event: dict[str, Any], events: Events) -> None:
        item = _object(event.get("item"))
        self._item = _text(item.get("id")) or f"item-{event.get('output_index', len(self._finished))}"
        if item.get("type") in _CALLS:
            call_id = _text(item.get("call_id")) or self._item
            self._calls[self._item] = self._last_call = call_id
            self._add(ToolCallStarted(call_id, _text(item.get("name")) or ""), events)

    def _block(self, event: dict[str, Any]) -> str:
        return f"{_text(event.get('item_id')) or self._item}:{event.get('content_index', 0)}"

    def _text_delta(self, event: dict[str, Any], events: Events) -> None:
        if text := _text(event.get("delta")):
            self._add(TextDelta(self._block(event), text), events)

    def _refusal_delta(self, event: dict[str, Any], events: Events) -> None:
        if text := _text(event.get("delta")):
            self._add(TextDelta(self._block(event), text, refusal=True), events)

    def _reasoning_delta(self, event: dict[str, Any], events: Events) -> None:
        if text := _text(event.get("delta")):
            self._add(ReasoningDelta(_text(event.get("item_id")) or self._item, text), events)

    def _arguments_delta(self, event: dict[str, Any], events: Events) -> None:
        text = _text(event.get("delta"))
        call_id = self._calls.get(_text(event.get("item_id")) or "", self._last_call)
        if text and call_id:
            self._add(ToolCallDelta(call_id, text), events)

    def _item_done(self, event: dict[str, Any], events: Events) -> None:
        self._complete_item(_object(event.get("item")), events)

    def _complete_item(self, item: dict[str, Any], events: Events) -> None:
        item_id = _text(item.get("id")) or self._item
        if item_id in self._finished:
            return
        self._finished.add(item_id)
        self._item = f"item-{len(self._finished)}"
        kind = item.get("type")
        if kind == "message":
            self._message_done(item_id, item, events)
        elif kind == "reasoning":
            self._reasoning_done(item_id, item, events)
        elif kind in _CALLS:
            self._call_done(item_id, item, events)
        elif kind:
            self._add(ProviderPartCompleted(item_id, ProviderPart(self.provider, item)), events)

    def _message_done(self, item_id: str, item: dict[str, Any], events: Events) -> None:
        kept = {"id": item_id} if _text(item.get("id")) else {}
        if phase := _text(item.get("phase")):
            kept["phase"] = phase
        metadata = {self.provider: kept} if kept else {}
        for index, part in enumerate(_objects(item.get("content"))):
            refusal = part.get("type") == "refusal"
            text = part.get("refusal" if refusal else "text")
            if isinstance(text, str):
                self._add(TextCompleted(f"{item_id}:{index}", text, refusal, metadata=metadata), events)

    def _reasoning_done(self, item_id: str, item: dict[str, Any], events: Events) -> None:
        summary, content = _objects(item.get("summary")), _objects(item.get("content"))
        texts = [text for part in (summary or content) if (text := _text(part.get("text")))]
        self._add(
            ReasoningCompleted(
                item_id,
                "".join(texts),
                provider=self.provider,
                item_id=_text(item.get("id")),
                encrypted_content=_text(item.get("encrypted_content")),
                metadata={"summary": summary} if len(summary) > 1 else {},
            ),
            events,
        )

    def _call_done(self, item_id: str, item: dict[str, Any], events: Events) -> None:
        kind = str(item.get("type"))
        call_id = self._calls.get(item_id) or _text(item.get("call_id")) or item_id
        name = _text(item.get("name")) or ""
        raw = item.get(_CALLS[kind])
        raw = raw if isinstance(raw, str) else ""
        if item_id not in self._calls:
            self._calls[item_id] = call_id
            self._add(ToolCallStarted(call_id, name), events)
            if raw:
                self._add(ToolCallDelta(call_id, raw), events)
        custom = kind == "custom_tool_call"
        kept = {key: value for key in ("id", "namespace") if (value := _text(item.get(key)))}
        if custom:
            kept["type"] = kind
        arguments = None if custom else parse_arguments(raw)
        metadata = {self.provider: kept} if kept else {}
        self._add(ToolCallCompleted(call_id, name, arguments, raw, metadata=metadata), events)

    def _terminal(self, event: dict[str, Any], events: Events) -> None:
        response = _object(event.get("response"))
        self.done = True
        self._start(event, events)
        seen = len(self._finished)
        for index, item in enumerate(_objects(response.get("output"))):
            if index >= seen or _text(item.get("id")):  # without an id only its place tells an item that was done
                self._complete_item(item, events)
        usage = response.get("usage")
        if isinstance(usage, dict):
            events.append(UsageReported(responses_usage(usage)))
        status = _text(response.get("status"))
        if status in {"failed", "cancelled"} or response.get("error"):
            body = {"error": response.get("error") or {"message": f"the response ended with status {status}"}}
            events.append(Failed(stream_error(self.provider, body)))
            return
        events += self._assembly.complete()
        finish, raw = self._finish(status, response)
        completed = MessageCompleted(
            self._assembly.message(),
            finish,
            raw_finish_reason=raw,
            id=_text(response.get("id")),
            model=_text(response.get("model")),
        )
        events.append(completed)

    def _finish(self, status: str | None, response: dict[str, Any]) -> tuple[FinishReason, str | None]:
        if status == "incomplete":
            reason = _text(_object(response.get("incomplete_details")).get("reason"))
            return _INCOMPLETE.get(reason or "", "other"), reason or status
        if status not in {"completed", None}:
            return "other", status
        return ("tool_calls" if self._assembly.has_tool_calls() else "stop"), status


_TAKE: dict[str, Callable[[ResponsesDecoder, dict[str, Any], Events], None]] = {
    "response.created": ResponsesDecoder._start,
    "response.queued": ResponsesDecoder._start,
    "response.in_progress": ResponsesDecoder._start,
    "response.output_item.added": ResponsesDecoder._item_added,
    "response.output_text.delta": ResponsesDecoder._text_delta,
    "response.refusal.delta": ResponsesDecoder._refusal_delta,
    "response.reasoning_summary_text.delta": ResponsesDecoder._reasoning_delta,
    "response.reasoning_text.delta": ResponsesDecoder._reasoning_delta,
    "response.function_call_arguments.delta": ResponsesDecoder._arguments_delta,
    "response.custom_tool_call_input.delta": ResponsesDecoder._arguments_delta,
    "response.output_item.done": ResponsesDecoder._item_done,
    "response.completed": ResponsesDecoder._terminal,
    "response.incomplete": ResponsesDecoder._terminal,
    "response.failed": ResponsesDecoder._terminal,
}
