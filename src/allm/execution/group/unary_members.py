"""`UnaryMembers`: the adapter of a group's call of a service, whose requests are attempts of the members' calls.

A call that makes several requests, such as embedding a long list, stays with the model that answered the first one:
vectors of two models, or two voices, do not go together.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, ExitStack
from contextvars import ContextVar
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define, frozen
from allm.data.errors import AdapterError, AllmError
from allm.execution.failures import log_member
from allm.execution.group.circuit import circuits_of, in_order
from allm.execution.group.contest import Contest, Contestant
from allm.execution.group.members import all_refused
from allm.execution.group.run import failure_of_all
from allm.execution.nurseries import nursery_boundary, start_task
from allm.execution.services.unary import UnaryCall
from allm.runtime import telemetry
from allm.runtime.adapters import AdapterOptions
from allm.runtime.batches import BatchLimits
from allm.runtime.engine_group import EngineGroup
from allm.runtime.http_adapter import Adapter, as_adapter

__all__ = ["Request", "Running", "UnaryMember", "UnaryMembers", "never", "running_request"]


@define(eq=False)
class UnaryMember:
    """A member of a group, for one call of a service.

    Attributes:
        index: Its place in the group.
        call: Its own call.
    """

    index: int
    call: UnaryCall[Any, Any]

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.call.adapter.provider} {self.model}" if self.model else self.call.adapter.provider

    @property
    def model(self) -> str | None:
        """The model that it asks."""
        return self.call.model or self.call.service.model_of(self.call.engine)


@define(eq=False)
class Request:
    """One request, as each member prepares it when it is its turn."""

    given: Any
    method: str
    _prepared: dict[int, Any] = attrs.field(factory=dict[int, Any], init=False)
    refusals: dict[int, AllmError] = attrs.field(factory=dict[int, AllmError], init=False)

    def is_ready(self, member: UnaryMember) -> bool:
        """Whether the member can make it."""
        if member.index not in self._prepared and member.index not in self.refusals:
            try:
                request = member.call.request_for(self.given)
                prepared = self._prepare(member.call, request)
                self._prepared[member.index] = request, prepared, member.call.charge(request)
            except AllmError as error:
                self.refusals[member.index] = error
        return member.index in self._prepared

    def _prepare(self, call: UnaryCall[Any, Any], request: Any) -> Any:
        if self.method == "prepare" or not hasattr(call.adapter, self.method):
            return call.prepare(request)
        adapter: Any = call.adapter
        return adapter.prepare_stream(request, call.adapter_options)

    def of(self, member: UnaryMember) -> tuple[Any, Any, Any]:
        """The member's request, what its adapter prepared, and what it is charged to."""
        prepared: tuple[Any, Any, Any] = self._prepared[member.index]
        return prepared


def never(_error: AllmError) -> bool:
    """No failure ends the attempts of a member that nobody follows."""
    return False


@frozen
class Running:
    """What the attempts of one request are made with."""

    span: telemetry.Span
    after: ExitStack | None
    moves_on: Callable[[AllmError], bool]


running_request: ContextVar[Running] = ContextVar("allm_running_request")


Once = Callable[[UnaryMember, Any, Any], Awaitable[Any]]


