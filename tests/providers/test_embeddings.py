"""Embeddings of each vendor: what is sent, what is made of the answer, what is refused."""

from __future__ import annotations

import base64
import math
import struct

import pytest

import allm
from allm.data.json.text import loads
from allm.providers import FakeEmbeddings, GeminiEmbeddings, OpenAIEmbeddings, VoyageEmbeddings
from allm.providers.fake.vectors import made_vector
from allm.runtime.registry import SERVICES, service_adapter
from allm.testing import Reply, WireServer
from request_types import check_gemini_embeddings, check_openai_embeddings

IMAGE = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n", "image/png")
OPTIONS = allm.adapters.AdapterOptions(api_key=allm.keys.Secret("k"))


def body_of(adapter, inputs, **fields):
    prepared = adapter.prepare(allm.EmbeddingRequest(inputs, model="m", **fields), OPTIONS)
    return loads(getattr(prepared, "call", prepared).body)


def packed(*numbers, form="f"):
    return base64.b64encode(struct.pack(f"<{len(numbers)}{form}", *numbers)).decode()


async def answered(adapter_type, document, *, path="/v1", **options):
    async with WireServer() as server:
        server.add(Reply.json(document, headers={"x-request-id": "req-1"}))
        adapter = adapter_type(api_key="k", base_url=server.base_url + path)
        count = options.pop("count", 1)
        engine = allm.Engine(embedding_adapter=adapter, embedding_model=options.pop("model", "m"), retry=None)
        response = await allm.embed(engine, ["text"] * count, **options)
        return response, server.requests[0]


def test_an_openai_body():
    """Base64 unless asked otherwise; what is not given is not sent; options win."""
    adapter = OpenAIEmbeddings()
    assert body_of(adapter, ["a", "b"]) == {"model": "m", "input": ["a", "b"], "encoding_format": "base64"}
    full = body_of(
        adapter,
        "a",
        dimensions=3,
        task_type="QUERY",
        encoding_format="float",
        user="me",
        options={"dimensions": 4, "truncate": "end"},
    )
    assert full == {
        "model": "m",
        "input": ["a"],
        "encoding_format": "float",
        "dimensions": 4,
        "user": "me",
        "truncate": "end",
    }
    check_openai_embeddings(body_of(adapter, ["a"], dimensions=3, user="me"))


def test_services_of_openais_format():
    """Their names of fields and their limits."""
    assert body_of(OpenAIEmbeddings(preset="mistral"), "a", dimensions=3)["output_dimension"] == 3
    limits = {name: service_adapter("embedding", name).batch_limits("m") for name in SERVICES["embedding"]}
    assert (limits["openai"].inputs, limits["openai"].size) == (2048, 300_000)
    assert limits["azure"] == limits["openai"]
    assert (limits["mistral"].inputs, limits["mistral"].size) == (512, 16_384)
    assert limits["gemini"].inputs == 100
    assert limits["voyage"].inputs == 1000
    assert limits["ollama"] == allm.adapters.BatchLimits(256, 300_000)


def test_a_deployment_at_azure():
    """Is the model, in a URL with a date or without."""
    fields = {"preset": "azure", "resource": "mine", "api_key": "k"}
    request = allm.EmbeddingRequest("a", model="small")
    dated = OpenAIEmbeddings(**fields, api_version="2024-10-21").prepare(request, OPTIONS)
    assert dated.url == ("https://mine.openai.azure.com/openai/deployments/small/embeddings?api-version=2024-10-21")
    assert OpenAIEmbeddings(**fields).prepare(request, OPTIONS).url == (
        "https://mine.openai.azure.com/openai/v1/embeddings"
    )


