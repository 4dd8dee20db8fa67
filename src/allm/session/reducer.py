"""Fold the events of a turn that arrive without their stream: over a socket, or from a log."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar, cast, overload

from allm.data.results import ChatResult, StepResult
from allm.data.session import Session
from allm.execution.stream.folds import ChatFold, StepFold
from allm.session.turn import project

__all__ = ["StreamReducer"]

T = TypeVar("T", bound=ChatResult | StepResult)


class StreamReducer(Generic[T]):
    """Folds the events of one turn into the updated session, like `events.outcome()` of the stream itself.

        reducer = StreamReducer(append_user(session, "Hello"))
        for event in events:
            reducer.add(event)
        session, result = reducer.outcome()

    Args:
        session: The session at the start of the turn, including the user's message if there was one.
        mode: `"chat"` for the events of a turn, `"step"` for those of one step.
    """

    @overload
    def __init__(self: StreamReducer[ChatResult], session: Session, mode: Literal["chat"] = "chat") -> None: ...
    @overload
    def __init__(self: StreamReducer[StepResult], session: Session, mode: Literal["step"]) -> None: ...
    def __init__(self, session: Session, mode: str = "chat") -> None:
        if mode not in {"chat", "step"}:
            raise ValueError(f"mode is {mode!r}; expected 'chat' or 'step'")
        self._session = session
        self._fold: Any = ChatFold(session.thread) if mode == "chat" else StepFold(session.thread)

    def add(self, event: Any) -> None:
        """Fold one event.

        Raises:
            StreamError: `already_done`: the response has already ended.
        """
        self._fold.add(event)

    def outcome(self) -> tuple[Session, T]:
        """The session and the result after the events so far; may be called at any time."""
        result = cast("T", self._fold.result())
        return project(self._session, result), result
