"""Counts of tokens at Amazon and Google, each in the cloud's own shape."""

from __future__ import annotations

import base64
import json

import pytest

import allm
from allm.adapters import foundation_model
from allm.providers import Anthropic, Bedrock, Gemini
from allm.providers.bedrock.names import family_of
from allm.testing import Reply, WireServer
from request_types import check_bedrock

BARE = "anthropic.claude-sonnet-4-20250514-v1:0"
PROFILE = f"us.{BARE}"
THREAD = [allm.system("Be terse."), allm.user("Is it warm in Zug?")]


@allm.tool
def weather(city: str) -> str:
    """The weather of a city."""
    return city


async def counted(make, answer, model, **options):
    """The count, and the request that asked for it."""
    async with WireServer() as server:
        server.add(answer)
        engine = allm.Engine(adapter=make(server.base_url), model=model, retry=None)
        found = await allm.count_tokens(engine, THREAD, tools=[weather], temperature=0.5, max_tokens=3000, **options)
        return found, server.requests


def bedrock(url):
    return Bedrock(api_key="k", region="us-east-1", base_url=url)


async def test_bedrock_counts_what_converse_would_be_sent():
    """System prompt, messages, tools and the model's own fields; the profile is named by its model."""
    found, [request] = await counted(bedrock, Reply.json({"inputTokens": 47}), PROFILE, reasoning_effort="2000")
    assert (found.tokens, found.exact) == (47, True)
    assert request.path == f"/model/{BARE.replace(':', '%3A')}/count-tokens"
    check_bedrock(request.json(), "CountTokens")
    asked = request.json()["input"]["converse"]
    assert asked.keys() == {"system", "messages", "toolConfig", "additionalModelRequestFields"}
    assert asked["messages"] == [{"role": "user", "content": [{"text": "Is it warm in Zug?"}]}]
    assert asked["toolConfig"]["tools"][0]["toolSpec"]["name"] == "weather"


async def test_claude_in_its_own_format_is_counted_by_bedrock():
    """The body that would be sent is inside the question, as base64."""
    found, [request] = await counted(lambda url: Anthropic(via=bedrock(url)), Reply.json({"inputTokens": 47}), PROFILE)
    assert (found.tokens, found.exact) == (47, True)
    assert request.path == f"/model/{BARE.replace(':', '%3A')}/count-tokens"
    check_bedrock(request.json(), "CountTokens")
    body = json.loads(base64.b64decode(request.json()["input"]["invokeModel"]["body"]))
    assert body["anthropic_version"] == "bedrock-2023-05-31"
    assert body["max_tokens"] == 3000
    assert body["system"] == "Be terse." or body["system"][0]["text"] == "Be terse."
    assert {"model", "stream"}.isdisjoint(body)


async def test_a_model_that_bedrock_does_not_count_is_estimated():
    """It says so; any other refusal is an error."""
    refused = Reply.json({"message": "The provided model doesn't support counting tokens."}, status=400)
    found, _ = await counted(bedrock, refused, "meta.llama4-scout-17b-instruct-v1:0")
    assert found.tokens
    assert not found.exact
    with pytest.raises(allm.AdapterError) as caught:
        await counted(bedrock, Reply.json({"message": "The messages are wrong."}, status=400), BARE)
    assert caught.value.reason == "invalid_request"


async def test_claude_on_vertex_is_counted_by_a_model_of_its_own():
    """Which is in the URL; the one that is counted is in the body."""
    found, [request] = await counted(
        lambda url: Anthropic(project="p", location="eu", api_key="k", base_url=url),
        Reply.json({"input_tokens": 47}),
        "claude-sonnet-4@20250514",
    )
    assert (found.tokens, found.exact) == (47, True)
    path = "/v1/projects/p/locations/eu/publishers/anthropic/models/count-tokens:rawPredict"
    assert request.path == path
    body = request.json()
    assert (body["model"], body["anthropic_version"]) == ("claude-sonnet-4@20250514", "vertex-2023-10-16")
    assert "max_tokens" not in body


async def test_gemini_on_vertex_counts_fields_beside_the_contents():
    """Instructions and tools have no request around them there."""
    found, [request] = await counted(
        lambda url: Gemini(project="p", location="eu", api_key="k", base_url=url),
        Reply.json({"totalTokens": 47, "totalBillableCharacters": 100}),
        "gemini-2.5-flash",
        tool_choice="required",
    )
    assert (found.tokens, found.exact) == (47, True)
    assert request.path == "/v1/projects/p/locations/eu/publishers/google/models/gemini-2.5-flash:countTokens"
    assert request.json().keys() == {"contents", "generationConfig", "systemInstruction", "tools"}


@pytest.mark.parametrize(
    ("name", "model", "family"),
    [
        (BARE, BARE, "anthropic"),
        (PROFILE, BARE, "anthropic"),
        ("us-gov.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0", "amazon"),
        ("global.amazon.nova-2-lite-v1:0", "amazon.nova-2-lite-v1:0", "amazon"),
        (f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{PROFILE}", BARE, "anthropic"),
        (f"arn:aws:bedrock:us-east-1::foundation-model/{BARE}", BARE, "anthropic"),
        ("deepseek.v3.2", "deepseek.v3.2", "deepseek"),
        ("mine", "mine", "mine"),
    ],
)
def test_a_name_tells_the_model_and_its_maker(name, model, family):
    """With the geography of a profile in front, and as an ARN."""
    assert (foundation_model(name), family_of(name)) == (model, family)


def test_an_arn_that_names_no_model_stands_for_itself():
    """Two of them may be models of different makers."""
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
    assert foundation_model(arn) == family_of(arn) == arn
