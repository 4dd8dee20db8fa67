"""A large image in a request is encoded while it is sent, and what arrives is what a small one would be."""

from __future__ import annotations

import base64
import json
import tracemalloc

import pytest

import allm
from allm.adapters import AdapterOptions, Body, base64_text, json_body
from allm.http.call import json_content
from allm.providers import Anthropic, Gemini, OpenAI
from allm.testing import Reply, WireServer

PNG = b"\x89PNG\r\n\x1a\n"
ADAPTERS = {
    "openai": lambda url=None: OpenAI(base_url=url, api_key="k", endpoint="chat_completions"),
    "openai_responses": lambda url=None: OpenAI(base_url=url, api_key="k", endpoint="responses"),
    "anthropic": lambda url=None: Anthropic(base_url=url, api_key="k"),
    "gemini": lambda url=None: Gemini(base_url=url, api_key="k"),
}


def picture(size):
    """An image of so many bytes, and a few different ones."""
    return PNG + bytes(range(256)) * (size // 256) + b"end"


def sources(data, folder):
    """The image from its bytes, their base64, and a file."""
    path = folder / "large.png"
    path.write_bytes(data)
    return [
        allm.Image.from_bytes(data),
        allm.Image.from_base64(base64.b64encode(data).decode()),
        allm.Image.from_file(path),
    ]


@pytest.mark.parametrize("wire", ADAPTERS)
async def test_what_arrives(wire, tmp_path):
    """Two large images and texts around them, whatever the images were made of; also when the call is retried."""
    data = picture(1_000_000)
    async with WireServer() as server:
        engine = allm.Engine(adapter=ADAPTERS[wire](server.url(wire)), model="m")
        for image in sources(data, tmp_path):
            server.add(Reply.error(wire, 503), Reply.script(wire, [allm.fake.text("A cat")]))
            message = allm.user("Käse \ud83d\ude00", image, 'and "this"?', image)
            answer = await allm.generate(engine, message, max_tokens=5, retry=allm.RetryPolicy(base_delay=0))
            assert answer.output_text == "A cat"
    for request in server.requests:
        text = json.dumps(json.loads(request.body))
        assert text.count(base64.b64encode(data).decode()) == 2
        assert len(request.body) == int(request.headers["content-length"])
    assert len({request.body for request in server.requests}) == 1


@pytest.mark.parametrize("wire", ADAPTERS)
@pytest.mark.parametrize("kind", [0, 1, 2], ids=["bytes", "base64", "file"])
def test_memory(wire, kind, tmp_path):
    """To prepare and to send it takes half as much again as the image, at most; a file has to be read for that."""
    data = picture(7_000_000)
    image = sources(data, tmp_path)[kind]
    adapter = ADAPTERS[wire]()
    request = allm.Request((allm.user("What is this?", image),), model="m", max_tokens=5)
    tracemalloc.start()
    try:
        body = adapter.prepare(request, AdapterOptions()).body
        assert sum(map(len, body.open())) == body.length > len(data)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 3 * 64 * 1024 - 1, 3 * 64 * 1024, 3 * 64 * 1024 + 1])
def test_the_length_of_the_last_piece(size):
    """However many bytes are left for it."""
    data = picture(300_000) + bytes(size)
    text = base64_text(allm.Image.from_bytes(data), "data:image/png;base64,")
    body = json_content({"a": text, "b": [text]})
    assert isinstance(body, Body)
    whole = b"".join(body.open())
    assert whole == json_body({"a": text, "b": [text]})
    assert (len(whole), len(text)) == (body.length, len(json.loads(whole)["a"]))
    assert base64.b64decode(json.loads(whole)["b"][0].removeprefix("data:image/png;base64,")) == data


def test_small_images_are_texts():
    """And so is what would have to be escaped."""
    assert base64_text(allm.Image.from_bytes(PNG), "x") == "x" + base64.b64encode(PNG).decode()
    odd = allm.Image(("base64", '"' * 300_000), "image/png")
    assert base64_text(odd) == odd.to_base64()


def test_what_has_no_form_is_refused_beside_an_image():
    """As it is without one."""
    for body in ({"x": object()}, {"x": object(), "y": base64_text(allm.Image.from_bytes(picture(300_000)))}):
        with pytest.raises(allm.ValidationError, match="no JSON form"):
            json_body(body)
