"""Engines that stand for several: `fallback` asks the next when one fails, `hedge` when one is slow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Literal, get_args

import attrs

from allm.data.attrs_classes import frozen
from allm.data.errors import AdapterError, AdapterReason, AllmError, EngineError
from allm.data.problems import nearest
from allm.data.tool import Tool
from allm.data.toolset import Toolset
from allm.http.answer_limits import DEFAULT_ANSWER_LIMITS
from allm.runtime.adapters import AdapterOptions, Companion, Emit
from allm.runtime.engine import Engine, no_engine
from allm.runtime.http_adapter import Adapter, as_adapter
from allm.runtime.option_table import OF_CALL, seal
from allm.runtime.retry import DEFAULT_RETRY

__all__ = ["MOVES_ON", "EngineGroup", "GroupAdapter", "MovesOn", "fallback", "hedge", "leaves_of"]

MovesOn = Iterable[AdapterReason] | Callable[[AllmError], bool]
"""Which failures another engine may not have: their reasons, or a function of the error."""

MOVES_ON: frozenset[str] = frozenset(get_args(AdapterReason)) - {
    "invalid_request",  # it would be just as invalid elsewhere
    "content_filter",
    "answer_too_large",
    "no_scripted_response",
}
"""The reasons of failures that another engine may not have."""
COOL_DOWN = 5.0
_KEPT: dict[str, Any] = {
    "adapter": None,
    "model": None,
    "retry": DEFAULT_RETRY,
    "answer_limits": DEFAULT_ANSWER_LIMITS,
    "limiter": None,
    "http_client": None,
}
"""Fields that are of the members alone, and their value in a group."""


class GroupAdapter(Adapter):
    """Stands for the adapters of the members, in messages and in telemetry. The calls are made with theirs."""

    __slots__ = ("_adapters",)

    def __init__(self, adapters: Sequence[Any]) -> None:
        self._adapters = tuple(adapters)

    @property
    def provider(self) -> str:
        """The names of the providers, such as `openai|anthropic`."""
        return "|".join(dict.fromkeys(adapter.provider for adapter in map(as_adapter, self._adapters)))

    @property
    def requires_model(self) -> bool:
        """False: each member has its own."""
        return False

    @property
    def most_logprobs(self) -> int:
        """What all of them give."""
        return min((adapter.most_logprobs for adapter in map(as_adapter, self._adapters)), default=0)

    def companion(self, service: Companion, /) -> Any:
        """None has it for all.

        Raises:
            EngineError: `invalid_engine`.
        """
        raise EngineError(
            f"a group of engines has no {service.replace('_', ' ')}, which belongs to one provider; pass one of its "
            "members",
            reason="invalid_engine",
        ).advised(", such as group.members[0]")

    def prepare(self, _request: Any, _options: AdapterOptions, /) -> Any:
        """Refuse it: the members' adapters prepare the calls.

        Raises:
            EngineError: `invalid_engine`.
        """
        raise EngineError("a group of engines has no adapter of its own; use the engine", reason="invalid_engine")

    async def stream(self, _prepared: Any, _emit: Emit, /) -> None:
        """Never called."""
        raise NotImplementedError


class _Place:
    __slots__ = ("__weakref__",)


def _members(value: Iterable[Engine]) -> tuple[Engine, ...]:
    members = tuple(value)
    for member in members:
        if not isinstance(member, Engine):
            raise no_engine("a member of the group", member)
    if not members:
        raise EngineError("a group of engines has no member; pass one or more engines", reason="invalid_engine")
    return members


@frozen(kw_only=True, eq=False)
class EngineGroup(Engine):
    """Several engines in the place of one; made by `allm.fallback` and `allm.hedge`, and used like any engine.

    Tools, the context, and the params that are about a call as a whole, such as `max_turns`, are those of the group:
    all that the members have, the first goes before the others. What is set on the group later of anything else, such
    as a temperature, a retry policy or a limiter, is set on each member.

    Attributes:
        kind: `fallback` or `hedge`.
        members: The engines, in the order in which they are asked.
        on: Which failures of a member are answered by asking the next.
        after: Seconds after which a hedge asks one more.
        cool_down: For how many seconds a member that is down is left out, at first.
        places: What stands for each member where something is remembered of it; copies of a group have the same.
    """

    is_group: ClassVar[bool] = True
    kind: Literal["fallback", "hedge", "leaves_of"]
    members: tuple[Engine, ...] = attrs.field(converter=_members)
    on: frozenset[str] | Callable[[AllmError], bool] = MOVES_ON
    after: float = 0.0
    cool_down: float = COOL_DOWN
    places: tuple[object, ...] = attrs.field(default=(), repr=False)

    def __attrs_post_init__(self) -> None:
        seal(self.params)
        given = {name: getattr(self, name) for name, kept in _KEPT.items() if getattr(self, name) is not kept}
        if isinstance(given.get("adapter"), GroupAdapter):
            del given["adapter"]
        params = {name: value for name, value in self.params.items() if name not in OF_CALL}
        members = self.members
        if given or params:
            members = tuple(_changed(member, given, params) for member in members)
        for name, value in (
            *((name, kept) for name, kept in _KEPT.items() if name != "retry"),  # which others read from the engine
            ("adapter", GroupAdapter([member.adapter for member in members])),
            ("params", {name: value for name, value in self.params.items() if name in OF_CALL}),
            ("members", members),
            ("places", self.places if len(self.places) == len(members) else tuple(_Place() for _ in members)),
        ):
            object.__setattr__(self, name, value)
        model = given.get("model", params.get("model"))
        if model is not None and len(providers := self.providers()) > 1:
            raise of_one_provider("model", "a model", providers)

    def providers(self) -> tuple[str, ...]:
        """The names of the members' chat providers."""
        return tuple(dict.fromkeys(as_adapter(leaf.adapter).provider for leaf in leaves_of(self)))

    def moves_on(self, error: AllmError) -> bool:
        """Whether the next member is asked after this failure of one."""
        if callable(self.on):
            return bool(self.on(error))
        return isinstance(error, AdapterError) and error.reason in self.on


