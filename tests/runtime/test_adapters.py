"""Adapters, derived from our classes or not: which members they need, and the defaults of the others."""

from __future__ import annotations

import pytest

import allm
from allm.adapters import Adapter, AdapterOptions, BatchLimits, EmbeddingAdapter, SpeechAdapter, StreamAdapter
from allm.runtime.fitting import check_capabilities
from allm.runtime.http_adapter import as_adapter

PERSON = allm.json_schema("person", {"type": "object", "properties": {}})
NO_SCHEMAS = allm.models.ModelInfo(provider="plain", id="m", json_schema=False)


class Plain:
    """What the protocol asks for and no more."""

    provider = "plain"

    def prepare(self, request, options):
        return request

    async def stream(self, prepared, emit):
        message = allm.assistant("hi")
        await emit(allm.MessageStarted(), allm.TextCompleted("t", "hi"), allm.MessageCompleted(message, "stop"))


class Derived(Adapter, Plain):
    """The same with the defaults as members."""

    provider = "plain"


@pytest.fixture(autouse=True)
def own_models():
    allm.models.put(NO_SCHEMAS)
    yield
    allm.models.clear()


@pytest.mark.parametrize("cls", [Plain, Derived])
def test_defaults(cls):
    """Optional members have the same defaults, whether an adapter derives from `Adapter` or not."""
    adapter = as_adapter(cls())
    assert adapter.provider == "plain"
    assert adapter.requires_model is True
    assert adapter.needs_structured_finalize(allm.request("hi")) is None
    assert adapter.batch_limits("m") == BatchLimits(100)
    assert adapter.defers_tools(allm.request("hi"), AdapterOptions()) is False
    assert isinstance(cls(), StreamAdapter)


@pytest.mark.parametrize("base", [Plain, Derived])
@pytest.mark.parametrize("answer", [True, False])
def test_an_adapters_own_members_replace_the_defaults(base, answer):
    """What an adapter defines takes precedence over the defaults."""

    class Talkative(base):
        requires_model = False

        def needs_structured_finalize(self, request):
            return answer

        def batch_limits(self, model):
            return BatchLimits(7)

    adapter = as_adapter(Talkative())
    assert adapter.requires_model is False
    assert adapter.needs_structured_finalize(allm.request("hi")) is answer
    assert adapter.batch_limits("m") == BatchLimits(7)


@pytest.mark.parametrize("base", [Plain, Derived])
async def test_an_engine_takes_both_kinds(base):
    """An engine works with an adapter that derives from `Adapter` and with one that does not."""
    response = await allm.generate(allm.Engine(adapter=base(), model="m2"), "hi")
    assert response.output_text == "hi"
    with pytest.raises(allm.EngineError) as caught:
        await allm.generate(allm.Engine(adapter=base()), "hi")
    assert caught.value.reason == "missing_model"


@pytest.mark.parametrize("base", [Plain, Derived])
@pytest.mark.parametrize("says", [None, True, False])
def test_who_decides_about_structured_output(base, says):
    """The catalog decides, unless the adapter returns True or False."""

    class Sure(base):
        def needs_structured_finalize(self, request):
            return says

    request = allm.Request([allm.user("hi")], model="m", response_format=PERSON)
    if says is None:
        with pytest.raises(allm.ValidationError, match="cannot hold its answer to a JSON Schema"):
            check_capabilities(Sure(), request, AdapterOptions())
    else:
        check_capabilities(Sure(), request, AdapterOptions())


@pytest.mark.parametrize("protocol", [StreamAdapter, EmbeddingAdapter, SpeechAdapter])
def test_a_derived_class_without_a_required_member(protocol):
    """It cannot be instantiated, and the error names the missing member."""

    class Half(protocol):
        provider = "half"

    with pytest.raises(TypeError, match="prepare"):
        Half()


@pytest.mark.parametrize("adapter", [object(), 3, Plain])
async def test_an_object_without_the_members_is_refused(adapter):
    """One sentence names the members that are expected."""
    if adapter is Plain:
        adapter = type("NoStream", (), {"provider": "x", "prepare": Plain.prepare})()
    with pytest.raises(allm.EngineError, match=r"expected prepare\(request, options\) and stream\(prepared, emit\)"):
        await allm.generate(allm.Engine(adapter=adapter, model="m"), "hi")