class UnaryMembers(Adapter):
    """The adapter of a group's call: its requests are answered by the members."""

    def __init__(self, group: EngineGroup, members: list[UnaryMember]) -> None:
        self.group = group
        self.members = members
        self.nursery: trio.Nursery | None = None  # around the block in which an answer is read
        self._model: Any = self  # of the member that answered first; before that, none that any has

    @property
    def provider(self) -> str:
        """The names of the providers."""
        return "|".join(dict.fromkeys(member.call.adapter.provider for member in self.members))

    @property
    def requires_model(self) -> bool:
        """False: each member has its own."""
        return False

    def batch_limits(self, _model: str | None, /) -> BatchLimits:
        """What fits into a request of each."""
        limits = [as_adapter(member.call.adapter).batch_limits(member.model) for member in self.members]
        sizes = [limit.size for limit in limits if limit.size is not None]
        return BatchLimits(min(limit.inputs for limit in limits), min(sizes, default=None))

    def prepare(self, request: Any, _options: AdapterOptions, /) -> Request:
        """Prepare the request of the first member that can make it.

        Raises:
            EngineError: `all_refused`.
            AllmError: Of a group's only member.
        """
        return self._of(Request(request, "prepare"))

    def _of(self, request: Request) -> Request:
        if not any(request.is_ready(member) for member in self.members):
            raise all_refused([(member, request.refusals[member.index]) for member in self.members])
        return request

    def prepare_stream(self, request: Any, _options: AdapterOptions, /) -> Request:
        """As `prepare`, for a transcription that is streamed."""
        return self._of(Request(request, "prepare_stream"))

    def open(self, request: Request, /) -> AbstractAsyncContextManager[Any]:
        """Let the members answer, with something to read while it arrives."""
        from allm.execution.group.opened import opened

        return opened(self, request)

    async def send(self, request: Request, /) -> Any:
        """Let the members answer.

        Raises:
            AdapterError: That of the last.
        """

        async def once(member: UnaryMember, asked: Any, prepared: Any) -> Any:
            call = member.call
            response = await call.adapter.send(prepared)
            call.service.check_response(asked, response, call.adapter.provider)
            return call.service.priced(call.adapter.provider, asked, response)

        return await self.answered(request, once)

    async def answered(self, request: Request, once: Once) -> Any:
        """What the member gives that answers, with the model that has answered before.

        Args:
            once: Makes one attempt.

        Raises:
            AdapterError: That of the last.
        """
        while True:
            members = [member for member in self.members if self._may_answer(member)]
            ask = self._fall_back if self.group.kind == "fallback" else self._race
            member, answer = await ask(members, request, once)
            if self._model is self:
                self._model = member.model
            if self._may_answer(member):  # else another model has answered another request meanwhile
                return answer

    def _may_answer(self, member: UnaryMember) -> bool:
        return self._model is self or member.model == self._model

    async def _fall_back(self, members: list[UnaryMember], request: Request, once: Once) -> tuple[UnaryMember, Any]:
        known = circuits_of(self.group)
        circuits = {member.index: known[member.index] for member in members}
        up, down = ([members[index] for index in places] for places in in_order(list(circuits.values())))
        waiting = up + down
        failures: list[tuple[UnaryMember, AllmError]] = []

        def has_next(others: list[UnaryMember]) -> bool:
            return any(request.is_ready(member) for member in others)

        def goes_on(error: AllmError) -> bool:  # who is down is asked only when these are used up
            others = [member for member in waiting if member not in down]
            return (self.group.moves_on(error) and has_next(others)) or running_request.get().moves_on(error)

        for member in down:
            self._tell("engine.skipped", member, reason="down")
        while waiting:
            member = waiting.pop(0)
            if not request.is_ready(member):
                self._tell("engine.skipped", member, reason="refused", error=request.refusals[member.index])
                continue
            self._tell("engine.attempt", member, attempt=len(failures) + 1, error=failures[-1][1] if failures else None)
            trial = _Trial()
            circuits[member.index].begin(trial)
            try:
                answer = await self.attempt(member, request, once, goes_on)
            except AdapterError as error:
                circuits[member.index].end(trial, error)
                failures.append((member, error))
                if not (self.group.moves_on(error) and has_next(waiting)):
                    break
            except BaseException:
                circuits[member.index].give_up(trial)
                raise
            else:
                circuits[member.index].end(trial, None)
                return member, answer
        raise failure_of_all(failures)

    async def _race(self, members: list[UnaryMember], request: Request, once: Once) -> tuple[UnaryMember, Any]:
        contest: Contest[_Answer] = Contest()

        async def run(one: _Answer) -> AllmError | None:
            try:
                one.answer = await self.attempt(one.member, request, once, self.stumbling(contest, one))
            except AdapterError as error:
                return error
            await contest.win(one)
            return None

        async with nursery_boundary() as nursery:
            await self.begin_all(contest, _Answer, request, run, nursery, members)
        if contest.winner is not None:
            return contest.winner.member, contest.winner.answer
        raise contest.raised or self.failure_of(contest)

    async def begin_all(
        self,
        contest: Contest[Any],
        new: Callable[[UnaryMember], Any],
        request: Request,
        run: Callable[[Any], Awaitable[AllmError | None]],
        nursery: trio.Nursery,
        members: Iterable[UnaryMember] | None = None,
    ) -> None:
        """Begin with one member after the other, until one has won or all have failed."""
        waiting = list(self.members if members is None else members)
        while waiting and not contest.is_over:
            member = waiting.pop(0)
            if not request.is_ready(member):
                self._tell("engine.skipped", member, reason="refused", error=request.refusals[member.index])
                continue
            one = new(member)
            contest.begun.append(one)
            self._tell("engine.attempt", member, attempt=len(contest.begun), error=contest.newest_error())
            name = f"allm hedge {len(contest.begun)}"
            start_task(nursery, contest.run, one, functools.partial(run, one), name=name)
            if waiting:
                await contest.wait(self.group.after)
        await contest.finish()

    def stumbling(self, contest: Contest[Any], one: Any) -> Callable[[AllmError], bool]:
        """What a failure of one does before it tries again."""
        moves_on = running_request.get().moves_on

        def goes_on(error: AllmError) -> bool:
            contest.stumble(one)
            return moves_on(error)

        return goes_on

    def failure_of(self, contest: Contest[Any]) -> AllmError:
        """The failure of a contest that all have lost."""
        return failure_of_all([(one.member, one.failure) for one in contest.failed])

    async def attempt(
        self,
        member: UnaryMember,
        request: Request,
        once: Once,
        moves_on: Callable[[AllmError], bool] | None = None,
        after: ExitStack | None = None,
    ) -> Any:
        """Let one member make its attempts, with a span of their own.

        Raises:
            AdapterError: They failed.
        """
        running = running_request.get()
        after = after or running.after
        call, (asked, prepared, charge) = member.call, request.of(member)
        facts = {"provider": call.adapter.provider, "model": member.model}
        with telemetry.span(call.service.span, facts) as span:
            try:
                answer = await call.attempt(
                    lambda: once(member, asked, prepared),
                    span,
                    prepared=prepared,
                    after=after,
                    charge=charge,
                    moves_on=moves_on or running.moves_on,
                )
            except AdapterError as error:
                log_member(member.name, error, span)
                raise
            span.attributes.update(usage=getattr(answer, "usage", None))
        if charge is not None and after is not None:  # it has ended when it has been read
            after.callback(charge.end, answer)
        running.span.attributes.update(facts)
        return answer

    def _tell(self, event: str, member: UnaryMember, **facts: Any) -> None:
        provider, model = member.call.adapter.provider, member.model
        telemetry.emit(
            event, running_request.get().span, group=self.group.kind, provider=provider, model=model, **facts
        )


@define(eq=False)
class _Trial:
    first_content: float | None = None


@define(eq=False, slots=False)
class _Answer(Contestant):
    member: UnaryMember
    answer: Any = attrs.field(default=None, init=False)
