"""What can be read of a stream besides its events: the text, snapshots of structured output, the items of its list.

`TextPieces` is the iterator of `EventStream.text`, `GrowingOutput` that of `partial_output` and `elements`: it reads
the events of a burst, gives their text to the answer in progress, and hands out the values that come of it. A turn has
an answer for each step, and a call that asks again has several. What is wrong with an answer is told at the end of the
stream, and only of the last: an earlier one may be a sentence before tool calls, or one that was asked for again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import Problem, ValidationError
from allm.data.events import MessagesAdded, StepCompleted, TextCompleted, TextDelta
from allm.data.json.growing import NOTHING, GrowingValue
from allm.data.json.growing_list import GrowingList
from allm.data.json.text import JsonTextError
from allm.data.types.items import Items, items_of, unwrapped
from allm.data.types.output import answer_shape, is_wrapped
from allm.data.types.shapes import Shape
from allm.data.types.structure import parse_text
from allm.execution.stream.event_stream import EventStream
from allm.runtime.option_table import invalid_option

__all__ = ["GrowingOutput", "TextPieces", "elements", "partial_output"]


@define(eq=False)
class TextPieces:
    """The text deltas, and the whole text of a block that completes without visible deltas."""

    _events: EventStream[Any]
    _raise_on_error: bool
    _seen: set[str] = attrs.field(factory=set, init=False)

    def __aiter__(self) -> TextPieces:
        return self

    async def __anext__(self) -> str:
        async for event in self._events:
            if isinstance(event, TextDelta):
                self._seen.add(event.id)
                return event.delta
            if isinstance(event, TextCompleted) and event.id not in self._seen:
                return event.text
            if isinstance(event, (StepCompleted, MessagesAdded)):
                self._seen.clear()
        failure = self._events._failure() if self._raise_on_error else None
        if failure is not None:
            raise failure
        raise StopAsyncIteration


def partial_output(events: EventStream[Any], output_type: Any, *, raise_on_error: bool) -> GrowingOutput:
    """The iterator of `EventStream.partial_output`."""
    wrapped = output_type is not None and is_wrapped(output_type)
    return GrowingOutput(events, lambda: _Snapshots(wrapped), raise_on_error)


def elements(events: EventStream[Any], output_type: Any, item: Any, *, raise_on_error: bool) -> GrowingOutput:
    """The iterator of `EventStream.elements`."""
    try:
        items = items_of(output_type, item)
        # Here, where the names in a type such as `list["Trip"]` are looked up.
        shape = None if output_type is None else answer_shape(output_type)
    except TypeError as error:
        raise invalid_option("response_format", "no_list", f"elements() gives the items of a list: {error}") from error
    return GrowingOutput(events, lambda: _Elements(items, output_type, shape), raise_on_error)


class _Answer(Protocol):
    """An answer in progress."""

    def add(self, text: str) -> list[Any]:
        """Take the text of a burst; returns what came of it."""
        ...

    def begin_block(self) -> None:
        """What follows is in another block of text."""

    def end(self) -> list[Any]:
        """Nothing follows; returns what came of that."""
        ...

    def make(self, value: Any) -> Any:
        """What the consumer gets for a value from `add` or `end`; may raise."""
        ...

    def problem(self) -> ValidationError | None:
        """What is wrong with the answer, after its end."""
        ...


@define(eq=False)
class GrowingOutput:
    """An iterator over what comes of the text of a call. Reading on after a cancelled read loses nothing."""

    _events: EventStream[Any]
    _new_answer: Callable[[], _Answer]
    _raise_on_error: bool
    _answer: _Answer = attrs.field(init=False)
    _is_late: bool = attrs.field(init=False)  # events were read before, and perhaps some of the answer
    _is_whole: bool = attrs.field(default=False, init=False)  # the answer
    _waiting: deque[Any] = attrs.field(factory=deque[Any], init=False)
    _pieces: list[str] = attrs.field(factory=list[str], init=False)
    _seen: set[str] = attrs.field(factory=set[str], init=False)

    def __attrs_post_init__(self) -> None:
        self._answer = self._new_answer()
        self._is_late = self._events._context.first_event is not None

    def __aiter__(self) -> GrowingOutput:
        return self

    async def __anext__(self) -> Any:
        while not self._waiting:
            is_last = await self._read()
            if is_last and not self._waiting:
                self._raise_problem()
                raise StopAsyncIteration
        return self._answer.make(self._waiting.popleft())

    async def _read(self) -> bool:
        """Read to the end of a burst or of an answer; returns whether it is that of the stream."""
        ended = step_ended = False
        try:
            while not step_ended:
                event = await self._events.__anext__()
                if isinstance(event, TextDelta):
                    if event.id not in self._seen:
                        self._begin_block(event.id)
                    self._pieces.append(event.delta)
                elif isinstance(event, TextCompleted) and event.id not in self._seen:
                    self._begin_block(event.id)
                    self._pieces.append(event.text)
                elif isinstance(event, (StepCompleted, MessagesAdded)):
                    self._seen.clear()
                    # Between the steps of a turn, messages are added behind the end of a step; in a single call that
                    # asks again, they are that end.
                    step_ended = isinstance(event, StepCompleted) or not self._is_whole
                if not self._events._has_more():
                    break
        except StopAsyncIteration:
            ended = True
        self._take_text()
        if step_ended and self._is_whole:  # a step without text
            self._answer, self._is_whole = self._new_answer(), False
        if (step_ended or ended) and not self._is_whole:
            self._waiting.extend(self._answer.end())
            self._is_whole = True
        return ended

    def _begin_block(self, block: str) -> None:
        self._take_text()
        self._seen.add(block)
        self._answer.begin_block()

    def _take_text(self) -> None:
        text = "".join(self._pieces)
        self._pieces.clear()
        if text:
            if self._is_whole:
                self._answer, self._is_whole = self._new_answer(), False
            self._waiting.extend(self._answer.add(text))

    def _raise_problem(self) -> None:
        if self._raise_on_error:
            if (failure := self._events._failure()) is not None:
                raise failure
            if (problem := self._answer.problem()) is not None:
                raise self._with_advice(problem) if self._is_late else problem

    def _with_advice(self, problem: ValidationError) -> ValidationError:
        late = "events were read before elements() or partial_output(), which misses what they had: call it first"
        return ValidationError(problem.problems, reason=problem.reason, message=f"{late} ({problem.message})")


@define(eq=False)
class _Snapshots:
    """The snapshots of an answer."""

    _is_wrapped: bool
    _value: GrowingValue = attrs.field(factory=GrowingValue, init=False)
    _last: Any = attrs.field(default=NOTHING, init=False)
    _error: JsonTextError | None = attrs.field(default=None, init=False)

    def add(self, text: str) -> list[Any]:
        self._value.add(text)
        return self._if_new(self._value.snapshot())

    def begin_block(self) -> None:
        self._value.begin_block()

    def end(self) -> list[Any]:
        try:
            return self._if_new(self._value.final())
        except JsonTextError as error:
            self._error = error
            return self._if_new(self._value.snapshot(at_last=True))

    def make(self, value: Any) -> Any:
        return value

    def problem(self) -> ValidationError | None:
        if self._error is None:
            return None
        text = self._value.text()
        sentence = f"the response is not JSON, or was cut off: {self._error}. It begins with {text[:80]!r}"
        return ValidationError([Problem((), "not_json", sentence)], reason="invalid_output")

    def _if_new(self, value: Any) -> list[Any]:
        if self._is_wrapped and isinstance(value, dict):
            value = unwrapped(value)
        if value is NOTHING or (value == self._last and type(value) is type(self._last)):
            return []
        self._last = value
        return [value]


@define(eq=False)
class _Elements:
    """The items of an answer's list."""

    _items: Items
    _output_type: Any
    _shape: Shape | None
    _list: GrowingList = attrs.field(init=False)
    _before: list[str] = attrs.field(factory=list[str], init=False)  # the text while there is no list
    _given: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._list = GrowingList(self._items.keys)

    def add(self, text: str) -> list[Any]:
        if not self._list.has_begun:
            self._before.append(text)
        return self._list.add(text)

    def begin_block(self) -> None:
        self._list.begin_block()

    def end(self) -> list[Any]:
        return []

    def make(self, value: Any) -> Any:
        index, self._given = self._given, self._given + 1
        return self._items.make(index, value)

    def problem(self) -> ValidationError | None:
        read = self._list
        if read.problem is not None:
            sentence = f"item {read.count} of the list is not JSON: {read.problem}"
        elif read.is_closed:
            return None
        elif read.has_begun:
            sentence = (
                f"the response ends before its list does: {read.count} items of it are whole; one with the "
                "finish_reason 'length' is cut off: raise max_tokens"
            )
        else:
            return self._why_no_list()
        return ValidationError([Problem((), "not_json", sentence)], reason="invalid_output")

    def _why_no_list(self) -> ValidationError | None:
        text = "".join(self._before)
        if self._output_type is not None:
            try:
                parse_text(text, self._output_type, self._shape)
            except ValidationError as error:
                return error
            return None  # of `list[Trip] | None` it is the other
        sentence = f"the response has no list; expected one, or an object with one. It begins with {text[:80]!r}"
        return ValidationError([Problem((), "no_list", sentence)], reason="invalid_output")
