"""Parameters that a model is known to refuse: an error in the call, left out as a default."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

import allm
from allm import fake, models
from allm.models import ModelInfo
from allm.providers import Anthropic, Fake, FakeEmbeddings, Gemini, OpenAI
from allm.runtime import fitting
from allm.testing import Reply, WireServer

REFUSING = [
    ("anthropic", "claude-opus-4-7"),
    ("anthropic", "claude-opus-4-8-20260528"),
    ("anthropic", "claude-opus-5"),
    ("anthropic", "claude-sonnet-5"),
    ("anthropic", "claude-haiku-5-5"),
    ("anthropic", "claude-fable-5-2"),
    ("anthropic", "claude-mythos-5"),
    ("anthropic", "us.anthropic.claude-opus-4-7-v1:0"),
    ("openai", "o3-pro"),
    ("openai", "gpt-5.4-pro"),
    ("openai", "gpt-6-astra"),
]
TAKING = [
    ("anthropic", "claude-opus-4-6"),
    ("anthropic", "claude-opus-4-20250514"),
    ("anthropic", "claude-sonnet-4-6"),
    ("anthropic", "claude-haiku-4-5"),
    ("openai", "gpt-5.4-mini"),
    ("openai", "gpt-99"),
    ("gemini", "gemini-3.8-flash"),
]


@pytest.fixture(autouse=True)
def _no_advice_yet():
    fitting.forget_advice()
    yield
    models.clear()


def adapter_of(vendor, wire, **options):
    if vendor == "openai":
        return OpenAI(api_key="k", base_url=wire.url("openai"), endpoint="responses", **options)
    return {"anthropic": Anthropic, "gemini": Gemini}[vendor](api_key="k", base_url=wire.url(vendor), **options)


async def body(vendor, model, *, params=None, adapter=None, request="hi", **options):
    """The body that is sent."""
    async with WireServer() as wire:
        wire.default = lambda _: Reply.script("openai_responses" if vendor == "openai" else vendor, [fake.text("ok")])
        engine = allm.Engine(adapter=adapter_of(vendor, wire, **(adapter or {})), model=model, params=params or {})
        await allm.generate(engine, request, **options)
        return wire.requests[-1].json()


async def refused(*args, **options):
    with pytest.raises(allm.ValidationError) as caught:
        await body(*args, **options)
    assert caught.value.reason == "invalid_request"
    return caught.value.errors


@pytest.mark.parametrize(("vendor", "model"), REFUSING)
async def test_a_refused_parameter_of_the_call_is_an_error(vendor, model):
    """In the call, in the request and in the body fields, with all places in one error."""
    assert await refused(vendor, model, temperature=0.2) == ((("temperature",), "unsupported_parameter"),)
    request = allm.Request([allm.user("hi")], temperature=0, options={"top_p": 0.5})
    assert await refused(vendor, model, request=request) == (
        (("temperature",), "unsupported_parameter"),
        (("options", "top_p"), "unsupported_parameter"),
    )


@pytest.mark.parametrize(("vendor", "model"), REFUSING)
async def test_a_refused_default_is_left_out_with_one_warning(vendor, model, caplog):
    """From the engine's params and the application; one WARNING per model and parameter for any number of calls."""
    with allm.defaults(options={"top_p": 0.9}):
        for _ in range(2):
            sent = await body(vendor, model, params={"temperature": 0.3})
            assert "temperature" not in sent
            assert "top_p" not in sent
    said = [record.message for record in caplog.records if "left out" in record.message]
    assert [(record.levelname) for record in caplog.records if "left out" in record.message] == ["WARNING"] * 2
    assert [text.split()[0] for text in said] == ["temperature", "top_p"]
    assert all(model in text for text in said)


@pytest.mark.parametrize(("vendor", "model"), REFUSING[:2])
async def test_the_call_takes_precedence_over_the_default(vendor, model):
    """A parameter that both give is treated as the call's."""
    assert await refused(vendor, model, params={"temperature": 0.3}, temperature=0.2)


@pytest.mark.parametrize(("vendor", "model"), TAKING)
async def test_other_models_get_the_parameter(vendor, model, caplog):
    """Unknown models too."""
    sent = await body(vendor, model, temperature=0.2)
    assert sent.get("generationConfig", sent)["temperature"] == 0.2
    assert not caplog.records


@pytest.mark.parametrize("model", ["claude-sonnet-4-6", "claude-haiku-4-5", "claude-3-7-sonnet-20250219"])
async def test_reasoning_and_temperature_are_not_sent_together(model, caplog):
    """If the model refuses the combination, however reasoning is enabled; without reasoning, it takes a temperature."""
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
    path = (("temperature",), "unsupported_parameter")
    assert await refused("anthropic", model, temperature=0.2, reasoning_effort="low") == (path,)
    top_k = (("options", "top_k"), "unsupported_parameter")
    given = {"temperature": 0.2, "options": {**thinking, "top_k": 5}}
    assert await refused("anthropic", model, **given) == (path, top_k)
    assert "temperature" not in await body("anthropic", model, params={"temperature": 0.2}, reasoning_effort="low")
    assert "temperature is left out" in caplog.text
    assert (await body("anthropic", model, temperature=0.2, reasoning_effort="none"))["temperature"] == 0.2


