"""The items of a Responses answer: which of them an event is about, and what a finished one is.

An event names its item by the item's id, by its `call_id`, or by `output_index`; `find` tries them in this order. Where
a server sends none of these, the kind has to do: a delta is for the newest open item of its kind, an end is for the
first one. llama.cpp sends no index anywhere and no id with a call, but deltas whose `item_id` is the `call_id`.

The output of the terminal event lists every item once. Two of them can have the same id, which xAI gives to several
reasoning items of an answer: each is for the first such item that has not been listed yet.

A text of a message is found by its place among the texts: `content_index` counts parts that the finished item does not
have, with Amazon's servers (the deltas come at index 1, and the item has one part).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from allm.adapters import Pieces, UniqueIds, as_count, as_objects, as_text, dumps, image_of_base64, parse_arguments
from allm.data.content import ImagePart, ProviderPart
from allm.data.events import (
    AdapterEvent,
    CitationAdded,
    HostedCallCompleted,
    ImageCompleted,
    ProviderPartCompleted,
    ReasoningCompleted,
    TextCompleted,
    ToolCallCompleted,
)
from allm.providers.openai.hosted_items import hosted_call
from allm.providers.openai.shared_encode import CUSTOM_CALL, IMAGE_CALL

if TYPE_CHECKING:
    from allm.providers.openai.citations import Annotations

__all__ = [
    "CALLS",
    "Item",
    "Items",
    "call_of",
    "hosted_of",
    "image_of",
    "input_of",
    "may_be_text",
    "other_of",
    "texts_of",
    "thought_of",
]

CALLS = {"function_call": "arguments", CUSTOM_CALL: "input"}
"""Item types that are calls for the caller, and the field that holds what the model wrote."""
_KEPT = ("id", "namespace", "caller", "async")
"""Fields of a call that have no place of their own and go back with it."""


@attrs.define(eq=False)
class Item:
    """One item.

    Attributes:
        id: Unique in the answer: the id of the call, else of the block.
        kind: Its `type`.
        place: Among all items of the answer.
        names: What events call it: its `id`, its `call_id`.
        name: Of the tool, if it is a call.
        pieces: What the deltas of a call have brought.
        texts: The place of each text that has begun, by its `content_index`; made up where a server does not count.
        is_call: It is a call for the caller.
        annotations: Of each text that has some, by the id of its block.
        started: It is a call, and has been announced.
        done: Nothing more is taken for it.
        listed: The output of the terminal event has had it.
    """

    id: str
    kind: str
    place: int = 0
    names: frozenset[str] = frozenset()
    name: str = ""
    pieces: Pieces = attrs.field(factory=Pieces, init=False)
    texts: dict[int, int] = attrs.field(factory=dict[int, int], init=False)
    annotations: dict[str, Annotations] = attrs.field(factory=dict[str, "Annotations"], init=False)
    started: bool = False
    done: bool = False
    listed: bool = False
    is_call: bool = attrs.field(init=False)
    _highest: int = attrs.field(default=-1, init=False)  # content_index

    def __attrs_post_init__(self) -> None:
        self.is_call = self.kind in CALLS

    def begin_text(self, event: dict[str, Any]) -> None:
        """A text begins: with the event that says so, or with its first delta."""
        index = as_count(event.get("content_index"))
        if index is None:
            index = self._highest + 1
        self._highest = max(self._highest, index)
        self.texts.setdefault(index, len(self.texts))

    def block(self, event: dict[str, Any]) -> str:
        """The id of the text block that a delta is for: of the newest one, where the delta does not say."""
        index = as_count(event.get("content_index"))
        if not self.texts or (index is not None and index not in self.texts):
            self.begin_text(event)
        return self.block_at(len(self.texts) - 1 if index is None else self.texts[index])

    def cited(self, block: str, provider: str) -> Annotations:
        """The annotations of a text block."""
        from allm.providers.openai.citations import Annotations  # few answers have sources

        return self.annotations.setdefault(block, Annotations(provider))

    def block_at(self, place: int) -> str:
        """The id of a text block by its place among the texts of the item."""
        return f"{self.id}:{place}"


@attrs.define(eq=False)
class Items:
    """All items of an answer, in the order in which they were first heard of."""

    _all: list[Item] = attrs.field(factory=list[Item], init=False)
    _by_name: dict[str, Item] = attrs.field(factory=dict[str, Item], init=False)
    _by_index: dict[int, Item] = attrs.field(factory=dict[int, Item], init=False)
    # In their order; what is done, or listed, is dropped at the ends when it is met there.
    _open: dict[str, deque[Item]] = attrs.field(factory=dict[str, deque[Item]], init=False)
    _unlisted: dict[tuple[str, str], deque[Item]] = attrs.field(factory=dict[tuple[str, str], deque[Item]], init=False)
    _ids: UniqueIds = attrs.field(factory=UniqueIds, init=False)

    def new(self, kind: str, item: dict[str, Any], event: dict[str, Any]) -> Item:
        """A new item, which can be found under every name that it or its event has."""
        name, call_id = as_text(item.get("id")) or as_text(event.get("item_id")), as_text(item.get("call_id"))
        own = self._ids.new(call_id or name) if kind in CALLS else self._ids.new(name, "item")
        opened = Item(own, kind, len(self._all), frozenset(known for known in (name, call_id) if known is not None))
        self._all.append(opened)
        self._open.setdefault(kind, deque()).append(opened)
        for known in opened.names:
            self._by_name[known] = opened
            self._unlisted.setdefault((kind, known), deque()).append(opened)
        index = as_count(event.get("output_index"))
        if index is not None:
            self._by_index[index] = opened
        return opened

    def find(self, event: dict[str, Any], item: dict[str, Any]) -> Item | None:
        """The item that goes by a name or an index in the event, or in the item that it brings."""
        for name in (item.get("id"), item.get("call_id"), event.get("item_id")):
            if isinstance(name, str) and name in self._by_name:
                return self._by_name[name]
        index = as_count(event.get("output_index"))
        return None if index is None else self._by_index.get(index)

    def for_delta(self, kind: str, event: dict[str, Any]) -> Item:
        """The item that a delta is for."""
        found = self.find(event, {})
        if found is not None and found.kind == kind:
            return found
        return self.newest(kind) or self.new(kind, {}, event)

    def for_end(self, item: dict[str, Any], event: dict[str, Any]) -> Item:
        """The item that `response.output_item.done` is about."""
        kind = str(item.get("type"))
        found = self.find(event, item)
        if found is not None and found.kind == kind:
            return found
        return self._first_open(kind) or self.new(kind, item, event)

    def for_output(self, item: dict[str, Any], place: int) -> Item:
        """The item that stands at `place` in the output of the terminal event."""
        kind = str(item.get("type"))
        # Of the same kind: a call and its output have the same `call_id`.
        named = (self._first_unlisted(kind, item.get(name)) for name in ("id", "call_id"))
        found = min((opened for opened in named if opened is not None), key=lambda opened: opened.place, default=None)
        if found is None and place < len(self._all):
            there = self._all[place]
            found = there if there.kind == kind and not there.listed else None
        found = found or self._first_open(kind) or self.new(kind, item, {})
        found.listed = True
        return found

    def annotated(self) -> Iterator[tuple[Item, str, Annotations]]:
        """Each text block that has annotations, with its item."""
        return ((opened, block, found) for opened in self._all for block, found in opened.annotations.items())

    def newest(self, kind: str) -> Item | None:
        """The newest open item of a kind."""
        left = self._open.get(kind, ())
        while left and left[-1].done:
            left.pop()
        return left[-1] if left else None

    def _first_open(self, kind: str) -> Item | None:
        left = self._open.get(kind, ())
        while left and left[0].done:
            left.popleft()
        return left[0] if left else None

    def _first_unlisted(self, kind: str, name: Any) -> Item | None:
        left = self._unlisted.get((kind, name), ()) if isinstance(name, str) else ()
        while left and left[0].listed:
            left.popleft()
        return left[0] if left else None


# --- what a finished item is -----------------------------------------------------------------------------------------


def texts_of(provider: str, opened: Item, item: dict[str, Any]) -> list[AdapterEvent]:
    """The texts of a message, each with its citations, and with what the next request has to repeat."""
    replay = {name: text for name in ("id", "phase") if (text := as_text(item.get(name)))}
    status = as_text(item.get("status"))
    if status is not None and status != "completed":
        replay["status"] = status
    events: list[AdapterEvent] = []
    for place, part in enumerate(filter(may_be_text, as_objects(item.get("content")))):
        refusal = part.get("type") == "refusal"
        text = part.get("refusal" if refusal else "text")
        if isinstance(text, str):
            block = opened.block_at(place)
            if part.get("annotations") or block in opened.annotations:
                rest = opened.cited(block, provider).close(len(text), part.get("annotations"))
                events += [CitationAdded(block, citation) for citation in rest]
            events.append(TextCompleted(block, text, refusal, metadata={provider: replay} if replay else {}))
    return events


def may_be_text(part: dict[str, Any]) -> bool:
    """Whether a part of a message is a text, or the beginning of one."""
    return not part or "text" in part or "refusal" in part


def thought_of(provider: str, opened: Item, item: dict[str, Any]) -> AdapterEvent:
    """The reasoning of an item."""
    summary, content = (
        [text for part in as_objects(item.get(name)) if (text := as_text(part.get("text")))]
        for name in ("summary", "content")
    )
    exact = len(summary) > 1 or content  # else the text alone tells the item's form
    return ReasoningCompleted(
        opened.id,
        "".join((*summary, *content)),
        provider=provider,
        item_id=as_text(item.get("id")),
        encrypted_content=as_text(item.get("encrypted_content")),
        metadata={provider: {"summary": summary, "content": content}} if exact else {},
    )


def image_of(provider: str, opened: Item, item: dict[str, Any]) -> AdapterEvent | None:
    """A generated image, with the item as it goes back, but for the image itself."""
    data = as_text(item.get("result")) if opened.kind == IMAGE_CALL else None
    form = as_text(item.get("output_format"))
    image = data and image_of_base64(
        data, f"image/{form}" if form else None, revised_prompt=as_text(item.get("revised_prompt"))
    )
    if not image:
        return None
    rest = {name: value for name, value in item.items() if name != "result"}
    return ImageCompleted(opened.id, ImagePart(image, metadata={provider: rest}))


def hosted_of(provider: str, opened: Item, item: dict[str, Any], searched: str | None) -> AdapterEvent | None:
    """A call that ran at the service; `searched` is the search that an output without an id is of."""
    call = hosted_call(provider, (opened.kind == "tool_search_output" and searched) or opened.id, item)
    return None if call is None else HostedCallCompleted(opened.id, call)


def other_of(provider: str, opened: Item, item: dict[str, Any]) -> AdapterEvent:
    """An item that no part of ours stands for."""
    return ProviderPartCompleted(opened.id, ProviderPart(provider, item))


def input_of(opened: Item, item: dict[str, Any]) -> str:
    """What the model wrote for a call; some servers send an object in place of its text."""
    written = item.get(CALLS[opened.kind])
    return dumps(written).decode() if isinstance(written, dict) else as_text(written) or ""


def call_of(provider: str, opened: Item, item: dict[str, Any], raw: str) -> AdapterEvent:
    """A call, with what goes back with it."""
    replay = {key: item[key] for key in _KEPT if item.get(key) is not None}
    if as_text(item.get("id")) is None:  # neither "" nor a number is accepted back
        replay.pop("id", None)
    custom = opened.kind == CUSTOM_CALL
    if custom:
        replay["type"] = CUSTOM_CALL
    return ToolCallCompleted(
        opened.id,
        as_text(item.get("name")) or opened.name,
        None if custom else parse_arguments(raw),
        raw,
        metadata={provider: replay} if replay else {},
    )
