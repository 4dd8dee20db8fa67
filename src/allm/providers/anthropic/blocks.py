"""The blocks of an answer, each from its start to its end, as events.

A block starts with what is known of it, grows by deltas, and stops; in a plain JSON answer it starts whole. What
recordings add to the documents (https://platform.claude.com/docs/en/build-with-claude/streaming): the first piece of a
call's input is empty, and for a call without arguments the only one; citations come before the text they cover; the
signature of a thinking block comes in one delta behind its text, which may be empty; redacted thinking, results of
Anthropic's own tools and blocks of later inventions come whole with their start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from allm.adapters import Pieces, as_list, as_object, as_objects, as_text, parse_arguments, whole_text
from allm.data.content import ProviderPart
from allm.data.events import (
    AdapterEvent,
    CitationAdded,
    ProviderPartCompleted,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
)
from allm.providers.anthropic.citations import citation_of
from allm.providers.anthropic.hosted_blocks import CALLS, RESULT, HostedBlocks
from allm.providers.anthropic.names import INVALID_JSON, PROVIDER
from allm.providers.anthropic.usual_events import Input, Text, Thought

__all__ = ["Block", "cited", "open_block"]

Delta = TextDelta | ReasoningDelta | ToolCallDelta


class Block(Protocol):
    """A block that is being received."""

    id: str

    def start(self) -> list[AdapterEvent]:
        """What its start says."""
        ...

    def grow(self, delta: Mapping[str, Any]) -> list[AdapterEvent]:
        """What a delta adds; one that this kind of block does not have is passed on as it is."""
        ...

    def more(self, kind: type, texts: list[str]) -> type[Delta] | None:
        """Take the texts of several deltas of the same kind, none of them empty.

        Returns:
            The type of the event that each of them is; None: `grow` has to take them.
        """
        ...

    def stop(self) -> list[AdapterEvent]:
        """The block is complete."""
        ...


def open_block(data: dict[str, Any], number: int, call_id: str, hosted: Callable[[], HostedBlocks]) -> Block:
    """A new block.

    Args:
        data: As it starts.
        number: Blocks of the answer before it, for an id of its own.
        call_id: The id for it if it is a call.
        hosted: Returns the calls of the answer that are not for the caller.
    """
    kind = as_text(data.get("type")) or "unknown"
    if kind == "tool_use":
        return _Call(call_id, data)
    if kind in CALLS or kind.endswith(RESULT):
        return _Hosted(f"hosted-{number}", data, calls=hosted())
    return _KINDS.get(kind, _Opaque)(f"{_PREFIXES.get(kind, 'provider')}-{number}", data)


def cited(block: Block) -> list[AdapterEvent]:
    """The citations that have come for a block which is cut off."""
    return block.cite() if isinstance(block, _Text) else []


def _rest(data: Mapping[str, Any], *known: str) -> dict[str, Any]:
    """Fields beyond the known ones, to be sent back as they came."""
    rest = {key: value for key, value in data.items() if key not in known and value is not None}
    return {PROVIDER: rest} if rest else {}


@attrs.define(eq=False)
class _Text:
    id: str
    data: dict[str, Any]
    pieces: Pieces = attrs.field(factory=Pieces, init=False)
    citations: list[Any] = attrs.field(factory=list[Any], init=False)

    def start(self) -> list[AdapterEvent]:
        self.citations += as_list(self.data.get("citations"))
        return self._add(self.data.get("text"))

    def grow(self, delta: Mapping[str, Any]) -> list[AdapterEvent]:
        if delta.get("type") == "text_delta":
            return self._add(delta.get("text"))
        if delta.get("type") == "citations_delta":
            self.citations.append(delta.get("citation"))
        return []  # whose place is known when the block is

    def more(self, kind: type, texts: list[str]) -> type[Delta] | None:
        if kind is not Text:
            return None
        self.pieces.extend(texts)
        return TextDelta

    def cite(self) -> list[AdapterEvent]:
        """The citations of the text so far."""
        length = len(whole_text(self.pieces.text()))
        return [CitationAdded(self.id, citation_of(data, length)) for data in as_objects(self.citations)]

    def stop(self) -> list[AdapterEvent]:
        kept = _rest(self.data, "type", "text", "citations")
        cited = self.cite() if self.citations else ()
        return [*cited, TextCompleted(self.id, self.pieces.text(), metadata=kept)]

    def _add(self, text: Any) -> list[AdapterEvent]:
        if as_text(text) is None:
            return []
        self.pieces.add(text)
        return [TextDelta(self.id, text)]


@attrs.define(eq=False)
class _Thinking:
    id: str
    data: dict[str, Any]
    pieces: Pieces = attrs.field(factory=Pieces, init=False)
    signature: str | None = attrs.field(default=None, init=False)

    def start(self) -> list[AdapterEvent]:
        self._sign(self.data.get("signature"))
        return self._add(self.data.get("thinking"))

    def grow(self, delta: Mapping[str, Any]) -> list[AdapterEvent]:
        if delta.get("type") == "thinking_delta":
            return self._add(delta.get("thinking"))
        if delta.get("type") == "signature_delta":
            self._sign(delta.get("signature"))
            return []
        return []

    def more(self, kind: type, texts: list[str]) -> type[Delta] | None:
        if kind is not Thought:
            return None
        self.pieces.extend(texts)
        return ReasoningDelta

    def stop(self) -> list[AdapterEvent]:
        # An empty signature is one as well: servers that do not sign want their thinking back all the same.
        return [ReasoningCompleted(self.id, self.pieces.text(), provider=PROVIDER, signature=self.signature or "")]

    def _add(self, text: Any) -> list[AdapterEvent]:
        if as_text(text) is None:
            return []
        self.pieces.add(text)
        return [ReasoningDelta(self.id, text)]

    def _sign(self, signature: Any) -> None:
        self.signature = as_text(signature) or self.signature


@attrs.define(eq=False)
class _Redacted:
    id: str
    data: dict[str, Any]

    def start(self) -> list[AdapterEvent]:
        return []

    def grow(self, delta: Mapping[str, Any]) -> list[AdapterEvent]:  # noqa: ARG002  (it comes whole)
        return []

    def more(self, kind: type, texts: list[str]) -> type[Delta] | None:  # noqa: ARG002
        return None

    def stop(self) -> list[AdapterEvent]:
        data = as_text(self.data.get("data")) or ""
        return [ReasoningCompleted(self.id, "", provider=PROVIDER, encrypted_content=data)]


@attrs.define(eq=False)
class _Input:
    """The object that a call is made with: pieces of JSON text, or whole in the start of the block."""

    data: dict[str, Any]
    pieces: Pieces = attrs.field(factory=Pieces, init=False)

    def whole(self) -> tuple[dict[str, Any] | None, str | None]:
        """What came with the start; only where no piece follows it. Some servers send it as JSON text.

        Returns:
            The object; None and the text, if that is no object.
        """
        value = self.data.get("input")
        if not isinstance(value, str):
            return as_object(value), None
        arguments = parse_arguments(value)
        return arguments, value if arguments is None else None

    def add(self, delta: Mapping[str, Any]) -> str | None:
        """The text of a delta of the input ("" too), None for another delta."""
        piece = delta.get("partial_json")
        if delta.get("type") != "input_json_delta" or not isinstance(piece, str):
            return None
        if piece:
            self.pieces.add(piece)
        return piece

    @property
    def text(self) -> str:
        """All pieces."""
        return self.pieces.text()


@attrs.define(eq=False)
class _Call:
    id: str
    data: dict[str, Any]
    input: _Input = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.input = _Input(self.data)

    @property
    def name(self) -> str:
        return as_text(self.data.get("name")) or ""

    def start(self) -> list[AdapterEvent]:
        return [ToolCallStarted(self.id, self.name)]

    def grow(self, delta: Mapping[str, Any]) -> list[AdapterEvent]:
        piece = self.input.add(delta)
        if piece is None:
            return []
        return [ToolCallDelta(self.id, piece)] if piece else []

    def more(self, kind: type, texts: list[str]) -> type[Delta] | None:
        if kind is not Input:
            return None
        self.input.pieces.extend(texts)
        return ToolCallDelta

    def stop(self) -> list[AdapterEvent]:
        raw: str | None = self.input.text
        arguments = parse_arguments(self.input.text)
        if not raw and self.data.get("input"):
            arguments, raw = self.input.whole()
        kept = _rest(self.data, "type", "id", "name", "input")
        return [ToolCallCompleted(self.id, self.name, arguments, raw, metadata=kept)]


@attrs.define(eq=False)
class _Opaque:
    """A block that only Anthropic understands: a call of its own tools, its result, a compaction, or a new kind."""

    id: str
    data: dict[str, Any]
    input: _Input = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.input = _Input(self.data)

    def start(self) -> list[AdapterEvent]:
        return []

    def grow(self, delta: Mapping[str, Any]) -> list[AdapterEvent]:
        if self.input.add(delta) is not None:
            return []
        if delta.get("type") == "compaction_delta":
            self.data.update({key: value for key, value in delta.items() if key != "type" and value is not None})
            return []
        return []

    def more(self, kind: type, texts: list[str]) -> type[Delta] | None:  # noqa: ARG002
        return None

    def wire(self) -> dict[str, Any]:
        """The block as it goes back."""
        text = self.input.text
        if text:
            arguments = parse_arguments(text)
            self.data["input"] = {INVALID_JSON: text} if arguments is None else arguments
        return self.data

    def stop(self) -> list[AdapterEvent]:
        return [ProviderPartCompleted(self.id, ProviderPart(PROVIDER, self.wire()))]


@attrs.define(eq=False)
class _Hosted(_Opaque):
    """A call of a tool of Anthropic's, or its result."""

    calls: HostedBlocks = attrs.field(factory=HostedBlocks, kw_only=True)

    def stop(self) -> list[AdapterEvent]:
        return self.calls.events(self.wire())


_KINDS: dict[str, Callable[[str, dict[str, Any]], Block]] = {
    "text": _Text,
    "thinking": _Thinking,
    "redacted_thinking": _Redacted,
}
_PREFIXES = {"text": "text", "thinking": "reasoning", "redacted_thinking": "reasoning"}
