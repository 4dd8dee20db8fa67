"""How the user's functions are called: in the task that needs their result, or by the host of a program without Trio.

A function may be sync or async. In a Trio program it runs where it is needed. Where Trio runs in a thread of its own,
the program's functions belong to the thread or the event loop that they came from; its bridge sets `host`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, final

from allm.data.attrs_classes import frozen

__all__ = ["Host", "call_back", "call_user", "host", "items_of_user"]

T = TypeVar("T")


class Host(Protocol):
    """Calls functions where they belong."""

    async def __call__(self, function: Callable[[], Any], /) -> Any:
        """Call the function, await its result if it is awaitable, and return it or raise what was raised."""
        ...

    async def back(self, function: Callable[[], Awaitable[T]], /) -> T:
        """Run an async function of the library, wherever this is awaited."""
        ...


host: ContextVar[Host | None] = ContextVar("allm_host", default=None)
"""Who calls the functions of the program; None where they run in the task itself."""


async def call_user(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of the user, sync or async, and return its result.

    Raises:
        Exception: What it raised.
    """
    elsewhere = host.get()
    if elsewhere is not None:
        return await elsewhere(lambda: function(*args))
    value = function(*args)
    return await value if inspect.isawaitable(value) else value


async def call_back(function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Call an async function of the library from one of the user, wherever that runs."""
    elsewhere = host.get()
    if elsewhere is None:
        return await function(*args)
    return await elsewhere.back(lambda: function(*args))


def items_of_user(items: AsyncIterable[T]) -> AsyncIterator[T]:
    """The iterator of an async iterable of the user, each of whose steps is a call as `call_user` makes it."""
    return _Items(aiter(items))


@final
@frozen
class _Items(AsyncIterator[T]):
    _iterator: AsyncIterator[T]

    async def __anext__(self) -> T:
        item: T = await call_user(self._next)
        return item

    async def _next(self) -> T:
        return await anext(self._iterator)

    async def aclose(self) -> None:
        """Close a generator."""
        close: Callable[[], Awaitable[None]] | None = getattr(self._iterator, "aclose", None)
        if close is not None:
            await call_user(close)
