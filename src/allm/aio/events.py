"""`AsyncioStream`: the events of a call, read by a task of an event loop."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Generic, TypeVar

from allm.bridge.reading import FedStream
from allm.data.attrs_classes import define

__all__ = ["AsyncioStream"]

T_co = TypeVar("T_co", covariant=True)


@define(eq=False)
class AsyncioStream(FedStream[T_co], Generic[T_co]):
    """An `EventStream` whose reader is a task of an event loop."""

    _reader: ClassVar[Any] = staticmethod(asyncio.current_task)
    _kind: ClassVar[str] = "task"
    _code: ClassVar[tuple[str, str]] = ("async with allm.aio", "async for")

    async def _wait(self) -> None:
        await self._waiter.wait()

    async def _pause(self) -> None:
        await asyncio.sleep(0)
