"""A message is checked once: a turn checks what is new in its conversation, however long that is."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import weakref

import attrs
import pytest
from hypothesis import given, strategies as st

import allm
from allm import fake
from allm.data import message as messages_module
from allm.data.message import messages_problems, thread_problems, unanswered_in, unanswered_tool_calls


@pytest.fixture
def checked(monkeypatch):
    """The messages that were looked at as a whole."""
    seen = []
    check = messages_module.message_problems
    monkeypatch.setattr(messages_module, "message_problems", lambda message: seen.append(message) or check(message))
    return seen


@pytest.mark.parametrize("length", [4, 400])
async def test_a_turn_checks_the_messages_that_are_new(checked, length):
    """Also one with calls of tools. The last answer is checked when it is sent."""

    @allm.tool
    def weather() -> str:
        """Tell the weather."""
        return "sunny"

    scripts = [[fake.tool_call("weather", {})], [fake.text("It is sunny.")]] * 3
    engine = allm.Engine(adapter=allm.providers.Fake(scripts=scripts), tools=[weather])
    thread = allm.Thread([message for n in range(length // 2) for message in (allm.user(f"{n}"), allm.assistant("x"))])
    for _ in range(3):
        thread = (await allm.chat(engine, thread.add(allm.user("And today?")))).thread
    assert len(checked) == len({id(message) for message in checked})
    assert {id(message) for message in checked} == {id(message) for message in thread.messages[:-1]}


def _pickled(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301  (our own)


def test_what_was_checked_is_no_part_of_the_value():
    """Copies are equal, and are checked themselves."""
    message = allm.assistant(allm.ToolCall("c", "f", {}))
    twin = allm.assistant(allm.ToolCall("c", "f", {}))
    allm.validate(message)
    assert message == twin
    assert hash(message) == hash(twin)
    assert repr(message) == repr(twin)
    for copied in (copy.copy(message), copy.deepcopy(message), _pickled(message)):
        assert copied == message
        allm.validate(copied)
    assert allm.to_json(message) == allm.to_json(twin)


def test_a_change_of_a_checked_message_is_checked():
    """Nothing is taken over from the message that it was made from."""
    message = allm.user("hi")
    allm.validate(message)
    for wrong in (attrs.evolve(message, role="x"), attrs.evolve(message, content=("x",))):
        with pytest.raises(allm.ValidationError):
            allm.validate(allm.Thread([message, wrong]))


def test_an_invalid_message_stays_invalid():
    """However often it is asked about, and in whatever conversation."""
    wrong = allm.Message("tool", "result")
    for value in (wrong, wrong, allm.Thread([wrong]), allm.Request((wrong,))):
        with pytest.raises(allm.ValidationError, match="tool_call_id"):
            allm.validate(value)


def test_the_order_is_checked_of_each_conversation():
    """The same message may be right in one and wrong in another."""
    call, result = allm.assistant(allm.ToolCall("c", "f", {})), allm.tool_result("c", "x")
    allm.validate(allm.Thread([call, result]))
    for wrong in ([result], [result, call], [call, result, result]):
        with pytest.raises(allm.ValidationError):
            allm.validate(allm.Thread(wrong))


def test_a_checked_message_is_freed():
    """No list of what was checked keeps it."""
    message = allm.user("hi")
    allm.validate(message)
    gone = weakref.ref(message)
    del message
    gc.collect()
    assert gone() is None


ids = st.sampled_from(["a", "b"])
calls = st.lists(ids, max_size=3).map(lambda found: allm.assistant(*[allm.ToolCall(i, "f", {}) for i in found]))
results = ids.map(lambda call_id: allm.tool_result(call_id, "x"))
wrong = st.sampled_from([allm.Message("x", "x"), allm.Message("tool", "x")])
said = st.lists(calls | results | st.just(allm.user("x")), max_size=8) | st.lists(calls | results | wrong, max_size=5)


@given(st.lists(said, max_size=4))
def test_a_conversation_checked_bit_by_bit(bits):
    """It has the problems and the unanswered calls of the whole, after each bit that was added."""
    thread = allm.Thread()
    for bit in bits:
        thread = thread.add(*bit)
        assert unanswered_in(thread) == unanswered_tool_calls(thread.messages)
        for _ in range(2):
            assert thread_problems(thread) == messages_problems(thread.messages)


async def calls_of_a_turn(length):
    """How many functions of the library are called by a turn of a stored session, after a first one."""
    engine = allm.Engine(adapter=allm.providers.Fake(scripts=[[fake.text("Sunny.")]] * 3))
    said = [message for n in range(length // 2) for message in (allm.user(f"{n}"), allm.assistant(allm.TextPart("x")))]
    session = allm.Session(id="s", thread=allm.Thread(said), status="completed")
    count = 0

    def note(frame, event, _argument):
        nonlocal count
        count += event == "call" and "/allm/" in frame.f_code.co_filename

    async with allm.session.open_store("memory://") as store:
        await store.save(session)
        async with store.turn("s") as turn:
            await turn.reply(engine, "And today?")
            before = sys.getprofile()
            sys.setprofile(note)
            try:
                await turn.reply(engine, "And tomorrow?")
            finally:
                sys.setprofile(before)
    return count


async def test_the_work_of_a_turn_is_that_of_what_is_new():
    """A turn of a session calls as many functions after three thousand messages as after thirty."""
    await calls_of_a_turn(30)
    assert await calls_of_a_turn(3000) <= 1.05 * await calls_of_a_turn(30)
