"""Build one message from its events: its blocks, ids that are unique in it, and the address that made its opaque parts.

Blocks are kept in order of first appearance. A block's text is a list of pieces, joined once, so that a stream of n
tokens costs n steps. A `...Completed` event is authoritative: it replaces what its deltas had built. Adapters use a
builder to make the message of `MessageCompleted`; the fold uses another for what a consumer has seen.

A signature, encrypted reasoning, the id of an item or the call of a server tool is valid only for the service that made
it, and a service is an address (`Origin`): what a proxy signed gives a 400 at the vendor whose format it speaks.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import repeat
from typing import Any, Literal

import attrs

from allm.data.attrs_classes import define, frozen
from allm.data.citation import Citation
from allm.data.content import HostedCall, Part, ProviderPart, ReasoningPart, TextPart, ToolCall
from allm.data.events import (
    AdapterEvent,
    CitationAdded,
    HostedCallCompleted,
    HostedCallStarted,
    ImageCompleted,
    ProviderPartCompleted,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
)
from allm.data.json.text import as_object, parse_arguments
from allm.data.message import Message

__all__ = ["INCOMPLETE", "MessageBuilder", "Origin", "Pieces", "UniqueIds", "deltas_of"]

INCOMPLETE = "incomplete"
"""Metadata key of a tool call whose arguments never finished arriving."""

_LOOSE = 1024
"""Pieces of a text that are kept as they came: some 70 bytes each, beside their text."""


class _Shared(str):
    """A long piece, which the builder of the decoder and that of the fold have in common."""

    __slots__ = ("__weakref__",)


_LONG: weakref.WeakValueDictionary[int, _Shared] = weakref.WeakValueDictionary()
"""Long pieces by their hash, as long as somebody has them."""


def _shared(text: str) -> str:
    """The same text for all who ask: a decoder and the fold join the same pieces, and would each keep a copy."""
    known = _LONG.get(hash(text))
    if known is not None and known == text:
        return known
    made = _LONG[hash(text)] = _Shared(text)
    return made


@define(eq=False)
class Pieces:
    """A text that comes in pieces, kept in little more memory than its characters take.

    All that collect the same pieces, as a decoder and the fold do, have the long ones in common.
    """

    pieces: list[str] = attrs.field(factory=list[str], init=False)
    _length: int = attrs.field(default=0, init=False)
    _counted: int = attrs.field(default=0, init=False)  # pieces that `_length` has
    _most: int = attrs.field(default=_LOOSE, init=False)  # pieces that there may be: those that were joined, and others

    def add(self, text: str) -> None:
        """Take one more piece."""
        self.pieces.append(text)
        if len(self.pieces) > self._most:
            self._join()

    def extend(self, texts: list[str]) -> None:
        """Take more pieces."""
        self.pieces += texts
        if len(self.pieces) > self._most:
            self._join()

    def _join(self) -> None:
        """Make long pieces of the newest ones: short ones cost more memory than their text."""
        self.length()
        while len(self.pieces) > self._most:
            joined = self._most - _LOOSE
            self.pieces[joined : self._most] = [_shared("".join(self.pieces[joined : self._most]))]
            self._most += 1
        self._counted = len(self.pieces)

    def text(self) -> str:
        """What all pieces make, which are one piece from now on: who asks again joins this and what is new."""
        if len(self.pieces) > 1 or (self.pieces and type(self.pieces[0]) is not str):
            self.length()
            self.pieces[:] = ["".join(self.pieces)]
            self._counted, self._most = 1, 1 + _LOOSE
        return self.pieces[0] if self.pieces else ""

    def length(self) -> int:
        """Characters of all pieces there have been. A piece is counted once, and only if somebody asks."""
        self._length += sum(map(len, self.pieces[self._counted :]))
        self._counted = len(self.pieces)
        return self._length


@define(eq=False)
class _Block(Pieces):
    kind: str
    id: str
    name: str = ""
    refusal: bool = False
    part: Part | None = None
    citations: list[Citation] | None = None

    def complete(self, part: Part) -> None:
        """Take the part, which has all that the pieces have."""
        if self.kind != "tool":  # nobody asks how long the arguments of a call were
            self.length()
        self.part, self._counted, self._most = part, 0, _LOOSE
        self.pieces.clear()

    def to_part(self) -> Part | None:
        if self.part is not None:
            if self.citations and isinstance(self.part, TextPart) and len(self.part.citations) < len(self.citations):
                self.part = attrs.evolve(self.part, citations=self.citations)
            return self.part
        text = self.text()
        if self.kind == "tool":
            return ToolCall(self.id, self.name, None, text, metadata={INCOMPLETE: True})
        if not text:
            return None
        if self.kind == "reasoning":
            return ReasoningPart(text)
        return TextPart(text, refusal=self.refusal, citations=self.citations or ())


@define(eq=False)
class MessageBuilder:
    """The growing content of one assistant message."""

    _blocks: dict[tuple[str, str], _Block] = attrs.field(factory=dict, init=False)
    _growing: _Block | None = attrs.field(default=None, init=False)  # the text that the newest delta was of

    def add(self, event: Any) -> bool:
        """Take one event; False when it says nothing about content."""
        kind = type(event)
        growing = self._growing
        if kind is TextDelta and growing is not None and event.id == growing.id:  # nearly always
            growing.pieces.append(event.delta)  # `growing.add`, written out, as it comes with every token
            if len(growing.pieces) > growing._most:
                growing._join()
            return True
        step = _STEPS.get(kind)
        if step is None:
            return False
        step(self, event)
        return True

    def more(
        self, kind: type[TextDelta | ReasoningDelta | ToolCallDelta], block_id: str, texts: list[str]
    ) -> list[AdapterEvent]:
        """Make deltas of one block, and take them: the events to emit, already added here."""
        self.extend(kind, block_id, texts)
        return deltas_of(kind, block_id, texts)

    def extend(self, kind: type[TextDelta | ReasoningDelta | ToolCallDelta], block_id: str, texts: list[str]) -> None:
        """Take the texts of deltas of one block."""
        self._block(_KINDS[kind], block_id).extend(texts)

    def has_tool_calls(self) -> bool:
        """Whether a call has begun."""
        return any(kind == "tool" for kind, _ in self._blocks)

    def length(self, kind: Literal["text", "reasoning"]) -> int:
        """Characters of all deltas of this kind."""
        return sum(block.length() for block in self._blocks.values() if block.kind == kind)

    def length_of(self, block_id: str) -> int:
        """Characters of the text block with this id so far."""
        block = self._blocks.get(("text", block_id))
        return 0 if block is None else block.length()

    def texts(self) -> dict[str, str]:
        """The text of each block of visible text, by its id."""
        blocks = [block for block in self._blocks.values() if block.kind == "text" and not block.refusal]
        return {block.id: block.part.text if isinstance(block.part, TextPart) else block.text() for block in blocks}

    def complete(self) -> list[AdapterEvent]:
        """Complete every open block, in order: the events to emit, already added here.

        For adapters whose provider marks only the end of the answer, not of its blocks.
        """
        events = [_COMPLETIONS[block.kind](block) for block in self._blocks.values() if block.part is None]
        for event in events:
            self.add(event)
        return events

    def content(self) -> tuple[Part, ...]:
        """The parts so far; a text or reasoning block nothing has arrived for is left out."""
        parts = (block.to_part() for block in self._blocks.values())
        return tuple(part for part in parts if part is not None)

    def message(self) -> Message:
        """The assistant message so far."""
        return Message("assistant", self.content())

    def _block(self, kind: str, block_id: str) -> _Block:
        key = (kind, block_id)
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = _Block(kind, block_id)
        return block

    def _complete(self, kind: str, block_id: str, part: Part) -> None:
        self._block(kind, block_id).complete(part)

    def _text_delta(self, event: TextDelta) -> None:
        block = self._blocks.get(("text", event.id))
        if block is None:
            block = self._block("text", event.id)
            block.refusal = event.refusal
        self._growing = block
        block.add(event.delta)

    def _text_completed(self, event: TextCompleted) -> None:
        part = TextPart(event.text, refusal=event.refusal, metadata=event.metadata, made_at=event.made_at)
        self._complete("text", event.id, part)

    def _citation(self, event: CitationAdded) -> None:
        block = self._block("text", event.id)
        block.citations = block.citations or []
        block.citations.append(event.citation)

    def _reasoning_completed(self, event: ReasoningCompleted) -> None:
        part = ReasoningPart(
            event.text,
            provider=event.provider,
            id=event.item_id,
            signature=event.signature,
            encrypted_content=event.encrypted_content,
            metadata=event.metadata,
            made_at=event.made_at,
        )
        self._complete("reasoning", event.id, part)

    def _tool_started(self, event: ToolCallStarted) -> None:
        self._block("tool", event.id).name = event.name

    def _tool_completed(self, event: ToolCallCompleted) -> None:
        part = ToolCall(
            event.id, event.name, event.arguments, event.raw_arguments, metadata=event.metadata, made_at=event.made_at
        )
        self._complete("tool", event.id, part)

    def _hosted(self, event: HostedCallStarted | HostedCallCompleted) -> None:
        if event.call.data or isinstance(event, HostedCallCompleted):
            self._complete(type(event).__name__, event.id, event.call)


def _complete_tool(block: _Block) -> AdapterEvent:
    raw = block.text()
    return ToolCallCompleted(block.id, block.name, parse_arguments(raw), raw)


_KINDS: dict[type, str] = {TextDelta: "text", ReasoningDelta: "reasoning", ToolCallDelta: "tool"}

_COMPLETIONS: dict[str, Callable[[_Block], AdapterEvent]] = {
    "text": lambda block: TextCompleted(block.id, block.text(), block.refusal),
    "reasoning": lambda block: ReasoningCompleted(block.id, block.text()),
    "tool": _complete_tool,
}

_STEPS: dict[type, Callable[[MessageBuilder, Any], None]] = {
    TextDelta: MessageBuilder._text_delta,
    TextCompleted: MessageBuilder._text_completed,
    CitationAdded: MessageBuilder._citation,
    ReasoningDelta: lambda builder, event: builder._block("reasoning", event.id).add(event.delta),
    ReasoningCompleted: MessageBuilder._reasoning_completed,
    ToolCallStarted: MessageBuilder._tool_started,
    ToolCallDelta: lambda builder, event: builder._block("tool", event.id).add(event.arguments_delta),
    ToolCallCompleted: MessageBuilder._tool_completed,
    ProviderPartCompleted: lambda builder, event: builder._complete("provider", event.id, event.part),
    HostedCallStarted: MessageBuilder._hosted,
    HostedCallCompleted: MessageBuilder._hosted,
    ImageCompleted: lambda builder, event: builder._complete("image", event.id, event.part),
}


_NOT_REFUSED = repeat(False)  # noqa: FBT003  # the field of a `TextDelta`
_SETTERS: dict[type, tuple[Callable[[Any, Any], None], ...]] = {
    kind: tuple(getattr(kind, field.name).__set__ for field in attrs.fields(kind))
    for kind in (TextDelta, ReasoningDelta, ToolCallDelta)
}
_FEW = 4


def deltas_of(kind: type[Any], block_id: str, texts: list[str]) -> list[Any]:
    """A delta of this type for each text.

    There is one for every token, and a frozen class takes a quarter of a microsecond for one, mostly to set its fields.
    Here they are set for all of them by a few calls.
    """
    if len(texts) < _FEW:
        return [kind(block_id, text) for text in texts]
    made: list[Any] = list(map(object.__new__, repeat(kind, len(texts))))
    fields: tuple[Iterable[Any], ...] = (repeat(block_id), texts, _NOT_REFUSED)
    for set_field, values in zip(_SETTERS[kind], fields, strict=False):
        deque(map(set_field, made, values), maxlen=0)
    return made


@define(eq=False)
class UniqueIds:
    """Gives the calls, or the blocks, of one answer their ids.

    Results are matched to calls by id, so two calls must never share one. Some servers send no id, and some send the
    same one twice.

    Attributes:
        taken: Ids that are in use already, such as those of the calls in the conversation so far.
    """

    taken: frozenset[str] = frozenset()
    _given: dict[str, None] = attrs.field(factory=dict[str, None], init=False)  # an empty set is three times as large
    _next: int = attrs.field(default=0, init=False)  # no number below it is tried again

    def new(self, sent: str | None, kind: str = "call") -> str:
        """The id for one more call or block.

        Args:
            sent: The provider's own id, which is kept if it is new in this answer; None where there is none.
            kind: What an id begins with that has to be made up, such as `call_0`.
        """
        unique = sent
        while not unique or unique in self._given or unique in self.taken:
            number = max(self._next, len(self._given))
            unique, self._next = f"{kind}_{number}", number + 1
        self._given[unique] = None
        return unique


@frozen
class Origin:
    """A service that makes opaque parts and accepts them back.

    Attributes:
        provider: The short name of the provider.
        place: The address of the service, host and path; None means the vendor's own.
        has_own: Whether the vendor has its own address, from which parts without an address came.
    """

    provider: str
    place: str | None = None
    has_own: bool = True

    def made(self, part: Part) -> bool:
        """Whether this service made the opaque data of a part."""
        if isinstance(part, (ReasoningPart, HostedCall, ProviderPart)):
            return self._is_of(part) and part.provider == self.provider
        return self._is_of(part) and self.provider in part.metadata

    def _is_of(self, part: Part) -> bool:
        return part.made_at == self.place or (part.made_at is None and not self.has_own)

    def kept(self, part: Part) -> Mapping[str, Any]:
        """The metadata of a part for this service; empty if another service made it."""
        if isinstance(part, (HostedCall, ProviderPart)) or not part.metadata or not self.made(part):
            return {}
        return as_object(part.metadata.get(self.provider))

    def cited(self, part: TextPart) -> list[dict[str, Any]]:
        """The data of the citations that this service made, as they go back to it."""
        if not part.citations or not self._is_of(part):
            return []
        return [citation.data for citation in part.citations if citation.provider == self.provider and citation.data]

    def mark(self, event: AdapterEvent) -> AdapterEvent:
        """Set the address of this service on the part that `event` completes, if any."""
        if self.place is None:
            return event
        if isinstance(event, TextCompleted | ReasoningCompleted | ToolCallCompleted):
            return attrs.evolve(event, made_at=self.place)
        if isinstance(event, HostedCallStarted | HostedCallCompleted):
            return attrs.evolve(event, call=attrs.evolve(event.call, made_at=self.place))
        if isinstance(event, ImageCompleted | ProviderPartCompleted):
            part: Any = attrs.evolve(event.part, made_at=self.place)
            return attrs.evolve(event, part=part)
        return event
