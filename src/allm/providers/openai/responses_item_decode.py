"""The output items of a Responses answer as events: begun, filled by deltas, and done.

An item is known by its id, by its `call_id`, by its `output_index`, or, where a server sends none of these, by being
the first one open of its kind. llama.cpp sends no index anywhere and no id with a call, but deltas whose `item_id` is
the `call_id`, and closes all items only at the end. `output_item.done` is the authority: it replaces what the deltas
had built, and only it has the finished `encrypted_content`.
"""

from __future__ import annotations

from typing import Any

import attrs

from allm.data.content import ProviderPart
from allm.data.events import (
    AdapterEvent,
    ProviderPartCompleted,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
)
from allm.data.json.text import dumps, parse_arguments
from allm.data.json.wire import as_count, as_object, as_objects, as_text
from allm.data.message_builder import MessageBuilder
from allm.providers.openai.shared_encode import CUSTOM_CALL

__all__ = ["CALLS", "ItemDecoder"]

CALLS = {"function_call": "arguments", CUSTOM_CALL: "input"}
"""Item types that are calls for the caller, and the field that holds what the model wrote."""

_KEPT = ("id", "namespace", "caller", "async")
"""Fields of a call that have no place of their own and go back with it."""


@attrs.define(eq=False)
class _Open:
    """An item; `key` is unique in the answer."""

    key: str
    kind: str
    call_id: str
    name: str = ""
    parts: int = 0  # content parts begun
    started: bool = False  # its call has been announced
    done: bool = False

    def block(self, event: dict[str, Any]) -> str:
        """The id of the text block that a delta is for."""
        index = as_count(event.get("content_index"))
        return f"{self.key}:{max(self.parts - 1, 0) if index is None else index}"


