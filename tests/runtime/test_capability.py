"""A request that the catalog says a model cannot take is refused before it is sent; unknown models pass."""

from __future__ import annotations

import pytest

import allm
from allm import fake, models
from allm.models import ModelInfo
from allm.providers import Anthropic, Fake, Gemini, OpenAI

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
SCHEMA = allm.json_schema("answer", {"type": "object", "properties": {}, "additionalProperties": False})
TOOL = allm.Tool("now", "The time.", {"type": "object", "properties": {}}, handler=lambda _: "12:00")
PICTURE = allm.user("What is this?", allm.Image.from_bytes(PNG))

# Capability: request fields that need it, and where in the request they are.
ASKS = {
    "tools": (("hi", {"tools": [TOOL]}), ("tools",)),
    "json_schema": (("hi", {"response_format": SCHEMA}), ("response_format",)),
    "json_schema_with_tools": (("hi", {"response_format": SCHEMA, "tools": [TOOL]}), ("response_format",)),
    "vision": ((PICTURE, {}), ("messages", 0, "content", 1)),
    "reasoning": (("hi", {"reasoning_effort": "low"}), ("reasoning_effort",)),
}
# An address where no server listens: a call that passes the check fails there.
NOWHERE = "http://127.0.0.1:9"
VENDORS = {
    "openai": lambda: OpenAI(api_key="test", base_url=f"{NOWHERE}/v1"),
    "anthropic": lambda: Anthropic(api_key="test", base_url=NOWHERE),
    "gemini": lambda: Gemini(api_key="test", base_url=NOWHERE),
    "groq": lambda: OpenAI(api_key="test", preset="groq", base_url=f"{NOWHERE}/v1"),
}


@pytest.fixture(autouse=True)
def _nothing_put_in():
    yield
    models.clear()


def prepare(adapter, given, model="alpha", **options):
    """Do everything that a call does before its stream is opened."""
    engine = allm.Engine(adapter=adapter, model=model)
    return allm.stream_generate(engine, given, **options)


def refused(*args, **options):
    if "response_format" in options:
        options["output_mode"] = "native"  # else the schema is asked for in another way
    if "tools" in options:
        options["tool_mode"] = "native"  # else the tools are prompted
    with pytest.raises(allm.ValidationError) as caught:
        prepare(*args, **options)
    return caught.value


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("capability", ASKS)
def test_each_capability_is_checked_with_each_vendor(vendor, capability):
    """False gives an error with the place, the problem and the fix; without it the same call is prepared."""
    (given, options), path = ASKS[capability]
    prepare(VENDORS[vendor](), given, **options)
    models.put(ModelInfo(provider=vendor, id="alpha", **{capability: False}))
    if vendor == "anthropic" and capability.startswith("json_schema"):
        prepare(VENDORS[vendor](), given, **options)  # the adapter knows its ways
        return
    error = refused(VENDORS[vendor](), given, **options)
    assert error.errors == ((path, "unsupported_capability"),)
    assert error.reason == "invalid_request"
    assert "'alpha'" in error.message
    assert f"lacks {capability}:" in error.message
    assert "allm.models.put" in error.message


@pytest.mark.parametrize("capability", ASKS)
@pytest.mark.parametrize("known", [True, None])
def test_true_and_unknown_pass(capability, known):
    """Only a capability set to False is refused."""
    (given, options), _ = ASKS[capability]
    models.put(ModelInfo(provider="openai", id="alpha", **{capability: known}))
    prepare(VENDORS["openai"](), given, **options)


@pytest.mark.parametrize(
    ("vendor", "model", "capability"),
    [
        ("openai", "o1-mini", "tools"),
        ("openai", "gpt-4", "json_schema"),
        ("openai", "o3-mini-2025-01-31", "vision"),
        ("openai", "gpt-4.1", "reasoning"),
        ("anthropic", "claude-3-5-haiku-20241022", "reasoning"),
        ("gemini", "gemini-2.5-flash", "json_schema_with_tools"),
        ("gemini", "gemini-2.0-flash-001", "reasoning"),
        ("groq", "openai/gpt-oss-20b", "vision"),
    ],
)
def test_bundled_rows_refuse(vendor, model, capability):
    """Facts of the bundled rows are applied."""
    (given, options), path = ASKS[capability]
    assert refused(VENDORS[vendor](), given, model, **options).errors == ((path, "unsupported_capability"),)


def test_every_problem_at_once():
    """One error reports all problems of a request, each sentence once."""
    models.put(ModelInfo(provider="openai", id="alpha", tools=False, json_schema=False, vision=False, reasoning=False))
    error = refused(
        VENDORS["openai"](),
        [PICTURE, PICTURE],
        tools=[TOOL],
        response_format=SCHEMA,
        reasoning_effort="high",
        reasoning_summary="auto",
    )
    assert [path for path, _ in error.errors] == [
        ("tools",),
        ("response_format",),
        ("messages", 0, "content", 1),
        ("messages", 1, "content", 1),
        ("reasoning_effort",),
        ("reasoning_summary",),
    ]
    assert error.message.count("leave the images out") == 1


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ("hi", {}),
        ("hi", {"response_format": "json"}),
        ("hi", {"reasoning_effort": "none", "reasoning_summary": "none"}),
        ("hi", {"options": {"reasoning_effort": "high"}}),
    ],
)
def test_unused_capabilities_are_not_refused(given, options):
    """A model without special capabilities takes plain requests; raw body fields are not checked."""
    nothing = dict.fromkeys(["tools", "json_schema", "json_schema_with_tools", "vision", "reasoning"], False)
    models.put(ModelInfo(provider="openai", id="alpha", **nothing))
    prepare(VENDORS["openai"](), given, **options)


def test_the_check_comes_before_the_key():
    """A request that cannot work is refused whether or not there is a key."""
    assert "json_schema" in refused(OpenAI(base_url=f"{NOWHERE}/v1"), "hi", "gpt-4", response_format=SCHEMA).message


async def test_without_a_model_nothing_is_checked():
    """A `Fake` needs no model, so nothing is looked up."""
    models.put(ModelInfo(provider="fake", id="alpha", tools=False))
    response = await allm.generate(allm.Engine(adapter=Fake(script=[fake.text("ok")])), "hi", tools=[TOOL])
    assert response.output_text == "ok"


async def test_a_chat_requests_the_schema_last_if_the_model_cannot_combine_it_with_tools():
    """First tools without the schema, then one call with the schema and without tools."""
    models.put(ModelInfo(provider="fake", id="alpha", json_schema_with_tools=False))
    adapter = Fake(scripts=[[fake.tool_call("now")], [fake.text("Noon.")], [fake.text("{}")]])
    result = await allm.chat(allm.Engine(adapter=adapter, model="alpha"), "When?", tools=[TOOL], response_format=SCHEMA)
    assert result.output_text == "{}"
    assert [(bool(request.tools), request.response_format) for request in adapter.requests] == [
        (True, None),
        (True, None),
        (False, SCHEMA),
    ]


async def test_a_chat_makes_one_pass_if_the_model_can_combine_both():
    """The schema is sent together with the tools."""
    adapter = Fake(scripts=[[fake.text("{}")]])
    await allm.chat(allm.Engine(adapter=adapter, model="alpha"), "When?", tools=[TOOL], response_format=SCHEMA)
    [request] = adapter.requests
    assert (request.tools, request.response_format) == ((TOOL,), SCHEMA)
