# Made by scripts/blocking_stubs.py from the signatures of allm.session.

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Unpack

from allm.blocking.blocks import EventsBlock
from allm.data.errors import SessionError
from allm.data.message import Message
from allm.data.response import OutputT
from allm.data.results import ChatResult, StepResult
from allm.data.session import Session
from allm.execution.options import CallOptions
from allm.runtime.engine import Engine
from allm.session.stores.store import SessionStore
from allm.session.turn_start import SessionInput

def continue_(
    engine: Engine, session: Session, message: str | Message | None = None, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, ChatResult[OutputT]]: ...
def host(
    store: SessionStore,
    *,
    lease: float = ...,
    keep: float = ...,
    on_unsaved: Callable[[SessionError], object] | None = None,
) -> AbstractContextManager[Any]: ...
def open_store(url: str) -> Any: ...
def reply(
    engine: Engine, session: Session, content: str | Message, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, ChatResult[OutputT]]: ...
def start(
    engine: Engine, messages: SessionInput, *, id: str | None = None, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, ChatResult[OutputT]]: ...
def step(
    engine: Engine, session: Session, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, StepResult[OutputT]]: ...
def stream_continue(
    engine: Engine, session: Session, message: str | Message | None = None, **options: Unpack[CallOptions[OutputT]]
) -> EventsBlock[ChatResult[OutputT]]: ...
def stream_reply(
    engine: Engine, session: Session, content: str | Message, **options: Unpack[CallOptions[OutputT]]
) -> EventsBlock[ChatResult[OutputT]]: ...
def stream_start(
    engine: Engine, messages: SessionInput, *, id: str | None = None, **options: Unpack[CallOptions[OutputT]]
) -> EventsBlock[ChatResult[OutputT]]: ...
def stream_step(
    engine: Engine, session: Session, **options: Unpack[CallOptions[OutputT]]
) -> EventsBlock[StepResult[OutputT]]: ...
