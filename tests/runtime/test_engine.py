"""An engine is checked when it is made, and a changed one is another."""

from __future__ import annotations

import attrs
import pytest
import trio

import allm
from allm.execution.options import resolve
from allm.providers import Fake, FakeEmbeddings, OpenAI

TOOL = allm.Tool("add", "Adds.")


@pytest.mark.parametrize(
    "fields",
    [{"model": 3}, {"retry": 3}, {"limiter": 3}, {"tools": [3]}, {"http_client": 3}, {"embedding_model": OpenAI}],
    ids=lambda fields: next(iter(fields)),
)
def test_a_field_of_another_type(fields):
    """It is refused with its name, what it is, and what it should be."""
    [name] = fields
    with pytest.raises(allm.EngineError, match=f"{name}.*expected") as caught:
        allm.Engine(**fields)
    assert caught.value.reason == "invalid_engine"


@pytest.mark.parametrize(
    "field", ["adapter", "image_adapter", "speech_adapter", "tool_executor", "tool_result_encoder"]
)
def test_a_class_where_an_instance_belongs(field):
    """It has every method, so that the missing parentheses would show as a strange error in the middle of a call."""
    with pytest.raises(allm.EngineError, match=f"{field}=...\\) is the class OpenAI; expected an instance") as caught:
        allm.Engine(**{field: OpenAI})
    assert caught.value.reason == "invalid_engine"


def test_the_fields_of_an_engine_by_name():
    """What `from_model` may be given is what an engine has."""
    assert {*allm.EngineFields.__annotations__, "model"} == {field.name for field in attrs.fields(allm.Engine)}


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"temprature": 1}, allm.OptionError, "unknown option 'temprature'; did you mean 'temperature'"),
        ({"temperature": "hot"}, allm.OptionError, "expected a number"),
        ({"max_turns": 0}, allm.ValidationError, "greater than 0"),
    ],
)
def test_with_params_knows_its_names(options, error, told):
    """A misspelt option is no field of the provider's, which would ignore it."""
    with pytest.raises(error, match=told):
        allm.Engine().with_params(**options)


def test_with_params_takes_the_body_as_a_mapping():
    """Whatever its names are, also those of parameters; a name of an option is that option."""
    engine = allm.Engine(adapter=Fake()).with_params({"body": 1, "self": 2, "max_tokens": 3}, temperature=0.5)
    request = resolve(engine, "go", {}).request
    assert (request.options, request.max_tokens, request.temperature) == ({"body": 1, "self": 2}, 3, 0.5)


def test_with_params_keeps_tools_for_many_calls():
    """An iterator would be used up by the first one."""
    engine = allm.Engine(adapter=Fake()).with_params(tools=iter([TOOL]))
    assert [resolve(engine, "go", {}).request.tools for _ in range(2)] == [(TOOL,), (TOOL,)]


def test_changes_make_another_engine():
    """The one before stays as it was."""
    engine = allm.Engine(adapter=Fake(), model="a", tools=[TOOL], params={"top_p": 1}, context={"user": 1})
    other = (
        engine.with_model("b")
        .with_tools(allm.Tool("add", "Sums."), allm.Tool("sub", "Subtracts."))
        .with_params({"seed": 1, "top_p": 2}, temperature=0)
        .with_context({"user": 2}, tenant=3)
    )
    assert (other.model, [tool.description for tool in other.tools]) == ("b", ["Sums.", "Subtracts."])
    assert (other.params, other.context) == ({"top_p": 2, "seed": 1, "temperature": 0}, {"user": 2, "tenant": 3})
    assert (engine.model, engine.tools, engine.params, engine.context) == ("a", (TOOL,), {"top_p": 1}, {"user": 1})


def test_an_engine_of_a_name():
    """The provider's adapter, unless one is given; other services by their own names."""
    engine = allm.Engine.from_model("m@fake", embedding_model="fake:v", limiter=trio.CapacityLimiter(1))
    assert (type(engine.adapter), engine.model) == (Fake, "m")
    assert (type(engine.embedding_adapter), engine.embedding_model) == (FakeEmbeddings, "v")
    adapter, embedder = Fake(), FakeEmbeddings()
    given = allm.Engine.from_model("fake:m", adapter=adapter, embedding_model="v", embedding_adapter=embedder)
    assert (given.adapter, given.embedding_adapter, given.embedding_model) == (adapter, embedder, "v")


@pytest.mark.parametrize("name", ["embed", "chat_model", "model"])
def test_a_service_that_there_is_not(name):
    """Those that there are are named."""
    with pytest.raises(allm.EngineError, match="embedding_model") as caught:
        allm.Engine().with_services(**{name: "fake:m"})
    assert caught.value.reason == "invalid_engine"
