"""Moderation: a verdict for each text, one for texts and images together, and none for more than fits."""

from __future__ import annotations

import pytest

import allm
from allm.data.json.text import loads
from allm.providers import FakeModeration, OpenAIModeration
from allm.testing import Reply, WireServer
from request_types import check_openai_moderation

IMAGE = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n", "image/png")
LINKED = allm.Image.from_url("https://example.com/a.png")
OPTIONS = allm.adapters.AdapterOptions(api_key=allm.keys.Secret("k"))
RETRY = allm.RetryPolicy(max_attempts=2, base_delay=0)


def engine(adapter=None, **fields):
    return allm.Engine(moderation_adapter=adapter or FakeModeration(), **{"retry": RETRY, **fields})


def body_of(inputs, adapter=None, **fields):
    request = allm.ModerationRequest(inputs, **fields)
    return loads((adapter or OpenAIModeration()).prepare(request, OPTIONS).body)


def verdict(**flags):
    return {"flagged": any(flags.values()), "categories": flags, "category_scores": dict.fromkeys(flags, 0.5)}


async def answered(document, inputs="text", **fields):
    async with WireServer() as server:
        server.add(Reply.json(document, headers={"x-request-id": "req-1"}))
        adapter = OpenAIModeration(base_url=server.url("openai"), api_key="k", **fields)
        response = await allm.moderate(engine(adapter, retry=None), inputs, model="m" if fields else None)
        assert server.requests[0].path == "/v1/moderations"
        return response


async def test_each_text_has_a_result():
    """In its order."""
    adapter = FakeModeration({"violence": ["fight"], "spam": ["BUY"]})
    response = await allm.moderate(engine(adapter), ["hello", "Fight and buy", "buy"])
    assert [result.flagged_categories for result in response.results] == [(), ("violence", "spam"), ("spam",)]
    assert response.flagged
    assert not (await allm.moderate(engine(), "hello")).flagged
    assert response.results[1].scores == {"violence": 1, "spam": 1}
    assert allm.from_json(allm.to_json(response)) == response


@pytest.mark.parametrize(("inputs", "types"), [([IMAGE], ("image",)), (["kill", IMAGE], ("image", "text"))])
async def test_an_image_makes_one_result_of_everything(inputs, types):
    """With what its scores were made from."""
    response = await allm.moderate(engine(), inputs)
    [result] = response.results
    assert result.flagged == (len(inputs) == 2)
    assert set(result.applied_input_types.values()) == {types}


