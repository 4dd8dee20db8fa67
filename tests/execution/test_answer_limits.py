"""How much an answer may hold: every limit, for every adapter, counted as it arrives."""

from __future__ import annotations

import json

import attrs
import pytest
import trio
from hypothesis import given, strategies as st

import allm
from allm import fake
from allm.data.json.text import MAX_VALUE_DEPTH
from allm.http.answer_size import AnswerSize
from allm.testing import Reply, WireServer

KEY = "sk-test"
FORMATS = ["openai", "openai_responses", "anthropic", "gemini"]
X = "x" * 100


def limits(**values):
    return allm.AnswerLimits(**values)


CASES = {
    "text_bytes": ([fake.text(X), fake.text("é" * 50), fake.text("!")], 200, X + "é" * 50),
    "reasoning_bytes": ([fake.text("before "), fake.reasoning(X), fake.reasoning(X)], 150, "before "),
    "tool_calls": ([fake.text("before "), *[fake.tool_call("f", {"n": n}) for n in range(4)]], 3, "before "),
    "argument_bytes": ([fake.text("before "), fake.tool_call("f", {"n": X})], 100, "before "),
    "parts": ([fake.text("before "), *[fake.tool_call("f", {"n": n}) for n in range(4)]], 4, "before "),
    "values": ([fake.text("before "), *[fake.tool_call("f", {"n": [1] * 20}) for _ in range(4)]], 70, "before "),
    "total_bytes": ([fake.text("before "), *[fake.tool_call("f", {"n": X}) for _ in range(4)]], 400, "before "),
}


@pytest.mark.parametrize("name", CASES)
async def test_every_limit(name):
    """The answer fails at it with what came before; the error names the limit, its value and the setting."""
    script, limit, before = CASES[name]
    adapter = allm.providers.Fake(scripts=[script, [fake.text("a second attempt")]])
    engine = allm.Engine(adapter=adapter, answer_limits=limits(**{name: limit}))
    response = await allm.generate(engine, "hi")
    assert (response.finish_reason, response.error.reason) == ("error", "answer_too_large")
    assert f"{limit:,}" in response.error.message
    assert f"AnswerLimits({name}=...)" in response.error.message
    assert (response.error.provider, response.error.retryable) == ("fake", False)
    assert response.output_text == before
    assert len(response.tool_calls) < 5
    assert adapter.remaining == 1
    assert allm.from_json(allm.to_json(response)) == response


@pytest.mark.parametrize("name", CASES)
async def test_an_answer_at_the_limit(name):
    """It is whole; and so is any answer where there is no limit."""
    script, limit, _ = CASES[name]
    room = {"text_bytes": 201, "reasoning_bytes": 200, "argument_bytes": 108}.get(name, limit * 2)
    for value in (room, None):
        engine = allm.Engine(adapter=allm.providers.Fake(script), answer_limits=limits(**{name: value}))
        response = await allm.generate(engine, "hi")
        assert response.error is None


@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True])
def test_what_is_no_limit(value):
    """It is refused with the name of the limit."""
    with pytest.raises(allm.ValidationError, match="parts"):
        allm.AnswerLimits(parts=value)
    with pytest.raises(allm.EngineError, match="answer_limits"):
        allm.Engine(answer_limits=None)


async def test_tools_of_an_answer_that_is_too_large_do_not_run():
    """Its calls get a result, and the conversation can go on."""
    ran = []

    @allm.tool
    def f(n: int) -> str:
        """Do."""
        ran.append(n)
        return "done"

    script = [fake.tool_call("f", {"n": n}) for n in range(5)]
    engine = allm.Engine(adapter=allm.providers.Fake(script), tools=[f], answer_limits=limits(tool_calls=3))
    result = await allm.chat(engine, "hi")
    assert result.error.reason == "answer_too_large"
    assert ran == []
    assert [message.role for message in result.thread.messages] == ["user", "assistant", "tool", "tool", "tool"]


@attrs.define(eq=False)
class Endless:
    """An adapter of somebody's own that emits one event for ever, or until it is stopped."""

    events: tuple
    swallows: bool = False
    emitted: int = 0
    provider = "endless"
    requires_model = False

    def prepare(self, request, options):
        return None

    async def stream(self, prepared, emit):
        while True:
            self.emitted += 1
            try:
                await emit(*self.events)
            except allm.StreamError:
                if not self.swallows:
                    raise
            await trio.lowlevel.checkpoint()


