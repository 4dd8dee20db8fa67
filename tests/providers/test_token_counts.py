"""Counts of tokens: by the vendor's endpoint, of all that the call would send; else an estimate that says so."""

from __future__ import annotations

import pytest

import allm
from allm import fake
from allm.providers import Anthropic, Fake, Gemini, OpenAI
from allm.testing import Reply, WireServer
from request_types import check_anthropic_count, check_gemini_count, check_openai_count


@allm.tool
def weather(city: str) -> str:
    """The weather of a city."""
    return city


OPENAI, ANTHROPIC, GEMINI = "openai-responses", "anthropic", "gemini"
MAKE = {
    OPENAI: lambda url: allm.Engine(adapter=OpenAI(api_key="k", base_url=url, endpoint="responses"), model="gpt-5.4"),
    ANTHROPIC: lambda url: allm.Engine(adapter=Anthropic(api_key="k", base_url=url), model="claude-haiku-4-5"),
    GEMINI: lambda url: allm.Engine(adapter=Gemini(api_key="k", base_url=url), model="gemini-3.5-flash"),
}
PATHS = {
    OPENAI: "/v1/responses/input_tokens",
    ANTHROPIC: "/v1/messages/count_tokens",
    GEMINI: "/v1beta/models/gemini-3.5-flash:countTokens",
}
ANSWERS = {
    OPENAI: {"object": "response.input_tokens", "input_tokens": 47},
    ANTHROPIC: {"input_tokens": 47},
    GEMINI: {"totalTokens": 47, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 47}]},
}
CHECKS = {OPENAI: check_openai_count, ANTHROPIC: check_anthropic_count, GEMINI: check_gemini_count}
VENDORS = pytest.mark.parametrize("vendor", list(PATHS))
ONCE = allm.RetryPolicy(max_attempts=2, base_delay=0)


def engine_at(server, vendor):
    return MAKE[vendor](server.url("openai" if vendor == OPENAI else vendor))


@VENDORS
async def test_the_vendor_counts(vendor):
    """What would be sent, tools, instructions and schema included, and nothing that only an answer needs."""
    async with WireServer() as server:
        server.add(Reply.json(ANSWERS[vendor], headers={"request-id": "req-1", "x-request-id": "req-1"}))
        counted = await allm.count_tokens(
            engine_at(server, vendor),
            [allm.system("Be terse."), allm.user("Is it warm in Zug?")],
            tools=[weather],
            response_format=allm.json_schema("answer", {"type": "object", "properties": {}}),
            temperature=0.5,
            max_tokens=100,
        )
        assert counted == allm.TokenCount(47, exact=True, request_id=counted.request_id)
        [request] = server.requests
        assert request.path == PATHS[vendor]
        text = request.body.decode()
        assert all(part in text for part in ("Be terse.", "Is it warm in Zug?", "weather", '"object"'))
        if vendor != GEMINI:  # which takes a whole request
            assert not {"stream", "max_tokens", "max_output_tokens", "temperature", "store"} & request.json().keys()


