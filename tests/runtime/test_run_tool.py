"""A tool is a function: `Tool.run` runs it as a turn does, and the library fills in what is not the model's."""

from __future__ import annotations

import datetime as dt
import functools
import threading
from typing import Annotated, Optional

import attrs
import pytest
import trio

import allm
from allm import ToolContext, fake
from allm.providers import Fake


@attrs.frozen
class Place:
    city: str
    zip: int = 0


@allm.tool
def at(place: Place, day: dt.date | None = None) -> tuple[Place, dt.date | None, bool]:
    """Tell what arrived."""
    return place, day, threading.current_thread() is threading.main_thread()


@allm.tool
async def whose(*, context: ToolContext) -> allm.Halt:
    """Tell whose turn it is."""
    await context.emit("progress")
    return allm.Halt("told", context.context.get("user"))


async def test_arguments_are_converted_and_the_value_comes_back_as_it_is():
    """A sync function runs in a thread; nothing is encoded."""
    value = await at.run({"place": {"city": "Zug"}, "day": "2026-11-28"})
    assert value == (Place("Zug"), dt.date(2026, 11, 28), False)


async def test_the_context_may_be_a_mapping():
    """Or a `ToolContext` of the test's own, which gets what the tool emits."""
    assert await whose.run({}) == allm.Halt("told", None)
    assert await whose.run({}, context={"user": "ada"}) == allm.Halt("told", "ada")
    seen = []

    async def report(payload):
        await trio.lowlevel.checkpoint()
        seen.append(payload)

    own = ToolContext(context={"user": "bob"}, tool_call=allm.ToolCall("c", "whose", {}), report=report)
    assert await whose.run({}, context=own) == allm.Halt("told", "bob")
    assert seen == ["progress"]
    with pytest.raises(TypeError, match="expected a ToolContext or a mapping"):
        await whose.run({}, context="ada")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"place": {"city": 3}}, "place.city: expected a string, got 3"),
        ({}, "place: required"),
        (["Zug"], "a JSON object"),
    ],
)
async def test_wrong_arguments_are_the_error_that_the_model_gets(arguments, words):
    """The same text as in a turn, and the function does not run."""
    with pytest.raises(allm.ToolError, match=words) as caught:
        await at.run(arguments)
    assert (caught.value.reason, caught.value.tool_name) == ("invalid_arguments", "at")
    if isinstance(arguments, dict):
        engine = allm.Engine(adapter=Fake(script=[fake.tool_call("at", arguments)]), tools=[at])
        step = await allm.step(engine, "go")
        assert caught.value.message in step.tool_results[0].text


async def test_tools_without_a_handler_and_handlers_that_raise():
    """Exceptions of the handler come out as they are, and a test sees where they began."""

    @allm.tool
    def fails() -> None:
        """Fail."""
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await fails.run({})
    with pytest.raises(allm.ToolError) as caught:
        await allm.Tool("manual", "Left to you.", manual=True).run({})
    assert caught.value.reason == "no_handler"