ENDLESS = {
    "text": allm.TextDelta("t", X),
    "reasoning": allm.ReasoningDelta("r", X),
    "arguments": allm.ToolCallDelta("c", X),
}


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("kind", ["text", "reasoning", "arguments"])
async def test_an_adapter_that_never_ends(kind, swallows, autojump_clock):
    """It is stopped, whatever it does with the errors of `emit`; what it emits after the limit is not looked at."""
    adapter = Endless((ENDLESS[kind],), swallows)
    small = limits(text_bytes=1000, reasoning_bytes=1000, argument_bytes=1000)
    response = await allm.generate(allm.Engine(adapter=adapter, answer_limits=small, retry=None), "hi")
    assert response.error.reason == "answer_too_large"
    assert adapter.emitted <= 12


async def test_parts_that_are_counted_before_the_first_content(autojump_clock):
    """Fields of the usage are held back, and counted all the same."""
    reports = [allm.UsageReported(allm.Usage(extra={f"{n}" + "k" * 400: 1})) for n in range(10)]
    adapter = Endless(tuple(reports))
    response = await allm.generate(allm.Engine(adapter=adapter, answer_limits=limits(total_bytes=1000)), "hi")
    assert response.error.reason == "answer_too_large"
    assert adapter.emitted == 1


def test_a_block_is_counted_once():
    """In deltas, whole, or both; what is repeated takes no room."""
    size = AnswerSize(limits(text_bytes=10, argument_bytes=10, total_bytes=24))
    for event in (
        allm.TextDelta("t", "12345"),
        allm.TextCompleted("t", "1234567890"),
        allm.ToolCallStarted("c", "f"),
        allm.ToolCallDelta("c", '{"a": 1}'),
        allm.ToolCallCompleted("c", "f", {"a": 1}, '{"a": 1}'),
    ):
        assert size.admit((event,)) == (event,)
    [failed] = size.admit((allm.TextDelta("t", "x"),))
    assert "more than 10 bytes of text" in failed.error.message


DELTAS = (
    allm.TextDelta,
    allm.ReasoningDelta,
    allm.ToolCallDelta,
)


@given(
    st.lists(st.tuples(st.sampled_from(DELTAS), st.sampled_from("ab"), st.sampled_from(("x", "\u00e9", "xyz", "")))),
    st.integers(1, 5),
    st.integers(1, 12),
    st.sampled_from(("text_bytes", "reasoning_bytes", "argument_bytes", "total_bytes", "parts")),
)
def test_bursts_change_no_count(deltas, per_burst, limit, name):
    """However deltas come together, the answer ends at the same one of them."""
    events = [delta(block, text) for delta, block, text in deltas]

    def admitted(per_burst):
        size, found = AnswerSize(limits(**{name: limit})), []
        for start in range(0, len(events), per_burst):
            burst = tuple(events[start : start + per_burst])
            found += burst if size.grow(burst) else size.admit(burst)
            if size.is_full:
                return [*found[:-1], "full"]
        return found

    def counted_one_by_one():
        size, found = AnswerSize(limits(**{name: limit})), []
        for event in events:
            found += size.admit((event,))
            if size.is_full:
                return [*found[:-1], "full"]
        return found

    assert admitted(per_burst) == admitted(1) == counted_one_by_one()


def adapter_for(name, server):
    url = server.url(name.partition("_")[0])
    if name.startswith("openai"):
        endpoint = "responses" if name.endswith("responses") else "chat_completions"
        return allm.providers.OpenAI(api_key=KEY, base_url=url, endpoint=endpoint)
    return {"anthropic": allm.providers.Anthropic, "gemini": allm.providers.Gemini}[name](api_key=KEY, base_url=url)


@pytest.mark.parametrize("name", FORMATS)
async def test_limits_over_http(name):
    """They hold for every wire format, and the server is not listened to any further."""
    async with WireServer() as server:
        script = [fake.text("word "), *[fake.tool_call("f", {"n": n}, id=f"c{n}") for n in range(50)]]
        server.add(Reply.script(name, script))
        engine = allm.Engine(adapter=adapter_for(name, server), model="m", answer_limits=limits(tool_calls=20))
        response = await allm.generate(engine, "hi")
    assert response.error.reason == "answer_too_large"
    assert response.output_text == "word "
    assert len(response.tool_calls) == 20
    assert len(server.requests) == 1


def nested(depth):
    value = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("name", [*FORMATS, "fake"])
@pytest.mark.parametrize("depth", [195, MAX_VALUE_DEPTH, MAX_VALUE_DEPTH + 1, 240])
async def test_arguments_that_no_session_could_keep(name, depth):
    """They are invalid, which the model is told; the handler runs for all others, and the turn can be saved."""
    ran = []

    async def run(arguments):
        ran.append(arguments)
        return "done"

    takes_anything = allm.Tool("f", "Do.", {"type": "object"}, handler=run)
    scripts = [[fake.tool_call("f", nested(depth))], [fake.text("well")]]
    async with WireServer() as server:
        if name == "fake":
            adapter = allm.providers.Fake(scripts=scripts)
        else:
            adapter = adapter_for(name, server)
            for script in scripts:
                server.add(Reply.script(name, script))
        result = await allm.chat(allm.Engine(adapter=adapter, model="m", tools=[takes_anything]), "hi")
    [call], message = result.steps[0].response.tool_calls, result.steps[0].tool_results[0]
    if depth <= MAX_VALUE_DEPTH:
        assert (ran, message.text) == ([nested(depth)], "done")
    else:
        assert ran == []
        assert call.arguments is None
        assert json.loads(call.raw_arguments) == nested(depth)
        assert json.loads(message.text)["error"]["type"] == "invalid_arguments"
        assert "nests deeper than 200 levels" in message.text
    assert result.final_response.output_text == "well"
    assert allm.from_json(allm.to_json(result)) == result