@VENDORS
async def test_the_vendors_types_take_it(vendor):
    """Every field of the body, at any depth."""
    async with WireServer() as server:
        server.add(Reply.json(ANSWERS[vendor]))
        wanted = allm.json_schema("answer", {"type": "object", "properties": {}, "additionalProperties": False})
        thread = [allm.system("Be terse."), allm.user("Hi", allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n", "image/png"))]
        engine = engine_at(server, vendor)
        await allm.count_tokens(engine, thread, tools=[weather], tool_choice="auto", response_format=wanted, top_p=0.5)
        CHECKS[vendor](server.requests[0].json())


async def test_what_gemini_counts_is_a_whole_request():
    """With the name of its model: beside bare `contents` it takes no instructions and tools."""
    async with WireServer() as server:
        server.add(Reply.json(ANSWERS[GEMINI]))
        await allm.count_tokens(engine_at(server, GEMINI), "Hello", tools=[weather])
        [request] = server.requests
        assert request.json().keys() == {"generateContentRequest"}
        whole = request.json()["generateContentRequest"]
        assert whole["model"] == "models/gemini-3.5-flash"
        assert whole["contents"] == [{"role": "user", "parts": [{"text": "Hello"}]}]


@VENDORS
async def test_a_busy_vendor_is_asked_again(vendor):
    """As in every other call."""
    async with WireServer() as server:
        server.add(Reply.json({"error": {"message": "slow down"}}, status=429), Reply.json(ANSWERS[vendor]))
        counted = await allm.count_tokens(engine_at(server, vendor), "Hello", retry=ONCE)
        assert counted.tokens == 47
        assert len(server.requests) == 2


@VENDORS
async def test_a_wrong_key_is_an_error(vendor):
    """Of the tree; it is not estimated over."""
    async with WireServer() as server:
        server.add(Reply.json({"error": {"message": "no"}}, status=401))
        with pytest.raises(allm.AdapterError) as caught:
            await allm.count_tokens(engine_at(server, vendor), "Hello")
        assert caught.value.reason == "authentication_failed"


@VENDORS
async def test_an_answer_without_a_count_is_malformed(vendor):
    """A prompt has tokens."""
    async with WireServer() as server:
        server.add(Reply.json({"object": "response.input_tokens"}))
        with pytest.raises(allm.AdapterError) as caught:
            await allm.count_tokens(engine_at(server, vendor), "Hello", retry=None)
        assert caught.value.reason == "malformed_response"


@VENDORS
@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_copy_of_a_vendor_may_not_count(vendor, status):
    """Then the estimate stands in."""
    async with WireServer() as server:
        server.add(Reply.json({"detail": "Not Found"}, status=status))
        counted = await allm.count_tokens(engine_at(server, vendor), "Hello, how are you?", retry=None)
        assert not counted.exact
        assert 4 <= counted.tokens <= 15


async def test_an_unknown_model_is_no_missing_endpoint():
    """The vendor's own word for it tells them apart."""
    error = {"error": {"type": "not_found_error", "message": "model: claude-does-not-exist"}, "type": "error"}
    async with WireServer() as server:
        server.add(Reply.json(error, status=404))
        with pytest.raises(allm.AdapterError) as caught:
            await allm.count_tokens(engine_at(server, ANTHROPIC), "Hello", model="claude-does-not-exist")
        assert caught.value.reason == "not_found"


@pytest.mark.parametrize(
    "adapter",
    [
        OpenAI(preset="groq", api_key="k"),
        OpenAI(preset="xai", api_key="k"),
        OpenAI(api_key="k", endpoint="chat_completions"),
        Fake(),
    ],
)
async def test_elsewhere_it_is_an_estimate(adapter):
    """That says so, asks nobody, and takes no script of a fake."""
    engine = allm.Engine(adapter=adapter, model="m")
    short = await allm.count_tokens(engine, "Hello")
    longer = await allm.count_tokens(engine, allm.user("Hello" * 100), tools=[weather])
    assert not short.exact
    assert short.tokens < longer.tokens


PROSE = "The quick brown fox jumps over the lazy dog, and nobody in the village is surprised by it any more. "


@pytest.mark.parametrize(
    ("prompt", "least", "most"),
    [
        (PROSE * 100, 1800, 3500),  # 2,100 of o200k
        ("日本語の文章は一文字がおよそ一トークンになります。" * 40, 600, 1200),
        ([allm.user("See", allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n"))], 300, 3000),
        ([allm.user(allm.Document.from_bytes(b"%PDF-1.7" + b"0" * 200_000))], 1000, 15000),
        ([allm.user(allm.Document.from_text(PROSE * 100))], 1800, 3500),
        ([allm.user(allm.Audio.from_bytes(b"ID3" + b"0" * 160_000))], 100, 1000),
    ],
)
async def test_an_estimate_is_near(prompt, least, most):
    """For texts of several scripts, and for files by their kind and size."""
    counted = await allm.count_tokens(allm.Engine(adapter=Fake()), prompt)
    assert least <= counted.tokens <= most


async def test_calls_and_results_count():
    """All that goes back to the model."""
    call = allm.ToolCall("c", "weather", {"city": "Zug" * 100}, None)
    thread = allm.Thread((allm.user("Hi"),))
    answered = thread.add(allm.Message("assistant", (call,)), allm.tool_result("c", "warm" * 100))
    engine = allm.Engine(adapter=Fake())
    counts = [(await allm.count_tokens(engine, messages)).tokens for messages in (thread, answered)]
    assert counts[1] - counts[0] > 150


async def test_an_invalid_call_is_refused_as_the_call_itself():
    """Before anything is sent."""
    async with WireServer() as server:
        engine = engine_at(server, ANTHROPIC)
        with pytest.raises(allm.OptionError):
            await allm.count_tokens(engine, "Hello", temprature=1)
        with pytest.raises(allm.ValidationError):
            await allm.count_tokens(engine, "Hello", stop=[" "])
        assert server.requests == []


async def test_a_count_is_a_value():
    """That goes to JSON and back."""
    counted = allm.TokenCount(12, exact=False)
    assert allm.from_json(allm.to_json(counted)) == counted


def test_nothing_of_a_script_is_used():
    """Counting leaves the fake's script to the call."""
    adapter = Fake(script=[fake.text("hi")])
    counted = allm.blocking.count_tokens(allm.Engine(adapter=adapter), "Hello")
    assert not counted.exact
    assert adapter.remaining == 1
    assert adapter.requests == []
