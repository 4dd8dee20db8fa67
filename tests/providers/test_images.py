"""Image adapters: bodies that the vendors take, answers of every shape, recorded ones included."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

import allm
from allm.adapters import form_fields
from allm.providers import GeminiImages, OpenAIImages
from allm.providers.fake.images import plain_png
from allm.providers.gemini.image_decode import decode_images as decode_gemini
from allm.providers.gemini.image_encode import encode_image as encode_gemini
from allm.providers.openai.image_decode import decode_images
from allm.providers.openai.image_encode import encode_files, encode_image
from allm.testing import Reply, WireServer, loopback_clock
from request_types import check_gemini, force, vendor
from wire_corpus import cases

PNG = allm.Image.from_bytes(plain_png("a"))
JPEG = allm.Image.from_bytes(b"\xff\xd8\xff jpeg")
TEXT = base64.b64encode(plain_png("b")).decode()


@pytest.fixture
def clock():
    return loopback_clock()


def openai(server, model="gpt-image-2", **fields):
    adapter = OpenAIImages(api_key="sk-image-key", base_url=f"{server.base_url}/v1", **fields)
    return allm.Engine(image_adapter=adapter, image_model=model, retry=None)


def gemini(server, model="gemini-3-pro-image"):
    return allm.Engine(
        image_adapter=GeminiImages(api_key="g-image-key", base_url=server.base_url), image_model=model, retry=None
    )


def requests():
    """Requests of every kind that OpenAI's models take."""
    full = {"size": "1024x1024", "n": 2, "user": "u1"}
    return {
        "gpt": allm.image_request(
            "a fox", model="gpt-image-2", quality="high", background="transparent", output_format="webp", **full
        ),
        "dall-e-3": allm.image_request(
            "a fox", model="dall-e-3", quality="hd", style="vivid", response_format="b64_json", size=(1792, 1024)
        ),
        "dall-e-2": allm.image_request("a fox", model="dall-e-2", response_format="url", **full),
        "unknown": allm.image_request("a fox", model="pixel-9", quality="high", options={"seed": 1}),
        "edit": allm.image_request("join", operation="edit", model="gpt-image-2", images=[PNG, JPEG], mask=PNG, **full),
    }


@pytest.mark.parametrize("name", ["gpt", "dall-e-3", "dall-e-2"])
def test_bodies_are_what_openai_takes(name):
    """By the types of its own SDK."""
    params = vendor("openai.types.image_generate_params")
    judge = vendor("pydantic").TypeAdapter(params.ImageGenerateParamsNonStreaming)
    force(judge.validate_python(encode_image(requests()[name]), extra="forbid"))


def test_fields_of_an_edit_are_what_openai_takes():
    """Its SDK's type has files, which no judge can look into; the names of the fields are all there."""
    request = requests()["edit"]
    names = {*encode_image(request), *(field.removesuffix("[]") for field, _ in encode_files(request))}
    known = vendor("openai.types.image_edit_params").ImageEditParamsBase.__annotations__
    assert names <= known.keys()
    assert {"image", "mask", "prompt"} <= names


def test_a_generation():
    """The fields that were given, under the names of the wire; options go in as they are."""
    assert encode_image(requests()["unknown"]) == {
        "model": "pixel-9",
        "prompt": "a fox",
        "quality": "high",
        "seed": 1,
    }


@pytest.mark.parametrize(
    "model",
    [
        "gpt-image-1",
        "gpt-image-1-mini",
        "gpt-image-1.5",
        "gpt-image-2.6-flare",
        "chatgpt-image-latest",
        "openai/gpt-image-2",
    ],
)
def test_gpt_image_models_get_no_response_format(model):
    """They answer 400 to it: asking for one is refused, and none is sent unasked."""
    assert "response_format" not in encode_image(allm.image_request("x", model=model))
    with pytest.raises(allm.ValidationError, match="response_format"):
        encode_image(allm.image_request("x", model=model, response_format="b64_json"))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"model": "dall-e-3", "operation": "edit", "images": [PNG]}, "operation"),
        ({"model": "dall-e-2", "operation": "edit", "images": [PNG, PNG]}, "images"),
        ({"model": "dall-e-2", "quality": "hd"}, "quality"),
        ({"model": "dall-e-3", "background": "opaque"}, "background"),
        ({"model": "gpt-image-2", "style": "vivid"}, "style"),
    ],
)
def test_what_a_family_of_models_does_not_take(fields, path):
    """Is refused by name, with what it takes."""
    with pytest.raises(allm.ValidationError, match="models") as caught:
        encode_image(allm.image_request("x", **fields))
    assert [place[0] for place, _ in caught.value.errors] == [path]


