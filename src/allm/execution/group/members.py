"""The calls of the members of a group: each has its own model, parameters, key and adapter.

The call of the group has what was given with the call and what is about the call as a whole: messages, tools, the
format. A member's call is that, with what its own engine says of all else, by the precedence rule of every call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import Context, copy_context
from typing import Any, Protocol

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import AllmError, BudgetExceeded, EngineError
from allm.data.message import user
from allm.data.problems import refuse
from allm.data.request import request_problems
from allm.execution.options import (
    ModelCall,
    application_defaults,
    check_adapter,
    engine_layers,
    places,
    prepare_call,
    request_layer,
)
from allm.http.headers import is_secret
from allm.runtime.engine import Engine
from allm.runtime.engine_group import EngineGroup, of_one_provider
from allm.runtime.option_table import OF_CALL, merged_options, values_for

__all__ = ["Candidate", "Named", "PreparedMembers", "all_refused", "first_call", "member_calls", "prepare_members"]

_ANY = (user("-"),)
"""What a member's parameters are checked with: the messages have been checked."""


def member_calls(call: ModelCall) -> list[ModelCall]:
    """The calls of the members that have a valid one."""
    candidates = _candidates(call)
    return [one for candidate in candidates if (one := candidate.call()) is not None]


def first_call(call: ModelCall) -> ModelCall:
    """The call of the first member that has a valid one.

    Raises:
        AllmError: As for `prepare_members`.
    """
    while call.engine.is_group:
        candidates = _candidates(call)
        found = next((one for candidate in candidates if (one := candidate.call()) is not None), None)
        if found is None:
            raise all_refused(refusals_of(candidates))
        call = found
    return call


def _member_call(call: ModelCall, engine: Engine) -> ModelCall:
    """The call of a member.

    Raises:
        EngineError, OptionError, ValidationError: It is not valid.
    """
    check_adapter(engine)
    if engine.is_group:
        return attrs.evolve(call, engine=engine)
    by_default = [_of_model(layer) for layer in (application_defaults(), *engine_layers(engine))]
    given = [_of_model(layer) for layer in (request_layer(call.request), call.given)]
    merged = merged_options([*by_default, *given])
    request = attrs.evolve(call.request, **values_for("request", merged))
    refuse(request_problems(attrs.evolve(request, messages=_ANY)))
    return attrs.evolve(
        call,
        engine=engine,
        request=request,
        adapter_options=attrs.evolve(
            call.adapter_options,
            **values_for("adapter", merged),
            http_client=engine.http_client,
            answer_limits=engine.answer_limits,
        ),
        execution_options=attrs.evolve(call.execution_options, **values_for("execution", merged)),
        defaulted=call.defaulted | (places(by_default) - places(given)),
    )


def _of_model(layer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in layer.items() if name not in OF_CALL}


class Named(Protocol):
    """A member of a group, as messages tell of it."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...


@define(eq=False)
class Candidate:
    """A member of a group, for one call of it.

    Attributes:
        index: Its place in the group.
        refusal: Why it cannot make the call, once that is known.
        prepared: What its adapter made of the call, once `is_ready` was asked.
    """

    index: int
    engine: Engine
    _of_group: ModelCall
    _context: Context
    refusal: AllmError | None = attrs.field(default=None, init=False)
    prepared: Any = attrs.field(default=None, init=False)
    _call: ModelCall | None = attrs.field(default=None, init=False)
    _is_ready: bool = attrs.field(default=False, init=False)

    def call(self) -> ModelCall | None:
        """Its call, if there is a valid one."""
        if self._call is None and self.refusal is None:
            try:
                self._call = self._context.run(_member_call, self._of_group, self.engine)
            except AllmError as error:
                self.refusal = error
        return self._call

    def is_ready(self) -> bool:
        """Whether it can make the call, which is prepared when this is asked first."""
        if (call := self.call()) is not None and not self._is_ready and self.refusal is None:
            try:
                self.prepared = self._context.run(prepare_call, call)
            except AllmError as error:
                self.refusal = error
            else:
                self._is_ready = True
        return self._is_ready

    @property
    def name(self) -> str:
        """What it is called in messages: its provider, and the model if that is known."""
        model = self._call.request.model if self._call is not None else self.engine.model
        provider = getattr(self.engine.adapter, "provider", "an engine without adapter")
        return f"{provider} {model}" if model is not None else str(provider)


@define(eq=False)
class PreparedMembers:
    """A call of a group: its members are prepared when it is their turn, in the context where the call was made."""

    group: EngineGroup
    candidates: list[Candidate]


def _candidates(call: ModelCall) -> list[Candidate]:
    group = call.engine
    assert isinstance(group, EngineGroup)  # noqa: S101  (asked for groups only)
    return [Candidate(index, engine, call, copy_context()) for index, engine in enumerate(group.members)]


def prepare_members(call: ModelCall) -> PreparedMembers:
    """Prepare the first member that can make the call.

    Raises:
        EngineError: `all_refused`; `invalid_engine`: what belongs to one provider is given to several.
        ValidationError, EngineError, OptionError, AdapterError: Of a group's only member.
    """
    candidates = _candidates(call)
    members = PreparedMembers(call.engine, candidates)  # type: ignore[arg-type]
    _check_given(call, members.group)
    if not any(candidate.is_ready() for candidate in candidates):
        raise all_refused(refusals_of(candidates))
    return members


def refusals_of(candidates: list[Candidate]) -> list[tuple[Named, AllmError]]:
    """Those that cannot make the call, and why."""
    return [(candidate, candidate.refusal) for candidate in candidates if candidate.refusal is not None]


def _check_given(call: ModelCall, group: EngineGroup) -> None:
    """Refuse to send the key or the address of one provider to another one, or to ask for its model."""
    providers = group.providers()
    if len(providers) == 1:
        return
    options = call.adapter_options
    if call.request.model is not None:
        raise of_one_provider("model", "a model", providers)
    if options.api_key is not None:
        raise of_one_provider("api_key", "a key", providers)
    if options.base_url is not None:
        raise of_one_provider("base_url", "an address", providers)
    if secret := next((name for name in options.headers if is_secret(name.lower())), None):
        raise of_one_provider(f"the header {secret!r}", "a secret", providers)


def all_refused(refusals: Sequence[tuple[Named, AllmError]]) -> AllmError:
    """The error for a call that no member can make."""
    if (over := next((error for _, error in refusals if isinstance(error, BudgetExceeded)), None)) is not None:
        return over  # with more money it could have been made
    if len(refusals) == 1:
        return refusals[0][1]
    told = "; ".join(f"{member.name}: {error.message}" for member, error in refusals)
    made = EngineError(f"none of the engines can make this call: {told}", reason="all_refused")
    made.__cause__ = refusals[0][1]
    return made
