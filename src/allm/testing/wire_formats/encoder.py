"""`Encoder`: write script items as a vendor's stream; the part shared by all wire formats.

A script is read as a sequence of blocks (text, reasoning, a tool call), as every vendor streams its response:

    start, then per block: open, delta*, close, then finish

`Encoder` finds the blocks and calls a hook for each of these stages; a format writes bytes in its hooks. Usage and the
finish reason are known from the start, since some vendors send them first and others last.
"""

from __future__ import annotations

import abc
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, assert_never

import attrs

from allm.data.citation import Citation
from allm.data.response import FinishReason, Usage
from allm.data.script import (
    CitationItem,
    Delay,
    ErrorItem,
    Finish,
    HostedCallItem,
    PreflightError,
    Raw,
    Reasoning,
    ScriptItem,
    Text,
    ToolCallDeltaItem,
    ToolCallItem,
    UsageItem,
)
from allm.testing.wire_formats.errors import VendorError

__all__ = ["Block", "Encoder", "compact", "split"]

BlockKind = Literal["text", "reasoning", "tool_call", "hosted"]
TOKEN = re.compile(r"\s{0,4}\S{1,8}|\s+")


def split(text: str) -> list[str]:
    """Split `text` into words, each with the space before it, as models stream it."""
    return TOKEN.findall(text)


