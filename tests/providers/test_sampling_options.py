"""The neutral sampling options on each wire: one call site for every vendor, and an error where one lacks something."""

from __future__ import annotations

import attrs
import pytest

import allm
from allm.adapters import AdapterOptions
from allm.data.json.text import loads
from allm.providers.openai.presets import PRESETS

TOOL = allm.Tool("clock", "Tells the time.", {"type": "object", "properties": {}})
ALL = {"top_p": 0.5, "stop": ("END", "\n#"), "parallel_tool_calls": False, "service_tier": "default", "tools": [TOOL]}
MISSING = object()


def adapter(kind):
    if kind == "gemini":
        return allm.providers.Gemini(api_key="k")
    if kind == "anthropic":
        return allm.providers.Anthropic(api_key="k")
    if kind in PRESETS:
        return allm.providers.OpenAI(preset=kind, api_key="k", endpoint="chat_completions", base_url="http://x/v1")
    return allm.providers.OpenAI(api_key="k", endpoint={"chat": "chat_completions"}.get(kind, kind))


def body(kind, **fields):
    """The body of a request with these fields."""
    request = allm.request("Hi", **{"model": "m", **fields})
    return loads(adapter(kind).prepare(request, AdapterOptions()).body)


def refused(kind, **fields):
    """The paths and tags of the problems, and the whole text."""
    with pytest.raises(allm.ValidationError) as caught:
        body(kind, **fields)
    return caught.value.errors, str(caught.value)


def test_chat_completions():
    """Under the names of the API."""
    sent = body("chat", seed=7, **ALL)
    assert (sent["top_p"], sent["stop"], sent["seed"]) == (0.5, ["END", "\n#"], 7)
    assert (sent["parallel_tool_calls"], sent["service_tier"]) == (False, "default")


def test_responses():
    """Which has the same names for what it has."""
    sent = body("responses", **{**ALL, "stop": None})
    assert (sent["top_p"], sent["parallel_tool_calls"], sent["service_tier"]) == (0.5, False, "default")


def test_anthropic():
    """Under names of its own; one call at a time is part of the tool choice."""
    sent = body("anthropic", **ALL)
    assert (sent["top_p"], sent["stop_sequences"], sent["service_tier"]) == (0.5, ["END", "\n#"], "standard_only")
    assert sent["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert not sent.keys() & {"stop", "parallel_tool_calls"}


def test_gemini():
    """In the configuration, but for the tier."""
    sent = body("gemini", seed=7, temperature=1, max_tokens=5, **{**ALL, "parallel_tool_calls": True})
    assert sent["generationConfig"] == {
        "temperature": 1,
        "topP": 0.5,
        "stopSequences": ["END", "\n#"],
        "seed": 7,
        "maxOutputTokens": 5,
    }
    assert sent["serviceTier"] == "standard"
    assert not sent.keys() & {"top_p", "stop", "seed", "parallel_tool_calls", "service_tier"}


@pytest.mark.parametrize("count", [0, 5])
def test_log_probabilities(count):
    """Each API asks for them in its own way; none of the likeliest tokens means those that were chosen."""
    sent = body("chat", logprobs=count)
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, count)
    include = ["message.output_text.logprobs"]
    sent = body("responses", logprobs=count)
    assert (sent["include"], sent["top_logprobs"]) == (include, count)
    thinks = body("responses", model="gpt-5.4", logprobs=count)
    assert thinks["include"] == ["reasoning.encrypted_content", *include]
    more = body("responses", logprobs=count, options={"include": ["web_search_call.results"]})
    assert more["include"] == [*include, "web_search_call.results"]
    sent = body("gemini", logprobs=count, options={"generationConfig": {"topK": 4}})
    assert sent["generationConfig"] == {"responseLogprobs": True, "topK": 4} | ({"logprobs": 5} if count else {})


async def test_a_model_that_gives_no_log_probabilities():
    """While it thinks: refused before anything is sent, in the option and among the vendor's own fields."""
    engine = allm.Engine(adapter=adapter("responses"), model="gpt-5.5")
    for wrong in ({"logprobs": 2}, {"options": {"top_logprobs": 2}}):
        with pytest.raises(allm.ValidationError, match=r"takes no (top_)?logprobs while it thinks"):
            await allm.generate(engine, "Hi", **wrong)
    allm.stream_generate(engine, "Hi", logprobs=2, reasoning_effort="none")


@pytest.mark.parametrize("kind", ["chat", "responses", "anthropic", "gemini"])
@pytest.mark.parametrize("fields", [{}, {"stop": ()}, {"parallel_tool_calls": True}, {"parallel_tool_calls": False}])
def test_what_is_not_said_is_not_sent(kind, fields):
    """No stop at all is none; without tools there is nothing to be parallel, and OpenAI refuses the field."""
    assert body(kind, **fields) == body(kind)


@pytest.mark.parametrize("kind", ["chat", "anthropic", "gemini"])
def test_one_text_is_one_stop(kind):
    """And not each of its letters."""
    assert body(kind, stop="END") == body(kind, stop=["END"])


