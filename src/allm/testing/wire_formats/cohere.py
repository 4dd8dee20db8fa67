"""Cohere's Chat, version 2, as server-sent events.

https://docs.cohere.com/reference/chat-stream. As recorded: each event has its type twice; thinking and text are blocks
with an index, a call has a count of its own; a citation is an event of its own, which starts and ends. The `[DONE]`
that the service sends behind the last event, and does not document, is left out: the answer is whole without it.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

import attrs

from allm.data.citation import Citation
from allm.data.response import Usage
from allm.testing.wire_formats.encoder import Block, Encoder, compact
from allm.testing.wire_formats.errors import REQUEST_ID, VendorError

__all__ = ["Cohere"]

FINISH_REASONS = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool_calls": "TOOL_CALL",
    "content_filter": "ERROR_TOXIC",
    "other": "SOMETHING_ELSE",
}


@final
@attrs.define(eq=False, kw_only=True)
class Cohere(Encoder):
    """Writes one message."""

    default_model: ClassVar[str] = "command-a-plus-05-2026"
    default_id: ClassVar[str] = "00000000-0000-0000-0000-000000000000"
    headers: ClassVar[dict[str, str]] = {"content-type": "text/event-stream", "x-debug-trace-id": REQUEST_ID}

    def _on_start(self) -> None:
        message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        self._event("message-start", id=self.id, delta={"message": message})

    def _on_open(self, block: Block) -> None:
        if block.kind == "tool_call":
            call_id = block.id if block.id is not None else f"{block.name}_{block.number:012d}"
            call = {"id": call_id, "type": "function", "function": {"name": block.name, "arguments": ""}}
            self._event("tool-call-start", index=block.number, delta={"message": {"tool_calls": call}})
        else:
            kind = _field(block)
            content = {"type": kind, kind: ""}
            self._event("content-start", index=block.index, delta={"message": {"content": content}})

    def _on_delta(self, block: Block, text: str) -> None:
        if block.kind == "tool_call":
            call = {"function": {"arguments": text}}
            self._event("tool-call-delta", index=block.number, delta={"message": {"tool_calls": call}})
        else:
            self._event("content-delta", index=block.index, delta={"message": {"content": {_field(block): text}}})

    def _on_citation(self, block: Block, citation: Citation) -> None:
        data = dict(citation.data) or _located(citation)
        told = {"message": {"citations": {**data, "type": "TEXT_CONTENT", "content_index": block.index}}}
        self._event("citation-start", index=len(block.citations) - 1, delta=told)
        self._event("citation-end", index=len(block.citations) - 1)

    def _on_close(self, block: Block) -> None:
        if block.kind == "tool_call":
            self._event("tool-call-end", index=block.number)
        else:
            self._event("content-end", index=block.index)

    def _on_finish(self) -> None:
        counts = {} if self.usage is None else {"usage": usage(self.usage)}
        self._event("message-end", delta={"finish_reason": FINISH_REASONS[self.finish_reason], **counts})

    def _on_fail(self, error: VendorError) -> None:
        self._event("message-end", delta={"finish_reason": "ERROR", "error": error.message})

    def _on_raw(self, kind: str, payload: Any) -> None:
        self._event(kind, **(payload or {}))

    def malformed(self) -> None:
        """Write an event whose data is not JSON."""
        self.write(b'event: content-delta\ndata: {"this is not\n\n')

    def _event(self, kind: str, **fields: Any) -> None:
        self.write(f"event: {kind}\ndata: {compact({'type': kind, **fields})}\n\n".encode())


def _field(block: Block) -> str:
    return "thinking" if block.kind == "reasoning" else "text"


def _located(citation: Citation) -> dict[str, Any]:
    told = {"text": citation.quote, "title": citation.title, "url": citation.url}
    document = {name: value for name, value in told.items() if value is not None}
    place = {"start": citation.start, "end": citation.end}
    return {**place, "sources": [{"type": "document", "id": citation.file_id, "document": document}]}


def usage(usage: Usage) -> dict[str, Any]:
    """Counts in the fields that Cohere has for them."""
    tokens = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }
    counts: dict[str, Any] = {"tokens": {name: count for name, count in tokens.items() if count is not None}}
    cached = usage.cached_input_tokens
    return {**counts, **({} if cached is None else {"cached_tokens": cached})}
