"""The output items of a Responses answer as events: begun, filled by deltas, and done.

What each kind of item becomes is in the last part of this module, as functions of the finished item. Which item an
event is about, `responses_open_items` says.

The deltas are what a consumer sees; `response.output_item.done` is the authority. It replaces what the deltas had
built, and only it has the finished `encrypted_content`. An item of which no such event came (llama.cpp closes all of
them at the end) is completed from the output of the terminal event; one that neither mentions keeps what its deltas
have built. So an item passes through these states, at most once through each:

    unknown -> open (`added`, or the first delta) -> done (`done`, or `finish`)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from allm.adapters import as_object, as_objects, as_text, dumps, image_of_base64, parse_arguments
from allm.data.content import ImagePart, ProviderPart
from allm.data.events import (
    AdapterEvent,
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
from allm.data.logprobs import TokenLogprob
from allm.providers.openai.logprobs import read_logprobs
from allm.providers.openai.responses_open_items import CALLS, Item, Items
from allm.providers.openai.shared_encode import CUSTOM_CALL, IMAGE_CALL

__all__ = ["CALLS", "ItemDecoder"]

_KEPT = ("id", "namespace", "caller", "async")
"""Fields of a call that have no place of their own and go back with it."""


@attrs.define(eq=False)
class ItemDecoder:
    """Decodes the items of one answer.

    Attributes:
        provider: Who may read the opaque data of the items.
        add: Takes each event.
        custom_tools: Names of the tools with free text that the request has. A call of another one is of a tool that
            runs at the service (`x_search` of xAI), and not for the caller. None: each is for the caller.
        logprobs: Of the tokens of the messages that are done.
    """

    provider: str
    add: Callable[[AdapterEvent], None]
    custom_tools: frozenset[str] | None = None
    logprobs: list[TokenLogprob] = attrs.field(factory=list[TokenLogprob], init=False)
    _items: Items = attrs.field(factory=Items, init=False)

    def added(self, event: dict[str, Any]) -> None:
        """`response.output_item.added`."""
        item = as_object(event.get("item"))
        opened = self._items.new(str(item.get("type")), item, event)
        self._recognise(opened, item)
        if opened.is_call:
            self._start(opened, item)

    def part_added(self, event: dict[str, Any]) -> None:
        """`response.content_part.added`."""
        opened = self._items.find(event, {}) or self._items.newest("message")
        if opened is not None and _may_be_text(as_object(event.get("part"))):
            opened.begin_text(event)

    def text(self, event: dict[str, Any]) -> None:
        """More text."""
        if text := as_text(event.get("delta")):
            self.add(TextDelta(self._items.for_delta("message", event).block(event), text))

    def refusal(self, event: dict[str, Any]) -> None:
        """More of a refusal."""
        if text := as_text(event.get("delta")):
            self.add(TextDelta(self._items.for_delta("message", event).block(event), text, refusal=True))

    def reasoning(self, event: dict[str, Any]) -> None:
        """More thinking, or more of its summary."""
        if text := as_text(event.get("delta")):
            self.add(ReasoningDelta(self._items.for_delta("reasoning", event).id, text))

    def arguments(self, event: dict[str, Any]) -> None:
        """More arguments of a function."""
        self._more("function_call", event)

    def custom_input(self, event: dict[str, Any]) -> None:
        """More input of a custom tool."""
        self._more(CUSTOM_CALL, event)

    def done(self, event: dict[str, Any]) -> None:
        """`response.output_item.done`."""
        item = as_object(event.get("item"))
        self._complete(self._items.for_end(item, event), item)

    def finish(self, output: Any) -> None:
        """The items as the terminal event has them; those that are done are left alone."""
        for place, item in enumerate(as_objects(output)):
            self._complete(self._items.for_output(item, place), item)

    def _start(self, opened: Item, item: dict[str, Any]) -> None:
        opened.started = True
        opened.name = as_text(item.get("name")) or ""
        self.add(ToolCallStarted(opened.id, opened.name))

    def _more(self, kind: str, event: dict[str, Any]) -> None:
        opened = self._items.for_delta(kind, event)
        if not opened.is_call:
            return
        if not opened.started:
            self._start(opened, {})
        if text := as_text(event.get("delta")):
            opened.pieces.append(text)
            self.add(ToolCallDelta(opened.id, text))

    def _complete(self, opened: Item, item: dict[str, Any]) -> None:
        if opened.done:
            return
        opened.done = True
        self._recognise(opened, item)
        if opened.kind == "message":
            for event in _texts(self.provider, opened, item):
                self.add(event)
            for part in as_objects(item.get("content")):
                self.logprobs += read_logprobs(part.get("logprobs"))
        elif opened.kind == "reasoning":
            self.add(_thought(self.provider, opened, item))
        elif opened.is_call:
            self._complete_call(opened, item)
        else:
            self.add(_image(self.provider, opened, item) or _other(self.provider, opened, item))

    def _recognise(self, opened: Item, item: dict[str, Any]) -> None:
        """Note that a call with free text is of a tool of the service, as its name is none of the request's."""
        name = as_text(item.get("name"))
        known = self.custom_tools is None or name is None or name in self.custom_tools
        if opened.kind == CUSTOM_CALL and not known and not opened.started:
            opened.is_call = False

    def _complete_call(self, opened: Item, item: dict[str, Any]) -> None:
        raw = _input(opened, item) or "".join(opened.pieces)
        if not opened.started:  # it came whole: to a program it looks like any other
            self._start(opened, item)
            if raw:
                self.add(ToolCallDelta(opened.id, raw))
        self.add(_call(self.provider, opened, item, raw))


# --- what a finished item is ---


def _texts(provider: str, opened: Item, item: dict[str, Any]) -> list[AdapterEvent]:
    """The texts of a message, each with what the next request has to repeat."""
    replay = {name: text for name in ("id", "phase") if (text := as_text(item.get(name)))}
    status = as_text(item.get("status"))
    if status is not None and status != "completed":
        replay["status"] = status
    events: list[AdapterEvent] = []
    for place, part in enumerate(filter(_may_be_text, as_objects(item.get("content")))):
        refusal = part.get("type") == "refusal"
        text = part.get("refusal" if refusal else "text")
        if isinstance(text, str):
            notes = {**replay, "annotations": part["annotations"]} if part.get("annotations") else replay
            metadata = {provider: notes} if notes else {}
            events.append(TextCompleted(opened.block_at(place), text, refusal, metadata=metadata))
    return events


def _may_be_text(part: dict[str, Any]) -> bool:
    return not part or "text" in part or "refusal" in part


def _thought(provider: str, opened: Item, item: dict[str, Any]) -> AdapterEvent:
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


def _image(provider: str, opened: Item, item: dict[str, Any]) -> AdapterEvent | None:
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


def _other(provider: str, opened: Item, item: dict[str, Any]) -> AdapterEvent:
    return ProviderPartCompleted(opened.id, ProviderPart(provider, item))


def _input(opened: Item, item: dict[str, Any]) -> str:
    """What the model wrote for a call; some servers send an object in place of its text."""
    written = item.get(CALLS[opened.kind])
    return dumps(written).decode() if isinstance(written, dict) else as_text(written) or ""


def _call(provider: str, opened: Item, item: dict[str, Any], raw: str) -> AdapterEvent:
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