async def test_opaque_data_that_no_session_could_keep():
    """It ends the answer, as the conversation could not go on without it; what came before is kept."""
    part = allm.ProviderPartCompleted("p", allm.ProviderPart("endless", nested(201)))
    adapter = Endless((allm.TextDelta("t", "before"), part))
    response = await allm.generate(allm.Engine(adapter=adapter), "hi")
    assert (response.error.reason, response.output_text) == ("answer_too_large", "before")
    assert "nests deeper than 200 levels" in response.error.message
    assert allm.from_json(allm.to_json(response)) == response


async def test_notes_that_no_session_could_keep():
    """A sentence stands in their place, and the answer is whole."""
    note, deep = {"id": "x", "about": nested(300)}, nested(300)
    message = allm.assistant(allm.ToolCall("c", "f", deep))
    adapter = Endless(
        (
            allm.ToolCallCompleted("c", "f", deep),
            allm.UsageReported(allm.Usage(input_tokens=3, extra={"searches": 1, "deep": nested(300)})),
            allm.MessageCompleted(message, "tool_calls", metadata={"endless": note}),
        )
    )
    seen = []
    response = await allm.generate(allm.Engine(adapter=adapter), "hi", on_event=seen.append)
    left_out = "left out: it nests deeper than 200 levels"
    assert response.metadata == {"endless": {"id": "x", "about": left_out}}
    assert response.usage.extra == {"searches": 1, "deep": left_out}
    assert response.error is None
    assert seen[-1].message == response.message
    for value in (response, *seen):
        assert allm.from_json(allm.to_json(value)) == value


async def test_results_and_hints_that_no_session_could_keep(monkeypatch):
    """Such a call fails alone, and the model reads why."""
    monkeypatch.setattr("allm.data.tool.MAX_RESULT_BYTES", 50)
    fine = allm.Tool("fine", "Do.", {"type": "object"}, handler=lambda _: "x" * 50)
    long = allm.Tool("long", "Do.", {"type": "object"}, handler=lambda _: "x" * 51)
    asks = allm.Tool("asks", "Do.", {"type": "object"}, handler=lambda _: allm.AskUser("Which?", deep=nested(300)))
    script = [fake.tool_call(name) for name in ("fine", "long", "asks")]
    adapter = allm.providers.Fake(scripts=[script, [fake.text("well")]])
    result = await allm.chat(allm.Engine(adapter=adapter, tools=[fine, long, asks]), "hi")
    texts = [message.text for message in result.steps[0].tool_results]
    assert texts[0] == "x" * 50
    assert "51 bytes" in texts[1]
    assert "cannot be saved: their object nests deeper than 200 levels" in texts[2]
    assert all('"encoding_failed"' in text for text in texts[1:])
    assert allm.from_json(allm.to_json(result)) == result


@pytest.mark.parametrize("size", [1, 7, 60])
@pytest.mark.parametrize("most", [1, 5, 30, 59, 60, 61, 90, 10_000])
@pytest.mark.parametrize("name", ["text_bytes", "reasoning_bytes", "total_bytes"])
def test_a_burst_is_counted_as_its_events_are(name, most, size):
    """Deltas of one block are added up: what is admitted is the same as one by one, and so is the room for the next."""
    events = [allm.TextDelta("t", "a"), allm.UsageReported(allm.Usage(output_tokens=1))]
    events += [allm.TextDelta("t", "é" * (n % 3)) for n in range(20)]
    events += [allm.ReasoningDelta("r", "ab") for _ in range(10)] + [allm.UsageReported(allm.Usage(output_tokens=2))]
    events += [allm.TextDelta("t", "b") for _ in range(20)] + [allm.ReasoningDelta("r", "c")]

    def admitted(per_burst):
        counted = AnswerSize(allm.AnswerLimits(**{name: most}))
        found = []
        for at in range(0, len(events), per_burst):
            burst = tuple(events[at : at + per_burst])
            found += burst if counted.grow(burst) else counted.admit(burst)
            if counted.is_full:
                return [*found[:-1], str(found[-1].error)]
        return found

    assert admitted(size) == admitted(1)
