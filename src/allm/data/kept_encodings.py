"""What messages were encoded to, for the next request of the conversation.

The encoding of a message is kept with it, and that of the beginning of a conversation with the last message of it, so
it is gone with the message, or with the next format it is sent in. The mappings in a message can be changed by whoever
made it; an encoding counts only as long as they are what they were.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import Any, ClassVar

from allm.data.attrs_classes import define, frozen
from allm.data.content import MEDIA_TYPES, HostedCall, ProviderPart, ToolCall
from allm.data.json.text import JsonTextError, dumps_strict
from allm.data.message import Message, call_ids, put_begun, put_encoded

__all__ = ["Beginning", "encoding_format", "keep_encoding", "kept_encoding"]


@functools.lru_cache(maxsize=64)
def encoding_format(*_settings: object) -> object:
    """The same object for the same settings: all that the encoding of a message depends on beside the message."""
    return object()


def kept_encoding(message: Message, format_: object) -> Any:
    """What `keep_encoding` was given for the message in this format, or None; it is not to be changed."""
    kept = getattr(message, "_encoded", None)
    if type(kept) is not tuple or kept[0] is not format_:
        return None
    _, mappings, written, encoded = kept
    return encoded if _written(mappings) == written else None


def keep_encoding(message: Message, format_: object, encoded: Any) -> None:
    """Keep what the message was encoded to, once it was encoded in this format for the second time.

    A conversation may be sent only once, or all of it be kept as a `Beginning`. One with images or other files is not
    kept, as these may change.
    """
    kept = getattr(message, "_encoded", None)
    if kept is not format_ and not (type(kept) is tuple and kept[0] is format_):
        put_encoded(message, format_)
        return
    mappings = _mappings((message,))
    written = None if mappings is None else _written(mappings)
    if written is not None:
        put_encoded(message, (format_, mappings, written, encoded))


@frozen(kw_only=True)
class _Begun:
    """What is kept with the last message of a beginning, and only there and in one before: all others would add up."""

    format: object
    before: tuple[Message, ...]  # without the last one, which has this
    mappings: list[Mapping[str, Any]]
    written: bytes
    encoded: Any
    earlier: Message | None

    def fits(self, messages: tuple[Message, ...]) -> bool:
        """Whether the messages are these, and all in them is what it was."""
        if len(self.before) != len(messages) - 1 or not all(map(operator.is_, self.before, messages)):
            return False
        return _written(self.mappings) == self.written


@define(eq=False)
class Beginning:
    """The first messages of a conversation that an earlier request had too, so that only the others are encoded.

    Attributes:
        length: How many they are; 0: nothing is known of them.
        encoded: What `keep` was given for them; it is not to be changed.
        until: The length of the beginning that this request can keep; -1: none.
        FEW: So many messages are not worth looking for a beginning, and so many new ones not worth keeping a longer
            one, which takes a copy of what there is so far.
    """

    FEW: ClassVar[int] = 8
    length: int = 0
    encoded: Any = None
    until: int = -1
    _messages: tuple[Message, ...] = ()
    _format: object = None
    _kept: Any = None  # a `_Begun`

    @classmethod
    def of(cls, messages: tuple[Message, ...], format_: object) -> Beginning:
        """The longest known beginning of a conversation in this format."""
        # Up to the newest message that is no result, since a result may be moved to its call.
        until = len(messages) - 1
        while until > 0 and messages[until].role == "tool":
            until -= 1
        for length in range(until, cls.FEW - 1, -1):
            kept: _Begun | None = getattr(messages[length - 1], "_begun", None)
            if kept is None or kept.format is not format_:
                continue
            if not kept.fits(messages[:length]):  # windows that move on, or changes in each turn, would add up
                put_begun(messages[length - 1], None)
            elif _is_apart(messages[length:]):
                return cls(length, kept.encoded, until, messages, format_, kept)
        return cls(0, None, until, messages, format_)

    def keep(self, encoded: Any) -> None:
        """Keep what the messages up to `until` were encoded to, with the last of them, so that it is gone with it."""
        kept, last = self._kept, self._messages[self.until - 1]
        mappings = _mappings(self._messages[self.length : self.until]) if self.until >= self.length + self.FEW else None
        if mappings is None:
            return
        mappings = mappings if kept is None else kept.mappings + mappings
        written = _written(mappings)
        if written is None:
            return
        if kept is not None and kept.earlier is not None:
            put_begun(kept.earlier, None)
        put_begun(
            last,
            _Begun(
                format=self._format,
                before=self._messages[: self.until - 1],
                mappings=mappings,
                written=written,
                encoded=encoded,
                earlier=None if kept is None else self._messages[self.length - 1],
            ),
        )


def _is_apart(messages: tuple[Message, ...]) -> bool:
    """Whether each result is one of a call among these messages: another one would be moved out of them."""
    waiting: dict[str | None, int] = {}
    for message in messages:
        if message.role != "tool":
            waiting.update((call_id, waiting.get(call_id, 0) + 1) for call_id in call_ids(message))
        elif not waiting.get(message.tool_call_id):
            return False
        else:
            waiting[message.tool_call_id] -= 1
    return True


def _mappings(messages: tuple[Message, ...]) -> list[Mapping[str, Any]] | None:
    """What can be changed in messages and is sent; None where there are files."""
    mappings: list[Mapping[str, Any]] = []
    for message in messages:
        if type(message.content) is str:
            continue
        for part in message.parts:
            if isinstance(part, MEDIA_TYPES):
                return None
            mappings.append(part.data if isinstance(part, (HostedCall, ProviderPart)) else part.metadata)
            if isinstance(part, ToolCall) and part.arguments is not None:
                mappings.append(part.arguments)
    return mappings


def _written(mappings: list[Mapping[str, Any]]) -> bytes | None:
    if not any(mappings):
        return b""
    try:
        return dumps_strict(mappings)
    except (JsonTextError, TypeError):
        return None
