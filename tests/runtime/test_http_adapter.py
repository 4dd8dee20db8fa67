"""Rules common to all adapters over HTTP: which setting takes precedence, and what is sent."""

from __future__ import annotations

import pytest

import allm
from allm.http.keys import KeyHeader, Secret
from allm.providers import (
    Anthropic,
    Gemini,
    GeminiEmbeddings,
    GeminiImages,
    GeminiTranscription,
    OpenAI,
    OpenAIEmbeddings,
    OpenAIImages,
    OpenAIModeration,
    OpenAISpeech,
    OpenAITranscription,
    VoyageEmbeddings,
)
from allm.runtime.adapters import AdapterOptions
from allm.runtime.http_adapter import HttpAdapter, Vendor
from allm.testing import Reply, WireServer
from prepared_calls import headers_of

AUDIO = allm.Audio.from_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
REQUESTS = {
    OpenAI: allm.request("hi", model="m"),
    Anthropic: allm.request("hi", model="m"),
    Gemini: allm.request("hi", model="m"),
    OpenAIImages: allm.ImageRequest("a cat", model="m"),
    GeminiImages: allm.ImageRequest("a cat", model="m"),
    OpenAIEmbeddings: allm.EmbeddingRequest(["hi"], model="m"),
    GeminiEmbeddings: allm.EmbeddingRequest(["hi"], model="m"),
    VoyageEmbeddings: allm.EmbeddingRequest(["hi"], model="m"),
    OpenAIModeration: allm.ModerationRequest(["hi"], model="m"),
    OpenAISpeech: allm.SpeechRequest("hi", model="m"),
    OpenAITranscription: allm.TranscriptionRequest(AUDIO, model="m"),
    GeminiTranscription: allm.TranscriptionRequest(AUDIO, model="m"),
}
VARIABLES = ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "VOYAGE_BASE_URL")


@pytest.fixture(params=REQUESTS, ids=lambda cls: cls.__name__)
def prepare(request):
    """Prepares a call of each bundled adapter, with some of its fields and some options of the call."""

    def prepare(fields, **options):
        prepared = request.param(**{"api_key": "k", **fields}).prepare(
            REQUESTS[request.param], AdapterOptions(**options)
        )
        return getattr(prepared, "call", prepared)

    return prepare


def test_base_url(prepare, monkeypatch):
    """The call's takes precedence over the adapter's, that over the variable's, and that over the vendor's."""
    hosts = [prepare({}).url.split("/")[2]]
    for name in VARIABLES:
        monkeypatch.setenv(name, "http://variable.example/v1")
    hosts.append(prepare({}).url.split("/")[2])
    hosts.append(prepare({"base_url": "http://adapter.example/v1"}).url.split("/")[2])
    called = prepare({"base_url": "http://adapter.example/v1"}, base_url="http://call.example/v1")
    hosts.append(called.url.split("/")[2])
    assert hosts[1:] == ["variable.example", "adapter.example", "call.example"]
    assert hosts[0] in {
        "api.openai.com",
        "api.anthropic.com",
        "generativelanguage.googleapis.com",
        "api.voyageai.com",
    }


@pytest.mark.parametrize("base_url", ["nowhere", "", "ftp://call.example", 1])
def test_an_unusable_base_url_of_a_call(prepare, base_url):
    """It is refused before anything is sent."""
    with pytest.raises(allm.EngineError) as caught:
        prepare({}, base_url=base_url)
    assert caught.value.reason == "invalid_base_url"


def test_headers(prepare):
    """The call's replace the adapter's, whatever their case, and both replace our own."""
    call = prepare({"headers": {"X-One": "a", "X-Two": "a"}}, headers={"x-two": "c", "X-Three": "c"})
    assert [call.headers[name] for name in ("x-one", "x-two", "x-three")] == ["a", "c", "c"]
    assert prepare({"headers": {"Content-Type": "a"}}, headers={"CONTENT-TYPE": "c"}).headers["content-type"] == "c"


