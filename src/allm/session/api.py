"""The operations of a session, each as a stream whose `outcome()` has the updated session, and as its fold.

    session, result = await allm.session.start(engine, "Plan a trip to Zug", id="trip-1")
    session, result = await allm.session.reply(engine, session, "In winter")

    async with allm.session.stream_reply(engine, session, "In winter") as events:
        async for event in events: ...
    session, result = events.outcome()

If a turn is cut short, the session keeps the user's message, the finished steps and the partial response.
"""

from __future__ import annotations

from typing import Unpack

from allm.data.message import Message
from allm.data.response import OutputT
from allm.data.results import ChatResult, StepResult
from allm.data.session import Session
from allm.execution.options import CallOptions
from allm.execution.stream.block import StreamBlock
from allm.runtime.engine import Engine
from allm.runtime.option_table import seal
from allm.session.turn import SessionStream, chat_block, step_block
from allm.session.turn_start import SessionInput, open_continue, open_reply, open_start, open_step_of

__all__ = ["continue_", "reply", "start", "step", "stream_continue", "stream_reply", "stream_start", "stream_step"]


def stream_start(
    engine: Engine, messages: SessionInput, *, id: str | None = None, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
    """Run the first turn of a conversation, as a stream.

    Args:
        engine: The engine for the turn.
        messages: A text, messages, a `Thread`, or a new `Session` (with `context` or `metadata`).
        id: The id of the session; stores need one.
        options: As for `allm.chat`. `context` is merged over the session's own; `session_id` defaults to its id.

    Raises:
        SessionError: The session's status does not allow it; the message says what to call instead.
        ValidationError, EngineError, OptionError, AdapterError: As for `allm.stream`. Nothing was sent.
    """
    seal(options)
    return chat_block(engine, open_start(messages, id), options)


async def start(
    engine: Engine, messages: SessionInput, *, id: str | None = None, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, ChatResult[OutputT]]:
    """Run the first turn of a conversation: the fold of `stream_start`."""
    seal(options)
    return await _outcome(stream_start(engine, messages, id=id, **options))


def stream_reply(
    engine: Engine, session: Session, content: str | Message, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
    """Run a turn with a message of the user, which may answer a pending question, as a stream.

    Args and errors: as for `stream_start`.
    """
    seal(options)
    return chat_block(engine, open_reply(session, content), options)


async def reply(
    engine: Engine, session: Session, content: str | Message, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, ChatResult[OutputT]]:
    """Run a turn with a message of the user, which may answer a pending question: the fold of `stream_reply`."""
    seal(options)
    return await _outcome(stream_reply(engine, session, content, **options))


def stream_continue(
    engine: Engine, session: Session, message: str | Message | None = None, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
    """Continue the conversation, as a stream: after tool results, with approved calls, or again after an error.

    Args:
        engine: The engine for the turn.
        session: The session to continue.
        message: A message to add first, or None.
        options: As for `stream_start`.

    Errors: as for `stream_start`, plus `SessionError(not_approved)` if the approval of a call is not valid.
    """
    seal(options)
    return chat_block(engine, open_continue(engine, session, message, options), options)


async def continue_(
    engine: Engine, session: Session, message: str | Message | None = None, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, ChatResult[OutputT]]:
    """Continue the conversation: the fold of `stream_continue`."""
    seal(options)
    return await _outcome(stream_continue(engine, session, message, **options))


def stream_step(
    engine: Engine, session: Session, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[SessionStream[StepResult[OutputT]]]:
    """Make one model call and run the tools it asks for, as a stream. The session is `idle` while there is more to do.

    Args and errors: as for `stream_start`.
    """
    seal(options)
    return step_block(engine, open_step_of(session), options)


async def step(
    engine: Engine, session: Session, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, StepResult[OutputT]]:
    """Make one model call and run the tools it asks for: the fold of `stream_step`."""
    seal(options)
    async with stream_step(engine, session, **options) as events:
        await events.until_done()
    return events.outcome()


async def _outcome(block: StreamBlock[SessionStream[ChatResult]]) -> tuple[Session, ChatResult]:
    async with block as events:
        await events.until_done()
    return events.outcome()
