"""Converse answers as events, streamed and plain JSON alike.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html. `messageStart`, the
blocks one after the other (their events name them by index), `messageStop` with the stop reason, and then `metadata`
with the counts, which is the last event. Most events have a field `p` of padding, which hides how long a token is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from allm.adapters import StreamDecoder, UniqueIds, as_count, as_list, as_object, as_text, finish_reason_of
from allm.data.errors import AdapterError
from allm.data.response import Usage
from allm.providers.bedrock.blocks import Block, as_deltas, open_block
from allm.providers.bedrock.errors import stream_error
from allm.providers.bedrock.names import PROVIDER

if TYPE_CHECKING:
    from allm.providers.bedrock.hosted import HostedBlocks

__all__ = ["ConverseDecoder"]

_NOTES = ("additionalModelResponseFields", "metrics", "performanceConfig", "trace")
"""What an answer says about itself beyond its content; kept in `Response.metadata["bedrock"]`."""


@attrs.define(eq=False)
class ConverseDecoder(StreamDecoder):
    """One answer."""

    content_field: ClassVar[str] = "output"
    end_marker: ClassVar[str] = "its end marker messageStop"

    provider: str = PROVIDER
    _open: dict[int | None, Block] = attrs.field(factory=dict[int | None, Block], init=False)
    _count: int = attrs.field(default=0, init=False)
    _call_ids: UniqueIds = attrs.field(factory=UniqueIds, init=False)
    _hosted_blocks: HostedBlocks | None = attrs.field(default=None, init=False)
    _stop_reason: str | None = attrs.field(default=None, init=False)

    def begin(self, headers: Mapping[str, str]) -> None:
        """AWS has its own header for the id of the request."""
        super().begin(headers)
        self.request_id: str | None = headers.get("x-amzn-requestid") or self.request_id

    def on_event(self, name: str, event: dict[str, Any]) -> None:
        """One event, which its name describes; one that is not known is passed over."""
        step = _STEPS.get(name)
        if step is not None:
            step(self, event)

    def on_document(self, document: dict[str, Any]) -> None:
        """A plain JSON answer: the message that a stream builds."""
        message = as_object(as_object(document.get("output")).get("message"))
        if not isinstance(message.get("content"), list):
            return
        self.start()
        for index, block in enumerate(message["content"]):
            kind, start, deltas = as_deltas(as_object(block))
            self._open_block(index, kind, start)
            for delta in deltas:
                self._grow(index, delta)
            self._close_block(index)
        self._message_stop(document)
        self._metadata(document)

    def error_of(self, report: Any) -> AdapterError:
        """An exception inside the stream."""
        return stream_error(report)

    def on_end(self) -> None:
        """An answer that has stopped is whole, if `metadata` is missing behind it."""
        if self._stop_reason is None:
            super().on_end()
        self._complete()

    # --- events of the stream ---

    def _message_start(self, _event: Mapping[str, Any]) -> None:
        self.start()

    def _block_start(self, event: Mapping[str, Any]) -> None:
        for kind, start in as_object(event.get("start")).items():
            self._open_block(as_count(event.get("contentBlockIndex")), kind, as_object(start))

    def _block_delta(self, event: Mapping[str, Any]) -> None:
        index, delta = as_count(event.get("contentBlockIndex")), as_object(event.get("delta"))
        if index not in self._open:
            self._open_block(index, next(iter(delta), ""), {})
        self._grow(index, delta)

    def _block_stop(self, event: Mapping[str, Any]) -> None:
        self._close_block(as_count(event.get("contentBlockIndex")))

    def _message_stop(self, event: Mapping[str, Any]) -> None:
        self.start()
        for index in list(self._open):
            self._close_block(index)
        self._stop_reason = as_text(event.get("stopReason")) or "unknown"
        self._note(event)

    def _metadata(self, event: Mapping[str, Any]) -> None:
        self.start()
        self._note(event)
        self.serve(as_object(event.get("serviceTier")).get("type"))
        usage = event.get("usage")
        if isinstance(usage, dict):
            self.report(_usage(usage))
        if self._stop_reason is not None:
            self._complete()

    # --- the parts of an answer ---

    def on_cut(self) -> None:
        """The citations of the text that was being received."""
        for block in self._open.values():
            for event in block.cite():
                self.add(event)

    on_failure = on_cut

    def _open_block(self, index: int | None, kind: str, start: Mapping[str, Any]) -> None:
        self.start()
        self._close_block(index)
        is_call = kind == "toolUse" and "type" not in start
        call_id = self._call_ids.new(as_text(start.get("toolUseId")), "tooluse") if is_call else ""
        block = self._open[index] = open_block(kind, start, self._count, call_id, self._hosted)
        self._count += 1
        for event in block.start():
            self.add(event)

    def _hosted(self) -> HostedBlocks:
        if self._hosted_blocks is None:
            from allm.providers.bedrock.hosted import HostedBlocks

            self._hosted_blocks = HostedBlocks()
        return self._hosted_blocks

    def _grow(self, index: int | None, delta: Mapping[str, Any]) -> None:
        for event in self._open[index].grow(delta):
            self.add(event)

    def _close_block(self, index: int | None) -> None:
        block = self._open.pop(index, None)
        for event in () if block is None else block.stop():
            self.add(event)

    def _note(self, holder: Mapping[str, Any]) -> None:
        self.notes.update({name: holder[name] for name in _NOTES if holder.get(name) is not None})

    def _complete(self) -> None:
        raw = self._stop_reason
        self.complete(finish_reason_of(raw), raw)


def _usage(usage: Mapping[str, Any]) -> Usage:
    """`inputTokens` leaves out what came from the cache or went into it."""
    uncached = as_count(usage.get("inputTokens"))
    read, written = as_count(usage.get("cacheReadInputTokens")), as_count(usage.get("cacheWriteInputTokens"))
    by_time = {
        f"ephemeral_{ttl}_input_tokens": count  # what costs more has the same name everywhere
        for entry in map(as_object, as_list(usage.get("cacheDetails")))
        if (ttl := as_text(entry.get("ttl"))) and (count := as_count(entry.get("inputTokens"))) is not None
    }
    return Usage(
        input_tokens=None if uncached is None else uncached + (read or 0) + (written or 0),
        output_tokens=as_count(usage.get("outputTokens")),
        cached_input_tokens=read,
        cache_write_input_tokens=written,
        total_tokens=as_count(usage.get("totalTokens")),
        extra=by_time,
    )


_STEPS: dict[str, Callable[[ConverseDecoder, Mapping[str, Any]], None]] = {
    "messageStart": ConverseDecoder._message_start,
    "contentBlockStart": ConverseDecoder._block_start,
    "contentBlockDelta": ConverseDecoder._block_delta,
    "contentBlockStop": ConverseDecoder._block_stop,
    "messageStop": ConverseDecoder._message_stop,
    "metadata": ConverseDecoder._metadata,
}
