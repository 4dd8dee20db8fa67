"""A failed call is seen: the text raises, the error tells what a person needs, and the log has it once."""

from __future__ import annotations

import copy
import logging
import pickle

import pytest

import allm
from allm import fake
from allm.providers import Anthropic, Fake, FakeImages, Gemini, OpenAI
from allm.testing import Reply, WireServer

CUT = allm.AdapterError("cut", reason="network_error", retryable=False)
VENDORS = {"openai": OpenAI, "anthropic": Anthropic, "gemini": Gemini}


def engine(*items, **fields):
    return allm.Engine(adapter=Fake(script=list(items)), **fields)


def logged(caplog):
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "allm"]


@pytest.mark.parametrize("open_stream", [allm.stream_generate, allm.stream, allm.stream_step])
async def test_text_raises_the_failure_after_the_last_piece(open_stream):
    """Whoever reads only the text meets the failure; what had arrived stays in the result."""
    pieces = []
    async with open_stream(engine(fake.text("Four"), fake.error(CUT)), "?") as events:
        with pytest.raises(allm.AdapterError) as caught:
            async for piece in events.text():
                pieces.append(piece)
    assert pieces == ["Four"]
    assert caught.value is CUT


@pytest.mark.parametrize("open_stream", [allm.stream_generate, allm.stream, allm.stream_step])
async def test_text_just_ends_if_asked_to(open_stream):
    """The failure is then in the result."""
    async with open_stream(engine(fake.text("Four"), fake.error(CUT)), "?") as events:
        assert [piece async for piece in events.text(raise_on_error=False)] == ["Four"]
    assert events._failure() is CUT


async def test_text_of_a_session_raises_and_the_turn_is_kept():
    """The session is the one after the failed turn."""
    async with allm.session.stream_start(engine(fake.text("Four"), fake.error(CUT)), "?") as events:
        with pytest.raises(allm.AdapterError):
            _ = [piece async for piece in events.text()]
    session, result = events.outcome()
    assert (session.status, result.error) == ("error", CUT)


@allm.tool
def broken() -> str:
    """Fail."""
    raise ValueError("no")


async def test_text_raises_a_halting_tool_error():
    """A turn that a tool ended has failed as well."""
    async with allm.stream(engine(fake.tool_call("broken")), "?", tools=[broken], on_tool_error="halt") as events:
        with pytest.raises(allm.ToolError):
            _ = [piece async for piece in events.text()]


async def test_unwrap_of_a_turn():
    """The text of a turn that was completed, and an error for every other end."""
    assert allm.unwrap(await allm.chat(engine(fake.text("Four.")), "?")) == "Four."
    with pytest.raises(allm.AdapterError):
        allm.unwrap(await allm.chat(engine(fake.error(CUT)), "?"))
    with pytest.raises(allm.ToolError) as caught:
        allm.unwrap(await allm.chat(engine(fake.tool_call("broken")), "?", tools=[broken], on_tool_error="halt"))
    assert (caught.value.message, str(caught.value)) == ("no", "no (tool broken, reason handler_raised, ValueError)")
    with pytest.raises(allm.UnwrapError, match="max_turns") as caught:
        allm.unwrap(await allm.chat(engine(fake.tool_call("broken")), "?", tools=[broken], max_turns=1))
    assert caught.value.reason == "halted"
    assert "max_turns=" in caught.value.advice
    with pytest.raises(allm.ValidationError, match=r"step\.response"):
        allm.unwrap(await allm.step(engine(fake.text("a")), "?"))


@pytest.mark.parametrize("vendor", VENDORS)
async def test_an_error_tells_what_a_person_needs(vendor):
    """Provider, model, status, reason, request id and host, and what to do; none of it is lost by a copy."""
    async with WireServer() as server:
        server.add(Reply.error(vendor, 401, message="Bad key."))
        adapter = VENDORS[vendor](base_url=server.url(vendor), api_key="sk-canary")
        response = await allm.generate(allm.Engine(adapter=adapter, model="m-1"), "?")
        host = server.url(vendor).split("/")[2]
    error = response.error
    shown = str(error)
    for fact in ("Bad key.", vendor, "m-1", "401", "authentication_failed", error.request_id or "status", host):
        assert fact in shown
    assert "api_key=" in shown
    assert "canary" not in shown
    for same in (copy.copy(error), pickle.loads(pickle.dumps(error)), allm.from_json(allm.to_json(error))):  # noqa: S301
        assert str(same) == shown


async def test_one_warning_for_the_outermost_call(caplog):
    """A call inside a tool is the tool's to handle; the call around it succeeded."""
    caplog.set_level(logging.DEBUG, "allm")

    @allm.tool
    async def ask() -> str:
        """Ask another model."""
        return (await allm.generate(engine(fake.error(CUT)), "?")).output_text or "nothing"

    adapter = Fake(scripts=[[fake.tool_call("ask")], [fake.text("Fine.")]])
    assert allm.unwrap(await allm.chat(allm.Engine(adapter=adapter, tools=[ask]), "?")) == "Fine."
    levels = [level for level, message in logged(caplog) if "failed" in message]
    assert levels == ["DEBUG"]

    caplog.clear()
    adapter = Fake(scripts=[[fake.tool_call("ask")], [fake.error(CUT)]])
    await allm.chat(allm.Engine(adapter=adapter, tools=[ask]), "?")
    assert [message for level, message in logged(caplog) if level == "WARNING"] == [f"chat failed: {CUT}"]


async def test_a_retry_is_one_line_of_information(caplog, autojump_clock):
    """And a call that succeeds in the end gives no warning."""
    caplog.set_level(logging.INFO, "allm")
    busy = allm.AdapterError("busy", reason="overloaded")
    adapter = Fake(scripts=[[fake.error(busy)], [fake.text("Now.")]])
    assert allm.unwrap(await allm.generate(allm.Engine(adapter=adapter), "?")) == "Now."
    [(level, message)] = logged(caplog)
    assert level == "INFO"
    assert "busy" in message


async def test_a_failed_service_call_is_logged_once(caplog):
    """It raises too, as all calls that answer in one piece."""
    caplog.set_level(logging.INFO, "allm")
    failing = allm.Engine(image_adapter=FakeImages([allm.ImageAdapterError("no", reason="invalid_request")]))
    with pytest.raises(allm.ImageAdapterError):
        await allm.generate_image(failing, "fox")
    [(level, message)] = logged(caplog)
    assert (level, message.startswith("image failed: no")) == ("WARNING", True)


async def test_a_log_line_stays_one_line(caplog):
    """What a provider says may have any number of lines."""
    await allm.generate(engine(fake.error(allm.AdapterError("a\n\nb", reason="unknown"))), "?")
    [(_, message)] = logged(caplog)
    assert "a b" in message
    assert "\n" not in message


async def test_nothing_is_logged_for_a_block_that_was_left(caplog):
    """Leaving early is no failure."""
    async with allm.stream_generate(engine(fake.text("a"), fake.error(CUT)), "?") as events:
        await anext(events)
    assert logged(caplog) == []
