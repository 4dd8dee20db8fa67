"""A prompt that is known not to fit its model is refused before it is sent; one that may fit never is."""

from __future__ import annotations

import pytest

import allm
from allm import fake
from allm.providers import Anthropic, Fake, Gemini, OpenAI
from allm.runtime import fitting
from allm.testing import Reply, WireServer, loopback_clock

WINDOW = 1000
LONG = "a line of the log 17\n" * 1000  # 6000 words
ADAPTERS = {
    "openai": lambda url: OpenAI(api_key="k", base_url=f"{url}/v1", endpoint="responses"),
    "anthropic": lambda url: Anthropic(api_key="k", base_url=url),
    "gemini": lambda url: Gemini(api_key="k", base_url=url),
}
FORMATS = {"openai": "openai_responses", "anthropic": "anthropic", "gemini": "gemini"}
VENDORS = pytest.mark.parametrize("vendor", list(ADAPTERS))


@pytest.fixture
def autojump_clock():
    return loopback_clock()


@pytest.fixture(autouse=True)
def small():
    """A model with a window of a thousand tokens at each vendor."""
    for provider in (*ADAPTERS, "fake"):
        allm.models.put(allm.models.ModelInfo(provider=provider, id="small", context_window=WINDOW))
    yield
    allm.models.clear()
    fitting.too_long.clear()


@pytest.fixture
async def server():
    async with WireServer() as server:
        yield server


def engine_at(server, vendor, **options):
    return allm.Engine(adapter=ADAPTERS[vendor](server.base_url), model="small", retry=None, **options)


@VENDORS
async def test_a_prompt_that_cannot_fit_is_not_sent(autojump_clock, server, vendor):
    """It is raised as what the provider would have said, with both numbers."""
    with pytest.raises(allm.AdapterError) as caught:
        await allm.generate(engine_at(server, vendor), [allm.user("Sum up:"), allm.user(LONG)])
    error = caught.value
    assert (error.reason, error.provider, error.retryable) == ("context_length_exceeded", vendor, False)
    assert "at least 1,500 tokens" in str(error)
    assert "1,000" in str(error)
    assert server.requests == []


@VENDORS
@pytest.mark.parametrize(
    "text",
    [
        "word " * 3900,
        " " * 200_000,
        "=" * 200_000,
        "x" * 200_000,
        "语" * 80_000,
        '{"a":1}' * 500,
        "",
    ],
    ids=["words", "spaces", "a line", "a word", "Chinese", "JSON", "nothing"],
)
async def test_a_prompt_that_may_fit_is_sent(autojump_clock, server, vendor, text):
    """However long it looks: a token may hold a long run of the same character, and nobody knows of how many."""
    server.add(Reply.script(FORMATS[vendor], [fake.text("Yes.")]))
    assert (await allm.generate(engine_at(server, vendor), f"{text}?")).output_text == "Yes."


async def test_other_content_is_not_taken_for_text(autojump_clock, server):
    """An image is a few tokens, whatever its bytes."""
    image = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500_000))
    server.add(Reply.script("anthropic", [fake.text("Yes.")]))
    response = await allm.generate(engine_at(server, "anthropic"), allm.user("What is it?", image))
    assert response.output_text == "Yes."


@pytest.mark.parametrize(
    ("vendor", "more"),
    [
        ("openai", {"options": {"truncation": "auto"}}),
        ("openai", {"options": {"context_management": [{"type": "compaction"}]}}),
        ("openai", {"options": {"transforms": ["middle-out"]}}),
        ("anthropic", {"options": {"context_management": {"edits": []}}}),
    ],
)
async def test_what_the_provider_shortens_is_sent(autojump_clock, server, vendor, more):
    """It takes a longer prompt than the model."""
    server.add(Reply.script(FORMATS[vendor], [fake.text("Yes.")]))
    assert (await allm.generate(engine_at(server, vendor), LONG, **more)).output_text == "Yes."


async def test_a_larger_window_on_request(autojump_clock, server):
    """Anthropic has one for some models, behind a header."""
    adapter = Anthropic(api_key="k", base_url=server.base_url, headers={"anthropic-beta": "context-1m-2025-08-07"})
    server.add(Reply.script("anthropic", [fake.text("Yes.")]))
    response = await allm.generate(allm.Engine(adapter=adapter, model="small"), LONG)
    assert response.output_text == "Yes."


async def test_a_model_of_unknown_size(autojump_clock, server):
    """Is asked."""
    server.add(Reply.script("openai_responses", [fake.text("Yes.")]))
    response = await allm.generate(engine_at(server, "openai"), LONG, model="unheard-of")
    assert response.output_text == "Yes."