def test_bodies():
    """A list of texts, or of objects as soon as there is an image; the model only where one is given."""
    assert body_of("a") == {"input": ["a"]}
    assert body_of(["a", "b"], model="m", options={"x": 1}) == {"input": ["a", "b"], "model": "m", "x": 1}
    mixed = body_of(["a", IMAGE], model="omni-moderation-latest")
    assert mixed["input"] == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": IMAGE.to_data_uri()}},
    ]
    linked = body_of(LINKED)
    assert linked["input"] == [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    for body in (body_of(["a", "b"], model="m"), mixed, linked):
        check_openai_moderation(body)


@pytest.mark.parametrize(
    ("inputs", "fields", "errors"),
    [
        (["a"] * 33, {}, [(("inputs",), "too_many")]),
        (["a", IMAGE, LINKED], {}, [(("inputs", 2), "too_many_images")]),
        ([IMAGE], {"model": "text-moderation-latest"}, [(("inputs",), "unsupported")]),
        ([allm.Image.from_bytes(b"?")], {}, [(("inputs", 0), "missing_mime_type")]),
    ],
)
def test_what_does_not_fit_is_an_error(inputs, fields, errors):
    """Never a part of the answer."""
    with pytest.raises(allm.ValidationError) as caught:
        body_of(inputs, **fields)
    assert list(caught.value.errors) == errors


def test_the_cap_can_be_raised():
    """Should the provider take more."""
    assert len(body_of(["a"] * 33, OpenAIModeration(max_inputs=50))["input"]) == 33


@pytest.mark.parametrize(
    ("inputs", "errors"),
    [
        ([], [(("inputs",), "empty")]),
        (5, [(("inputs",), "invalid_type")]),
        (["", 3], [(("inputs", 0), "empty"), (("inputs", 1), "invalid_type")]),
        (allm.ModerationRequest("a", model=3), [(("model",), "invalid_type")]),
    ],
)
async def test_bad_inputs_are_one_error_before_anything_is_sent(inputs, errors):
    """With every problem."""
    adapter = FakeModeration()
    with pytest.raises(allm.ValidationError) as caught:
        await allm.moderate(engine(adapter), inputs)
    assert list(caught.value.errors) == errors
    assert adapter.requests == []


def test_a_request_is_a_value():
    """That can be checked and survives JSON."""
    request = allm.ModerationRequest(["a", IMAGE], model="m", metadata={"mine": 1})
    allm.validate(request)
    assert allm.from_json(allm.to_json(request)) == request
    with pytest.raises(allm.ValidationError):
        allm.validate(allm.ModerationRequest([]))


async def test_mistral_has_no_word_for_the_whole():
    """It is flagged if any category is; it judges texts only and needs a model."""
    verdicts = [{"categories": {"pii": True, "law": False}}, {"categories": {"pii": False}}]
    response = await answered({"results": verdicts, "model": "m"}, ["a", "b"], preset="mistral")
    assert [result.flagged for result in response.results] == [True, False]
    with pytest.raises(allm.ValidationError, match="judges texts only"):
        body_of(IMAGE, OpenAIModeration(preset="mistral"), model="m")
    with pytest.raises(allm.EngineError, match="moderation_model"):
        await allm.moderate(engine(OpenAIModeration(preset="mistral", api_key="k")), "a")


async def test_categories_that_are_not_judged_are_left_out():
    """As old models answer to a new client."""
    response = await answered({"id": "i", "results": [verdict(hate=True) | {"categories": {"hate": True, "x": None}}]})
    assert response.results[0].categories == {"hate": True}
    assert (response.id, response.request_id) == ("i", "req-1")


@pytest.mark.parametrize(
    "document",
    [{}, {"results": [{}]}, {"results": []}, {"results": [verdict(hate=False)] * 2}, {"results": ["x"]}],
)
async def test_nonsense_is_an_error(document):
    """Also a verdict too many or too few."""
    with pytest.raises(allm.AdapterError) as caught:
        await answered(document)
    assert (caught.value.reason, caught.value.provider) == ("malformed_response", "openai")


async def test_failures_are_tried_again():
    """Within the budget."""
    down = allm.fake.error(allm.AdapterError("down", reason="overloaded"))
    assert (await allm.moderate(engine(FakeModeration(script=[[down]])), "kill")).flagged
    with pytest.raises(allm.AdapterError, match="down"):
        await allm.moderate(engine(FakeModeration(script=[[down], [down]])), "kill")
    refused = allm.fake.preflight_error(allm.AdapterError("no", reason="unsupported_feature"))
    with pytest.raises(allm.AdapterError, match="no"):
        await allm.moderate(engine(FakeModeration(script=[[refused]])), "kill")


async def test_options_come_from_the_usual_places():
    """The call's, else the request's, else the engine's."""
    adapter = FakeModeration()
    request = allm.ModerationRequest("a", model="of request", options={"a": 1}, metadata={"mine": 1})
    response = await allm.moderate(engine(adapter), request, options={"b": 2})
    await allm.moderate(engine(adapter), request, model="of call")
    await allm.moderate(engine(adapter, moderation_model="of engine"), "a")
    assert [asked.model for asked in adapter.requests] == ["of request", "of call", "of engine"]
    assert adapter.requests[0].options == {"a": 1, "b": 2}
    assert response.metadata == {"mine": 1}
    with pytest.raises(allm.OptionError, match="'model'"):
        await allm.moderate(engine(), "a", models="x")