@attrs.define(eq=False)
class ItemDecoder:
    """Decodes the items of one answer.

    Attributes:
        assembly: The message they make.
        events: What has been decoded and not yet been taken.
    """

    provider: str
    assembly: MessageBuilder = attrs.field(factory=MessageBuilder, init=False)
    events: list[AdapterEvent] = attrs.field(factory=list[AdapterEvent], init=False)
    _items: list[_Open] = attrs.field(factory=list[_Open], init=False)
    _by_name: dict[str, _Open] = attrs.field(factory=dict[str, _Open], init=False)
    _by_index: dict[int, _Open] = attrs.field(factory=dict[int, _Open], init=False)

    def added(self, event: dict[str, Any]) -> None:
        """`response.output_item.added`."""
        item = as_object(event.get("item"))
        opened = self._new(str(item.get("type")), item, event)
        if opened.kind in CALLS:
            self._start(opened, item)

    def part_added(self, event: dict[str, Any]) -> None:
        """`response.content_part.added`."""
        opened = self._find(event, {}) or self._newest("message")
        if opened is not None:
            opened.parts += 1

    def text(self, event: dict[str, Any]) -> None:
        """More text."""
        if text := as_text(event.get("delta")):
            self._add(TextDelta(self._at("message", event).block(event), text))

    def refusal(self, event: dict[str, Any]) -> None:
        """More of a refusal."""
        if text := as_text(event.get("delta")):
            self._add(TextDelta(self._at("message", event).block(event), text, refusal=True))

    def reasoning(self, event: dict[str, Any]) -> None:
        """More thinking, or more of its summary."""
        if text := as_text(event.get("delta")):
            self._add(ReasoningDelta(self._at("reasoning", event).key, text))

    def arguments(self, event: dict[str, Any]) -> None:
        """More arguments of a function."""
        self._more("function_call", event)

    def custom_input(self, event: dict[str, Any]) -> None:
        """More input of a custom tool."""
        self._more(CUSTOM_CALL, event)

    def done(self, event: dict[str, Any]) -> None:
        """`response.output_item.done`."""
        item = as_object(event.get("item"))
        opened = self._find(event, item)
        if opened is None or opened.kind != item.get("type"):
            opened = self._first_open(str(item.get("type"))) or self._new(str(item.get("type")), item, event)
        self._complete(opened, item)

    def finish(self, output: Any) -> None:
        """The items as the terminal event has them; those that are done are left alone."""
        for index, item in enumerate(as_objects(output)):
            kind = str(item.get("type"))
            at_place = self._items[index] if index < len(self._items) else None
            opened = self._find({}, item)
            if opened is not None and opened.kind != kind:  # a call and its output have the same `call_id`
                opened = None
            if opened is None and at_place is not None and at_place.kind == kind:
                opened = at_place
            if opened is None:
                opened = self._first_open(kind) or self._new(kind, item, {})
            self._complete(opened, item)
        self.events += self.assembly.complete()

    def _add(self, event: AdapterEvent) -> None:
        self.assembly.add(event)
        self.events.append(event)

    def _new(self, kind: str, item: dict[str, Any], event: dict[str, Any]) -> _Open:
        number = len(self._items)
        name = as_text(item.get("id")) or as_text(event.get("item_id"))
        call_id = as_text(item.get("call_id")) or name or f"call_{number}"
        key = name or f"item-{number}"
        # Neither twice in the answer, whatever the server sends.
        key = f"{key}-{number}" if key in {other.key for other in self._items} else key
        call_id = f"{call_id}_{number}" if call_id in {other.call_id for other in self._items} else call_id
        opened = _Open(key, kind, call_id)
        self._items.append(opened)
        for known in (name, as_text(item.get("call_id"))):
            if known is not None:
                self._by_name[known] = opened
        index = as_count(event.get("output_index"))
        if index is not None:
            self._by_index[index] = opened
        return opened

    def _find(self, event: dict[str, Any], item: dict[str, Any]) -> _Open | None:
        for name in (item.get("id"), item.get("call_id"), event.get("item_id")):
            if isinstance(name, str) and name in self._by_name:
                return self._by_name[name]
        index = as_count(event.get("output_index"))
        return None if index is None else self._by_index.get(index)

    def _first_open(self, kind: str) -> _Open | None:
        return next((item for item in self._items if item.kind == kind and not item.done), None)

    def _newest(self, kind: str) -> _Open | None:
        return next((item for item in reversed(self._items) if item.kind == kind and not item.done), None)

    def _at(self, kind: str, event: dict[str, Any]) -> _Open:
        """The item that a delta is for: where nothing names it, the newest one of its kind."""
        opened = self._find(event, {})
        if opened is not None and opened.kind == kind:
            return opened
        return self._newest(kind) or self._new(kind, {}, event)

    def _start(self, opened: _Open, item: dict[str, Any]) -> None:
        opened.started = True
        opened.name = as_text(item.get("name")) or ""
        self._add(ToolCallStarted(opened.call_id, opened.name))

    def _more(self, kind: str, event: dict[str, Any]) -> None:
        text = as_text(event.get("delta"))
        opened = self._at(kind, event)
        if not opened.started:
            self._start(opened, {})
        if text:
            self._add(ToolCallDelta(opened.call_id, text))

    def _complete(self, opened: _Open, item: dict[str, Any]) -> None:
        if opened.done:
            return
        opened.done = True
        if opened.kind == "message":
            self._message(opened, item)
        elif opened.kind == "reasoning":
            self._thought(opened, item)
        elif opened.kind in CALLS:
            self._call(opened, item)
        else:
            self._add(ProviderPartCompleted(opened.key, ProviderPart(self.provider, item)))

    def _message(self, opened: _Open, item: dict[str, Any]) -> None:
        replay = {name: text for name in ("id", "phase") if (text := as_text(item.get(name)))}
        status = as_text(item.get("status"))
        if status is not None and status != "completed":
            replay["status"] = status
        for index, part in enumerate(as_objects(item.get("content"))):
            refusal = part.get("type") == "refusal"
            text = part.get("refusal" if refusal else "text")
            if not isinstance(text, str):
                continue
            notes = {**replay, "annotations": part["annotations"]} if part.get("annotations") else replay
            metadata = {self.provider: notes} if notes else {}
            self._add(TextCompleted(f"{opened.key}:{index}", text, refusal, metadata=metadata))

    def _thought(self, opened: _Open, item: dict[str, Any]) -> None:
        summary, content = (
            [text for part in as_objects(item.get(name)) if (text := as_text(part.get("text")))]
            for name in ("summary", "content")
        )
        exact = len(summary) > 1 or content  # else the text alone tells the item's form
        self._add(
            ReasoningCompleted(
                opened.key,
                "".join((*summary, *content)),
                provider=self.provider,
                item_id=as_text(item.get("id")),
                encrypted_content=as_text(item.get("encrypted_content")),
                metadata={self.provider: {"summary": summary, "content": content}} if exact else {},
            )
        )

    def _call(self, opened: _Open, item: dict[str, Any]) -> None:
        raw = item.get(CALLS[opened.kind])
        raw = dumps(raw).decode() if isinstance(raw, dict) else as_text(raw) or ""
        if not opened.started:
            self._start(opened, item)
            if raw:
                self._add(ToolCallDelta(opened.call_id, raw))
        name = as_text(item.get("name")) or opened.name
        replay = {key: item[key] for key in _KEPT if item.get(key) is not None}
        if as_text(item.get("id")) is None:
            replay.pop("id", None)
        if opened.kind == CUSTOM_CALL:
            replay["type"] = CUSTOM_CALL
        arguments = None if opened.kind == CUSTOM_CALL else parse_arguments(raw)
        metadata = {self.provider: replay} if replay else {}
        self._add(ToolCallCompleted(opened.call_id, name, arguments, raw, metadata=metadata))
