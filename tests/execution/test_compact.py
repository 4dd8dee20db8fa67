"""`compact`: what is sent of a conversation that does not fit is shorter, and what is kept of it is whole."""

from __future__ import annotations

import pytest

import allm
from allm import fake
from allm.providers import Fake

TOO_LONG = allm.AdapterError("too long", reason="context_length_exceeded", provider="fake", status=400)
TURNS = [message for n in range(5) for message in (allm.user(f"question {n}"), allm.assistant(f"answer {n}"))]
THREAD = allm.Thread((allm.system("Rules."), *TURNS, allm.user("last")))


def texts(request):
    return [message.text for message in request.messages]


def made(*scripts):
    adapter = Fake(scripts=scripts)
    return adapter, allm.Engine(adapter=adapter, model="m", retry=None)


@allm.tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"warm in {city}"


async def test_a_conversation_that_is_too_long_is_sent_again_shorter():
    """Once, in every kind of call, and the thread that is kept is whole."""
    adapter, engine = made([fake.error(TOO_LONG)], [fake.text("ok")])
    result = await allm.chat(engine, THREAD, compact=allm.compact.keep_last_turns(2))
    assert allm.unwrap(result) == "ok"
    assert texts(adapter.requests[1]) == ["Rules.", "question 4", "answer 4", "last"]
    assert result.thread.messages[:-1] == THREAD.messages
    assert result.thread.last.text == "ok"

    adapter, engine = made([fake.error(TOO_LONG)], [fake.text("ok")])
    response = await allm.generate(engine, THREAD, compact=lambda thread: thread.last_turns(1))
    assert response.output_text == "ok"
    assert texts(adapter.requests[1]) == ["Rules.", "last"]


async def test_a_session_is_not_stuck():
    """Its next turn goes on, and the conversation in it is whole."""
    _, engine = made([fake.text("hi")], [fake.error(TOO_LONG)], [fake.text("ok")])
    session, _ = await allm.session.start(engine, "hello")
    session, result = await allm.session.reply(engine, session, "more", compact=allm.compact.keep_last_turns(1))
    assert allm.unwrap(result) == "ok"
    assert session.status == "completed"
    assert [message.text for message in session.thread.messages] == ["hello", "hi", "more", "ok"]


async def test_it_is_asked_once():
    """A shorter conversation that is still too long is a failure, and so is one that cannot be made shorter."""
    asked = []

    async def shorter(thread):
        asked.append(len(thread.messages))
        return thread.last_turns(1)

    adapter, engine = made([fake.error(TOO_LONG)], [fake.error(TOO_LONG)], [fake.text("never")])
    response = await allm.generate(engine, THREAD, compact=shorter)
    assert response.error.reason == "context_length_exceeded"
    assert (len(adapter.requests), asked) == (2, [12])

    adapter, engine = made([fake.error(TOO_LONG)], [fake.text("never")])
    response = await allm.generate(engine, "short", compact=allm.compact.keep_last_turns(3))
    assert response.error.reason == "context_length_exceeded"
    assert len(adapter.requests) == 1


async def test_other_failures_do_not_ask():
    """Nor does one after content has been shown."""
    busy = allm.AdapterError("busy", reason="overloaded", provider="fake")
    for script in ([fake.error(busy)], [fake.text("par"), fake.error(TOO_LONG)]):
        adapter, engine = made(script)
        response = await allm.generate(engine, THREAD, compact=lambda _: pytest.fail("asked"))
        assert response.error is not None
        assert len(adapter.requests) == 1


@pytest.fixture
def small_model():
    """A model with room for 50 tokens."""
    allm.models.put(allm.models.ModelInfo(provider="fake", id="m", context_window=50))
    yield
    allm.models.clear()


@pytest.mark.usefixtures("small_model")
async def test_near_the_limit_it_is_asked_before():
    """By the estimate, so that nothing too long is sent; a conversation that fits is sent as it is."""
    adapter, engine = made(*[[fake.text("ok")]] * 3)  # a prepared call that is too long takes a script with it
    await allm.generate(engine, THREAD, compact=allm.compact.keep_last_turns(1))
    await allm.generate(engine, "short", compact=lambda _: pytest.fail("asked"))
    assert texts(adapter.requests[-2]) == ["Rules.", "last"]
    assert texts(adapter.requests[-1]) == ["short"]


async def test_a_summary_stands_for_what_is_left_out():
    """It is made once for the same turns."""
    writer, writes = made([fake.text("They spoke of 0 to 3.")])
    compact = allm.compact.summarize(writes, keep=2)
    for _ in range(2):
        adapter, engine = made([fake.error(TOO_LONG)], [fake.text("ok")])
        result = await allm.chat(engine, THREAD, compact=compact)
        assert result.thread.messages[:-1] == THREAD.messages
        rules, summary, *recent = texts(adapter.requests[1])
        assert (rules, recent) == ("Rules.", ["question 4", "answer 4", "last"])
        assert "They spoke of 0 to 3." in summary
    [request] = writer.requests
    assert "question 3" in request.messages[0].text
    assert "question 4" not in request.messages[0].text


async def test_calls_and_results_stay_together():
    """In the middle of a turn as well: the turn that calls tools is sent whole."""
    scripts = [fake.tool_call("weather", {"city": "Zug"})], [fake.error(TOO_LONG)], [fake.text("warm")]
    adapter, engine = made(*scripts)
    result = await allm.chat(engine, THREAD, tools=[weather], compact=allm.compact.keep_last_turns(1))
    assert allm.unwrap(result) == "warm"
    assert [message.role for message in adapter.requests[-1].messages] == ["system", "user", "assistant", "tool"]
    assert len(result.thread.messages) == len(THREAD.messages) + 3


@pytest.mark.parametrize(
    "function",
    [lambda _: None, lambda thread: list(thread.messages), lambda _: allm.Thread((allm.tool_result("x", "y"),))],
)
async def test_what_it_may_not_return(function):
    """Is an error of the program's, not of the provider's."""
    _, engine = made([fake.error(TOO_LONG)])
    with pytest.raises((allm.OptionError, allm.ValidationError)):
        await allm.generate(engine, THREAD, compact=function)


async def test_what_it_raises_comes_out():
    """As it is."""

    def broken(_thread):
        raise ZeroDivisionError

    _, engine = made([fake.error(TOO_LONG)])
    with pytest.raises(ZeroDivisionError):
        await allm.generate(engine, THREAD, compact=broken)


def test_a_summary_without_trio():
    """In a plain thread, where functions of the program run elsewhere than the call."""
    _, writes = made([fake.text("short")])
    _, engine = made([fake.error(TOO_LONG)], [fake.text("ok")])
    response = allm.blocking.generate(engine, THREAD, compact=allm.compact.summarize(writes))
    assert response.output_text == "ok"


def test_numbers_of_turns_are_checked():
    """Where they are given."""
    for make in (allm.compact.keep_last_turns, lambda n: allm.compact.summarize(allm.Engine(), keep=n)):
        with pytest.raises(allm.ValidationError):
            make(-1)