@pytest.mark.parametrize("service", ["openai", "voyage"])
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"inputs": ["a", IMAGE]}, ("inputs", 1)),
        ({"inputs": [("a", IMAGE)]}, ("inputs", 0)),
        ({"inputs": "a", "task_type": "clustering"}, ("task_type",)),
    ],
)
def test_what_only_gemini_can(service, fields, path):
    """Is refused by the others before anything is sent."""
    with pytest.raises(allm.ValidationError) as caught:
        service_adapter("embedding", service).prepare(allm.EmbeddingRequest(model="m", **fields), OPTIONS)
    assert caught.value.errors == ((path, "unsupported"),)


async def test_both_forms_of_an_openai_answer():
    """Whatever was asked for, in any order, with usage, model and request id."""
    data = [
        {"object": "embedding", "index": 1, "embedding": packed(0.5, -3.0)},
        {"object": "embedding", "index": 0, "embedding": [0.1, 2]},
    ]
    document = {"data": data, "model": "m-1", "usage": {"prompt_tokens": 4, "total_tokens": 4}}
    response, request = await answered(OpenAIEmbeddings, document, count=2)
    assert response.vectors == ((0.1, 2.0), (0.5, -3.0))
    assert [embedding.buffer.format for embedding in response.embeddings] == ["d", "f"]
    assert (response.usage.input_tokens, response.usage.total_tokens) == (4, 4)
    assert (response.model, response.request_ids) == ("m-1", ("req-1",))
    assert request.path == "/v1/embeddings"
    assert request.headers["authorization"] == "Bearer k"


async def test_very_large_numbers_are_numbers():
    """Also those that look like infinity at first."""
    largest = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
    for vector in (packed(largest, -largest), [1.7e308, -1.7e308]):
        response, _ = await answered(OpenAIEmbeddings, {"data": [{"embedding": vector}]})
        assert response.embeddings[0].dimensions == 2


async def test_the_ids_of_all_requests_are_kept():
    """In the order of the batches."""
    async with WireServer() as server:
        answer = {"data": [{"embedding": [1.0]}]}
        server.add(*(Reply.json(answer, headers={"x-request-id": name}) for name in "abc"))
        adapter = OpenAIEmbeddings(api_key="k", base_url=server.url("openai"))
        engine = allm.Engine(embedding_adapter=adapter, embedding_model="m")
        response = await allm.embed(engine, ["1", "2", "3"], batch_size=1, max_concurrency=1)
    assert response.request_ids == ("a", "b", "c")


@pytest.mark.parametrize(
    "document",
    [
        {"data": None},
        {"data": [{"index": 0}]},
        {"data": [{"index": 0, "embedding": "no base64!"}]},
        {"data": [{"index": 0, "embedding": "AAA="}]},
        {"data": [{"index": 0, "embedding": ["x"]}]},
        {"data": [{"index": 0, "embedding": []}], "embeddings": [{"values": []}]},
        {"data": [{"index": 0, "embedding": ""}], "embeddings": [{"values": ""}]},
        {"data": [{"index": 0, "embedding": packed(1.0, math.nan)}], "embeddings": [{"values": packed(math.nan)}]},
        {"data": [{"index": 0, "embedding": packed(-math.inf)}], "embeddings": [{"values": packed(math.inf)}]},
        {"data": [{"index": 0, "embedding": [10**400]}]},
        {"data": ["x"]},
        {"embeddings": 3},
        {"embeddings": [{"values": {}}]},
    ],
)
@pytest.mark.parametrize("adapter", [OpenAIEmbeddings, VoyageEmbeddings, GeminiEmbeddings])
async def test_nonsense_is_told_apart(adapter, document):
    """With who sent it and the request id."""
    with pytest.raises(allm.EmbeddingAdapterError) as caught:
        await answered(adapter, document)
    error = caught.value
    assert (error.reason, error.provider) == ("malformed_response", adapter().provider)


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b"{", b'{"data": ' + b" " * 2000 + b"[]}"])
async def test_what_is_no_json_object(body, monkeypatch):
    """Or is longer than any answer."""
    monkeypatch.setattr("allm.http.json_call.MAX_RESPONSE_BYTES", 1000)
    async with WireServer() as server:
        server.add(Reply(body=body))
        adapter = OpenAIEmbeddings(api_key="k", base_url=server.url("openai"))
        with pytest.raises(allm.EmbeddingAdapterError) as caught:
            await allm.embed(allm.Engine(embedding_adapter=adapter, embedding_model="m", retry=None), "text")
    assert (caught.value.reason, caught.value.provider) == ("malformed_response", "openai")


