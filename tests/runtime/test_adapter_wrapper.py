"""`AdapterWrapper`: an adapter around an adapter is as good as the adapter inside."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import ClassVar

import attrs
import pytest

import allm
from allm import fake
from allm.adapters import AdapterOptions, AdapterWrapper, request_key, with_texts
from allm.providers import Anthropic, Fake, FakeEmbeddings, FakeSpeech, FakeTranscription, Gemini, OpenAI
from allm.testing import Reply, StreamAdapterConformance, WireServer

PAGE = (Path(__file__).parents[2] / "docs" / "wrapping.md").read_text("utf-8")
ADAPTERS = {
    "openai": lambda url: OpenAI(base_url=url, api_key="k", endpoint="chat_completions"),
    "openai_responses": lambda url: OpenAI(base_url=url, api_key="k", endpoint="responses"),
    "anthropic": lambda url: Anthropic(base_url=url, api_key="k"),
    "gemini": lambda url: Gemini(base_url=url, api_key="k"),
}


def of_page(name):
    """The class of that name on the page about wrappers."""
    [block] = [
        block for block in re.findall(r"^```python\n(.*?)^```\n", PAGE, re.DOTALL | re.MULTILINE) if name in block
    ]
    names = {}
    exec(block[: block.index("async def main")], names)  # noqa: S102  # our own page
    return names[name]


class Loud(AdapterWrapper):
    """Sends everything in capitals."""

    def changed(self, request, _options):
        return with_texts(request, str.upper)


class TestOfTheCache(StreamAdapterConformance):
    """A wrapper with a `stream` of its own."""

    wire_format = "openai"
    lacks: ClassVar = {"hosted_calls": "OpenAI's Chat Completions tell of none"}

    def make_adapter(self, setup):
        """The cache of the page, around a real adapter; each call of the suite has its own answer."""

        class Forgetful(of_page("Cached")):
            async def stream(self, prepared, emit):
                self.answers.clear()
                await super().stream(prepared, emit)

        inner = OpenAI(api_key=setup.api_key, base_url=f"{setup.base_url}/v1", endpoint="chat_completions")
        return Forgetful(inner)


class TestOfAWrapper(StreamAdapterConformance):
    """A wrapper that changes nothing."""

    wire_format = "anthropic"
    lacks: ClassVar = {"images": "no answer of Claude has one"}

    def make_adapter(self, setup):
        """Around a real adapter."""
        return AdapterWrapper(Anthropic(api_key=setup.api_key, base_url=setup.base_url))


@pytest.mark.parametrize("wire", ADAPTERS)
def test_it_has_all_that_the_inner_adapter_has(wire):
    """What the model can do, and the services beside chat."""
    inner = ADAPTERS[wire]("http://localhost:1")
    wrapper = Loud(AdapterWrapper(inner))
    schema = allm.json_schema("n", {"type": "object", "properties": {}})
    request, options = allm.request("hi", model="m", response_format=schema), AdapterOptions()
    for name in ("provider", "requires_model", "ignored_options", "most_logprobs"):
        assert getattr(wrapper, name) == getattr(inner, name), name
    for name in ("output_modes", "tool_modes", "refused_parameters", "defers_tools", "hosts_tools"):
        assert getattr(wrapper, name)(request, options) == getattr(inner, name)(request, options), name
    assert wrapper.needs_structured_finalize(request) == inner.needs_structured_finalize(request)
    for service in ("token_counter", "model_list", "files", "caches", "batches"):
        assert (wrapper.companion(service) is None) == (inner.companion(service) is None), service


@pytest.mark.parametrize("wire", ADAPTERS)
async def test_what_is_changed_is_what_is_sent(wire):
    """In calls and in counts; the conversation that is kept is the caller's."""
    async with WireServer() as server:
        server.add(Reply.script(wire, [fake.text("hi")]))
        engine = allm.Engine(adapter=Loud(ADAPTERS[wire](server.url(wire))), model="m")
        result = await allm.chat(engine, [allm.system("be nice"), allm.user("quiet words")])
        assert "QUIET WORDS" in server.requests[0].body.decode()
        assert "quiet words" not in server.requests[0].body.decode()
        assert result.thread.messages[1].text == "quiet words"
        if engine.adapter.companion("token_counter") is not None:
            server.add(Reply.json({"input_tokens": 3, "totalTokens": 3, "object": "response.input_tokens"}))
            counted = await allm.count_tokens(engine, "quiet words")
            assert not counted.exact or counted.tokens == 3
            assert not any("quiet words" in sent.body.decode() for sent in server.requests)


async def test_what_is_changed_is_what_a_provider_keeps():
    """A prompt that is kept under a name is changed like one that is sent, and a call goes on from it."""
    kept = {"name": "cachedContents/a", "model": "models/m", "expireTime": "2096-10-02T07:06:40Z"}
    async with WireServer() as server:
        server.add(Reply.json(kept), Reply.json(kept), Reply.script("gemini", [fake.text("hi")]))
        engine = allm.Engine(adapter=Loud(ADAPTERS["gemini"](server.url("gemini"))), model="m")
        cache = await allm.caches.create(engine, [allm.system("be nice"), allm.user("quiet words")])
        assert (await allm.caches.get(engine, cache)).contents == cache.contents
        prompt = [allm.system("be nice"), allm.user("quiet words"), allm.user("more")]
        assert (await allm.generate(engine, prompt, cached_content=cache)).output_text == "hi"
        sent = [request.body.decode() for request in server.requests]
        assert "QUIET WORDS" in sent[0]
        assert "MORE" in sent[2]
        assert "QUIET" not in sent[2]  # the cache has it
        assert not any("quiet words" in body or "be nice" in body for body in sent)


