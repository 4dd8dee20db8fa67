"""Messages answers as events, streamed and plain JSON alike.

https://platform.claude.com/docs/en/build-with-claude/streaming. `message_start`, the blocks one after the other (their
events name them by index), `message_delta` with stop reason and final counts, `message_stop`; a `ping` anywhere. An
`error` event is the last one, and may be the only one. What is not known is passed over: the API adds
events, blocks and deltas without a new version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs

from allm.adapters import Run, StreamDecoder, UniqueIds, as_count, as_list, as_object, as_text, finish_reason_of
from allm.data.errors import AdapterError
from allm.data.response import FinishReason, Usage
from allm.providers.anthropic.blocks import Block, cited, open_block
from allm.providers.anthropic.errors import stream_error
from allm.providers.anthropic.hosted_blocks import HostedBlocks
from allm.providers.anthropic.names import PROVIDER
from allm.providers.anthropic.usual_events import read_deltas

__all__ = ["MessagesDecoder"]

_DELTA = "content_block_delta"
_BLOCK_OF = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking"}
_NOTES = ("stop_sequence", "stop_details", "container", "context_management", "diagnostics")
"""What an answer says about itself beyond its content; kept in `Response.metadata["anthropic"]`."""

_EXTRA = ("cache_creation", "server_tool_use")
"""Objects of counts that no other provider has."""
_TARIFFS = ("speed", "inference_geo")
"""Words for how and where the answer was made, which decide what it costs."""
_FINISH: dict[str | None, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
"""Anthropic's own words (https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons)."""


@attrs.define(eq=False)
class _UsageReports:
    """What the reports of one answer add up to.

    A stream reports them twice, and the second report replaces the first one field by field: until mid-2025 it had
    output tokens alone, later all counts, which may be larger by far (a server tool read more) or smaller (the
    context was compacted). `input_tokens` leaves out what came from the cache or went into it. The compaction of a
    context is a model call of its own that only `iterations` counts.
    """

    _fields: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)

    def add(self, usage: Mapping[str, Any]) -> Usage:
        """Take a report; the counts that hold from now on."""
        self._fields.update({name: value for name, value in usage.items() if value is not None})
        total = _counts(self._fields)
        for entry in as_list(self._fields.get("iterations")):
            if as_object(entry).get("type") == "compaction":
                total += _counts(entry)
        return total


def _counts(fields: Mapping[str, Any]) -> Usage:
    uncached = as_count(fields.get("input_tokens"))
    read = as_count(fields.get("cache_read_input_tokens"))
    written = as_count(fields.get("cache_creation_input_tokens"))
    extra: dict[str, Any] = {
        name: count
        for group in _EXTRA
        for name, value in as_object(fields.get(group)).items()
        if (count := as_count(value)) is not None
    }
    extra |= {name: word for name in _TARIFFS if (word := as_text(fields.get(name))) is not None}
    return Usage(
        input_tokens=None if uncached is None else uncached + (read or 0) + (written or 0),
        output_tokens=as_count(fields.get("output_tokens")),
        cached_input_tokens=read,
        cache_write_input_tokens=written,
        reasoning_tokens=as_count(as_object(fields.get("output_tokens_details")).get("thinking_tokens")),
        extra=extra,
    )