def test_a_gemini_body():
    """A small request for each input, each with the task, the length and the options."""
    adapter = GeminiEmbeddings()
    request = allm.EmbeddingRequest(
        ["a", "b"], model="gemini-embedding-001", dimensions=256, task_type="document", options={"title": "t"}
    )
    call = adapter.prepare(request, OPTIONS).call
    common = {
        "model": "models/gemini-embedding-001",
        "taskType": "RETRIEVAL_DOCUMENT",
        "outputDimensionality": 256,
        "title": "t",
    }
    body = loads(call.body)
    assert body == {"requests": [{**common, "content": {"parts": [{"text": text}]}} for text in "ab"]}
    assert call.url.endswith("/v1beta/models/gemini-embedding-001:batchEmbedContents")
    check_gemini_embeddings(body)


def gemini_request(inputs, **fields):
    prepared = GeminiEmbeddings().prepare(
        allm.EmbeddingRequest(inputs, model="models/gemini-embedding-2", **fields), OPTIONS
    )
    return loads(prepared.call.body)["requests"]


def test_the_second_generation_is_told_its_task_in_the_text():
    """It takes no notice of the field."""
    [query] = gemini_request("a", task_type="query")
    assert query == {
        "model": "models/gemini-embedding-2",
        "content": {"parts": [{"text": "task: search result | query: a"}]},
    }
    [document] = gemini_request([(IMAGE, "caption")], task_type="RETRIEVAL_DOCUMENT")
    assert document["content"]["parts"][1] == {"text": "title: none | text: caption"}
    with pytest.raises(allm.ValidationError, match="leave task_type out"):
        gemini_request([IMAGE], task_type="query")
    [plain] = gemini_request([IMAGE])
    assert plain["content"]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": IMAGE.to_base64()}}]
    check_gemini_embeddings({"requests": [query, document, plain]})


@pytest.mark.parametrize(
    ("fields", "path", "tag"),
    [
        ({"inputs": "a", "task_type": "poetry"}, ("task_type",), "unsupported"),
        ({"inputs": ["a", allm.Image.from_bytes(b"x", "image/tiff")]}, ("inputs", 1), "unsupported_image_format"),
    ],
)
def test_what_gemini_cannot(fields, path, tag):
    """Is named."""
    with pytest.raises(allm.ValidationError) as caught:
        gemini_request(**fields)
    assert caught.value.errors == ((path, tag),)


@pytest.mark.parametrize(
    ("size", "dimensions", "length"), [(2, None, 5.0), (2, 2, 1.0), (3072, 3072, math.hypot(*([0.5] * 3072)))]
)
async def test_shortened_gemini_vectors_have_length_one(size, dimensions, length):
    """As whole ones have; those are left alone."""
    values = [3.0, 4.0] if size == 2 else [0.5] * size
    response, _ = await answered(GeminiEmbeddings, {"embeddings": [{"values": values}]}, path="", dimensions=dimensions)
    assert math.hypot(*response.vectors[0]) == pytest.approx(length)


async def test_the_zero_vector_stays():
    """It has no direction."""
    response, _ = await answered(GeminiEmbeddings, {"embeddings": [{"values": [0.0, 0.0]}]}, path="", dimensions=2)
    assert response.vectors == ((0.0, 0.0),)


