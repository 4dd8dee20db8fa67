"""The model calls of a turn: what each of them asks, prepared before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.data.builders import to_messages
from allm.data.errors import Problem, ValidationError
from allm.data.message import unanswered_tool_calls
from allm.data.request import Request
from allm.data.thread import Thread
from allm.data.validation import validate
from allm.execution.journal import ToolJournal, Unfinished
from allm.execution.options import Input, ModelCall, check_adapter, output_type, prepare_call, resolve
from allm.execution.stream.folds import ChatFold
from allm.runtime.adapters import as_adapter
from allm.runtime.capability import needs_two_passes
from allm.runtime.engine import Engine

__all__ = ["PreparedCall", "TurnCalls"]

PreparedCall = tuple[ModelCall, Any]
"""A call, and the adapter's own form of it."""


class TurnCalls:
    """Makes the calls of one turn, the first one at once, so that what is wrong with it is raised before anything runs.

    A turn in two passes has the tools in the first one and the response format in the last call alone.

    Attributes:
        thread: The conversation that the turn starts from.
        first: The first call; without the adapter's form where the turn starts from an `unfinished` answer.
        two_pass: Whether there is a last call for the format.
        output_type: The class that the answer is to be an instance of, if there is one.
        unfinished: The answer that the turn goes on from, if it does.
    """

    def __init__(
        self,
        engine: Engine,
        given: Input,
        options: Mapping[str, Any],
        *,
        journal: ToolJournal | None = None,
        unfinished: Unfinished | None = None,
    ) -> None:
        if isinstance(engine, Engine):
            check_adapter(engine)
        self._engine = engine
        self._options = options
        self._journal = journal
        self._request = given if isinstance(given, Request) else Request(to_messages(given))
        self.thread: Thread = given if isinstance(given, Thread) else Thread(self._request.messages)
        validate(self.thread)
        _check_answered(self.thread)
        resolved = resolve(engine, self._request, options)
        self.two_pass: bool = resolved.request.response_format is not None and (
            resolved.request.structured_finalize or _needs_two_passes(resolved)
        )
        self.output_type: type | None = output_type(resolved)
        first = self._of_pass(resolved, self.thread, final=False)
        if unfinished is not None:
            response = attrs.evolve(unfinished.response, output_type=self.output_type)
            unfinished = attrs.evolve(unfinished, response=response)
        self.unfinished = unfinished
        self.first: PreparedCall = first, prepare_call(first) if unfinished is None else None

    def fold(self) -> ChatFold:
        """A fold for the turn's events."""
        fold = ChatFold(self.thread, self.output_type)
        if self.unfinished is not None:
            fold.begin_with(self.unfinished)
        return fold

    def next(self, thread: Thread, *, final: bool) -> PreparedCall:
        """A later call, which sends `thread`; `final` is the one for the format.

        Raises:
            AllmError: It cannot be made.
        """
        request = attrs.evolve(self._request, messages=thread.messages)
        call = self._of_pass(resolve(self._engine, request, self._options), thread, final=final)
        return call, prepare_call(call)

    @property
    def limit(self) -> float:
        """Seconds for the whole turn."""
        limit = self.first[0].controls.request_timeout
        return float("inf") if limit is None else limit

    @property
    def facts(self) -> dict[str, Any]:
        """What telemetry says of the turn when it starts."""
        return {"provider": as_adapter(self._engine.adapter).provider, "model": self.first[0].request.model}

    def _of_pass(self, call: ModelCall, thread: Thread, *, final: bool) -> ModelCall:
        changes: dict[str, Any] = {"messages": thread.messages, "structured_finalize": False}
        if self.two_pass and final:
            changes |= {"tools": (), "tool_choice": None}
        elif self.two_pass:
            changes["response_format"] = None
        return attrs.evolve(call, request=attrs.evolve(call.request, **changes), journal=self._journal)


def _needs_two_passes(call: ModelCall) -> bool:
    """Whether the model cannot have tools and a response format in one call."""
    adapter = as_adapter(call.adapter)
    asks = bool(call.request.tools) and bool(adapter.needs_structured_finalize(call.request))
    return asks or needs_two_passes(adapter, call.request)


def _check_answered(thread: Thread) -> None:
    waiting = unanswered_tool_calls(thread.messages)
    if not waiting:
        return
    positions = {
        call.id: index
        for index, message in enumerate(thread.messages)
        if message.role == "assistant"
        for call in message.tool_calls
    }
    sentence = "has no result; add allm.tool_result(id, content) before the conversation is sent again"
    raise ValidationError(
        [
            Problem(("messages", positions[call_id], "tool_calls", call_id), "unanswered_tool_call", sentence)
            for call_id in waiting
        ],
        reason="invalid_thread",
        message=f"these tool calls have no result: {', '.join(waiting)}; add allm.tool_result(id, content) for "
        "each before the conversation is sent again",
    )
