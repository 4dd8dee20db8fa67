"""The parts of one assistant message of AG-UI: its text, its reasoning and its calls, from their begin to their end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import attrs

from allm.data.attrs_classes import define
from allm.data.citation import Citation
from allm.data.events import (
    CitationAdded,
    ImageCompleted,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
)
from allm.data.json.text import dumps
from allm.web.completed import reasoning_part, text_part, tool_call
from allm.web.opaque import opaque_of
from allm.web.shown import media_url

__all__ = ["PARTS", "AgUiParts"]

Chunk = dict[str, Any]


@final
@define(eq=False)
class AgUiParts:
    """What has come of one message.

    Attributes:
        message_id: Its id.
        used_ids: The ids of all calls of the conversation.
        shown_ids: Of the calls of this message: their ids, and those that they have at the client.
    """

    message_id: str
    used_ids: set[str]
    shown_ids: dict[str, str] = attrs.field(factory=dict[str, str], init=False)
    _is_text_open: bool = attrs.field(default=False, init=False)
    _texts: dict[str, list[str]] = attrs.field(factory=dict, init=False)  # deltas of each block
    _text_opaque: dict[str, Any] = attrs.field(factory=dict, init=False)
    _cited: dict[str, list[Citation]] = attrs.field(factory=dict, init=False)  # of texts that are not complete
    _reasonings: dict[str, list[str]] = attrs.field(factory=dict, init=False)  # those that are open
    _calls: dict[str, list[str]] = attrs.field(factory=dict, init=False)  # those that are open

    def feed(self, event: Any) -> Iterator[Chunk]:
        """The chunks of an event that is about a part."""
        return PARTS[type(event)](self, event)

    # --- text and reasoning ---------------------------------------------------------------------------------------

    def _delta(self, event: TextDelta) -> Iterator[Chunk]:
        self._texts.setdefault(event.id, []).append(event.delta)
        yield from self._more_text(event.delta)

    def _more_text(self, text: str) -> Iterator[Chunk]:
        if text:
            if not self._is_text_open:
                self._is_text_open = True
                yield {"type": "TEXT_MESSAGE_START", "messageId": self.message_id, "role": "assistant"}
            yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": self.message_id, "delta": text}

    def _text(self, event: TextCompleted) -> Iterator[Chunk]:
        seen = "".join(self._texts.setdefault(event.id, []))
        if event.text.startswith(seen):
            self._texts[event.id].append(event.text[len(seen) :])
            yield from self._more_text(event.text[len(seen) :])
        part = text_part(event, self._cited.pop(event.id, ()))
        self._text_opaque = opaque_of(part)

    def _citation(self, event: CitationAdded) -> Iterator[Chunk]:
        """The protocol has no event for it: it only goes back with the text."""
        self._cited.setdefault(event.id, []).append(event.citation)
        return iter(())

    def _reasoning_delta(self, event: ReasoningDelta) -> Iterator[Chunk]:
        if event.delta:
            yield from self._begin_reasoning(event.id)
            self._reasonings[event.id].append(event.delta)
            message_id = f"{self.message_id}:{event.id}"
            yield {"type": "REASONING_MESSAGE_CONTENT", "messageId": message_id, "delta": event.delta}

    def _begin_reasoning(self, block: str) -> Iterator[Chunk]:
        if block not in self._reasonings:
            self._reasonings[block] = []
            message_id = f"{self.message_id}:{block}"
            yield {"type": "REASONING_START", "messageId": message_id}
            answer = {"metadata": {"answer": self.message_id}}  # whose reasoning it is, for when it comes back
            yield {"type": "REASONING_MESSAGE_START", "messageId": message_id, "role": "reasoning", **answer}

    def _reasoning(self, event: ReasoningCompleted) -> Iterator[Chunk]:
        opaque = opaque_of(reasoning_part(event))
        if event.id not in self._reasonings and not (event.text or opaque):
            return
        yield from self._begin_reasoning(event.id)
        seen = "".join(self._reasonings[event.id])
        if event.text.startswith(seen):
            yield from self._reasoning_delta(ReasoningDelta(event.id, event.text[len(seen) :]))
        if opaque:
            yield _encrypted("message", f"{self.message_id}:{event.id}", opaque)
        yield from self._end_reasoning(event.id)

    def _end_reasoning(self, block: str) -> Iterator[Chunk]:
        del self._reasonings[block]
        message_id = f"{self.message_id}:{block}"
        yield {"type": "REASONING_MESSAGE_END", "messageId": message_id}
        yield {"type": "REASONING_END", "messageId": message_id}

    def close(self) -> Iterator[Chunk]:
        """End what is open of the message."""
        for block in list(self._reasonings):
            yield from self._end_reasoning(block)
        if self._is_text_open:
            self._is_text_open = False
            if self._text_opaque and len(self._texts) == 1:  # the protocol has one place, for a message of one text
                yield _encrypted("message", self.message_id, self._text_opaque)
            yield {"type": "TEXT_MESSAGE_END", "messageId": self.message_id}
        self._text_opaque = {}
        for call_id in list(self._calls):
            del self._calls[call_id]
            yield {"type": "TOOL_CALL_END", "toolCallId": self.shown_ids[call_id]}

    def _image(self, event: ImageCompleted) -> Iterator[Chunk]:
        url, mime_type = media_url(event.part.image)
        yield {
            "type": "ACTIVITY_SNAPSHOT",  # its assistant messages have texts only
            "messageId": f"{self.message_id}:{event.id}",
            "activityType": "image",
            "content": {"url": url, "mimeType": mime_type},
        }

    # --- calls ----------------------------------------------------------------------------------------------------

    def _call_started(self, event: ToolCallStarted) -> Iterator[Chunk]:
        if event.id in self.shown_ids:  # twice in one message is one call
            return
        shown, count = event.id, 1
        while shown in self.used_ids:
            count += 1
            shown = f"{event.id}#{count}"
        self.used_ids.add(shown)
        self.shown_ids[event.id] = shown
        self._calls[event.id] = []
        parent = {"parentMessageId": self.message_id}
        yield {"type": "TOOL_CALL_START", "toolCallId": shown, "toolCallName": event.name, **parent}

    def _call_delta(self, event: ToolCallDelta) -> Iterator[Chunk]:
        if event.arguments_delta and event.id in self._calls:
            self._calls[event.id].append(event.arguments_delta)
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": self.shown_ids[event.id], "delta": event.arguments_delta}

    def _call_completed(self, event: ToolCallCompleted) -> Iterator[Chunk]:
        yield from self._call_started(ToolCallStarted(event.id, event.name))
        if event.id not in self._calls:
            return
        raw = event.raw_arguments
        if not raw:
            raw = dumps(dict(event.arguments or {})).decode()
        seen = "".join(self._calls[event.id])
        if raw.startswith(seen):
            yield from self._call_delta(ToolCallDelta(event.id, raw[len(seen) :]))
        if opaque := opaque_of(tool_call(event)):
            yield _encrypted("tool-call", self.shown_ids[event.id], opaque)
        del self._calls[event.id]
        yield {"type": "TOOL_CALL_END", "toolCallId": self.shown_ids[event.id]}


def _encrypted(subtype: str, entity_id: str, opaque: Mapping[str, Any]) -> Chunk:
    value = dumps(dict(opaque)).decode()
    return {
        "type": "REASONING_ENCRYPTED_VALUE",
        "subtype": subtype,
        "entityId": entity_id,
        "encryptedValue": value,
    }


PARTS: dict[type, Callable[[AgUiParts, Any], Iterator[Chunk]]] = {
    TextDelta: AgUiParts._delta,
    TextCompleted: AgUiParts._text,
    CitationAdded: AgUiParts._citation,
    ReasoningDelta: AgUiParts._reasoning_delta,
    ReasoningCompleted: AgUiParts._reasoning,
    ToolCallStarted: AgUiParts._call_started,
    ToolCallDelta: AgUiParts._call_delta,
    ToolCallCompleted: AgUiParts._call_completed,
    ImageCompleted: AgUiParts._image,
}