def _changed(member: Engine, given: dict[str, Any], params: dict[str, Any]) -> Engine:
    return attrs.evolve(member, **given, params={**member.params, **params})


def leaves_of(engine: Engine) -> Iterable[Engine]:
    """The engines that an engine stands for: itself, unless it is a group."""
    if isinstance(engine, EngineGroup):
        for member in engine.members:
            yield from leaves_of(member)
    else:
        yield engine


def of_one_provider(name: str, what: str, providers: Sequence[str]) -> EngineError:
    """The error for a setting that only one of several providers can know."""
    return EngineError(
        f"{name} is given for engines of {' and '.join(providers)}, and {what} belongs to one provider; leave it out "
        "here",
        reason="invalid_engine",
    ).advised(": each member of the group has its own, Engine(adapter=..., model=...)")


def fallback(*engines: Engine, on: MovesOn | None = None, cool_down: float = COOL_DOWN) -> EngineGroup:
    """Make an engine that asks the first of several, and the next one when that fails before it has shown content.

        engine = allm.fallback(Engine.from_model("openai:gpt-5.5"), Engine.from_model("anthropic:claude-sonnet-4-6"))

    One that is followed by another is not retried first: the next is asked at once. The last retries as its policy
    says. One that is down is left out for a while: see `cool_down`.

    Args:
        engines: In the order in which they are asked; a group may be one of them.
        on: The reasons of the failures after which the next is asked, such as `{"overloaded", "timeout"}`, or a
            function of the error; by default all that another engine may not have.
        cool_down: For how many seconds an engine that was down is left out: twice as long after each further failure,
            up to a minute, or for as long as the provider says. Then one call tries it. 0 never leaves one out.

    Raises:
        EngineError: `invalid_engine`.
    """
    return _made("fallback", engines, on=_reasons(on), cool_down=_seconds("cool_down", cool_down))


def hedge(*engines: Engine, after: float) -> EngineGroup:
    """Make an engine that asks the first of several, and one more each time that nothing has come for a while.

        engine = allm.hedge(Engine.from_model("openai:gpt-5.5"), Engine.from_model("groq:llama-4"), after=2)

    Whichever shows content first gives the answer. The others are cancelled, and their connections closed, before the
    first event is given. What they are known to have used is in the `usage` of the events, and in
    `response.abandoned_usage`. One that fails before its content is followed by the next at once.

    Args:
        engines: In the order in which they are asked; a group may be one of them.
        after: Seconds without content after which one more is asked; 0 asks all at once.

    Raises:
        EngineError: `invalid_engine`.
    """
    return _made("hedge", engines, after=_seconds("after", after))


def _made(kind: Literal["fallback", "hedge", "leaves_of"], engines: Iterable[Engine], **settings: Any) -> EngineGroup:
    members = _members(engines)
    tools: list[Tool | Toolset] = []
    fields: dict[str, Any] = {"context": {}, "params": {}}
    for member in members:
        names = {tool.name for tool in tools if isinstance(tool, Tool)}
        tools += [tool for tool in member.tools if getattr(tool, "name", tool) not in names and tool not in tools]
        fields["context"] = {**member.context, **fields["context"]}
        of_call = {name: value for name, value in member.params.items() if name in OF_CALL}
        fields["params"] = {**of_call, **fields["params"]}
    for name in ("on_tool_error", "tool_executor", "tool_result_encoder"):
        fields[name] = next((found for member in members if (found := getattr(member, name)) is not None), None)
    return EngineGroup(kind=kind, members=members, tools=tools, **fields, **settings)


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise EngineError(f"{name} is {value!r:.60}; expected a number of seconds, 0 or more", reason="invalid_engine")
    return float(value)


def _reasons(on: Any) -> Any:
    if on is None:
        return MOVES_ON
    if callable(on):
        return on
    known = get_args(AdapterReason)
    reasons = frozenset((on,) if isinstance(on, str) else on)
    for reason in reasons:
        if reason not in known:
            near = nearest(str(reason), known)
            hint = f"did you mean {near[0]!r}?" if near else f"expected some of: {', '.join(known)}"
            raise EngineError(
                f"on has {reason!r:.60}, which is no reason of a failure; {hint}", reason="invalid_engine"
            )
    return reasons
