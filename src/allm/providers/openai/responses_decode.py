"""Responses API answers as events, streamed and plain JSON alike.

What the recordings show beyond the vendor's documents: `keepalive` events take a sequence number and mean nothing; an
error inside the stream is nested while the published schema is flat, and `response.failed` repeats it; usage comes with
the terminal event only; there is no `[DONE]`. The items are in `responses_item_decode`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from allm.data.errors import AdapterError
from allm.data.events import AdapterEvent, Failed, MessageCompleted, MessageStarted, RawChunk, UsageReported
from allm.data.json.text import JsonTextError, loads
from allm.data.json.wire import as_count, as_object, as_text
from allm.data.response import FinishReason, Usage
from allm.http.error_body import stray_error
from allm.http.errors import malformed, request_id_of
from allm.providers.openai.errors import stream_error
from allm.providers.openai.responses_item_decode import ItemDecoder

__all__ = ["ResponsesDecoder", "responses_usage"]

_INCOMPLETE: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_FAILED = frozenset({"failed", "cancelled"})
_ERRORS = frozenset({"error", "response.error"})


def responses_usage(usage: dict[str, Any]) -> Usage:
    """`usage` of a response; counts that are not there stay None."""
    inputs, outputs = as_object(usage.get("input_tokens_details")), as_object(usage.get("output_tokens_details"))
    return Usage(
        input_tokens=as_count(usage.get("input_tokens")),
        output_tokens=as_count(usage.get("output_tokens")),
        cached_input_tokens=as_count(inputs.get("cached_tokens")),
        cache_write_input_tokens=as_count(inputs.get("cache_write_tokens")),
        reasoning_tokens=as_count(outputs.get("reasoning_tokens")),
        total_tokens=as_count(usage.get("total_tokens")),
    )


@attrs.define(eq=False)
class ResponsesDecoder:
    """One answer. States: not begun, begun (the first event that is not a failure), done (a terminal event)."""

    provider: str = "openai"
    done: bool = attrs.field(default=False, init=False)
    _items: ItemDecoder = attrs.field(init=False)
    _begun: bool = attrs.field(default=False, init=False)
    _request_id: str | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._items = ItemDecoder(self.provider)

    def begin(self, headers: Mapping[str, str]) -> None:
        """The answer's HTTP headers are there."""
        self._request_id = request_id_of(headers)

    def decode(self, name: str, data: bytes) -> list[AdapterEvent]:
        """One server-sent event; its `type` says what it is, and so does its name."""
        try:
            event = loads(data)
        except JsonTextError as error:
            if data.strip() == b"[DONE]":  # some gateways add Chat Completions' end marker
                return []
            raise malformed(self.provider, f"an event of the stream is not JSON ({error})", data) from error
        if not isinstance(event, dict):
            raise malformed(self.provider, "an event of the stream is not a JSON object", data)
        kind = as_text(event.get("type")) or name
        if not _ERRORS.isdisjoint({kind, name, event.get("object")}) or ("type" not in event and event.get("error")):
            return self._fail(event)
        response = as_object(event.get("response"))
        if kind in _TERMINAL:
            return self._terminal(response)
        if kind.startswith("response."):
            self._start(response)
        take = _TAKE.get(kind)
        if take is not None:
            take(self._items, event)
        return self._flush() or [RawChunk(kind, event)]

    def decode_document(self, document: Any) -> list[AdapterEvent]:
        """A plain JSON answer: the object that a stream's terminal event holds."""
        response = as_object(document)
        if response.get("error") and response.get("object") != "response":
            return self._fail(response)
        if not isinstance(response.get("output"), list):
            raise malformed(self.provider, "the answer has no output", repr(document))
        return self._terminal(response)

    def end(self, stray: str) -> list[AdapterEvent]:
        """The body ended without a terminal event."""
        error = stray_error(stray)
        if error is not None:
            return self._fail(error)
        raise AdapterError(
            "the stream ended without response.completed, response.incomplete or response.failed: it is cut off",
            reason="stream_truncated",
            provider=self.provider,
        )

    def _flush(self) -> list[AdapterEvent]:
        events, self._items.events = self._items.events, []
        return events

    def _start(self, response: dict[str, Any]) -> None:
        if not self._begun:
            self._begun = True
            response_id, model = as_text(response.get("id")), as_text(response.get("model"))
            self._items.events.append(MessageStarted(id=response_id, model=model, request_id=self._request_id))

    def _fail(self, body: Any) -> list[AdapterEvent]:
        self.done = True
        return [*self._flush(), Failed(stream_error(self.provider, body))]

    def _terminal(self, response: dict[str, Any]) -> list[AdapterEvent]:
        self.done = True
        status, error = as_text(response.get("status")), response.get("error")
        if status in _FAILED or error:
            if self._begun:  # else the failure comes first, and may be tried again
                self._usage(response)
            return self._fail({"error": error or {"message": f"the response ended with the status {status!r}"}})
        self._start(response)
        self._items.finish(response.get("output"))
        self._usage(response)
        finish, raw = self._finish(status, response)
        message = self._items.assembly.message()
        response_id, model = as_text(response.get("id")), as_text(response.get("model"))
        completed = MessageCompleted(message, finish, raw_finish_reason=raw, id=response_id, model=model)
        return [*self._flush(), completed]

    def _usage(self, response: dict[str, Any]) -> None:
        usage = response.get("usage")
        if isinstance(usage, dict):
            self._items.events.append(UsageReported(responses_usage(as_object(usage))))

    def _finish(self, status: str | None, response: dict[str, Any]) -> tuple[FinishReason, str | None]:
        if status == "incomplete":
            reason = as_text(as_object(response.get("incomplete_details")).get("reason"))
            return _INCOMPLETE.get(reason or "", "other"), reason or status
        if status not in {"completed", None}:  # a response in the background that is queued or in progress
            return "other", status
        return ("tool_calls" if self._items.assembly.has_tool_calls() else "stop"), status


_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})

_TAKE: dict[str, Callable[[ItemDecoder, dict[str, Any]], None]] = {
    "response.output_item.added": ItemDecoder.added,
    "response.content_part.added": ItemDecoder.part_added,
    "response.output_text.delta": ItemDecoder.text,
    "response.refusal.delta": ItemDecoder.refusal,
    "response.reasoning_summary_text.delta": ItemDecoder.reasoning,
    "response.reasoning_text.delta": ItemDecoder.reasoning,
    "response.function_call_arguments.delta": ItemDecoder.arguments,
    "response.custom_tool_call_input.delta": ItemDecoder.custom_input,
    "response.output_item.done": ItemDecoder.done,
}
