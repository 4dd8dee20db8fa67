"""Messages answers as events, streamed and plain JSON alike.

https://platform.claude.com/docs/en/build-with-claude/streaming. `message_start`, the blocks one after the other (their
events name them by index), `message_delta` with stop reason and final counts, `message_stop`; a `ping` anywhere. An
`error` event is the last one, and may be the only one. What is not known is passed on as `RawChunk`: the API adds
events, blocks and deltas without a new version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from allm.data.errors import AdapterError
from allm.data.events import AdapterEvent, Failed, MessageCompleted, MessageStarted, RawChunk, UsageReported
from allm.data.json.text import JsonTextError, loads
from allm.data.json.wire import as_count, as_object, as_text
from allm.data.message_builder import MessageBuilder
from allm.data.response import FinishReason
from allm.http.error_body import stray_error
from allm.http.errors import malformed, request_id_of
from allm.providers.anthropic.blocks import Block, open_block
from allm.providers.anthropic.errors import stream_error
from allm.providers.anthropic.names import PROVIDER
from allm.providers.anthropic.usage import UsageReports

__all__ = ["MessagesDecoder"]

# https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons
_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_CLEAN = frozenset({"stop", "tool_calls"})
_BLOCK_OF = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking"}
_NOTES = ("stop_sequence", "stop_details", "container", "context_management")
"""What an answer says about itself beyond its content; kept in `Response.metadata["anthropic"]`."""


@attrs.define(eq=False)
class MessagesDecoder:
    """One answer.

    Attributes:
        answer_tool: The tool whose arguments are the text of the answer.
    """

    provider: str = PROVIDER
    answer_tool: str | None = None
    done: bool = attrs.field(default=False, init=False)
    _assembly: MessageBuilder = attrs.field(factory=MessageBuilder, init=False)
    _usage: UsageReports = attrs.field(factory=UsageReports, init=False)
    _open: dict[int | None, Block] = attrs.field(factory=dict[int | None, Block], init=False)
    _count: int = attrs.field(default=0, init=False)
    _call_ids: set[str] = attrs.field(factory=set[str], init=False)
    _notes: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)
    _stop_reason: str | None = attrs.field(default=None, init=False)
    _request_id: str | None = attrs.field(default=None, init=False)
    _id: str | None = attrs.field(default=None, init=False)
    _model: str | None = attrs.field(default=None, init=False)

    def begin(self, headers: Mapping[str, str]) -> None:
        """The answer's HTTP headers are there."""
        self._request_id = request_id_of(headers)

    def decode(self, name: str, data: bytes) -> list[AdapterEvent]:
        """One server-sent event."""
        try:
            event = loads(data)
        except JsonTextError as error:
            if data.strip() == b"[DONE]":  # some gateways add Chat Completions' end marker
                return []
            raise malformed(self.provider, f"an event of the stream is not JSON ({error})", data) from error
        if not isinstance(event, dict):
            raise malformed(self.provider, "an event of the stream is not a JSON object", data)
        kind = as_text(event.get("type")) or name
        if name == "error" or ("type" not in event and event.get("error")):
            kind = "error"
        step = _STEPS.get(kind)
        return step(self, event) if step is not None else [RawChunk(kind or "event", event)]

    def decode_document(self, document: Any) -> list[AdapterEvent]:
        """A plain JSON answer, which some gateways give to a streaming request."""
        if not isinstance(document, dict):
            raise malformed(self.provider, "the answer is not a JSON object", repr(document))
        if document.get("type") == "error" or document.get("error"):
            return self._error(document)
        if not isinstance(document.get("content"), list):
            raise malformed(self.provider, "the answer has no content", repr(document))
        events = self._start_message(document)
        for block in document["content"]:
            events += self._start_block(as_object(block), None)
            events += self._stop_block(None)
        self._note(document)
        return events + self._complete()

    def end(self, stray: str) -> list[AdapterEvent]:
        """The body ended without `message_stop`, which every complete stream has."""
        error = stray_error(stray)
        if error is not None:
            return self._error(error)
        raise AdapterError(
            "the stream ended without its end marker message_stop: the answer is cut off",
            reason="stream_truncated",
            provider=self.provider,
        )

    # --- events of the stream ---

    def _message_start(self, event: Mapping[str, Any]) -> list[AdapterEvent]:
        return self._start_message(as_object(event.get("message")))

    def _content_block_start(self, event: Mapping[str, Any]) -> list[AdapterEvent]:
        return self._start_block(as_object(event.get("content_block")), as_count(event.get("index")))

    def _content_block_delta(self, event: Mapping[str, Any]) -> list[AdapterEvent]:
        index, delta = as_count(event.get("index")), as_object(event.get("delta"))
        if index is None and self._open:  # not every server counts them: it is the newest one
            index = next(reversed(self._open))
        events: list[AdapterEvent] = []
        kind = _BLOCK_OF.get(as_text(delta.get("type")) or "")
        if not self._open and kind is not None:  # nor says where a block starts
            events = self._start_block({"type": kind}, index)
        block = self._open.get(index)
        if block is None:
            return [RawChunk("content_block_delta", event)]
        return events + self._added(block.grow(delta))

    def _content_block_stop(self, event: Mapping[str, Any]) -> list[AdapterEvent]:
        return self._stop_block(as_count(event.get("index")))

    def _message_delta(self, event: Mapping[str, Any]) -> list[AdapterEvent]:
        self._note(event)
        self._note(as_object(event.get("delta")))
        return self._count_tokens(event)

    def _message_stop(self, _event: Mapping[str, Any]) -> list[AdapterEvent]:
        return self._complete()

    def _ping(self, _event: Mapping[str, Any]) -> list[AdapterEvent]:
        return []  # no event at all: it is no progress

    def _error(self, event: Any) -> list[AdapterEvent]:
        self.done = True
        return [Failed(stream_error(self.provider, event))]

    # --- the parts of an answer ---

    def _start_message(self, message: Mapping[str, Any]) -> list[AdapterEvent]:
        self._id = as_text(message.get("id"))
        self._model = as_text(message.get("model"))
        started = MessageStarted(id=self._id, model=self._model, request_id=self._request_id)
        return [started, *self._count_tokens(message)]

    def _count_tokens(self, holder: Mapping[str, Any]) -> list[AdapterEvent]:
        usage = holder.get("usage")
        return [UsageReported(self._usage.add(usage))] if isinstance(usage, dict) else []

    def _start_block(self, data: dict[str, Any], index: int | None) -> list[AdapterEvent]:
        events = self._stop_block(index) if index in self._open else []
        block = open_block(data, self._count, self._call_id(data), self.answer_tool)
        self._count += 1
        self._open[index] = block
        return events + self._added(block.start())

    def _call_id(self, data: Mapping[str, Any]) -> str:
        """The id of a call; one of our own where there is none, or one that was there before."""
        if data.get("type") != "tool_use":
            return ""
        call_id = as_text(data.get("id"))
        if call_id is None or call_id in self._call_ids:
            call_id = f"toolu_{self._count}"
        self._call_ids.add(call_id)
        return call_id

    def _stop_block(self, index: int | None) -> list[AdapterEvent]:
        block = self._open.pop(index, None)
        return [] if block is None else self._added([block.stop()])

    def _note(self, holder: Mapping[str, Any]) -> None:
        self._stop_reason = as_text(holder.get("stop_reason")) or self._stop_reason
        self._notes.update({name: holder[name] for name in _NOTES if holder.get(name) is not None})

    def _added(self, events: list[AdapterEvent]) -> list[AdapterEvent]:
        for event in events:
            self._assembly.add(event)
        return events

    def _complete(self) -> list[AdapterEvent]:
        self.done = True
        events = [event for index in list(self._open) for event in self._stop_block(index)]
        finish: FinishReason = _FINISH.get(self._stop_reason or "", "other")
        called = self._assembly.has_tool_calls()
        if finish in _CLEAN or (self._stop_reason is None and called):
            # What the answer holds decides, not the word: the only call may be the structured answer.
            finish = "tool_calls" if called else "stop"
        completed = MessageCompleted(
            self._assembly.message(),
            finish,
            raw_finish_reason=self._stop_reason,
            id=self._id,
            model=self._model,
            metadata={PROVIDER: self._notes} if self._notes else {},
        )
        return [*events, completed]


_STEPS: dict[str, Callable[[MessagesDecoder, Mapping[str, Any]], list[AdapterEvent]]] = {
    "message_start": MessagesDecoder._message_start,
    "content_block_start": MessagesDecoder._content_block_start,
    "content_block_delta": MessagesDecoder._content_block_delta,
    "content_block_stop": MessagesDecoder._content_block_stop,
    "message_delta": MessagesDecoder._message_delta,
    "message_stop": MessagesDecoder._message_stop,
    "ping": MessagesDecoder._ping,
    "error": MessagesDecoder._error,
}
