"""The blocks of an answer, each from its first delta to its end, as events.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlockDelta.html. Only calls and results have
a start; any other block begins with its first delta, which tells its kind. A citation comes before the text it is for.
In an answer in one piece a block is whole; it is read as its deltas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from allm.adapters import Pieces, as_list, as_object, as_text, dumps, parse_arguments, whole_text
from allm.data.events import (
    AdapterEvent,
    CitationAdded,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
)
from allm.providers.bedrock.citations import citation_of
from allm.providers.bedrock.names import INVALID_JSON, PROVIDER

if TYPE_CHECKING:
    from allm.providers.bedrock.hosted import HostedBlocks

__all__ = ["Block", "as_deltas", "open_block"]


class Block:
    """A block that is being received; one of an unknown kind is passed over."""

    def start(self) -> list[AdapterEvent]:
        """What its start says."""
        return []

    def grow(self, _delta: Mapping[str, Any], /) -> list[AdapterEvent]:
        """What a delta adds."""
        return []

    def stop(self) -> list[AdapterEvent]:
        """The block is complete."""
        return []

    def cite(self) -> list[AdapterEvent]:
        """The citations that have come, of a text that is cut off."""
        return []


def open_block(
    kind: str, start: Mapping[str, Any], number: int, call_id: str, hosted: Callable[[], HostedBlocks]
) -> Block:
    """A new block.

    Args:
        kind: The field of its start or of its first delta.
        start: What its start says of it, if it has one.
        number: Blocks of the answer before it, for an id of its own.
        call_id: The id for it if it is a call of one of the request's tools.
        hosted: Returns the calls of the answer that the service runs itself.
    """
    if kind == "toolUse" and "type" not in start:
        return _Call(call_id, as_text(start.get("name")) or "")
    if kind in {"toolUse", "toolResult"}:
        return _Hosted(kind, dict(start), hosted())
    if kind == "reasoningContent":
        return _Reasoning(f"reasoning-{number}")
    return _Text(f"text-{number}") if kind in {"text", "citation"} else Block()


def as_deltas(block: Mapping[str, Any]) -> tuple[str, Mapping[str, Any], list[dict[str, Any]]]:
    """A whole block: its kind, its start, and the deltas that it would have come in."""
    for kind, value in block.items():
        fields = as_object(value)
        if kind == "toolUse":
            start = {name: fields[name] for name in fields if name != "input"}
            whole = fields.get("input")
            return kind, start, [] if whole is None else [{kind: {"input": dumps(whole).decode()}}]
        if kind == "toolResult":
            start = {name: fields[name] for name in fields if name != "content"}
            return kind, start, [{kind: as_list(fields.get("content"))}]
        if kind == "reasoningContent":
            said = as_object(fields.get("reasoningText")) or fields
            return kind, {}, [{kind: {name: value}} for name, value in said.items()]
        if kind == "citationsContent":
            texts = [{"text": as_object(piece).get("text")} for piece in as_list(fields.get("content"))]
            return "text", {}, [*({"citation": one} for one in as_list(fields.get("citations"))), *texts]
        if kind == "text":
            return kind, {}, [{kind: value}]
    return "", {}, []


@attrs.define(eq=False)
class _Text(Block):
    id: str
    pieces: Pieces = attrs.field(factory=Pieces, init=False)
    citations: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]], init=False)

    def grow(self, delta: Mapping[str, Any], /) -> list[AdapterEvent]:
        if isinstance(citation := delta.get("citation"), dict):
            self.citations.append(citation)
        text = as_text(delta.get("text"))
        if not text:
            return []
        self.pieces.add(text)
        return [TextDelta(self.id, text)]

    def cite(self) -> list[AdapterEvent]:
        """The citations of the text so far."""
        length = len(whole_text(self.pieces.text()))
        return [CitationAdded(self.id, citation_of(data, length)) for data in self.citations]

    def stop(self) -> list[AdapterEvent]:
        cited = self.cite() if self.citations else ()
        return [*cited, TextCompleted(self.id, self.pieces.text())]


@attrs.define(eq=False)
class _Reasoning(Block):
    """Thinking, readable and signed, or redacted: base64 of what only the model can read."""

    id: str
    pieces: Pieces = attrs.field(factory=Pieces, init=False)
    signature: list[str] = attrs.field(factory=list[str], init=False)
    redacted: list[str] = attrs.field(factory=list[str], init=False)

    def grow(self, delta: Mapping[str, Any], /) -> list[AdapterEvent]:
        fields = as_object(delta.get("reasoningContent"))
        self.signature += filter(None, [as_text(fields.get("signature"))])
        self.redacted += filter(None, [as_text(fields.get("redactedContent"))])
        text = as_text(fields.get("text"))
        if not text:
            return []
        self.pieces.add(text)
        return [ReasoningDelta(self.id, text)]

    def stop(self) -> list[AdapterEvent]:
        signature, redacted = "".join(self.signature) or None, "".join(self.redacted) or None
        text = self.pieces.text()
        whole = ReasoningCompleted(self.id, text, provider=PROVIDER, signature=signature, encrypted_content=redacted)
        return [whole] if text or signature or redacted else []


@attrs.define(eq=False)
class _Call(Block):
    id: str
    name: str
    pieces: Pieces = attrs.field(factory=Pieces, init=False)

    def start(self) -> list[AdapterEvent]:
        return [ToolCallStarted(self.id, self.name)]

    def grow(self, delta: Mapping[str, Any], /) -> list[AdapterEvent]:
        text = as_text(as_object(delta.get("toolUse")).get("input"))
        if not text:
            return []
        self.pieces.add(text)
        return [ToolCallDelta(self.id, text)]

    def stop(self) -> list[AdapterEvent]:
        text = self.pieces.text()
        return [ToolCallCompleted(self.id, self.name, parse_arguments(text), text)]


@attrs.define(eq=False)
class _Hosted(Block):
    """A call that the service runs itself, or its result: sent back as it came."""

    kind: str
    data: dict[str, Any]
    calls: HostedBlocks
    pieces: Pieces = attrs.field(factory=Pieces, init=False)
    content: list[Any] = attrs.field(factory=list[Any], init=False)

    def grow(self, delta: Mapping[str, Any], /) -> list[AdapterEvent]:
        value = delta.get(self.kind)
        self.content += as_list(value)
        if text := as_text(as_object(value).get("input")):
            self.pieces.add(text)
        return []

    def stop(self) -> list[AdapterEvent]:
        text = self.pieces.text()
        if self.kind == "toolResult":
            self.data["content"] = self.content
        else:
            arguments = parse_arguments(text)
            self.data["input"] = {INVALID_JSON: text} if arguments is None else arguments
        return self.calls.events(self.kind, self.data)