@pytest.mark.parametrize("made", [at, whose])
async def test_running_is_a_checkpoint(made):
    """A cancelled test ends there."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await made.run({"place": {"city": "Zug"}} if made is at else {})
    assert scope.cancelled_caught


# --- what can be a tool ---------------------------------------------------------------------------------------------


class Shop:
    """A shop."""

    def __init__(self, name):
        self.name = name

    def order(self, item: str, ctx: ToolContext | None = None) -> str:
        """Order an item."""
        return f"{self.name}: {item} for {ctx.context['user'] if ctx else 'nobody'}"

    async def later(self, item: str) -> str:
        """Order it later."""
        await trio.lowlevel.checkpoint()
        return f"{self.name} later: {item}"

    @classmethod
    def open(cls, item: str) -> str:
        """Open a shop."""
        return f"{cls.__name__}: {item}"

    @staticmethod
    def price(item: str) -> str:
        """Tell the price."""
        return f"price of {item}"

    def __call__(self, item: str, *, ctx: ToolContext) -> str:
        """Buy."""
        return f"{self.name} sells {item} to {ctx.context['user']}"


def counter(start):
    """Make a closure whose types only it knows."""

    @attrs.frozen
    class Step:
        by: int

    def count(item: Step) -> str:
        """Count on."""
        nonlocal start
        assert isinstance(item, Step)
        start += item.by
        return str(start)

    return count


def lookup(table: dict[str, object], key: str, user: int, unit: str = "C") -> str:
    """Look a key up."""
    return f"{table[key]} {unit} for {user}"


class Connection:
    """No JSON could hold it."""


def query(text: str, *, db: Connection) -> str:
    """Ask the database."""
    return f"{text} from {type(db).__name__}"


SHOP = Shop("Duc")
KINDS = [
    (SHOP.order, {"item": "tea"}, "Duc: tea for ada"),
    (SHOP.later, {"item": "tea"}, "Duc later: tea"),
    (Shop.open, {"item": "tea"}, "Shop: tea"),
    (Shop.price, {"item": "tea"}, "price of tea"),
    (SHOP, {"item": "tea"}, "Duc sells tea to ada"),
    (counter(1), {"item": {"by": 2}}, "3"),
    (lambda item: f"lambda {item}", {"item": 1}, "lambda 1"),
    (functools.partial(lookup, {"a": 1}, user=7), {"key": "a"}, "1 C for 7"),
    (functools.partial(functools.partial(query, db=Connection())), {"text": "x"}, "x from Connection"),
    (functools.partial(SHOP.order, "tea"), {}, "Duc: tea for ada"),
    (functools.partial(SHOP, item="tea"), {}, "Duc sells tea to ada"),
]


@pytest.mark.parametrize(("function", "arguments", "expected"), KINDS)
async def test_kinds_of_functions(function, arguments, expected):
    """Methods, closures, partials and callable objects run alike in a turn and by `run`."""
    made = allm.tool(name="made")(function)
    assert set(made.schema["properties"]) >= set(arguments)
    assert await made.run(arguments, context={"user": "ada"}) == expected
    made = allm.tool(name="made")(counter(1)) if expected == "3" else made  # it has counted
    engine = allm.Engine(adapter=Fake(script=[fake.tool_call("made", arguments)]), tools=[made])
    step = await allm.step(engine, "go", context={"user": "ada"})
    assert step.tool_results[0].text == expected


async def test_what_a_partial_has_given_is_not_the_models():
    """It is not in the schema, and a model that sends it anyway does not replace it."""
    made = allm.tool(functools.partial(lookup, {"a": 1}, user=7))
    assert set(made.schema["properties"]) == {"key", "unit"}
    with pytest.raises(allm.ToolError, match="user: unknown argument"):
        await made.run({"key": "a", "user": 8})


def first(ctx: ToolContext, item: str) -> tuple[object, str]:
    """Take it first."""
    return ctx, item


def positional(item: str, anything: ToolContext, /) -> tuple[object, str]:
    """Take it last."""
    return anything, item


def keyword(item: str, *, state: ToolContext) -> tuple[object, str]:
    """Take it by name."""
    return state, item


def optional(item: str, state: Optional[ToolContext] = None) -> tuple[object, str]:  # noqa: UP045  (that spelling too)
    """Take it where there is one."""
    return state, item


def implicit(item: str, state: ToolContext = None) -> tuple[object, str]:  # type: ignore[assignment]
    """Take it where there is one, as people write it."""
    return state, item


def noted(item: str, state: Annotated[ToolContext | None, "the context"] = None) -> tuple[object, str]:
    """Take it with a note."""
    return state, item


@pytest.mark.parametrize("function", [first, positional, keyword, optional, implicit, noted])
async def test_the_context_has_any_name_and_place(function):
    """It is hidden from the model, and a model cannot give it."""
    made = allm.tool(function)
    assert list(made.schema["properties"]) == ["item"]
    given, item = await made.run({"item": "tea"}, context={"user": "ada"})
    assert (given.context, item) == ({"user": "ada"}, "tea")
    with pytest.raises(allm.ToolError, match="unknown argument"):
        await made.run({"item": "tea", "state": {}, "ctx": {}, "anything": {}})


@pytest.mark.parametrize("function", [optional, implicit, noted])
def test_a_default_of_none_is_used_when_it_is_called_as_a_function(function):
    """Nothing has to be passed for it."""
    assert allm.tool(function)("tea") == (None, "tea")


def test_a_list_of_contexts_is_no_context():
    """Only the type itself is filled in."""

    def strange(states: list[ToolContext]) -> None:
        """Take many."""

    with pytest.raises(allm.ValidationError):
        allm.tool(strange)


def test_a_callable_object_is_described_by_its_class():
    """Where its `__call__` has no docstring, of which Python would make one."""

    class Adder:
        """Add one."""

        def __call__(self, n: int) -> int:
            return n + 1

    assert allm.tool(Adder()).description == "Add one."
    assert allm.tool(SHOP).description == "Buy."


def by_keyword(arguments, *, state: ToolContext):
    return state.context["user"], arguments


def unresolved(arguments, *, state: Nowhere = None):  # noqa: F821
    return state, arguments


class Handler:
    def __call__(self, arguments, *, state: ToolContext):
        return state.context["user"], arguments


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (by_keyword, ("ada", {"a": 1})),
        (Handler(), ("ada", {"a": 1})),
        (functools.partial(by_keyword), ("ada", {"a": 1})),
        (unresolved, (None, {"a": 1})),
        (lambda arguments, context: (context.context["user"], arguments), ("ada", {"a": 1})),
    ],
)
async def test_handlers_of_tools_from_parts(handler, expected):
    """They get the context as their second argument, or where an annotation asks for it."""
    assert await allm.Tool("x", "X.", handler=handler).run({"a": 1}, context={"user": "ada"}) == expected