def test_an_answer_in_events_is_refused():
    """It would be paid for, and then not be understood."""
    with pytest.raises(allm.ValidationError, match="in one piece"):
        encode_image(allm.image_request("x", model="gpt-image-2", options={"stream": True}))


@pytest.mark.parametrize(
    "image",
    [allm.Image.from_url("https://example.com/a.png"), allm.Image.from_bytes(b"GIF89a"), allm.Image.from_bytes(b"?")],
)
def test_images_that_cannot_be_sent(image):
    """A URL is not fetched; a format that is not taken, or not known, is refused, wherever it stands."""
    request = allm.image_request("x", operation="edit", model="gpt-image-2", images=[PNG, image], mask=image)
    with pytest.raises(allm.ValidationError) as caught:
        encode_files(request)
    assert [place for place, _ in caught.value.errors] == [("images", 1), ("mask",)]


def test_the_type_of_a_file_is_in_its_bytes():
    """Not in its name, nor in what a provider or a user called it."""
    images = [allm.Image.from_bytes(JPEG.to_bytes(), mime_type) for mime_type in ("image/png", "image/jpg")]
    files = encode_files(allm.image_request("x", operation="edit", images=images))
    assert [(name, mime_type) for _, (name, _, mime_type) in files] == [
        ("image-1.jpg", "image/jpeg"),
        ("image-2.jpg", "image/jpeg"),
    ]


def test_fields_of_a_form():
    """Everything is text there."""
    body = {
        "n": 2,
        "stream": False,
        "svg": {"model": "m", "reasoning": {"effort": "low"}},
        "none": None,
        "include": ["logprobs", True],
        "languages[]": ("de", "en"),
        "points": [{"x": 1}, {"x": 2}],
        "nothing": [],
    }
    assert form_fields(body) == {
        "n": ["2"],
        "stream": ["false"],
        "svg[model]": ["m"],
        "svg[reasoning][effort]": ["low"],
        "include[]": ["logprobs", "true"],
        "languages[]": ["de", "en"],
        "points[][x]": ["1", "2"],
    }


def test_what_a_form_cannot_carry():
    """Is refused by name, all of it at once, instead of being sent as its repr."""
    with pytest.raises(allm.ValidationError) as caught:
        form_fields({"a": object(), "b": [b"x"], "d": 1})
    assert [path for path, _ in caught.value.errors] == [("a",), ("b[]",)]


def test_half_of_a_character_in_a_form():
    """It is replaced, as in JSON."""
    assert form_fields({"prompt": "a \ud83d", "tags": ["\ud83d\ude00"]}) == {
        "prompt": ["a \ufffd"],
        "tags[]": ["\U0001f600"],
    }


def test_fields_of_a_form_are_those_of_openais_own_sdk():
    """A list is repeated under a name with brackets."""
    sdk = vendor("openai._qs").Querystring()
    body = {"a": [1, True], "b": {"c": {"d": [2.5]}, "e": None}, "f": "x", "g": [{"h": 1}]}
    fields = form_fields(body)
    assert sorted(sdk.stringify_items(body, array_format="brackets")) == sorted(
        (name, value) for name, values in fields.items() for value in values
    )


async def test_a_list_in_an_edit_is_sent_as_one(clock):
    """Each of its items under the same name."""
    async with WireServer() as server:
        server.add(Reply.json({"data": [{"b64_json": TEXT}]}))
        await allm.edit_image(openai(server), PNG, "x", options={"tags": ["a", "b"]})
        [seen] = server.requests
    assert seen.body.count(b'name="tags[]"') == 2
    assert b"['a'" not in seen.body