@pytest.mark.parametrize("headers", [{"a b": "c"}, {"a": "line\nbreak"}, {"a": 1}, ["a"]])
def test_invalid_headers_of_a_call(prepare, headers):
    """They are refused before anything is sent."""
    with pytest.raises(allm.EngineError) as caught:
        prepare({}, headers=headers)
    assert caught.value.reason == "invalid_engine"


def test_white_space_around_a_header_value(prepare):
    """It is removed: it is not part of the value and could not be sent."""
    assert headers_of(prepare({"headers": {"x": " a b\t"}}))["x"] == "a b"


@pytest.mark.parametrize("request_id", ["a\nb", "Z\xfcrich", " a", "a\x00"])
def test_an_id_that_no_header_can_carry(request_id):
    """It is refused before anything is sent, by vendors that send it."""
    adapter = OpenAI(api_key="k")
    with pytest.raises(allm.ValidationError) as caught:
        adapter.prepare(allm.request("hi", model="m"), AdapterOptions(request_id=request_id))
    assert caught.value.errors == ((("request_id",), "invalid_format"),)


def test_the_users_own_key_header_replaces_the_key(prepare, monkeypatch):
    """From the adapter or the call; no key is needed then."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "VOYAGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    header = prepare({}).credential.header.name
    for fields, options in [({"headers": {header.title(): "own"}}, {}), ({}, {"headers": {header: "own"}})]:
        assert headers_of(prepare(fields, **options))[header] == "own"
        assert headers_of(prepare({"api_key": None, **fields}, **options))[header] == "own"
    with pytest.raises(allm.EngineError) as caught:
        prepare({"api_key": None})
    assert caught.value.reason == "missing_key"


def test_the_key_of_the_call_comes_first(prepare):
    """It takes precedence over the adapter's, even if that one is a function."""
    for api_key in ("adapter", lambda: "function"):
        assert prepare({"api_key": api_key}, api_key=Secret("call")).credential.source == Secret("call")


ACME = Vendor(name="acme", key_env=("ACME_API_KEY",), key_header=KeyHeader("x-acme-key", "Key "), headers={"X-V": "2"})


class Acme(HttpAdapter):
    vendor = ACME


async def test_the_users_own_key_header_is_masked():
    """A value sent instead of the key is masked like a key."""
    async with WireServer(default=Reply.json({"error": {"message": "secret-token is wrong"}}, status=401)) as server:
        adapter = OpenAI(base_url=server.url("openai"), headers={"Authorization": "Bearer secret-token"})
        response = await allm.generate(allm.Engine(adapter=adapter, model="m"), "hi")
    assert server.requests[0].headers["authorization"] == "Bearer secret-token"
    assert response.error.message == "*** is wrong"


def test_a_custom_vendor():
    """A `Vendor` and a subclass without methods are enough for an adapter."""
    call = Acme(api_key="k").call("http://acme.example/x", {"a": 1}, AdapterOptions(request_id="trace"))
    assert headers_of(call) == {
        "content-type": "application/json",
        "x-v": "2",
        "x-request-id": "trace",
        "x-acme-key": "Key k",
    }
    error = call.classify(429, {}, {"error": {"message": "slow down"}})
    assert (error.provider, error.reason, error.retryable, error.message) == ("acme", "rate_limited", True, "slow down")


def test_missing_settings_of_a_vendor():
    """The error names the argument or variable to set."""
    with pytest.raises(allm.EngineError, match="acme has no address of its own: pass base_url="):
        Acme(api_key="k").url("/x", AdapterOptions())
    with pytest.raises(allm.EngineError, match="ACME_API_KEY"):
        Acme().call("http://acme.example/x", {}, AdapterOptions())
    with pytest.raises(NotImplementedError, match="HttpAdapter has to set vendor"):
        _ = HttpAdapter().provider
