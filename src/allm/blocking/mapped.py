"""Makes a blocking function from a function of the library, and wraps values with async methods."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Self, cast, final

from allm.blocking.blocks import BlockingBlock, EventsBlock
from allm.blocking.calls import in_trio
from allm.bridge.hold import HeldStream
from allm.bridge.thread import called_there
from allm.execution.services.embedding_stream import EmbeddingStream
from allm.execution.services.speech import SpeechStream
from allm.execution.services.transcription_stream import TranscriptionStream
from allm.execution.stream.block import StreamBlock
from allm.execution.stream.event_stream import EventStream
from allm.runs.run import BulkRun
from allm.session import SessionHost, SessionLease, SessionStore, SessionStream

__all__ = ["mapped"]

_STREAMS = (BulkRun, EmbeddingStream, SpeechStream, TranscriptionStream)
_WITH_ASYNC_METHODS = (SessionHost, SessionLease, SessionStore)


def mapped(function: Callable[..., Any]) -> Any:
    """The same function for a plain thread: the same arguments, results and errors, without `await`."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        def waited(*args: Any, **kwargs: Any) -> Any:
            return _wrapped(in_trio(_call(function, args, kwargs)))

        return waited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return _wrapped(_call(function, args, kwargs)())

    return called


def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
    """The call of a function of the library, which takes the library's own objects."""
    own = [argument._value if isinstance(argument, _Mapped) else argument for argument in args]
    return functools.partial(function, *own, **kwargs)


def _wrapped(value: Any) -> Any:
    """The value, or what stands for it in a plain thread."""
    if isinstance(value, _WITH_ASYNC_METHODS):
        return _Mapped(value)
    if isinstance(value, StreamBlock):
        return EventsBlock(value, _given)
    if isinstance(value, AbstractAsyncContextManager):
        return BlockingBlock(value, _given)
    return value


def _given(stream: Any, block: BlockingBlock) -> Any:
    """What `with` gives."""
    if isinstance(stream, EventStream | SessionStream):
        return block.events(stream)
    return _HeldStream(stream, block) if isinstance(stream, _STREAMS) else _wrapped(stream)


@final
class _Mapped:
    """An object whose async methods block the thread."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __getattr__(self, name: str) -> Any:
        if name == "close" and hasattr(self._value, "aclose"):
            name = "aclose"
        found = getattr(self._value, name)
        if isinstance(self._value, SessionHost) and not inspect.iscoroutinefunction(found):
            found = called_there(found)  # its turns run in that thread
        return mapped(found) if callable(found) else found

    def __dir__(self) -> list[str]:
        return dir(self._value)

    def __repr__(self) -> str:
        return repr(self._value)

    def __enter__(self) -> Self:
        in_trio(self._value.__aenter__)
        return self

    def __exit__(self, *error: object) -> None:
        in_trio(lambda: self._value.__aexit__(*error))


@final
class _HeldStream(HeldStream):
    def __iter__(self) -> Iterator[Any]:
        return cast("Iterator[Any]", self)

    def __next__(self) -> Any:
        try:
            return self._next()
        except StopAsyncIteration:
            raise StopIteration from None
