"""What the catalog denies is refused before anything is sent; what it does not know passes."""

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

# Capability: what asks for it, and where in the request that is.
ASKS = {
    "tools": (("hi", {"tools": [TOOL]}), ("tools",)),
    "json_schema": (("hi", {"response_format": SCHEMA}), ("response_format",)),
    "json_schema_with_tools": (("hi", {"response_format": SCHEMA, "tools": [TOOL]}), ("response_format",)),
    "vision": ((PICTURE, {}), ("messages", 0, "content", 1)),
    "reasoning": (("hi", {"reasoning_effort": "low"}), ("reasoning_effort",)),
}
# An address where nobody listens: a call that passes the check fails there.
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
    """All that a call does before its stream is opened."""
    engine = allm.Engine(adapter=adapter, model=model)
    return allm.stream_generate(engine, given, **options)


def refused(*args, **options):
    with pytest.raises(allm.ValidationError) as caught:
        prepare(*args, **options)
    return caught.value


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("capability", ASKS)
def test_each_capability_is_checked_with_each_vendor(vendor, capability):
    """A plain no is an error that says where, what, and what to do; without it the same call is prepared."""
    (given, options), path = ASKS[capability]
    prepare(VENDORS[vendor](), given, **options)
    models.put(ModelInfo(provider=vendor, id="alpha", **{capability: False}))
    if vendor == "anthropic" and capability.startswith("json_schema"):
        prepare(VENDORS[vendor](), given, **options)  # the adapter has its own way: a tool that has to be called
        return
    error = refused(VENDORS[vendor](), given, **options)
    assert error.errors == ((path, "unsupported_capability"),)
    assert error.reason == "invalid_request"
    assert "'alpha'" in error.message
    assert f"lacks {capability}:" in error.message
    assert "allm.models.put" in error.message


@pytest.mark.parametrize("capability", ASKS)
@pytest.mark.parametrize("known", [True, None])
def test_yes_and_not_known_pass(capability, known):
    """Only what is denied is refused."""
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
def test_models_of_today(vendor, model, capability):
    """Facts of the bundled rows."""
    (given, options), path = ASKS[capability]
    assert refused(VENDORS[vendor](), given, model, **options).errors == ((path, "unsupported_capability"),)


def test_every_problem_at_once():
    """One error for the whole request, each sentence once."""
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
def test_what_is_not_asked_for_is_not_refused(given, options):
    """A model that can do nothing special answers plain requests; raw fields of the body are the caller's business."""
    nothing = dict.fromkeys(["tools", "json_schema", "json_schema_with_tools", "vision", "reasoning"], False)
    models.put(ModelInfo(provider="openai", id="alpha", **nothing))
    prepare(VENDORS["openai"](), given, **options)


def test_the_check_comes_before_the_key():
    """A request that cannot work says so, whether or not a key is at hand."""
    assert "json_schema" in refused(OpenAI(base_url=f"{NOWHERE}/v1"), "hi", "gpt-4", response_format=SCHEMA).message


async def test_without_a_model_nothing_is_checked():
    """Fake needs none."""
    models.put(ModelInfo(provider="fake", id="alpha", tools=False))
    response = await allm.generate(allm.Engine(adapter=Fake(script=[fake.text("ok")])), "hi", tools=[TOOL])
    assert response.output_text == "ok"


async def test_a_chat_asks_for_the_schema_at_the_end_where_the_model_cannot_have_tools_too():
    """Tools first, without the format; then one call with it and without tools."""
    models.put(ModelInfo(provider="fake", id="alpha", json_schema_with_tools=False))
    adapter = Fake(scripts=[[fake.tool_call("now")], [fake.text("Noon.")], [fake.text("{}")]])
    result = await allm.chat(allm.Engine(adapter=adapter, model="alpha"), "When?", tools=[TOOL], response_format=SCHEMA)
    assert result.output_text == "{}"
    assert [(bool(request.tools), request.response_format) for request in adapter.requests] == [
        (True, None),
        (True, None),
        (False, SCHEMA),
    ]


async def test_a_chat_with_a_model_that_can_have_both_makes_one_pass():
    """The schema goes along with the tools."""
    adapter = Fake(scripts=[[fake.text("{}")]])
    await allm.chat(allm.Engine(adapter=adapter, model="alpha"), "When?", tools=[TOOL], response_format=SCHEMA)
    [request] = adapter.requests
    assert (request.tools, request.response_format) == ((TOOL,), SCHEMA)
