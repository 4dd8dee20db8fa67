"""Services of a group whose answer is read while it arrives: speech, and transcriptions that are streamed.

A fallback opens one member's answer after another, until one has something in it. In a hedge each member opens its
answer in a task of its own, which closes it too; the task of the winner passes on what it reads.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError, AllmError
from allm.data.response import Usage
from allm.execution.group.contest import Contest, Contestant
from allm.execution.group.unary_members import Request, UnaryMember, UnaryMembers
from allm.execution.services.transcription_stream import in_one_piece
from allm.runtime.adapters import SpokenAnswer
from allm.runtime.service_costs import audio_usage

__all__ = ["opened"]


@asynccontextmanager
async def opened(members: UnaryMembers, request: Request) -> AsyncGenerator[Any]:
    """The answer of the member that has begun to answer."""
    if members.group.kind == "hedge":
        async with _opened_first(members, request) as answer:
            yield answer
        return
    async with AsyncExitStack() as stack:

        async def once(member: UnaryMember, asked: Any, prepared: Any) -> Any:
            return await _begun(member, asked, prepared, stack)

        yield await members.answered(request, once)


async def _begun(member: UnaryMember, asked: Any, prepared: Any, stack: AsyncExitStack) -> Any:
    """The answer of a member, once its first item has come; `stack` keeps it open.

    Raises:
        AdapterError: The member failed, or there is nothing in its answer.
    """
    adapter: Any = member.call.adapter
    async with AsyncExitStack() as attempt:
        opening = adapter.open if callable(getattr(adapter, "open", None)) else functools.partial(in_one_piece, adapter)
        answer = await attempt.enter_async_context(opening(prepared))
        name = "pieces" if isinstance(answer, SpokenAnswer) else "events"
        items: AsyncIterator[Any] = getattr(answer, name)
        first = await anext(items, None)
        if not first:
            raise AdapterError("there is nothing in the response", reason="malformed_response")
        await stack.enter_async_context(attempt.pop_all())
    changes: dict[str, Any] = {name: _Again(first, items)}
    if isinstance(answer, SpokenAnswer):  # priced here, where it is known who has said it
        characters = len(asked.text)
        usage = audio_usage(adapter.provider, member.model, answer.usage or Usage(), characters=characters)
        changes["usage"] = None if usage == Usage() else usage
    return attrs.evolve(answer, **changes)


@define(eq=False)
class _Again:
    """The items of an answer, with the one that was read already."""

    _first: Any
    _items: AsyncIterator[Any]

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:  # `Reading` checkpoints
        first, self._first = self._first, None
        return await anext(self._items) if first is None else first


@define(eq=False, slots=False)
class _Opened(Contestant):
    member: UnaryMember
    place: ExitStack = attrs.field(factory=ExitStack, init=False)
    answer: Any = attrs.field(default=None, init=False)
    is_open: trio.Event = attrs.field(factory=trio.Event, init=False)


@asynccontextmanager
async def _opened_first(members: UnaryMembers, request: Request) -> AsyncGenerator[Any]:
    contest: Contest[_Opened] = Contest()

    async def run(one: _Opened) -> AllmError | None:
        async with AsyncExitStack() as stack:
            with one.place:
                try:
                    answer = await members.attempt(
                        one.member,
                        request,
                        lambda member, asked, prepared: _begun(member, asked, prepared, stack),
                        members.stumbling(contest, one),
                        after=one.place,
                    )
                except AdapterError as error:
                    return error
                await contest.win(one)
                await _pass_on(one, answer)
        return None

    assert members.nursery is not None  # noqa: S101  (whoever opens an answer is in `surrounding`)
    try:
        await members.begin_all(contest, _Opened, request, run, members.nursery)
        if (winner := contest.winner) is None:
            raise contest.raised or members.failure_of(contest)
        await winner.is_open.wait()
        yield winner.answer
    finally:
        contest.end()


async def _pass_on(one: _Opened, answer: Any) -> None:
    """Read an answer for whoever has the other end of a channel."""
    name = "pieces" if isinstance(answer, SpokenAnswer) else "events"
    send, receive = trio.open_memory_channel[Any](0)
    one.answer = attrs.evolve(answer, **{name: _Received(receive)})
    one.is_open.set()
    with send:
        try:
            async for item in getattr(answer, name):
                await send.send(item)
        except Exception as error:
            await send.send(error)


@define(eq=False)
class _Received:
    _items: trio.MemoryReceiveChannel[Any]

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            item = await self._items.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        if isinstance(item, Exception):
            raise item
        return item
