"""Services of a group: its call has the members' calls behind its adapter."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import AllmError, EngineError
from allm.execution.group.members import all_refused
from allm.execution.group.unary_members import Running, UnaryMember, UnaryMembers, never, running_request
from allm.execution.nurseries import nursery_boundary
from allm.execution.options import application_defaults, engine_options
from allm.execution.services.service import RequestT, ResponseT, Service, UnaryOptions
from allm.execution.services.unary import UnaryCall, resolve_unary
from allm.runtime import telemetry
from allm.runtime.adapters import AdapterOptions
from allm.runtime.call_options import ExecutionOptions
from allm.runtime.costs import load_prices
from allm.runtime.engine_group import EngineGroup, of_one_provider
from allm.runtime.option_table import OF_CALL, merged_options, values_for
from allm.runtime.silence import Limit

__all__ = ["GroupCall", "resolve_members"]


@define(eq=False)
class GroupCall(UnaryCall[RequestT, ResponseT]):
    """The call of a group. The attempts are the members': each has its own retries, limits and limiter."""

    members: list[UnaryMember] = attrs.field(kw_only=True)

    def charge(self, request: Any) -> None:  # noqa: ARG002
        """None: each member's request is charged."""
        return

    @asynccontextmanager
    async def surrounding(self) -> AsyncGenerator[None]:
        """A nursery for the members' tasks, around all that is read; see `opened`."""
        members: Any = self.adapter
        async with AsyncExitStack() as stack:
            for member in self.members:
                await stack.enter_async_context(member.call.surrounding())
            async with nursery_boundary() as members.nursery:
                try:
                    yield
                finally:
                    members.nursery.cancel_scope.cancel()

    async def attempt(
        self,
        work: Callable[[], Awaitable[ResponseT]],
        span: telemetry.Span,
        *,
        prepared: Any = None,  # noqa: ARG002  (each member has its own)
        after: ExitStack | None = None,
        silence: Limit | None = None,  # noqa: ARG002  of uploads, which no group has
        moves_on: Callable[[AllmError], bool] | None = None,
        charge: Any = None,  # noqa: ARG002  (each member has its own)
    ) -> ResponseT:
        """Run `work`, in which the members make their attempts."""
        for member in self.members:
            member.call._deadline = self._deadline
        token = running_request.set(Running(span, after, moves_on or never))
        try:
            return await work()
        finally:
            running_request.reset(token)


def resolve_members(
    service: Service[RequestT, ResponseT], group: EngineGroup, options: Mapping[str, Any]
) -> GroupCall[RequestT, ResponseT]:
    """Resolve the calls of the members; arguments are those of `resolve_unary`, which has checked the options.

    Raises:
        EngineError: `all_refused`: no member has an adapter for the service; `invalid_engine`: what belongs to one
            provider is given to several.
    """
    members: list[UnaryMember] = []
    refusals: list[tuple[Any, AllmError]] = []
    for index, engine in enumerate(group.members):
        try:
            members.append(UnaryMember(index, resolve_unary(service, engine, options)))
        except EngineError as error:
            refusals.append((_Unnamed(f"engine {index + 1}"), error))
    if not members:
        raise all_refused(refusals)
    for member in members:
        load_prices(member.call.adapter.provider)
    adapter = UnaryMembers(group, members)
    providers = adapter.provider.split("|")
    if len(providers) > 1:
        for name, what in (("model", "a model"), ("api_key", "a key"), ("base_url", "an address")):
            if options.get(name) is not None:
                raise of_one_provider(name, what, providers)
    of_call = [_of_call(layer) for layer in (application_defaults(), engine_options(group))]
    of_group = {name: value for name, value in options.items() if name in UnaryOptions.__annotations__}
    merged = merged_options([*of_call, of_group])
    return GroupCall(
        service=service,
        engine=group,
        adapter=adapter,
        model=options.get("model"),
        fields={name: value for name, value in options.items() if name in service.fields and value is not None},
        body=options.get("options", {}),
        default_body={},
        members=members,
        adapter_options=AdapterOptions(**values_for("adapter", merged)),
        execution_options=ExecutionOptions(**values_for("execution", merged)),
    )


@define
class _Unnamed:
    name: str


def _of_call(layer: Mapping[str, Any]) -> dict[str, Any]:
    return {n: value for n, value in layer.items() if n in OF_CALL and n in UnaryOptions.__annotations__}
