"""An answer that does not fit its type is asked again, in a single call and in a turn."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio

import allm
from allm import fake
from allm.testing import Reply, WireServer, cancel_everywhere


@dataclass
class Trip:
    """A trip."""

    city: str


BAD = '{"value": [{"city": 1}]}'
GOOD = '{"value": [{"city": "Zug"}]}'
MODES = ("native", "tool", "prompted")


def script(text, mode="native", **usage):
    answer = fake.tool_call("answer_list_Trip", raw_arguments=text) if mode == "tool" else fake.text(text)
    return [answer, fake.usage(**{"input_tokens": 10, "output_tokens": 2, **usage})]


def made(*texts, mode="native"):
    """An adapter that gives these answers in turn."""
    return allm.providers.Fake(scripts=[script(text, mode) for text in texts])


async def ask(adapter, retries, **options):
    engine = allm.Engine(adapter=adapter)
    return await allm.generate(engine, "Where?", response_format=list[Trip], validation_retries=retries, **options)


@pytest.mark.parametrize("mode", MODES)
async def test_a_single_call_asks_again(mode):
    """With the answer and its problems in the conversation; the usage of both answers is added up."""
    adapter = made(BAD, GOOD, mode=mode)
    response = await ask(adapter, 2, output_mode=mode)
    assert response.parsed() == [Trip("Zug")]
    assert (response.output_text, response.finish_reason) == (GOOD, "stop")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (20, 4)
    first, second = (request.messages for request in adapter.requests)
    assert [message.role for message in second[len(first) :]] == ["assistant", "user"]
    assert second[-2].text == BAD
    assert "value[0].city: expected a string, got 1" in second[-1].text


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_the_last_answer_stays(retries):
    """After so many retries; `parsed()` says what is wrong with it, and its text is there."""
    adapter = made(*[BAD] * (retries + 1))
    response = await ask(adapter, retries)
    assert (len(adapter.requests), response.output_text, response.error) == (retries + 1, BAD, None)
    assert response.usage.input_tokens == 10 * (retries + 1)
    with pytest.raises(allm.ValidationError, match=r"value\[0\]\.city") as caught:
        response.parsed()
    assert caught.value.reason == "invalid_output"


async def test_a_turn_has_the_same_words():
    """One mechanism: the model reads the same of its mistakes."""
    single, turn = made(BAD, GOOD), made(BAD, GOOD)
    response = await ask(single, 1)
    result = await allm.chat(allm.Engine(adapter=turn), "Where?", response_format=list[Trip], validation_retries=1)
    assert single.requests[1].messages == turn.requests[1].messages
    assert result.parsed() == response.parsed()
    assert result.usage == response.usage


async def test_the_stream_of_a_single_call():
    """It goes on behind the answer that does not fit; its fold is what `generate` returns."""
    engine = allm.Engine(adapter=made(BAD, GOOD))
    options = {"response_format": list[Trip], "validation_retries": 1}
    async with allm.stream_generate(engine, "Where?", **options) as events:
        seen = [event async for event in events]
    kinds = [type(event).__name__ for event in seen]
    answer = ["MessageStarted", "TextDelta", "UsageReported", "TextCompleted", "MessageCompleted"]
    assert kinds == [*answer, "MessagesAdded", *answer]
    assert seen[5].messages[0].text == BAD
    assert events.result() == await ask(made(BAD, GOOD), 1)
    async with allm.stream_generate(allm.Engine(adapter=made(BAD, GOOD)), "Where?", **options) as events:
        assert [piece async for piece in events.text()] == [BAD, GOOD]


async def test_every_prefix_has_a_result():
    """Until the next answer has content, that is the one before it, so that no text is lost."""
    engine = allm.Engine(adapter=made(BAD, GOOD))
    texts = []
    async with allm.stream_generate(engine, "Where?", response_format=list[Trip], validation_retries=1) as events:
        async for event in events:
            response = events.result()
            texts.append(response.output_text)
            if isinstance(event, allm.MessagesAdded):
                assert response.finish_reason is None
                assert response.usage.input_tokens == 10
    assert texts == ["", BAD, BAD, BAD, BAD, BAD, BAD, GOOD, GOOD, GOOD, GOOD]


async def test_a_retry_that_fails_keeps_the_answer():
    """The error is in the response, beside the text that did not fit."""
    failure = allm.AdapterError("down", reason="provider_unavailable", status=500)
    adapter = allm.providers.Fake(scripts=[script(BAD), [fake.error(failure)]])
    response = await ask(adapter, 1, retry=None)
    assert (response.output_text, response.finish_reason, response.error.reason) == (
        BAD,
        "error",
        "provider_unavailable",
    )
    assert response.usage.input_tokens == 10


async def test_a_time_limit_covers_all_tries(autojump_clock):
    """It ends the try that runs, and the answer before it stays; observers and filters see every try."""
    seen = []
    adapter = allm.providers.Fake(scripts=[script(BAD), [fake.delay(9), *script(GOOD)]])
    options = {"request_timeout": 5, "on_event": seen.append, "emit_text_deltas": False}
    response = await ask(adapter, 1, **options)
    assert (response.output_text, response.error.reason) == (BAD, "timeout")
    assert sum(isinstance(event, allm.TextDelta) for event in seen) == 1
    assert (await ask(made(BAD, GOOD), 1, **options)).output_text == GOOD


async def test_cancelling_between_the_tries(autojump_clock):
    """The answer that did not fit is in the result."""
    adapter = allm.providers.Fake(scripts=[script(BAD), [fake.delay(9), *script(GOOD)]])
    with trio.move_on_after(5):
        async with allm.stream_generate(
            allm.Engine(adapter=adapter), "?", response_format=list[Trip], validation_retries=1
        ) as events:
            await events.until_done()
    response = events.result()
    assert (response.output_text, response.finish_reason, response.error) == (BAD, None, None)
    assert response.usage.input_tokens == 10


async def test_cancelling_at_every_moment():
    """Nothing is left, in both tries and between them, also where the answer is a call."""
    for mode in MODES:
        report = await cancel_everywhere(lambda mode=mode: ask(made(BAD, GOOD, mode=mode), 1, output_mode=mode))
        assert report.result.parsed() == [Trip("Zug")]


async def test_what_is_not_asked_again():
    """A call of a tool, a failure, and an answer without a type."""
    clock = allm.Tool("clock", "The time.")
    calls = allm.providers.Fake(scripts=[[fake.tool_call("clock", {})]])
    assert (await ask(calls, 3, tools=[clock])).finish_reason == "tool_calls"
    failed = allm.providers.Fake(scripts=[[fake.error(allm.AdapterError("no", reason="invalid_request", status=400))]])
    assert (await ask(failed, 3)).error.reason == "invalid_request"
    engine = allm.Engine(adapter=made("x"), params={"validation_retries": 3})
    assert (await allm.generate(engine, "?", response_format=allm.json_schema("a", {}))).output_text == "x"
    assert [len(adapter.requests) for adapter in (calls, failed, engine.adapter)] == [1, 1, 1]


async def test_an_answer_without_text():
    """There is nothing of it to be shown to the model."""
    adapter = allm.providers.Fake(scripts=[[fake.finish("stop")], script(GOOD)])
    assert (await ask(adapter, 1)).parsed() == [Trip("Zug")]
    assert [message.role for message in adapter.requests[1].messages] == ["user", "user"]


async def test_the_first_pass_of_two_is_not_checked():
    """It has no format yet."""

    @allm.tool
    def clock() -> str:
        """The time."""
        return "noon"

    scripts = [[fake.tool_call("clock", {})], [fake.text("It is noon.")], script(BAD), script(GOOD)]
    adapter = allm.providers.Fake(scripts=scripts)
    result = await allm.chat(
        allm.Engine(adapter=adapter, tools=[clock]),
        "Where?",
        response_format=list[Trip],
        structured_finalize=True,
        validation_retries=1,
    )
    assert (result.parsed(), len(adapter.requests)) == ([Trip("Zug")], 4)


async def test_names_of_the_function_that_calls():
    """A type may name one that only the caller sees, in every step and retry."""

    @dataclass
    class Local:
        city: str

    hint = list["Local"] | dict[str, "Local"]
    assert Local("Zug") == (await ask_local(hint, generate=True))[0]
    assert Local("Zug") == (await ask_local(hint, generate=False))[0]


async def ask_local(hint, *, generate):
    @allm.tool
    def clock() -> str:
        """The time."""
        return "noon"

    scripts = [script('{"value": 1}'), script(GOOD)]
    options = {"response_format": hint, "validation_retries": 1}
    if generate:
        response = await allm.generate(allm.Engine(adapter=allm.providers.Fake(scripts=scripts)), "?", **options)
    else:
        adapter = allm.providers.Fake(scripts=[[fake.tool_call("clock", {})], *scripts])
        response = await allm.chat(allm.Engine(adapter=adapter, tools=[clock]), "?", **options)
    return response.parsed()


@pytest.mark.parametrize("wire", ["openai", "anthropic", "gemini"])
async def test_over_the_wire(wire):
    """The second request has the answer and its problems."""
    adapters = {
        "openai": lambda url: allm.providers.OpenAI(api_key="k", base_url=url, endpoint="chat_completions"),
        "anthropic": lambda url: allm.providers.Anthropic(api_key="k", base_url=url),
        "gemini": lambda url: allm.providers.Gemini(api_key="k", base_url=url),
    }
    async with WireServer() as server:
        server.add(Reply.script(wire, script(BAD)), Reply.script(wire, script(GOOD)))
        engine = allm.Engine(adapter=adapters[wire](server.url(wire)), model="claude-haiku-4-5")
        response = await allm.generate(engine, "?", response_format=list[Trip], validation_retries=1, max_tokens=99)
    assert response.parsed() == [Trip("Zug")]
    assert "expected a string, got 1" in server.requests[1].body.decode()
    assert (response.usage.input_tokens, response.usage.output_tokens) == (20, 4)