def test_a_voyage_body():
    """Its own names."""
    adapter = VoyageEmbeddings()
    assert body_of(adapter, "a") == {"model": "m", "input": ["a"], "encoding_format": "base64"}
    body = body_of(
        adapter, "a", dimensions=4, task_type="Query", encoding_format="float", options={"truncation": False}
    )
    assert body == {"model": "m", "input": ["a"], "output_dimension": 4, "input_type": "query", "truncation": False}


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("voyage-4-lite", 1_000_000),
        ("voyage-3.5-lite", 1_000_000),
        ("voyage-3.5", 320_000),
        ("voyage-4", 320_000),
        ("voyage-4-large", 120_000),
        ("voyage-code-3", 120_000),
        (None, 120_000),
    ],
)
def test_how_much_a_voyage_model_takes(model, tokens):
    """Of 1000 texts at most."""
    assert VoyageEmbeddings().batch_limits(model) == allm.adapters.BatchLimits(1000, tokens)


@pytest.mark.parametrize(("dtype", "form"), [("int8", "b"), ("binary", "b"), ("ubinary", "B"), ("float", "f")])
async def test_quantized_voyage_vectors(dtype, form):
    """Are the integers they are, in base64 as in a list."""
    for embedding in (packed(1, 2, form=form), [1, 2]):
        document = {"data": [{"embedding": embedding, "index": 0}], "model": "v", "usage": {"total_tokens": 3}}
        response, request = await answered(VoyageEmbeddings, document, options={"output_dtype": dtype})
        assert response.vectors == ((1, 2),)
        assert response.usage == allm.Usage(total_tokens=3)
    assert request.headers["authorization"] == "Bearer k"


async def test_voyage_without_a_key(monkeypatch):
    """Names the variable; and with one in the environment it is used, as is the address."""
    monkeypatch.delenv("VOYAGE_API_KEY", raising=False)
    engine = allm.Engine.from_model("fake:x", embedding_model="voyage:voyage-3.5")
    with pytest.raises(allm.EngineError, match="VOYAGE_API_KEY"):
        await allm.embed(engine, "text")
    async with WireServer() as server:
        monkeypatch.setenv("VOYAGE_API_KEY", "from-env")
        monkeypatch.setenv("VOYAGE_BASE_URL", server.base_url)
        server.add(Reply.json({"detail": "slow down from-env"}, status=429))
        with pytest.raises(allm.EmbeddingAdapterError) as caught:
            await allm.embed(engine, "text", retry=None)
        assert server.requests[0].headers["authorization"] == "Bearer from-env"
    assert (caught.value.reason, caught.value.retryable) == ("rate_limited", True)
    assert "from-env" not in repr(caught.value)


def test_a_client_that_is_none_is_refused():
    """When the call is prepared."""
    with pytest.raises(allm.EngineError, match="http_client"):
        body_of(VoyageEmbeddings(http_client=5), "a")


async def test_fake_vectors():
    """The same text, the same vector, of length one; others differ; images have one, too."""
    engine = allm.Engine(embedding_adapter=FakeEmbeddings(dimensions=16))
    first, second, third, picture = (await allm.embed(engine, ["a", "b", "a", IMAGE])).vectors
    assert first == third == tuple(made_vector("a", 16))
    assert len({first, second, picture}) == 3
    assert math.hypot(*second) == pytest.approx(1, abs=1e-6)


async def test_fake_vectors_have_one_length():
    """Beside your own vectors, others are made as long as these."""
    engine = allm.Engine(embedding_adapter=FakeEmbeddings(vectors={"red": [1, 0]}))
    assert {len(vector) for vector in (await allm.embed(engine, ["red", "blue"])).vectors} == {2}


async def test_a_fake_refuses_before_sending():
    """When its script says so."""
    error = allm.AdapterError("no", reason="unsupported_feature")
    engine = allm.Engine(embedding_adapter=FakeEmbeddings(script=[[allm.fake.preflight_error(error)]]))
    with pytest.raises(allm.AdapterError, match="no"):
        await allm.embed(engine, "text")
    assert len((await allm.embed(engine, "text")).embeddings) == 1