@VENDORS
async def test_an_exact_count_is_remembered(autojump_clock, server, vendor):
    """What the provider has counted need not be sent to be refused; anything else of it is another prompt."""
    counts = {"openai": "input_tokens", "anthropic": "input_tokens", "gemini": "totalTokens"}
    engine, thread = engine_at(server, vendor), [allm.user("word " * 2000)]
    server.add(Reply.json({counts[vendor]: 2001}))
    assert (await allm.count_tokens(engine, thread)).tokens == 2001
    with pytest.raises(allm.AdapterError, match="counted by its provider and has 2,001 tokens") as caught:
        await allm.generate(engine, [allm.user("word " * 2000)], temperature=0.5)
    assert caught.value.reason == "context_length_exceeded"
    assert len(server.requests) == 1
    server.add(*[Reply.script(FORMATS[vendor], [fake.text("Yes.")])] * 2)
    assert (await allm.generate(engine, thread, model="other")).output_text == "Yes."
    assert (await allm.generate(engine, [allm.user("word " * 1999)])).output_text == "Yes."


async def test_a_count_that_fits_is_not_kept(autojump_clock, server):
    """Nothing holds on to a conversation that was counted."""
    server.add(Reply.json({"input_tokens": 1000}))
    await allm.count_tokens(engine_at(server, "anthropic"), "word " * 800)
    assert fitting.too_long == []


async def test_an_estimate_refuses_nothing(autojump_clock):
    """It may be wrong."""
    engine = allm.Engine(adapter=Fake([fake.text("Yes.")]), model="small")
    prompt = "word " * 3000
    counted = await allm.count_tokens(engine, prompt)
    assert (counted.exact, counted.tokens > WINDOW) == (False, True)
    assert (await allm.generate(engine, prompt)).output_text == "Yes."


async def test_adapters_that_are_not_over_http(autojump_clock):
    """Are held to it too."""
    adapter = Fake([fake.text("Yes.")])
    with pytest.raises(allm.AdapterError) as caught:
        await allm.generate(allm.Engine(adapter=adapter, model="small"), LONG)
    assert caught.value.reason == "context_length_exceeded"


@VENDORS
async def test_compact_runs_instead(autojump_clock, server, vendor):
    """And what it returns is sent; if it is still too long, that is refused."""
    seen = []

    def shorter(thread):
        seen.append(len(thread.messages))
        return thread.last_turns(1)

    thread = [allm.user(LONG), allm.assistant("It is a log."), allm.user("Of what?")]
    server.add(Reply.script(FORMATS[vendor], [fake.text("Of a server.")]))
    response = await allm.generate(engine_at(server, vendor), thread, compact=shorter)
    assert (response.output_text, seen) == ("Of a server.", [3])
    assert len(server.requests[0].body) < 1000
    failed = await allm.generate(engine_at(server, vendor), [allm.user("Sum up:"), allm.user(LONG)], compact=shorter)
    assert failed.error.reason == "context_length_exceeded"
    assert len(server.requests) == 1


async def test_compact_runs_for_a_counted_prompt(autojump_clock, server):
    """Where the estimate would not have asked for it."""
    engine, thread = engine_at(server, "anthropic"), [allm.user("Hi"), allm.assistant("Hi"), allm.user("x" * 400)]
    server.add(Reply.json({"input_tokens": 2000}), Reply.script("anthropic", [fake.text("Yes.")]))
    await allm.count_tokens(engine, thread)
    response = await allm.generate(engine, thread, compact=lambda thread: thread.last_turns(1))
    assert response.output_text == "Yes."
    assert len(server.requests[1].json()["messages"]) == 1


async def test_a_long_result_in_a_turn(autojump_clock, server):
    """Ends the turn with the error, and what came before stays: the conversation can be continued otherwise."""

    @allm.tool
    def read_log() -> str:
        """Read the log."""
        return LONG

    server.add(Reply.script("anthropic", [fake.tool_call("read_log", {})]))
    result = await allm.chat(engine_at(server, "anthropic"), "What happened?", tools=[read_log])
    assert result.error.reason == "context_length_exceeded"
    assert [message.role for message in result.thread.messages] == ["user", "assistant", "tool"]
    assert len(server.requests) == 1


async def test_a_session_is_as_it_was(autojump_clock, server):
    """A message that cannot fit never joins it."""
    server.add(*[Reply.script("anthropic", [fake.text("Yes.")])] * 2)
    engine = engine_at(server, "anthropic")
    session, _ = await allm.session.start(engine, "Hello")
    with pytest.raises(allm.AdapterError):
        await allm.session.reply(engine, session, LONG)
    session, result = await allm.session.reply(engine, session, "Hello again")
    assert result.output_text == "Yes."
