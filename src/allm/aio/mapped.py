"""Makes the function of an event loop from a function of the library, and wraps values with async methods."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Self, TypeVar, cast, final

from allm.aio.blocks import AsyncioBlock
from allm.aio.calls import in_trio
from allm.bridge.hold import HeldStream
from allm.bridge.thread import called_there
from allm.execution.services.embedding_stream import EmbeddingStream
from allm.execution.services.speech import SpeechStream
from allm.execution.services.transcription_stream import TranscriptionStream
from allm.execution.stream.event_stream import EventStream
from allm.runs.run import BulkRun
from allm.session import SessionHost, SessionLease, SessionStore, SessionStream

__all__ = ["mapped"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_STREAMS = (BulkRun, EmbeddingStream, SpeechStream, TranscriptionStream)
_WITH_ASYNC_METHODS = (SessionHost, SessionLease, SessionStore)


def mapped(function: FunctionT) -> FunctionT:
    """The same function for a program on an event loop: the same arguments, results and errors.

    What it waits for runs in the Trio thread, and functions among its arguments are called on the loop.
    """
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return _wrapped(await in_trio(_call(function, args, kwargs)))

        return cast("FunctionT", awaited)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return _wrapped(_call(function, args, kwargs)())

    return cast("FunctionT", called)


def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
    """The call of a function of the library, which takes the library's own objects."""
    own = [argument._value if isinstance(argument, _Mapped) else argument for argument in args]
    return functools.partial(function, *own, **kwargs)


def _wrapped(value: Any) -> Any:
    """The value, or what stands for it on an event loop."""
    if isinstance(value, _WITH_ASYNC_METHODS):
        return _Mapped(value)
    if isinstance(value, AbstractAsyncContextManager):
        return AsyncioBlock(value, _given)
    return value


def _given(stream: Any, block: AsyncioBlock) -> Any:
    """What `async with` gives."""
    if isinstance(stream, EventStream | SessionStream):
        return block.events(stream)
    return _HeldStream(stream, block) if isinstance(stream, _STREAMS) else _wrapped(stream)


@final
class _Mapped:
    """An object whose async methods are called on an event loop."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._value, name)
        if isinstance(self._value, SessionHost) and not inspect.iscoroutinefunction(found):
            found = called_there(found)  # its turns run in that thread
        return mapped(found) if callable(found) else found

    def __dir__(self) -> list[str]:
        return dir(self._value)

    def __repr__(self) -> str:
        return repr(self._value)

    async def __aenter__(self) -> Self:
        await in_trio(self._value.__aenter__)
        return self

    async def __aexit__(self, *error: object) -> None:
        await in_trio(lambda: self._value.__aexit__(*error))  # noqa: ASYNC102  (the store shields itself)


@final
class _HeldStream(HeldStream):
    def __aiter__(self) -> AsyncIterator[Any]:
        return cast("AsyncIterator[Any]", self)

    async def __anext__(self) -> Any:
        return await self._next()
