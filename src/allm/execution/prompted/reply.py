"""The text of a reply with calls in it, read while it arrives.

A reply is one JSON object, `{"tool": name, "arguments": {...}}` or `{"answer": ...}`, or calls in a list, which is bare
or `{"calls": [...]}`. A model that is not held to that may put it into a code fence, write words before it and more
objects behind it, or answer in plain text. Whatever is none of ours is text: nothing is lost, and nothing shown twice.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Container
from typing import Literal, TypeAlias

from allm.data.attrs_classes import frozen
from allm.data.json.growing import SPACE
from allm.data.json.text import JsonTextError, as_object, dumps, loads
from allm.execution.prompted.incoming import MOST_AHEAD, Incoming, Reading, Sink

__all__ = ["ANSWER", "ARGUMENTS", "CALLS", "TOOL", "Piece", "ReplyReader"]

TOOL, ARGUMENTS, ANSWER, CALLS = "tool", "arguments", "answer", "calls"
"""The keys of a reply."""

Kind = Literal["prose", "answer", "answered", "call", "arguments", "called", "cut_off"]
Piece: TypeAlias = tuple[Kind, str]
"""Text around or in place of a reply; text of an answer, and its end; the name of a tool, text of its arguments, and
the end of the call, which is `cut_off` if its arguments had not begun."""

_TOOL_KEYS = frozenset({TOOL, "name"})
_ARGUMENTS_KEYS = frozenset({ARGUMENTS, "parameters"})
"""The words for them that models were trained with."""
_MOST_HELD = 100_000
"""Characters of what is held or left out, such as arguments that came before the name of their tool. What is longer is
text, which counts against the limits on an answer."""
_GROWS = frozenset({"prose", "answer", "arguments"})
_FENCE = "```"
_LINE_STARTS = ("", "\n")
_MARK = re.compile(r"[{\[`]")


@frozen
class _Opening:
    """The beginning of a reply, up to its first key."""

    key: str
    is_fenced: bool
    is_list: bool


class ReplyReader:
    """Reads one reply.

    Args:
        tools: Names of the tools that there are.
        is_json: The answer is JSON, of which the text is kept; else it is a string, which is decoded.
        in_string: A JSON answer in a string, which some models write, is decoded too.
    """

    def __init__(self, tools: Container[str], *, is_json: bool = False, in_string: bool = True) -> None:
        self._tools = tools
        self._is_json = is_json
        self._decodes = in_string or not is_json
        self._in = Incoming()
        self._pieces: list[tuple[Kind, list[str]]] = []
        self._answers = 0
        self._before = ""  # the last character of the prose
        self._in_fence = False
        self._is_whole = False  # the object that ended last was closed
        self._run = self._reply()
        next(self._run, None)

    def read(self, text: str) -> list[Piece]:
        """What more text gives."""
        self._in.add(text)
        return self._taken()

    def end(self) -> list[Piece]:
        """What the end of the reply gives."""
        self._in.ended = True
        return self._taken()

    def _taken(self) -> list[Piece]:
        next(self._run, None)
        taken: list[Piece] = [(kind, "".join(texts)) for kind, texts in self._pieces]
        self._pieces = []
        return taken

    def _put(self, kind: Kind, text: str) -> None:
        if kind in _GROWS and self._pieces and self._pieces[-1][0] == kind:
            self._pieces[-1][1].append(text)
        else:
            self._pieces.append((kind, [text]))

    def _say(self, text: str) -> None:
        if text:
            self._before = text[-1]
            self._put("prose", text)

    # --- around the objects ---

    def _reply(self) -> Reading[None]:
        is_first = True
        while (yield from self._in.has(0)):
            opening = yield from self._opening(is_sure=not is_first)
            if opening is None:
                opening = yield from self._prose()
            is_first = False
            if opening is not None:
                yield from self._objects(opening)

    def _prose(self) -> Reading[_Opening | None]:
        """Text up to an object of ours, which stands behind some space, or in a code fence."""
        while (yield from self._in.has(0)):
            mark = self._in.take_until(_MARK, self._say)
            if mark is None:
                continue
            if not self._in_fence and self._before in SPACE:
                opening = yield from self._opening(is_sure=True)
                if opening is not None:
                    return opening
            if self._before not in _LINE_STARTS:
                self._in.take(1, self._say)
            elif (yield from self._is_fence(0)):
                self._in_fence = not self._in_fence
                self._in.take(len(_FENCE), self._say)
            elif mark[0] != "`" and not self._in_fence:
                yield from self._in.raw(self._say)  # JSON of its own: what looks like a reply in it is a part of it
            else:
                self._in.take(1, self._say)
        return None

    def _is_fence(self, offset: int) -> Reading[bool]:
        for index in range(len(_FENCE)):
            if (yield from self._in.char(offset + index)) != "`":
                return False
        return True

    def _opening(self, *, is_sure: bool) -> Reading[_Opening | None]:
        """Whether a reply begins here; if so, it is read up to its first key.

        Args:
            is_sure: There was text before, so that it has to be a call of a known tool, or an answer, beyond doubt.
        """
        come = self._in
        at = yield from come.behind_space(0)
        is_fenced = yield from self._is_fence(at)
        if is_fenced:
            at += len(_FENCE)
            while at < MOST_AHEAD and (yield from come.char(at)).isalnum():
                at += 1
            at = yield from come.behind_space(at)
        is_list = (yield from come.char(at)) == "["
        begin = at + 1 if is_list else at
        at = yield from come.behind_space(begin)
        if (yield from come.char(at)) != "{":
            return None
        at += 1
        key, value = yield from come.key((yield from come.behind_space(at)))
        if key is None or not (yield from self._is_ours(key, value, is_list=is_list, is_sure=is_sure)):
            return None
        come.at += begin if is_list else at
        return _Opening(key, is_fenced, is_list)

    def _is_ours(self, key: str, value: int, *, is_list: bool, is_sure: bool) -> Reading[bool]:
        """Whether an object with this first key is a reply; its value is so far ahead."""
        if key in _TOOL_KEYS:
            return (yield from self._is_call(value, key, is_sure=is_sure))
        first = yield from self._in.char(value)
        if is_list:
            return False
        if key == ANSWER:
            return first != "" and (not is_sure or self._is_json or first == '"')
        return (key == CALLS and first == "[") or (key == ARGUMENTS and first == "{" and not is_sure)

    def _is_call(self, name_at: int, key: str, *, is_sure: bool) -> Reading[bool]:
        name, at = yield from self._in.literal(name_at)
        if name is None:  # null, where it is an answer
            return key == TOOL and not is_sure and (yield from self._in.char(name_at)) == "n"
        is_known = name in self._tools
        if is_known and key == TOOL and not is_sure:
            return True
        at = yield from self._in.behind_space(at)
        behind = yield from self._in.char(at)
        if behind != ",":
            return is_known and key == TOOL and behind == "}"
        following, _ = yield from self._in.key((yield from self._in.behind_space(at + 1)))
        return following in _ARGUMENTS_KEYS and (is_known or (key == TOOL and not is_sure))

    def _objects(self, opening: _Opening) -> Reading[None]:
        if opening.is_list:
            yield from self._calls()
        elif opening.key == ARGUMENTS:
            yield from self._late_name()
        else:
            yield from self._object()
        self._before = "\n"
        while (yield from self._in.char(space := (yield from self._in.behind_space(0)))) in {"}", "]"}:
            self._in.at += space + 1  # one bracket too many, which says nothing
        if opening.is_fenced and (yield from self._is_fence(space)):
            self._in.at += space + len(_FENCE)
            space = yield from self._in.behind_space(0)
        if not (yield from self._in.has(space)):
            self._in.at += space

    # --- an object ---

    def _calls(self) -> Reading[None]:
        """Objects up to the end of the list that they are in."""
        while True:
            yield from self._skip_comma()
            char = yield from self._in.char(0)
            if char not in {"{", "]"}:
                return
            self._in.at += 1
            if char == "]":
                return
            yield from self._object()

    def _skip_comma(self) -> Reading[None]:
        """Read up to what comes next in a list or an object."""
        space = yield from self._in.behind_space(0)
        self._in.at += space
        if (yield from self._in.char(0)) == ",":
            space = yield from self._in.behind_space(1)
            self._in.at += space

    def _object(self) -> Reading[None]:
        """Properties up to the end of their object, or to what is no JSON, which is text then."""
        is_call = has_arguments = False
        while (key := (yield from self._next_key())) is not None:
            name, end = (yield from self._in.literal(0)) if key in _TOOL_KEYS and not is_call else (None, 0)
            if name is not None:
                self._in.at += end
                self._put("call", name)
                is_call = True
            elif key in _ARGUMENTS_KEYS and is_call and not has_arguments:
                has_arguments = yield from self._in.has(0)
                yield from self._in.raw(functools.partial(self._put, "arguments"))
            elif key == ANSWER:
                yield from self._answer()
            elif key == CALLS and (yield from self._in.char(0)) == "[":
                self._in.at += 1
                yield from self._calls()
            else:
                yield from self._in.raw(self._held([]))
        if self._in.ended and not self._is_whole:
            self._in.drop_rest()  # the beginning of a property that will not come
        if is_call:
            self._put("called" if self._is_whole or has_arguments else "cut_off", "")

    def _next_key(self) -> Reading[str | None]:
        """The key of the next property, read up to its value; None where there is none."""
        self._is_whole = False
        yield from self._skip_comma()
        if (yield from self._in.char(0)) == "}":
            self._in.at += 1
            self._is_whole = True
            return None
        key, value = yield from self._in.key(0)
        if key is not None:
            self._in.at += value
        return key

    def _held(self, texts: list[str]) -> Sink:
        """A sink that puts a text into a list, and says it once it is too long."""
        room = _MOST_HELD

        def hold(text: str) -> None:
            nonlocal room
            room -= len(text)
            texts.append(text)
            if room < 0:
                self._say("".join(texts))
                texts.clear()

        return hold

    def _late_name(self) -> Reading[None]:
        """A call with its arguments before its name, as servers write it that sort keys."""
        held: list[str] = []
        self._in.at -= 1  # the bracket
        yield from self._in.raw(self._held(held))
        text = "".join(held)
        try:
            call = as_object(loads(text))
        except JsonTextError:
            call = {}
        name = call.get(TOOL)
        if not isinstance(name, str):
            self._say(text)
            return
        self._put("call", name)
        self._put("arguments", dumps(call[ARGUMENTS]).decode())
        self._put("called", "")

    def _answer(self) -> Reading[None]:
        """The value of an answer. Of several in JSON, the first one counts."""
        self._answers += 1
        is_second = self._is_json and self._answers > 1
        put = self._held([]) if is_second else functools.partial(self._put, "answer")
        if self._decodes and (yield from self._in.char(0)) == '"':
            self._in.at += 1
            yield from self._in.string(put)
        else:
            yield from self._in.raw(put)
        self._put("answered", "")
