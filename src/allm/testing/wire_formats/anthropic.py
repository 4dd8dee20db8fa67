"""Anthropic Messages, streamed. https://docs.claude.com/en/docs/build-with-claude/streaming.

As recorded: `event:` repeats the type; the JSON is padded with spaces before its last brace; a ping follows the first
block's start; a thinking block ends with its signature; the first piece of a call's input is empty, and the only one
if the call has no arguments; `message_delta` repeats the usage with its final counts.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

import attrs

from allm.data.citation import Citation
from allm.data.response import Usage
from allm.data.script import HostedCallItem
from allm.testing.wire_formats.encoder import Block, Encoder, compact
from allm.testing.wire_formats.errors import REQUEST_ID, VendorError

__all__ = ["Anthropic"]

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "other": "pause_turn",
}
EMPTY_BLOCKS: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "text": ""},
    "reasoning": {"type": "thinking", "thinking": "", "signature": ""},
}


@final
@attrs.define(eq=False, kw_only=True)
class Anthropic(Encoder):
    """Writes one message."""

    default_model: ClassVar[str] = "claude-haiku-4-5-20251001"
    default_id: ClassVar[str] = "msg_01Scripted00000000000000"
    headers: ClassVar[dict[str, str]] = {
        "content-type": "text/event-stream; charset=utf-8",
        "request-id": REQUEST_ID,
    }
    _events: int = attrs.field(init=False, default=0)

    def _on_start(self) -> None:
        message: dict[str, Any] = {
            "model": self.model,
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }
        if self.usage is not None:
            counts = usage(self.usage)
            counts.pop("output_tokens_details", None)
            if "output_tokens" in counts:
                counts["output_tokens"] = 1  # a placeholder until message_delta
            message["usage"] = counts
        self._event("message_start", message=message)

    def _on_open(self, block: Block) -> None:
        start = EMPTY_BLOCKS.get(block.kind) or {
            "type": "tool_use",
            "id": block.id if block.id is not None else f"toolu_{block.number:024d}",
            "name": block.name,
            "input": {},
        }
        self._event("content_block_start", index=block.index, content_block=start)
        if block.index == 0:
            self.write('event: ping\ndata: {"type": "ping"}\n\n')
        if block.kind == "tool_call":
            self._delta(block, type="input_json_delta", partial_json="")

    def _on_delta(self, block: Block, text: str) -> None:
        match block.kind:
            case "text":
                self._delta(block, type="text_delta", text=text)
            case "reasoning":
                self._delta(block, type="thinking_delta", thinking=text)
            case _ if text != "{}":  # without arguments the empty first piece is all
                self._delta(block, type="input_json_delta", partial_json=text)
            case _:
                pass

    def _on_citation(self, block: Block, citation: Citation) -> None:
        self._delta(block, type="citations_delta", citation=_location(citation))

    def _on_close(self, block: Block) -> None:
        if block.kind == "reasoning":
            self._delta(block, type="signature_delta", signature=f"c2NyaXB0ZWQgc2lnbmF0dXJl{block.number:04d}")
        self._event("content_block_stop", index=block.index)

    def _on_hosted_call(self, item: HostedCallItem, call_id: str) -> None:
        begun = {"type": "server_tool_use", "id": call_id, "name": item.kind, "input": {}}
        place = self._place()
        self._event("content_block_start", index=place, content_block=begun)
        delta = {"type": "input_json_delta", "partial_json": compact(dict(item.input))}
        self._event("content_block_delta", index=place, delta=delta)
        self._event("content_block_stop", index=place)
        place = self._place()
        sources = item.output.get("sources") if isinstance(item.output, dict) else None
        found: Any = item.output if sources is None else [{"type": "web_search_result", **one} for one in sources]
        if item.status == "failed":
            found = {"type": f"{item.kind}_tool_result_error", "error_code": "unavailable"}
        result = {"type": f"{item.kind}_tool_result", "tool_use_id": call_id, "content": found}
        self._event("content_block_start", index=place, content_block=result)
        self._event("content_block_stop", index=place)

    def _on_finish(self) -> None:
        delta = {"stop_reason": STOP_REASONS[self.finish_reason], "stop_sequence": None}
        counts = {} if self.usage is None else {"usage": usage(self.usage)}
        self._event("message_delta", delta=delta, **counts)
        self._event("message_stop")

    def _on_fail(self, error: VendorError) -> None:
        self._event("error", error={"details": None, "type": error.type, "message": error.message})

    def _on_raw(self, kind: str, payload: Any) -> None:
        self._event(kind, **(payload or {}))

    def _delta(self, block: Block, **delta: Any) -> None:
        self._event("content_block_delta", index=block.index, delta=delta)

    def _event(self, kind: str, **fields: Any) -> None:
        self._events += 1
        padding = " " * (self._events * 7 % 16)
        data = compact({"type": kind, **fields})
        self.write(f"event: {kind}\ndata: {data[:-1]}{padding}}}\n\n")


_LOCATIONS = {
    "characters": ("char_location", "{}_char_index"),
    "pages": ("page_location", "{}_page_number"),
    "blocks": ("search_result_location", "{}_block_index"),
}


def _location(citation: Citation) -> dict[str, Any]:
    """A citation as the Messages API writes it, without a place in the text; `data` is written as it is."""
    if citation.data:
        return dict(citation.data)
    quote, place = {"cited_text": citation.quote or ""}, citation.source
    if place is None:
        web = {"url": citation.url, "title": citation.title, "encrypted_index": "c2NyaXB0ZWQ="}
        return {"type": "web_search_result_location", **quote, **web}
    kind, name = _LOCATIONS[place.unit]
    span = {name.format("start"): place.start, name.format("end"): place.end}
    if place.unit == "blocks":
        own = {"search_result_index": place.index or 0, "source": citation.url, "title": citation.title}
    else:
        own = {"document_index": place.index or 0, "document_title": citation.title, "file_id": citation.file_id}
    return {"type": kind, **quote, **own, **span}


def usage(usage: Usage) -> dict[str, Any]:
    """Anthropic's `input_tokens` exclude tokens read from the cache or written to it."""
    read, written = usage.cached_input_tokens, usage.cache_write_input_tokens
    counts: dict[str, Any] = {}
    if usage.input_tokens is not None:
        counts["input_tokens"] = usage.input_tokens - (read or 0) - (written or 0)
    if written is not None:
        counts["cache_creation_input_tokens"] = written
    if read is not None:
        counts["cache_read_input_tokens"] = read
    if usage.output_tokens is not None:
        counts["output_tokens"] = usage.output_tokens
    if usage.reasoning_tokens is not None:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return {**counts, **usage.extra}
