"""What an adapter is given wrong is one clear error of the tree, before anything is sent, whoever the vendor is."""

from __future__ import annotations

import functools

import pytest

import allm

CIRCLE: dict = {}
CIRCLE["again"] = CIRCLE
DEEP = functools.reduce(lambda inner, _: {"type": "object", "properties": {"a": inner}}, range(50_000), {})


@pytest.fixture(params=["OpenAI", "Anthropic", "Gemini"])
def adapter(request):
    def make(**fields):
        fields = {"api_key": "key-of-a-test", "base_url": "http://127.0.0.1:9"} | fields
        return getattr(allm.providers, request.param)(**fields)

    return make


def prepare(adapter, request="hi", **fields):
    allm.stream_generate(allm.Engine(adapter=adapter, model="m"), request, **fields)


@pytest.mark.parametrize(
    "url",
    ["", " ", "localhost:3", "ftp://x", "http://", "http://[::1", "http://a b/", "http://x..y", 3, b"http://x", ["x"]],
)
def test_base_url(adapter, url):
    """An empty one too: the vendor's own address would get the key."""
    with pytest.raises(allm.EngineError) as caught:
        prepare(adapter(base_url=url))
    assert caught.value.reason == "invalid_base_url"
    assert repr(url) in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (None, "NoneType"),
        ("x: y", "str"),
        ({"x": 3}, "int"),
        ({3: "x"}, "is not a valid header name"),
        ({"x\n": "y"}, "is not a valid header name"),
        ({"x": "secret\r\n"}, "line break"),
        ({"x": "secret\u2603"}, "outside ASCII"),
    ],
)
def test_headers(adapter, headers, words):
    """The name is told, the value is not."""
    with pytest.raises(allm.EngineError, match=words) as caught:
        prepare(adapter(headers=headers))
    assert "secret" not in str(caught.value)


def test_headers_have_one_case(adapter):
    """The user's own win, however they are written."""
    made = adapter(headers={"Content-Type": "text/plain"})
    assert made.prepare(allm.request("hi", model="m"), adapter_options()).headers["content-type"] == "text/plain"


def adapter_options():
    from allm.runtime.adapters import AdapterOptions

    return AdapterOptions()


@pytest.mark.parametrize("key", [3, b"key", ["key"]])
def test_key_of_the_wrong_type(adapter, key):
    """When the adapter is made; it is not shown."""
    with pytest.raises(allm.EngineError, match="expected str") as caught:
        adapter(api_key=key)
    assert caught.value.reason == "invalid_key"


def test_blank_key(adapter, monkeypatch):
    """As none at all."""
    with pytest.raises(allm.EngineError) as caught:
        prepare(adapter(api_key="  "))
    assert caught.value.reason == "missing_key"


@pytest.mark.parametrize("value", [CIRCLE, object()], ids=["circle", "object"])
def test_options_without_a_json_form(adapter, value):
    """Whatever is in the body."""
    with pytest.raises(allm.ValidationError, match="has no JSON form"):
        prepare(adapter(), options={"field": value})


@pytest.mark.parametrize("schema", [CIRCLE, DEEP], ids=["circle", "deep"])
def test_schemas_without_an_end(adapter, schema):
    """Of a tool and of the answer."""
    with pytest.raises(allm.ValidationError, match=r"JSON form|nested too deep"):
        prepare(adapter(), tools=[allm.Tool("t", "d", schema)])
    with pytest.raises(allm.ValidationError, match=r"JSON form|nested too deep"):
        prepare(adapter(), response_format=allm.json_schema("n", schema))


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "string"}, (("tools", 0, "schema", "type"), "not_an_object")),
        ({"type": 3}, (("tools", 0, "schema", "type"), "not_an_object")),
        ({"type": "object", "properties": ["a"]}, (("tools", 0, "schema", "properties"), "not_a_mapping")),
        ("schema", (("tools", 0, "schema"), "not_a_mapping")),
    ],
)
def test_schema_of_arguments_that_is_none(adapter, schema, problem):
    """Each vendor would refuse it in words of its own."""
    with pytest.raises(allm.ValidationError) as caught:
        prepare(adapter(), tools=[allm.Tool("t", "d", schema)])
    assert caught.value.errors == (problem,)


def test_model_that_cannot_be_in_a_url():
    """Gemini's models are named there."""
    adapter = allm.providers.Gemini(api_key="key-of-a-test")
    with pytest.raises(allm.ValidationError, match="cannot be part of a URL"):
        allm.stream_generate(allm.Engine(adapter=adapter, model="\ud800"), "hi")
