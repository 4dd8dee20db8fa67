"""Conversations: each result belongs to one call before it, and the last turns can be kept without splitting them."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, strategies as st

import allm
from allm.data.message import messages_problems

HI, SYSTEM, ANSWER = allm.user("Hi"), allm.system("Be brief."), allm.assistant("Hello")
QUESTION = allm.PendingQuestion("Which?", "q").to_message()


def calls(*ids):
    return allm.assistant(*(allm.ToolCall(call_id, "f", {}) for call_id in ids))


def result(call_id):
    return allm.tool_result(call_id, "x")


GOOD = {
    "in another order": [HI, calls("a", "b"), result("b"), result("a")],
    "after what others said": [HI, calls("a"), HI, ANSWER, SYSTEM, result("a")],
    "an id in two turns": [calls("a"), result("a"), calls("a"), result("a")],
    "an id that waits twice": [calls("a"), calls("a"), result("a"), result("a")],
    "an id twice in a message": [calls("a", "a"), result("a")],
    "none yet": [HI, calls("a")],
}
ORPHAN, TWICE = "unknown_tool_call", "duplicate_result"
BAD = {
    "no call at all": ([HI, result("a")], [(1, ORPHAN)]),
    "before its call": ([result("a"), calls("a")], [(0, ORPHAN)]),
    "of another call": ([calls("a"), result("b"), result("a")], [(1, ORPHAN)]),
    "twice": ([calls("a"), result("a"), HI, result("a")], [(3, TWICE)]),
    "twice, of an id that came twice in a message": ([calls("a", "a"), result("a"), result("a")], [(2, TWICE)]),
    "both": ([calls("a"), result("a"), result("a"), result("b"), result("a")], [(2, TWICE), (3, ORPHAN), (4, TWICE)]),
}
VENDORS = {
    "openai": lambda: (allm.providers.OpenAI(api_key="k", endpoint="chat_completions"), "gpt-5.5"),
    "responses": lambda: (allm.providers.OpenAI(api_key="k", endpoint="responses"), "gpt-5.5"),
    "anthropic": lambda: (allm.providers.Anthropic(api_key="k"), "claude-haiku-4-5"),
    "gemini": lambda: (allm.providers.Gemini(api_key="k"), "gemini-3-pro"),
    "fake": lambda: (allm.providers.Fake(), "m"),
}


@pytest.mark.parametrize("messages", GOOD.values(), ids=GOOD)
def test_each_result_has_a_call(messages):
    """The latest one with its id that waits."""
    allm.validate(allm.Thread(messages))


@pytest.mark.parametrize(("messages", "problems"), BAD.values(), ids=BAD)
def test_results_without_a_call_of_their_own(messages, problems):
    """In a thread, a session and a request, with the id and the place of each."""
    expected = [(("messages", index, "tool_call_id"), tag) for index, tag in problems]
    thread = allm.Thread(messages)
    for value, prefix in ((thread, ()), (allm.Session(thread=thread), ("thread",)), (allm.Request(messages), ())):
        with pytest.raises(allm.ValidationError) as caught:
            allm.validate(value)
        assert list(caught.value.errors) == [((*prefix, *path), tag) for path, tag in expected]
        for index, _ in problems:
            assert f"messages[{index}].tool_call_id is '{messages[index].tool_call_id}'" in str(caught.value)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(("messages", "problems"), BAD.values(), ids=BAD)
async def test_every_vendor_refuses_them_alike(vendor, messages, problems):
    """Before anything is sent, in single calls and in turns."""
    adapter, model = VENDORS[vendor]()
    engine = allm.Engine(adapter=adapter, model=model)
    named = [attrs.evolve(message, name="f") if message.role == "tool" else message for message in messages]
    for given_messages in (messages, named):
        for run in (allm.generate, allm.step, allm.chat):
            with pytest.raises(allm.ValidationError) as caught:
                await run(engine, given_messages)
            assert [(path[1], tag) for path, tag in caught.value.errors] == problems


@pytest.mark.parametrize("option", ["previous_response_id", "conversation"])
async def test_a_conversation_that_the_provider_keeps(option):
    """Its calls are not in the request, so their results may stand alone, but still only once each."""
    engine = allm.Engine(adapter=allm.providers.Fake(script=[allm.fake.text("ok")]))
    response = await allm.generate(engine, [result("a"), result("b")], options={option: "resp_1"})
    assert response.output_text == "ok"
    with pytest.raises(allm.ValidationError) as caught:
        await allm.generate(engine, [result("a"), result("a")], options={option: "resp_1"})
    assert caught.value.errors == ((("messages", 1, "tool_call_id"), TWICE),)


# --- the last turns ---------------------------------------------------------------------------------------------------

FIRST = [allm.user("1"), calls("a", "b"), result("b"), result("a"), allm.assistant("one")]
ASKING = [allm.user("2"), calls("q"), result("q"), QUESTION, allm.user("Zug"), QUESTION, allm.user("Bern"), ANSWER]
LAST = [allm.user("3"), allm.assistant("three")]


@pytest.mark.parametrize(
    ("n", "kept"),
    [
        (0, [SYSTEM]),
        (1, [SYSTEM, *LAST]),
        (2, [SYSTEM, *ASKING, *LAST]),
        (3, [SYSTEM, ANSWER, *FIRST, *ASKING, *LAST]),
        (99, [SYSTEM, ANSWER, *FIRST, *ASKING, *LAST]),
    ],
)
def test_turns_are_kept_whole(n, kept):
    """With parallel calls and the answers to questions; what comes before the first turn goes with it."""
    thread = allm.Thread([SYSTEM, ANSWER, *FIRST, *ASKING, *LAST], metadata={"a": 1})
    assert thread.last_turns(n) == allm.Thread(kept, metadata={"a": 1})


@pytest.mark.parametrize(
    ("before", "turn"),
    [
        ([HI, ANSWER], [allm.user("look"), allm.user("at this"), ANSWER]),
        ([HI, ANSWER], [allm.user("look"), SYSTEM, allm.user("at this"), ANSWER]),
        ([HI, ANSWER], [HI, calls("a"), allm.user("Well?"), ANSWER, allm.user("?"), result("a"), ANSWER]),
        ([HI, ANSWER], [HI, calls("a"), result("a")]),
        ([HI, ANSWER], [HI, calls("a")]),
        ([HI, calls("lost"), HI, ANSWER], [HI, calls("a"), result("a"), ANSWER]),
        ([HI, calls("a"), result("a")], [HI, calls("a"), result("a")]),
        ([HI, calls("a"), result("a"), ANSWER], [HI]),
        ([HI, calls("b"), calls("a"), result("a"), result("b")], [HI, ANSWER]),
    ],
)
def test_where_a_turn_begins(before, turn):
    """At what the user says, unless more was said just before, a call waits for its result, or it answers a tool."""
    assert allm.Thread([*before, *turn]).last_turns(1).messages == tuple(turn)


def test_system_messages_stay_in_order():
    """Those of turns that are left out as well."""
    late = allm.system("Now in German.")
    thread = allm.Thread([SYSTEM, HI, late, ANSWER, HI])
    assert thread.last_turns(1).messages == (SYSTEM, late, HI)


def test_a_thread_without_turns():
    """It has nothing to keep whole."""
    assert allm.Thread().last_turns(1) == allm.Thread()
    greeting = allm.Thread([SYSTEM, ANSWER])
    assert greeting.last_turns(1) == greeting
    assert greeting.last_turns(0) == allm.Thread([SYSTEM])


@pytest.mark.parametrize("n", [-1, True, 1.5, "2", None])
def test_a_number_of_turns_that_is_none(n):
    """Refused with what was expected."""
    with pytest.raises(ValueError, match=r"expected a number of turns, 0 or more") as caught:
        allm.Thread([HI]).last_turns(n)
    assert isinstance(caught.value, allm.ValidationError)


PIECES = st.sampled_from(
    [HI, SYSTEM, ANSWER, QUESTION, calls("a"), calls("a", "b"), calls("b", "b"), result("a"), result("b")]
)


@given(st.lists(PIECES, max_size=14), st.integers(0, 6))
def test_the_last_turns_of_a_valid_thread_are_valid(pieces, n):
    """They are the end of the thread with all system messages, and more turns never hold less."""
    messages = []
    for piece in pieces:  # leave out what would make the thread invalid
        if not messages_problems((*messages, piece)):
            messages.append(piece)
    thread = allm.Thread(messages)
    kept, more = thread.last_turns(n), thread.last_turns(n + 1)
    allm.validate(kept)
    others = [message for message in kept.messages if message.role != "system"]
    all_others = [message for message in messages if message.role != "system"]
    assert others == all_others[len(all_others) - len(others) :]
    assert [m for m in kept.messages if m.role == "system"] == [m for m in messages if m.role == "system"]
    assert others == [] or n > 0
    assert kept.last_turns(n) == kept
    assert more.last_turns(n) == kept
    assert thread.last_turns(len(messages) + 1) == thread