async def test_an_edit_sends_every_image(clock):
    """As files of one form, in their order, with the mask apart."""
    async with WireServer() as server:
        server.add(Reply.json({"data": [{"b64_json": TEXT}]}))
        response = await allm.edit_image(openai(server), [PNG, JPEG], "join them", mask=PNG, n=1)
        [seen] = server.requests
    assert seen.path == "/v1/images/edits"
    assert seen.headers["content-type"].startswith("multipart/form-data; boundary=")
    for index, content in enumerate((PNG.to_bytes(), JPEG.to_bytes())):
        assert content in seen.body
        assert f'name="image[]"; filename="image-{index + 1}'.encode() in seen.body
    assert b'name="mask"; filename="mask.png"' in seen.body
    assert response.image.to_bytes() == plain_png("b")


async def test_a_generation_over_http(clock):
    """The key in its header and nowhere else; request id, usage and what the model chose are kept."""
    answer = {
        "created": 1,
        "data": [{"b64_json": TEXT, "revised_prompt": "a red fox"}, {"b64_json": TEXT}],
        "output_format": "png",
        "size": "1024x1024",
        "usage": {
            "input_tokens": 3,
            "output_tokens": 5,
            "total_tokens": 8,
            "input_tokens_details": {"image_tokens": 0},
        },
    }
    async with WireServer() as server:
        server.add(Reply.json(answer, headers={"x-request-id": "req_1"}))
        response = await allm.generate_image(openai(server), "a fox", n=2)
        [seen] = server.requests
    assert json.loads(seen.body) == {"model": "gpt-image-2", "prompt": "a fox", "n": 2}
    assert seen.headers["authorization"] == "Bearer sk-image-key"
    assert "sk-image-key" not in repr(response)
    assert (response.request_id, response.model, len(response.images)) == ("req_1", "gpt-image-2", 2)
    assert response.image.revised_prompt == "a red fox"
    assert response.image.resolved_mime_type() == "image/png"
    usage = response.usage
    assert (usage.images, usage.input_tokens, usage.output_tokens, usage.total_tokens) == (2, 3, 5, 8)
    assert response.metadata == {"openai": {"created": 1, "output_format": "png", "size": "1024x1024"}}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply.json({"data": []}), "malformed_response"),
        (Reply.json({"data": [{}, "x", {"b64_json": ""}]}), "malformed_response"),
        (Reply.json({"data": [{"url": "data:image/png,plain"}]}), "malformed_response"),
        (Reply.json([1]), "malformed_response"),
        (Reply(body=b"<html>", headers={"content-type": "text/html"}), "malformed_response"),
        (Reply.json({"error": {"message": "no", "code": "rate_limit_exceeded"}}, status=429), "rate_limited"),
        (Reply.json({"error": {"message": "key sk-image-key is bad"}}, status=401), "authentication_failed"),
    ],
)
async def test_answers_that_are_none(clock, reply, reason):
    """One clear error each, without the key."""
    async with WireServer() as server:
        server.add(reply)
        with pytest.raises(allm.ImageAdapterError) as caught:
            await allm.generate_image(openai(server), "a fox")
    assert (caught.value.reason, caught.value.provider) == (reason, "openai")
    assert "sk-image-key" not in str(caught.value)


PAGE = base64.b64encode(b"<!DOCTYPE html><p>Sorry").decode()
NOTE = base64.b64encode(b'{"error": "try again"}').decode()


@pytest.mark.parametrize(
    "item",
    [
        {"b64_json": TEXT[:-3]},
        {"b64_json": "@@@@"},
        {"b64_json": f"{TEXT} ?"},
        {"b64_json": PAGE},
        {"b64_json": NOTE},
        {"b64_json": "data:image/png,plain"},
        {"url": f"data:image/png;base64,{TEXT[:-3]}"},
        {"url": "file:///etc/passwd"},
        {"url": "/files/1.png"},
    ],
)
def test_images_that_cannot_be_read(item):
    """Are found when they come, and not when they are saved; good ones beside them are kept."""
    with pytest.raises(allm.AdapterError, match="cannot be read") as caught:
        decode_images({"data": [item]}, provider="openai", model="m", prompt="x")
    assert caught.value.reason == "malformed_response"
    response = decode_images({"data": [item, {"b64_json": TEXT}]}, provider="openai", model="m", prompt="x")
    assert response.image.to_bytes() == plain_png("b")
    assert (response.usage.images, response.metadata) == (1, {"openai": {"unreadable_images": 1}})


