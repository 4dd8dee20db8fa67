"""Cohere's answers as events, streamed and plain JSON alike.

https://docs.cohere.com/reference/chat-stream, and the types of Cohere's own SDK. The content is blocks of thinking and
text, each with an index; before calls, a plan may say what they are for. Citations come as soon as the text has that
they are of; they name their block, and count in characters of it. The last event is `message-end`, before `[DONE]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from allm.adapters import (
    Pieces,
    StreamDecoder,
    UniqueIds,
    as_count,
    as_object,
    as_objects,
    as_text,
    finish_reason_of,
    parse_arguments,
)
from allm.data.citation import Citation
from allm.data.errors import AdapterError
from allm.data.events import (
    CitationAdded,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
)
from allm.data.response import Usage

__all__ = ["PLAN", "PROVIDER", "ChatDecoder"]

PROVIDER = "cohere"
PLAN = "tool_plan"
"""The field of a plan, and the mark of the part that it becomes."""


@attrs.define(eq=False)
class _Block:
    id: str
    kind: str  # "text", "thinking" or a plan
    pieces: Pieces = attrs.field(factory=Pieces, init=False)


@attrs.define(eq=False)
class _Call:
    id: str
    name: str
    pieces: Pieces = attrs.field(factory=Pieces, init=False)


@attrs.define(eq=False)
class ChatDecoder(StreamDecoder):
    """One answer."""

    content_field: ClassVar[str] = "message"
    end_marker: ClassVar[str] = "its event message-end"

    provider: str = PROVIDER
    _blocks: dict[Any, _Block] = attrs.field(factory=dict[Any, _Block], init=False)  # open ones, by index
    _texts: dict[Any, str] = attrs.field(factory=dict[Any, str], init=False)  # ids of texts, by index
    _calls: dict[Any, _Call] = attrs.field(factory=dict[Any, _Call], init=False)
    _call_ids: UniqueIds = attrs.field(factory=UniqueIds, init=False)

    def begin(self, headers: Mapping[str, str]) -> None:
        """Cohere has its own header for the id of the request."""
        super().begin(headers)
        self.request_id: str | None = self.request_id or headers.get("x-debug-trace-id")

    def on_event(self, name: str, event: dict[str, Any]) -> None:
        """One event, whose type is in its data too; one that is not known is passed over."""
        delta, index = as_object(event.get("delta")), as_count(event.get("index"))
        message = as_object(delta.get("message"))
        match as_text(event.get("type")) or name:
            case "message-start":
                self.start(id=event.get("id"))
            case "content-start" | "content-delta":
                self._content(index, as_object(message.get("content")))
            case "tool-plan-delta":
                self._grow(PLAN, PLAN, as_text(message.get(PLAN)))
            case "content-end":
                self._close(index)
            case "tool-call-start" | "tool-call-delta":
                self._call(index, as_object(message.get("tool_calls")))
            case "tool-call-end":
                self._close_call(index)
            case "citation-start":
                self._cite(as_object(message.get("citations")))
            case "message-end":
                self._message_end(delta)
            case _:
                pass

    def on_document(self, document: dict[str, Any]) -> None:
        """A plain JSON answer: the message that a stream builds."""
        message = document.get("message")
        if not isinstance(message, dict):
            return
        self.start(id=document.get("id"))
        content = message.get("content")
        blocks = [{"text": content}] if isinstance(content, str) else as_objects(content)
        for index, block in enumerate(blocks):
            self._content(index, block)
            self._close(index)
        self._grow(PLAN, PLAN, as_text(message.get(PLAN)))
        for number, call in enumerate(as_objects(message.get("tool_calls"))):
            self._call(number, call)
        for citation in as_objects(message.get("citations")):
            self._cite(citation)
        self._message_end(document)

    # --- the parts of an answer ---

    def _content(self, index: int | None, content: Mapping[str, Any]) -> None:
        for kind in ("thinking", "text"):
            text = as_text(content.get(kind))
            if text is not None:
                self._grow(index, kind, text)

    def _grow(self, index: Any, kind: str, text: str | None) -> None:
        if not text:
            return
        self.start()
        block = self._blocks.get(index)
        if block is None or block.kind != kind:
            self._close(index)
            word = "text" if kind == "text" else "reasoning"
            block = self._blocks[index] = _Block(f"{word}-{index}", kind)
            if kind == "text":
                self._texts[index] = block.id
        block.pieces.add(text)
        self.add(TextDelta(block.id, text) if kind == "text" else ReasoningDelta(block.id, text))

    def _close(self, index: Any) -> None:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        text = block.pieces.text()
        if block.kind == "text":
            self.add(TextCompleted(block.id, text))
        else:
            marks = {PROVIDER: {PLAN: True}} if block.kind == PLAN else {}
            self.add(ReasoningCompleted(block.id, text, provider=PROVIDER, metadata=marks))

    def _call(self, index: int | None, fields: Mapping[str, Any]) -> None:
        self.start()
        self._close(PLAN)
        function = as_object(fields.get("function"))
        sent, name, more = as_text(fields.get("id")), as_text(function.get("name")), as_text(function.get("arguments"))
        call = self._calls.get(index)
        if call is None or (sent is not None and name is not None):
            self._close_call(index)
            call = self._calls[index] = _Call(self._call_ids.new(sent), name or "")
            self.add(ToolCallStarted(call.id, call.name))
        if more:
            call.pieces.add(more)
            self.add(ToolCallDelta(call.id, more))

    def _close_call(self, index: int | None) -> None:
        call = self._calls.pop(index, None)
        if call is not None:
            raw = call.pieces.text()
            self.add(ToolCallCompleted(call.id, call.name, parse_arguments(raw), raw))

    def _cite(self, data: dict[str, Any]) -> None:
        index = as_count(data.get("content_index"))
        text_id = self._texts.get(index) if index is not None else next(iter(self._texts.values()), None)
        if text_id is None:  # of a thought or of a plan
            return
        for source in as_objects(data.get("sources")) or [{}]:
            self.add(CitationAdded(text_id, _citation(data, source)))

    def _message_end(self, delta: Mapping[str, Any]) -> None:
        self.start()
        for index in list(self._blocks):
            self._close(index)
        for index in list(self._calls):
            self._close_call(index)
        usage = delta.get("usage")
        if isinstance(usage, dict):
            self.report(_usage(usage))
        raw = as_text(delta.get("finish_reason"))
        told = as_text(delta.get("error"))
        if told and finish_reason_of(raw) == "error":
            self.fail(AdapterError(told, reason="provider_unavailable", provider=PROVIDER), raw_finish_reason=raw)
            return
        self.complete(finish_reason_of(raw), raw)


def _citation(data: dict[str, Any], source: Mapping[str, Any]) -> Citation:
    document = as_object(source.get("document"))
    found = {name: as_text(document.get(name)) for name in ("text", "title", "url")}
    return Citation(
        start=as_count(data.get("start")),
        end=as_count(data.get("end")),
        quote=found["text"],
        title=found["title"],
        url=found["url"],
        file_id=as_text(source.get("id")),
        data=data,
        provider=PROVIDER,
    )


def _usage(usage: Mapping[str, Any]) -> Usage:
    """Tokens as the model reads and writes them; what is paid for, without the text around a prompt, is in `extra`."""
    tokens, billed = as_object(usage.get("tokens")), as_object(usage.get("billed_units"))
    extra = {f"billed_{name}": count for name in billed if (count := as_count(billed[name])) is not None}
    return Usage(
        input_tokens=as_count(tokens.get("input_tokens")),
        output_tokens=as_count(tokens.get("output_tokens")),
        cached_input_tokens=as_count(usage.get("cached_tokens")),
        reasoning_tokens=as_count(tokens.get("reasoning_tokens")),
        extra=extra,
    )