@pytest.mark.parametrize(
    ("model", "effort", "takes"),
    [
        ("gpt-5.4-mini", None, True),
        ("gpt-5.4-mini", "none", True),
        ("gpt-5.4-mini", "low", False),
        ("gpt-5.5", None, False),
        ("gpt-5.5", "none", True),
        ("gpt-6-sol", "high", False),
    ],
)
async def test_a_model_that_reasons_by_default(model, effort, takes):
    """It takes a temperature only if reasoning is turned off; OpenAI's families have different defaults."""
    options = {} if effort is None else {"reasoning_effort": effort}
    if takes:
        assert (await body("openai", model, temperature=0.2, **options))["temperature"] == 0.2
    else:
        assert await refused("openai", model, temperature=0.2, **options)


async def test_the_default_temperature_is_always_allowed():
    """Claude takes 1 with thinking, OpenAI does not; callers need not know."""
    for vendor, model in (("anthropic", "claude-sonnet-4-6"), ("openai", "gpt-5.5")):
        assert "temperature" not in await body(vendor, model, temperature=1, reasoning_effort="low")


@pytest.mark.parametrize("model", ["claude-opus-4-7", "claude-sonnet-5", "claude-mythos-5"])
async def test_a_budget_is_not_sent_to_an_adaptive_model(model, caplog):
    """`thinking.type` "enabled" is refused for models that only take "adaptive"."""
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
    assert await refused("anthropic", model, options=thinking) == ((("options", "thinking"), "unsupported_parameter"),)
    assert "thinking" not in await body("anthropic", model, params=thinking)
    assert "thinking is left out" in caplog.text
    adaptive = {"thinking": {"type": "adaptive"}}
    assert (await body("anthropic", model, options=adaptive))["thinking"] == {"type": "adaptive"}


@pytest.mark.parametrize("choice", ["required", "now", {"type": "any"}, {"type": "tool", "name": "now"}])
async def test_a_forced_tool_choice_is_refused_where_unsupported(choice):
    """Claude's newest models decide themselves when to call a tool."""
    tool = allm.Tool("now", "The time.", manual=True)
    paths = await refused("anthropic", "claude-fable-5-1", tools=[tool], tool_choice=choice)
    assert paths == ((("tool_choice",), "unsupported_parameter"),)
    assert (await body("anthropic", "claude-fable-5-1", tools=[tool], tool_choice="auto"))["tool_choice"]


async def test_parameters_that_the_api_refuses(caplog):
    """They are an error in the call and left out as a default, like those that a model refuses."""
    newer = {"adapter": {"api_version": "2026-10-21"}}
    paths = await refused("anthropic", "claude-sonnet-4-6", temperature=1, options={"top_k": 5}, **newer)
    assert paths == (
        (("temperature",), "unsupported_in_api_version"),
        (("options", "top_k"), "unsupported_in_api_version"),
    )
    assert "temperature" not in await body("anthropic", "claude-sonnet-4-6", params={"temperature": 0.5}, **newer)
    assert "temperature is left out" in caplog.text


async def test_put_overrides_the_rules():
    """A rule of the family no longer applies."""
    models.put(ModelInfo(provider="anthropic", id="claude-opus-5"))
    assert (await body("anthropic", "claude-opus-5", temperature=0.2))["temperature"] == 0.2


async def test_every_call_of_a_turn_is_fitted():
    """Not only the first one."""
    tool = allm.Tool("now", "The time.", handler=lambda _: "12:00")
    async with WireServer() as wire:
        wire.add(Reply.script("anthropic", [fake.tool_call("now", {})]))
        wire.add(Reply.script("anthropic", [fake.text("noon")]))
        engine = allm.Engine(
            adapter=adapter_of("anthropic", wire), model="claude-sonnet-5", tools=[tool], params={"temperature": 0.3}
        )
        await allm.chat(engine, "What time is it?")
        assert ["temperature" in request.json() for request in wire.requests] == [False, False]


# --- the end of a model ---


@pytest.mark.parametrize(
    ("days", "words"), [(-1, "was to be shut down"), (0, "was to be"), (30, "will be shut down"), (61, None)]
)
async def test_one_warning_announces_a_shutdown(days, words, caplog):
    """If it is near or past: one WARNING for each model, for any kind of call."""
    caplog.set_level(logging.WARNING)
    ends = datetime.now(UTC).date() + timedelta(days=days)
    for model in ("old", "older"):
        models.put(ModelInfo(provider="fake", id=model, shutdown=ends))
        engine = allm.Engine(adapter=Fake(scripts=[[fake.text("a")], [fake.text("b")]]), model=model)
        await allm.generate(engine, "hi")
        await allm.generate(engine, "hi")
    said = [record.message for record in caplog.records]
    assert [text.split()[1] for text in said] == ([] if words is None else ["'old'", "'older'"])
    assert all(words in text and ends.isoformat() in text for text in said)


async def test_every_service_announces_a_shutdown(caplog):
    """Including embeddings, for which the catalog only has shutdown dates."""
    models.put(ModelInfo(provider="fake", id="old", shutdown=datetime.now(UTC).date()))
    engine = allm.Engine(embedding_adapter=FakeEmbeddings(), embedding_model="old")
    await allm.embed(engine, ["a"])
    await allm.embed(engine, ["a"])
    assert len([record for record in caplog.records if "shut down" in record.message]) == 1
