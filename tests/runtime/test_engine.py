"""An engine is checked when it is made, and a change makes a new one."""

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
def test_a_field_of_the_wrong_type(fields):
    """The error names the field, the type it has and the type expected."""
    [name] = fields
    with pytest.raises(allm.EngineError, match=f"{name}.*expected") as caught:
        allm.Engine(**fields)
    assert caught.value.reason == "invalid_engine"


@pytest.mark.parametrize(
    "field", ["adapter", "image_adapter", "speech_adapter", "tool_executor", "tool_result_encoder"]
)
def test_a_class_where_an_instance_belongs(field):
    """A class has every method, so a forgotten `()` would otherwise surface in the middle of a call."""
    with pytest.raises(allm.EngineError, match=f"{field}=...\\) is the class OpenAI; expected an instance") as caught:
        allm.Engine(**{field: OpenAI})
    assert caught.value.reason == "invalid_engine"


@pytest.mark.parametrize("field", ["adapter", "image_adapter", "speech_adapter"])
def test_a_name_where_an_adapter_belongs(field):
    """A text has no method of an adapter; the error says what makes one of a name, before any call."""
    with pytest.raises(
        allm.EngineError, match=rf"{field}=...\) is 'openai'; expected an adapter.*from_model"
    ) as caught:
        allm.Engine(**{field: "openai"})
    assert caught.value.reason == "invalid_engine"


def test_engine_fields_are_those_of_an_engine():
    """`from_model` takes every field of an engine."""
    assert {*allm.EngineFields.__annotations__, "model"} == {field.name for field in attrs.fields(allm.Engine)}


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"temprature": 1}, allm.OptionError, "unknown option 'temprature'; did you mean 'temperature'"),
        ({"temperature": "hot"}, allm.OptionError, "expected a number"),
        ({"max_turns": 0}, allm.ValidationError, "greater than 0"),
    ],
)
def test_with_params_refuses_unknown_options(options, error, told):
    """A misspelt option is not passed on as a body field, which the provider would ignore."""
    with pytest.raises(error, match=told):
        allm.Engine().with_params(**options)


def test_with_params_takes_the_body_as_a_mapping():
    """Any field names are possible, even those of parameters; the name of an option sets that option."""
    engine = allm.Engine(adapter=Fake()).with_params({"body": 1, "self": 2, "max_tokens": 3}, temperature=0.5)
    request = resolve(engine, "go", {}).request
    assert (request.options, request.max_tokens, request.temperature) == ({"body": 1, "self": 2}, 3, 0.5)


def test_with_params_keeps_tools_for_many_calls():
    """An iterator of tools is not used up by the first call."""
    engine = allm.Engine(adapter=Fake()).with_params(tools=iter([TOOL]))
    assert [resolve(engine, "go", {}).request.tools for _ in range(2)] == [(TOOL,), (TOOL,)]


def test_changes_make_another_engine():
    """The original engine stays the same."""
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


def test_an_engine_from_a_model_name():
    """It has the provider's adapter unless one is given; other services are named separately."""
    engine = allm.Engine.from_model("m@fake", embedding_model="fake:v", limiter=trio.CapacityLimiter(1))
    assert (type(engine.adapter), engine.model) == (Fake, "m")
    assert (type(engine.embedding_adapter), engine.embedding_model) == (FakeEmbeddings, "v")
    adapter, embedder = Fake(), FakeEmbeddings()
    given = allm.Engine.from_model("fake:m", adapter=adapter, embedding_model="v", embedding_adapter=embedder)
    assert (given.adapter, given.embedding_adapter, given.embedding_model) == (adapter, embedder, "v")


@pytest.mark.parametrize("name", ["embed", "chat_model", "model"])
def test_an_unknown_service(name):
    """The error lists the known services."""
    with pytest.raises(allm.EngineError, match="embedding_model") as caught:
        allm.Engine().with_services(**{name: "fake:m"})
    assert caught.value.reason == "invalid_engine"