@pytest.mark.parametrize("text", [f"{TEXT[:8]}\n{TEXT[8:]}\n", f"data:image/png;base64,{TEXT}"])
def test_images_in_other_clothes(text):
    """Lines, and a data URI where base64 text is expected."""
    [image] = decode_images({"data": [{"b64_json": text}]}, provider="openai", model="m", prompt="x").images
    assert image.to_bytes() == plain_png("b")


def test_a_broken_image_of_gemini():
    """Is none."""
    parts = [{"inlineData": {"mimeType": "image/png", "data": TEXT[:-3]}}]
    with pytest.raises(allm.AdapterError, match="no image"):
        decode_gemini({"candidates": [{"content": {"parts": parts}}]}, provider="gemini", model="m", prompt="x")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "too many", "code": 429}, ("rate_limited", 429, True)),
        ({"message": "busy", "type": "server_error"}, ("provider_unavailable", None, True)),
        ({"message": "odd", "code": True}, ("unknown", None, False)),
        ("no such thing", ("unknown", None, False)),
        (["x"], ("malformed_response", None, False)),
        ({}, ("malformed_response", None, False)),
    ],
)
async def test_an_error_under_a_good_status(clock, error, expected):
    """As gateways send it: it is what was said; without it the answer is malformed."""
    async with WireServer() as server:
        server.add(Reply.json({"error": error}, headers={"x-request-id": "r1"}))
        with pytest.raises(allm.ImageAdapterError) as caught:
            await allm.generate_image(openai(server), "a fox")
    found = caught.value
    assert (found.reason, found.status, found.retryable) == expected
    assert (found.request_id, found.provider) == ("r1", "openai")


async def test_a_compressed_body(clock):
    """Is read as any other."""
    body = gzip.compress(json.dumps({"data": [{"b64_json": TEXT}]}).encode())
    async with WireServer() as server:
        server.add(Reply(body=body, headers={"content-encoding": "gzip"}, chunks=7))
        response = await allm.generate_image(openai(server), "a fox")
    assert response.image.to_bytes() == plain_png("b")


async def test_a_body_that_cannot_be_decompressed(clock):
    """Is an answer that cannot be read, and not an error of the adapter."""
    async with WireServer() as server:
        server.add(Reply(body=b"no gzip", headers={"content-encoding": "gzip"}))
        with pytest.raises(allm.ImageAdapterError, match="encoding") as caught:
            await allm.generate_image(openai(server), "a fox")
    assert caught.value.reason == "malformed_response"


@pytest.mark.parametrize("case", cases("openai_images"), ids=lambda case: case.folder.name)
async def test_recorded_answers(clock, case):
    """As expected: kind and length of the images, revised prompt, usage, errors."""
    expected = case.expected
    body = (case.folder / "response.body").read_bytes()
    headers = {"content-type": "application/json"}
    async with WireServer() as server:
        server.add(Reply(status=expected["status"], body=body, headers=headers))
        wanted = expected["error"]
        if wanted is not None:
            with pytest.raises(allm.ImageAdapterError) as caught:
                await allm.generate_image(openai(server, "other"), "x")
            error = caught.value
            assert (error.reason, error.retryable) == (wanted["reason"], wanted["retryable"])
            assert error.retry_after == wanted["retry_after_s"]
            assert error.provider_code in [wanted["provider_code"], *expected["also_ok"]["error.provider_code"]]
            assert wanted["message_contains"] in error.message
            return
        response = await allm.generate_image(openai(server, "other"), "x")
    assert expected["outcome"] == "ok"
    assert [
        {
            "kind": "url" if image.url else "b64",
            "bytes": None if image.url else len(image.to_bytes()),
            "revised_prompt": image.revised_prompt,
        }
        for image in response.images
    ] == expected["images"]
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        assert getattr(response.usage, name) == expected["usage"][name]


def test_images_in_data_urls():
    """Some servers answer those; the bytes are there then."""
    document = {"data": [{"url": f"data:image/png;base64,{TEXT}"}]}
    [image] = decode_images(document, provider="openai", model="m", prompt="p").images
    assert (image.to_bytes(), image.mime_type, image.prompt) == (plain_png("b"), "image/png", "p")


# --- Gemini