@attrs.define(eq=False)
class MessagesDecoder(StreamDecoder):
    """One answer."""

    content_field: ClassVar[str] = "content"
    end_marker: ClassVar[str] = "its end marker message_stop"

    provider: str = PROVIDER
    host_error: Callable[[Any], AdapterError] | None = attrs.field(
        default=None, kw_only=True
    )  # that of another service
    _usage: _UsageReports = attrs.field(factory=_UsageReports, init=False)
    _open: dict[int | None, Block] = attrs.field(factory=dict[int | None, Block], init=False)
    _count: int = attrs.field(default=0, init=False)
    _hosted: HostedBlocks | None = attrs.field(default=None, init=False)
    _call_ids: UniqueIds = attrs.field(factory=UniqueIds, init=False)
    _stop_reason: str | None = attrs.field(default=None, init=False)

    def on_event(self, name: str, event: dict[str, Any]) -> None:
        """One event; its `type` says what it is, and so does its name."""
        kind = as_text(event.get("type")) or name
        step = _STEPS.get(kind)
        if step is not None:
            step(self, event)

    def on_run(self, run: Run) -> int:
        """More of one block."""
        deltas = read_deltas(run.lines, run.size) if run.name == _DELTA else None
        if not deltas:
            return 0
        index, kind = deltas[0].index, type(deltas[0].delta)
        block = self._open.get(index)
        if block is None or None in self._open:
            return 0
        texts: list[str] = []
        for delta in deltas:
            if delta.index != index or type(delta.delta) is not kind or not delta.delta.text:
                break
            texts.append(delta.delta.text)
        event = block.more(kind, texts) if texts else None
        if event is None:
            return 0
        self.more(event, block.id, texts)
        return len(texts)

    def on_document(self, document: dict[str, Any]) -> None:
        """A plain JSON answer: the message that a stream builds."""
        if not isinstance(document.get("content"), list):
            return
        self._start_message(document)
        for block in document["content"]:
            self._start_block(as_object(block), None)
            self._stop_block(None)
        self._note(document)
        self._message_stop(document)

    def on_cut(self) -> None:
        """The citations of the text that was being received."""
        for block in self._open.values():
            for event in cited(block):
                self.add(event)

    on_failure = on_cut

    def error_of(self, report: Any) -> AdapterError:
        """An `error` event."""
        is_own = self.host_error is None or as_object(report).get("type") == "error"
        return stream_error(self.provider, report) if is_own or self.host_error is None else self.host_error(report)

    # --- events of the stream ---

    def _message_start(self, event: Mapping[str, Any]) -> None:
        self._start_message(as_object(event.get("message")))

    def _content_block_start(self, event: Mapping[str, Any]) -> None:
        self._start_block(as_object(event.get("content_block")), as_count(event.get("index")))

    def _content_block_delta(self, event: Mapping[str, Any]) -> None:
        index, delta = as_count(event.get("index")), as_object(event.get("delta"))
        if self._open and (index is None or None in self._open):  # not every server counts them: it is the newest one
            index = next(reversed(self._open))
        kind = None if self._open else _BLOCK_OF.get(as_text(delta.get("type")) or "")
        if kind is not None:  # nor says where a block starts
            self._start_block({"type": kind}, index)
        block = self._open.get(index)
        if block is None:
            return
        for grown in block.grow(delta):
            self.add(grown)

    def _content_block_stop(self, event: Mapping[str, Any]) -> None:
        self._stop_block(as_count(event.get("index")))

    def _message_delta(self, event: Mapping[str, Any]) -> None:
        self._note(event)
        self._note(as_object(event.get("delta")))
        self._count_tokens(event)

    def _message_stop(self, _event: Mapping[str, Any]) -> None:
        for index in list(self._open):
            self._stop_block(index)
        self.complete(_FINISH.get(self._stop_reason) or finish_reason_of(self._stop_reason), self._stop_reason)

    def _ping(self, _event: Mapping[str, Any]) -> None:
        self.keep_alive()

    # --- the parts of an answer ---

    def _start_message(self, message: Mapping[str, Any]) -> None:
        self.start(id=message.get("id"), model=message.get("model"))
        self._count_tokens(message)

    def _count_tokens(self, holder: Mapping[str, Any]) -> None:
        usage = holder.get("usage")
        if isinstance(usage, dict):
            self.serve(usage.get("service_tier"))
            self.report(self._usage.add(usage))

    def _start_block(self, data: dict[str, Any], index: int | None) -> None:
        self.start()  # some servers leave `message_start` out
        self._stop_block(index)
        called = data.get("type") == "tool_use"
        call_id = self._call_ids.new(as_text(data.get("id")), "toolu") if called else ""
        block = open_block(data, self._count, call_id, self._hosted_calls)
        self._count += 1
        self._open[index] = block
        for event in block.start():
            self.add(event)

    def _hosted_calls(self) -> HostedBlocks:
        self._hosted = self._hosted or HostedBlocks()
        return self._hosted

    def _stop_block(self, index: int | None) -> None:
        block = self._open.pop(index, None)
        if block is not None:
            for event in block.stop():
                self.add(event)

    def _note(self, holder: Mapping[str, Any]) -> None:
        self._stop_reason = as_text(holder.get("stop_reason")) or self._stop_reason
        self.notes.update({name: holder[name] for name in _NOTES if holder.get(name) is not None})


_STEPS: dict[str, Callable[[MessagesDecoder, Mapping[str, Any]], None]] = {
    "message_start": MessagesDecoder._message_start,
    "content_block_start": MessagesDecoder._content_block_start,
    "content_block_delta": MessagesDecoder._content_block_delta,
    "content_block_stop": MessagesDecoder._content_block_stop,
    "message_delta": MessagesDecoder._message_delta,
    "message_stop": MessagesDecoder._message_stop,
    "ping": MessagesDecoder._ping,
}