def compact(value: Any) -> str:
    """Write JSON without spaces and with raw non-ASCII characters, as OpenAI and Anthropic stream it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@attrs.define(eq=False)
class Block:
    """One block of the response.

    Attributes:
        index: Place among all blocks, from 0.
        number: Place among the blocks of its kind, from 0.
        id: The call's id as the script gives it, or None.
        name: The tool's name, `""` for text and reasoning.
        citations: Of a text, those so far.
    """

    kind: BlockKind
    index: int
    number: int
    id: str | None = None
    name: str = ""
    pieces: list[str] = attrs.field(factory=list[str])
    citations: list[Citation] = attrs.field(factory=list[Citation])

    @property
    def text(self) -> str:
        """The text, reasoning or raw arguments so far."""
        return "".join(self.pieces)


@attrs.define(eq=False, kw_only=True)
class Encoder(abc.ABC):
    """Writes one response. Each format is a subclass.

    Attributes:
        usage: All counts of the script, merged; None if it has none.
        finish_reason: The script's finish reason, or the one that its blocks imply.
        pieces: How many pieces have been written, by the kind of their block.
    """

    default_model: ClassVar[str]
    default_id: ClassVar[str]
    headers: ClassVar[dict[str, str]]

    model: str
    id: str
    usage: Usage | None = None
    finish_reason: FinishReason = "stop"
    blocks: list[Block] = attrs.field(init=False, factory=list[Block])
    pauses: dict[int, float] = attrs.field(init=False, factory=dict[int, float])
    pieces: Counter[str] = attrs.field(init=False, factory=Counter[str])
    _numbers: Counter[str] = attrs.field(init=False, factory=Counter[str])
    _hosted: int = attrs.field(init=False, default=0)
    _body: bytearray = attrs.field(init=False, factory=bytearray)
    _open: Block | None = attrs.field(init=False, default=None)
    _started: bool = attrs.field(init=False, default=False)

    @property
    def body(self) -> bytes:
        """The body so far."""
        return bytes(self._body)

    @abc.abstractmethod
    def _on_start(self) -> None:
        """Write everything before the first block."""

    @abc.abstractmethod
    def _on_open(self, block: Block) -> None:
        """Write the beginning of a block."""

    @abc.abstractmethod
    def _on_delta(self, block: Block, text: str) -> None:
        """Write a piece of the block, which is already in `block.pieces`."""

    @abc.abstractmethod
    def _on_citation(self, block: Block, citation: Citation) -> None:
        """Write a citation of a text, which is already in `block.citations`, or leave it to a later stage."""

    @abc.abstractmethod
    def _on_close(self, block: Block) -> None:
        """Write the end of a block."""

    @abc.abstractmethod
    def _on_finish(self) -> None:
        """Write finish reason, usage and end marker."""

    @abc.abstractmethod
    def _on_fail(self, error: VendorError) -> None:
        """Write the error event that ends a stream after its 200."""

    @abc.abstractmethod
    def _on_raw(self, kind: str, payload: Any) -> None:
        """Write a chunk without a meaning."""

    def _on_hosted_call(self, item: HostedCallItem, call_id: str) -> None:
        """Write a call that ran at the provider."""
        del call_id
        raise ValueError(f"{type(self).__name__} has no calls that ran at the provider, so it cannot send {item!r}")

    def _place(self) -> int:
        """The index of one more block, which the format writes itself."""
        self.blocks.append(Block("hosted", len(self.blocks), self._numbers["hosted"]))
        self._numbers["hosted"] += 1
        return len(self.blocks) - 1

    def malformed(self) -> None:
        """Write an event whose data is not JSON."""
        self.write('data: {"this is not\n\n')

    def write(self, data: str | bytes) -> None:
        """Append bytes to the body."""
        self._body += data.encode() if isinstance(data, str) else data

    def start_once(self) -> None:
        """Start the stream if it has not started; a stream may fail before it starts."""
        if not self._started:
            self._started = True
            self._on_start()

    def play(self, items: Sequence[ScriptItem], *, fails: bool) -> None:
        """Write every item; if `fails`, an error follows and a call in pieces stays unfinished."""
        played = [item for item in items if not isinstance(item, Delay)]
        following = iter([*played[1:], None])
        for item in items:
            if isinstance(item, Delay):
                offset = len(self._body)
                self.pauses[offset] = self.pauses.get(offset, 0.0) + item.seconds
                continue
            self.start_once()
            following_item = next(following)
            match item:
                case ToolCallItem(id=id):
                    self._call(item, more=_continues(following_item, id))
                case ToolCallDeltaItem(id, text):
                    more = _continues(following_item, id) or (fails and following_item is None)
                    self._call_piece(id, text, more=more)
                case _:
                    self._item(item)

    def end(self) -> None:
        """Close the open block and finish the stream."""
        self.start_once()
        self._close()
        self._on_finish()

    def fail(self, error: VendorError) -> None:
        """End with an error event, without closing the open block."""
        self._on_fail(error)

    def _item(self, item: ScriptItem) -> None:
        match item:
            case Text(text):
                self._deltas("text", split(text))
            case CitationItem(citation):
                self._cite(citation)
            case Reasoning(text):
                self._deltas("reasoning", split(text))
            case HostedCallItem():
                self._close()
                self._on_hosted_call(item, item.id or f"hosted_{self._hosted}")
                self._hosted += 1
            case Raw(_, bytes() as data):
                self.write(data)
            case Raw(kind, payload):
                self._on_raw(kind, payload)
            case UsageItem() | Finish():  # known from the start
                pass
            case ErrorItem() | PreflightError() | Delay() | ToolCallItem() | ToolCallDeltaItem():
                raise ValueError(f"{item!r} cannot stand here: an error ends a script, a PreflightError is all of it")
            case _:
                assert_never(item)

    def _call(self, item: ToolCallItem, *, more: bool) -> None:
        self._close()
        self._new("tool_call", id=item.id, name=item.name)
        if item.raw_arguments is not None:
            self._deltas("tool_call", split(item.raw_arguments))
        elif item.arguments or not more:
            self._deltas("tool_call", split(compact(dict(item.arguments))))
        if not more:
            self._close()

    def _call_piece(self, id: str, text: str, *, more: bool) -> None:
        if self._open is None or self._open.kind != "tool_call" or self._open.id != id:
            self._close()
            self._new("tool_call", id=id)
        self._deltas("tool_call", [text])
        if not more:
            self._close()

    def _cite(self, citation: Citation) -> None:
        block = self._open
        if block is None or block.kind != "text":
            raise ValueError(f"{citation!r} cannot stand here: a citation belongs to the text before it")
        block.citations.append(citation)
        self._on_citation(block, citation)

    def _deltas(self, kind: BlockKind, pieces: list[str]) -> None:
        block = self._open
        if block is None or block.kind != kind:
            self._close()
            block = self._new(kind)
        for piece in pieces:
            block.pieces.append(piece)
            self.pieces[kind] += 1
            self._on_delta(block, piece)

    def _new(self, kind: BlockKind, *, id: str | None = None, name: str = "") -> Block:
        self._open = block = Block(kind, len(self.blocks), self._numbers[kind], id, name)
        self._numbers[kind] += 1
        self.blocks.append(block)
        self._on_open(block)
        return block

    def _close(self) -> None:
        if self._open is not None:
            self._on_close(self._open)
            self._open = None


def _continues(following: ScriptItem | None, id: str | None) -> bool:
    """Whether the next item is another piece of call `id`."""
    return isinstance(following, ToolCallDeltaItem) and following.id == id