async def test_other_services_can_be_wrapped():
    """In one piece, and as they arrive."""

    class Shouted(AdapterWrapper):
        def changed(self, request, _options):
            return attrs.evolve(request, text=request.text.upper())

    speech = Shouted(FakeSpeech())
    assert (await allm.synthesize(allm.Engine(speech_adapter=speech), "hi there")).audio.data == b"HI THERE "
    embeddings = AdapterWrapper(FakeEmbeddings())
    assert len((await allm.embed(allm.Engine(embedding_adapter=embeddings), ["a", "b"])).vectors) == 2
    transcription = AdapterWrapper(FakeTranscription(["hello you"] * 2))
    engine = allm.Engine(transcription_adapter=transcription)
    assert (await allm.transcribe(engine, allm.Audio(b"x", "audio/wav"))).text == "hello you"
    async with allm.stream_transcribe(engine, allm.Audio(b"x", "audio/wav")) as events:
        assert len([event async for event in events]) > 2
    with pytest.raises(allm.EngineError, match="not a streaming adapter"):
        await allm.generate(allm.Engine(adapter=AdapterWrapper(FakeSpeech())), "hi")


async def test_the_cache_of_the_page():
    """Answers that are whole are kept, per request; a failure is not."""
    async with WireServer() as server:
        server.add(Reply.error("openai", 500), *[Reply.script("openai", [fake.text(text)]) for text in ("one", "two")])
        engine = allm.Engine(adapter=of_page("Cached")(ADAPTERS["openai"](server.url("openai"))), model="m", retry=None)
        assert (await allm.generate(engine, "a")).error is not None
        answers = [(await allm.generate(engine, text)).output_text for text in ("a", "b", "a", "b")]
        assert answers == ["one", "two", "one", "two"]
        assert len(server.requests) == 3


def test_keys_of_requests():
    """The same for the same content, whoever asks; another for any other content; none where it is not known."""

    def key(text, **settings):
        defaults = {"base_url": "http://localhost:1", "api_key": "k", "endpoint": "chat_completions"}
        adapter = OpenAI(**{**defaults, **settings})
        return request_key(adapter.prepare(allm.request(text, model="m"), AdapterOptions(request_id=text)))

    assert key("a") == key("a", api_key="other") == key("a", headers={"x-token": "t"})
    assert len({key("a"), key("b"), key("a", headers={"x-version": "2"}), key("a", base_url="http://localhost:2")}) == 4
    assert request_key(Fake(script=[fake.text("a")]).prepare(allm.request("a"), AdapterOptions())) is None


def test_texts_of_every_part():
    """Instructions, parts, arguments and results; what has no text is the same object."""
    call = allm.ToolCall("1", "look", {"where": ["zug", {"at": "home"}], "n": 3}, '{"where": "zug"}')
    plain = allm.user("HELLO")
    request = allm.Request(
        [
            allm.system("be nice"),
            plain,
            allm.assistant(allm.TextPart("well"), allm.ReasoningPart("hm", signature="s"), call),
            allm.tool_result("1", "seen"),
        ]
    )
    changed = with_texts(request, str.upper)
    assert changed.messages[1] is plain
    well, thought, asked = changed.messages[2].content
    assert (well.text, thought.text, asked.raw_arguments) == ("WELL", "hm", None)
    assert asked.arguments == {"where": ["ZUG", {"at": "HOME"}], "n": 3}
    assert (changed.messages[0].text, changed.messages[3].text) == ("BE NICE", "SEEN")
    assert with_texts(request, str) is request


def test_it_can_be_copied():
    """Python's own protocols find no member that is not there."""
    wrapper = AdapterWrapper(FakeEmbeddings())
    assert copy.copy(wrapper).inner is wrapper.inner
    assert pickle.loads(pickle.dumps(AdapterWrapper("x"))).inner == "x"  # noqa: S301
    with pytest.raises(AttributeError):
        wrapper.no_such_member  # noqa: B018


async def test_what_is_changed_stays_changed_under_a_budget():
    """A budget that lowers `max_tokens` has the call prepared again: through the wrapper, and with one script."""
    said = []
    model = Fake(respond=lambda request: said.append(request.messages[-1].text) or "fine")
    for wrapper in (Loud(model), Loud(AdapterWrapper(model))):
        with allm.budget(tokens=500):
            await allm.generate(allm.Engine(adapter=wrapper), "quiet words")
    assert set(said) == {"QUIET WORDS"}
    scripted = Fake(script=[fake.text("one")])
    with allm.budget(tokens=500):
        assert (await allm.generate(allm.Engine(adapter=Loud(scripted)), "x")).output_text == "one"