def test_gemini_bodies_are_what_google_takes():
    """By its own descriptors."""
    request = allm.image_request(
        "join", operation="edit", images=[PNG, JPEG], model="gemini-3-pro-image", size="1792x1024"
    )
    body = encode_gemini(request)
    assert body["generationConfig"]["imageConfig"] == {"aspectRatio": "16:9"}
    known = {**body, "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}
    check_gemini(known)
    vendor("google.genai.types").GenerateContentConfig.model_validate(body["generationConfig"])


@pytest.mark.parametrize(
    ("size", "ratio"),
    [("1024x1024", "1:1"), ("1536x1024", "3:2"), ("1024x1792", "9:16"), ("1280x1024", "5:4"), ("auto", None)],
)
def test_sizes_become_shapes(size, ratio):
    """The nearest one that Gemini draws."""
    config = encode_gemini(allm.image_request("x", size=size))["generationConfig"]
    assert config.get("imageConfig", {}).get("aspectRatio") == ratio


@pytest.mark.parametrize(
    "fields",
    [
        {"size": "4000x100"},
        {"quality": "high"},
        {"response_format": "url"},
        {"operation": "edit", "images": [PNG], "mask": PNG},
        {"operation": "variation", "images": [PNG], "prompt": None},
        {"operation": "edit", "images": [allm.Image.from_bytes(b"GIF89a")]},
    ],
)
def test_what_gemini_does_not_take(fields):
    """Is refused by name."""
    with pytest.raises(allm.ValidationError, match=r"Gemini") as caught:
        encode_gemini(allm.image_request(**{"prompt": "x", **fields}))
    assert len(caught.value.errors) == 1


def test_options_of_gemini_are_merged():
    """What is asked for beside them stays."""
    options = {"generationConfig": {"imageConfig": {"imageSize": "2K"}, "seed": 1}, "safetySettings": []}
    body = encode_gemini(allm.image_request("x", size="1024x1024", n=2, options=options))
    assert body["generationConfig"] == {
        "responseModalities": ["TEXT", "IMAGE"],
        "imageConfig": {"aspectRatio": "1:1", "imageSize": "2K"},
        "candidateCount": 2,
        "seed": 1,
    }
    assert body["safetySettings"] == []


async def test_gemini_over_http(clock):
    """Images and the text beside them; drafts of the thinking are no images."""
    draft = {"thought": True, "inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    parts = [draft, {"text": "Here "}, {"inlineData": {"mimeType": "image/png", "data": TEXT}}, {"text": "it is."}]
    answer = {
        "candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}],
        "modelVersion": "gemini-3-pro-image",
        "responseId": "r1",
        "usageMetadata": {
            "promptTokenCount": 2,
            "candidatesTokenCount": 3,
            "thoughtsTokenCount": 4,
            "totalTokenCount": 9,
        },
    }
    async with WireServer() as server:
        server.add(Reply.json(answer))
        response = await allm.generate_image(gemini(server), "a fox")
        [seen] = server.requests
    assert seen.path == "/v1beta/models/gemini-3-pro-image:generateContent"
    assert seen.headers["x-goog-api-key"] == "g-image-key"
    assert [image.to_bytes() for image in response.images] == [plain_png("b")]
    assert (response.text, response.id) == ("Here it is.", "r1")
    usage = response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (2, 7, 9)


@pytest.mark.parametrize(
    ("document", "reason", "code"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "content_filter", "SAFETY"),
        ({"candidates": [{"finishReason": "IMAGE_SAFETY"}]}, "content_filter", "IMAGE_SAFETY"),
        ({"candidates": [{"finishReason": "NO_IMAGE"}]}, "malformed_response", "NO_IMAGE"),
        (
            {"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "I cannot."}]}}]},
            "malformed_response",
            None,
        ),
        ({}, "malformed_response", None),
    ],
)
def test_gemini_answers_without_an_image(document, reason, code):
    """Say why, as far as it is known, and what the model said instead."""
    with pytest.raises(allm.AdapterError) as caught:
        decode_gemini(document, provider="gemini", model="m", prompt="p")
    assert (caught.value.reason, caught.value.provider_code) == (reason, code)
    assert ("I cannot." in str(caught.value)) == ("candidates" in document and "content" in document["candidates"][0])