@pytest.mark.parametrize(
    ("kind", "fields", "path", "words"),
    [
        ("responses", {"stop": "END"}, ("stop",), "chat_completions"),
        ("responses", {"seed": 7}, ("seed",), "chat_completions"),
        ("anthropic", {"seed": 7}, ("seed",), "leave it out"),
        ("anthropic", {"logprobs": 0}, ("logprobs",), "leave it out"),
        ("anthropic", {"service_tier": "flex"}, ("service_tier",), "'auto'"),
        ("gemini", {"service_tier": "scale"}, ("service_tier",), "'flex'"),
        ("gemini", {"parallel_tool_calls": False, "tools": [TOOL]}, ("parallel_tool_calls",), "max_concurrency=1"),
        ("deepseek", {"seed": 7}, ("seed",), "deepseek takes no seed"),
        ("deepseek", {"parallel_tool_calls": False, "tools": [TOOL]}, ("parallel_tool_calls",), "leave it out"),
        ("ollama", {"parallel_tool_calls": False, "tools": [TOOL]}, ("parallel_tool_calls",), "leave it out"),
        ("mistral", {"service_tier": "flex"}, ("service_tier",), "no service tiers"),
        ("vllm", {"service_tier": "priority"}, ("service_tier",), "no service tiers"),
    ],
)
def test_what_a_vendor_lacks_is_an_error_that_says_what_to_do(kind, fields, path, words):
    """Before anything is sent, and never left out in silence."""
    errors, text = refused(kind, **fields)
    assert errors == ((path, "unsupported_option"),)
    assert words in text


@pytest.mark.parametrize(
    ("kind", "fields", "path", "tag"),
    [
        ("chat", {"stop": "abcde"}, ("stop",), "too_many"),
        ("gemini", {"stop": "abcdef"}, ("stop",), "too_many"),
        ("gemini", {"seed": 2**31}, ("seed",), "out_of_range"),
        ("anthropic", {"stop": ["END", " \n"]}, ("stop", 1), "blank"),
    ],
)
def test_limits_of_a_vendor(kind, fields, path, tag):
    """As its documentation has them; other services may have others."""
    if isinstance(fields.get("stop"), str):
        fields = {"stop": list(fields["stop"])}
    assert refused(kind, **fields)[0] == ((path, tag),)
    assert body("openrouter", **fields)


def test_everything_that_is_lacking_is_told_at_once():
    """Not one after the other."""
    errors, _ = refused("responses", stop="END", seed=7)
    assert {path for path, _ in errors} == {("stop",), ("seed",)}


@pytest.mark.parametrize(
    ("kind", "tier", "sent"),
    [
        *((kind, "default", "default") for kind in ("chat", "responses", "openrouter", "xai")),
        *((kind, "standard", "default") for kind in ("chat", "responses")),
        ("chat", "flex", "flex"),
        ("chat", "of_tomorrow", "of_tomorrow"),
        ("groq", "default", "on_demand"),
        ("groq", "performance", "performance"),
        ("anthropic", "auto", "auto"),
        ("anthropic", "default", "standard_only"),
        ("mistral", "auto", MISSING),
        ("mistral", "default", MISSING),
        ("ollama", "standard", MISSING),
    ],
)
def test_the_word_for_the_standard_tier(kind, tier, sent):
    """`auto` and `default` mean the same everywhere, also where there are no tiers; other words are the provider's."""
    assert body(kind, service_tier=tier).get("service_tier", MISSING) == sent


@pytest.mark.parametrize(("tier", "sent"), [("auto", MISSING), ("default", "standard"), ("flex", "flex")])
def test_tiers_of_gemini(tier, sent):
    """It has no word for its own choice."""
    assert body("gemini", service_tier=tier).get("serviceTier", MISSING) == sent


def test_mistral_has_another_name_for_the_seed():
    """And answers 422 to the usual one."""
    sent = body("mistral", seed=7)
    assert sent["random_seed"] == 7
    assert "seed" not in sent


@pytest.mark.parametrize("kind", ["deepseek", "ollama"])
def test_parallel_calls_where_there_is_no_switch(kind):
    """They are allowed, as was asked for."""
    assert "parallel_tool_calls" not in body(kind, parallel_tool_calls=True, tools=[TOOL])


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("required", {"type": "any", "disable_parallel_tool_use": True}),
        ("clock", {"type": "tool", "name": "clock", "disable_parallel_tool_use": True}),
        ("none", {"type": "none"}),
        ({"type": "auto", "disable_parallel_tool_use": False}, {"type": "auto", "disable_parallel_tool_use": False}),
    ],
)
def test_one_call_at_a_time_beside_a_tool_choice(choice, sent):
    """A mapping in the vendor's words says it itself."""
    assert body("anthropic", tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)["tool_choice"] == sent


def test_the_newer_version_of_anthropic_takes_no_top_p():
    """As it takes no temperature."""
    adapter = allm.providers.Anthropic(api_key="k", api_version="2026-10-21")
    with pytest.raises(allm.ValidationError) as caught:
        adapter.prepare(allm.request("Hi", model="m", top_p=0.5), AdapterOptions())
    assert caught.value.errors == ((("top_p",), "unsupported_in_api_version"),)


@pytest.mark.parametrize("kind", ["chat", "anthropic", "gemini"])
def test_fields_of_the_body_win(kind):
    """`options` are the provider's own body, over everything derived."""
    own = {
        "chat": {"stop": ["X"]},
        "anthropic": {"stop_sequences": ["X"]},
        "gemini": {"generationConfig": {"stopSequences": ["X"]}},
    }[kind]
    sent = body(kind, stop="END", options=own)
    assert sent.items() >= own.items()


def test_a_request_keeps_them():
    """Through JSON too."""
    request = allm.request("Hi", seed=7, **ALL)
    assert allm.from_json(allm.to_json(request)) == request
    assert attrs.evolve(request, stop=iter("ab")).stop == ("a", "b")
