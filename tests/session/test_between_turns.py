"""Results, denials and approvals of pending calls."""

from __future__ import annotations

import itertools

import attrs
import pytest

import allm
from allm import fake
from conversations import ASK, BY_HAND, NOOP, PAY, TEXT, engine, in_status, roles, texts

THREE = [fake.tool_call("by_hand", {"n": n}, id=f"c{n}") for n in range(3)]


async def three_pending():
    session, _ = await allm.session.start(engine(THREE), "go", id="s")
    return session


def answered_ids(session):
    return [message.tool_call_id for message in session.thread.messages if message.role == "tool"]


@pytest.mark.parametrize("order", list(itertools.permutations(["c0", "c1", "c2"])))
async def test_results_come_in_any_order_and_stand_in_call_order(order):
    """The last result ends the wait."""
    session = await three_pending()
    for index, call_id in enumerate(order):
        assert session.status == "awaiting_tools"
        session = allm.session.submit_tool_result(session, call_id, f"result of {call_id}")
        allm.validate(session)
        assert len(session.pending_tool_calls) == 2 - index
    assert session.status == "idle"
    assert answered_ids(session) == ["c0", "c1", "c2"]
    assert texts(session)[2:] == ["result of c0", "result of c1", "result of c2"]
    session, _ = await allm.session.continue_(engine(TEXT), session)
    assert session.status == "completed"


async def test_results_beside_automatic_ones():
    """Automatic results keep their place too."""
    script = [fake.tool_call("by_hand", id="c0"), fake.tool_call("noop", id="c1"), fake.tool_call("by_hand", id="c2")]
    session, _ = await allm.session.start(engine(script), "go")
    session = allm.session.submit_tool_results(session, {"c2": 2, "c0": {"zero": 0}})
    assert answered_ids(session) == ["c0", "c1", "c2"]
    assert texts(session)[2:] == ['{"zero":0}', "ok", "2"]


async def test_same_ids_in_two_turns():
    """Some providers number the calls of every turn from 0."""
    again = [fake.tool_call("by_hand", id="c0")]
    session, _ = await allm.session.start(engine(again), "go")
    session = allm.session.submit_tool_result(session, "c0", "first")
    session, _ = await allm.session.continue_(engine(again), session)
    assert session.status == "awaiting_tools"
    session = allm.session.submit_tool_result(session, "c0", "second")
    assert texts(session) == ["go", "", "first", "", "second"]
    assert session.status == "idle"


async def test_wrong_ids_and_values():
    """Each is rejected with its reason, and the session is unchanged."""
    session = allm.session.submit_tool_result(await three_pending(), "c1", "x")
    before = allm.to_json(session)
    for call_id, value, reason in [
        ("c9", "x", "unknown_tool_call"),
        ("c1", "x", "already_answered"),
        ("c0", object(), "invalid_input"),
    ]:
        with pytest.raises(allm.SessionError) as caught:
            allm.session.submit_tool_result(session, call_id, value)
        assert caught.value.reason == reason
    assert allm.to_json(session) == before


async def test_several_results_all_or_none():
    """The first invalid one rejects them all; an empty list is allowed with any status."""
    session = await three_pending()
    with pytest.raises(allm.SessionError) as caught:
        allm.session.submit_tool_results(session, [("c0", 1), ("c9", 2)])
    assert caught.value.reason == "unknown_tool_call"
    assert len(session.pending_tool_calls) == 3
    done = allm.session.submit_tool_results(session, [("c0", 1), ("c2", 2), ("c1", 3)])
    assert done.status == "idle"
    assert allm.session.submit_tool_results(done, []) is done


async def test_errors_and_refusals_are_told_to_the_model():
    """They read like a tool's own failure."""
    session = allm.session.submit_tool_result(await three_pending(), "c0", "broken", is_error=True)
    session = allm.session.deny(session, "c1")
    session = allm.session.deny(session, "c2", "too expensive")
    results = session.thread.messages[2:]
    assert [result.is_error for result in results] == [True] * 3
    assert results[2].text == '{"error":{"type":"denied","message":"too expensive"}}'


async def test_question_and_calls_of_one_answer():
    """Pending calls come first, then the user is asked."""
    script = [fake.tool_call("by_hand", id="c0"), fake.tool_call("ask", id="c1")]
    session, _ = await allm.session.start(engine(script), "go")
    assert (session.status, session.pending_question) == ("awaiting_tools", "Which city?")
    session = allm.session.submit_tool_result(session, "c0", "x")
    assert session.status == "awaiting_user"
    assert roles(session) == ["user", "assistant", "tool", "tool", "assistant"]
    session, _ = await allm.session.reply(engine(TEXT), session, "Zug")
    assert texts(session)[-3:] == ["Which city?", "Zug", "done"]


async def test_failure_and_calls_of_one_answer():
    """Pending calls come first, then the turn can be run again."""

    async def broken(arguments):
        raise LookupError("nope")

    tools = [allm.Tool("noop", "N.", handler=broken), BY_HAND]
    script = [fake.tool_call("by_hand", id="c0"), fake.tool_call("noop", id="c1")]
    session, _ = await allm.session.start(engine(script, tools=tools), "go", on_tool_error="halt")
    assert (session.status, session.error.reason) == ("awaiting_tools", "handler_raised")
    session = allm.session.submit_tool_result(session, "c0", "x")
    assert session.status == "error"
    session, _ = await allm.session.continue_(engine(TEXT), session)
    assert session.status == "completed"


# --- approvals ---------------------------------------------------------------------------------------------------


def recording_tools(ran):
    async def pay(arguments):
        ran.append(arguments)
        return "paid"

    return [allm.Tool("pay", "Pays.", handler=pay, manual=True), BY_HAND, NOOP, ASK]


PAY_CALL = [fake.tool_call("pay", {"amount": 5, "to": "Bern"}, id="c1")]


async def to_approve(ran, script=PAY_CALL):
    session, _ = await allm.session.start(engine(script, tools=recording_tools(ran)), "go", id="s")
    assert session.status == "awaiting_tools"
    return session


async def test_an_approved_call_runs_and_the_turn_goes_on():
    """In another process, with only the session and an engine."""
    ran = []
    session = allm.session.approve(await to_approve(ran), "c1")
    session = allm.from_json(allm.to_json(session), allm.Session)
    assert ran == []
    model = engine(TEXT, tools=recording_tools(ran))
    async with allm.session.stream_continue(model, session) as events:
        kinds = [type(event).__name__ async for event in events]
    session, result = events.outcome()
    assert ran == [{"amount": 5, "to": "Bern"}]
    assert kinds[:4] == ["ToolExecutionStarted", "ToolExecutionCompleted", "ToolResultEncoded", "StepCompleted"]
    assert texts(session) == ["go", "", "paid", "done"]
    assert (session.status, session.approvals, result.halted_reason) == ("completed", (), "completed")
    assert model.adapter.requests[0].messages == session.thread.messages[:3]


async def test_without_approval_nothing_runs():
    """Every pending call needs an approval or a result."""
    ran = []
    session = await to_approve(ran, [*PAY_CALL, fake.tool_call("pay", id="c2")])
    for one in (session, allm.session.approve(session, "c1")):
        with pytest.raises(allm.SessionError) as caught:
            await allm.session.continue_(engine(TEXT, tools=recording_tools(ran)), one)
        assert caught.value.reason == "invalid_status"
    assert ran == []


async def test_approvals_refusals_and_results_of_one_answer():
    """Each call can be resolved differently; results are in call order."""
    ran = []
    names = ["noop", "pay", "by_hand", "pay"]
    session = await to_approve(ran, [fake.tool_call(name, id=f"c{n}") for n, name in enumerate(names)])
    session = allm.session.approve(session, "c3")
    session = allm.session.deny(session, "c1")
    session = allm.session.submit_tool_result(session, "c2", "by hand")
    session, _ = await allm.session.continue_(engine(TEXT, tools=recording_tools(ran)), session)
    assert answered_ids(session) == ["c0", "c1", "c2", "c3"]
    assert len(ran) == 1
    assert texts(session)[-1] == "done"


async def test_an_approval_holds_for_what_was_shown():
    """A call with other arguments under the same id is not approved."""
    ran = []
    session = await to_approve(ran)
    [call] = session.pending_tool_calls
    seen = allm.session.fingerprint(call)
    assert seen == allm.session.fingerprint(attrs.evolve(call, arguments={"to": "Bern", "amount": 5}))
    changed = attrs.evolve(call, arguments={"to": "Bern", "amount": 500})
    thread = allm.Thread([session.thread.messages[0], allm.assistant(changed)])
    tampered = attrs.evolve(session, thread=thread, pending_tool_calls=[changed])
    with pytest.raises(allm.SessionError) as caught:
        allm.session.approve(tampered, "c1", shown=seen)
    assert caught.value.reason == "not_approved"
    approved = allm.session.approve(session, "c1", shown=seen)
    tampered = attrs.evolve(tampered, approvals=approved.approvals)
    with pytest.raises(allm.SessionError) as caught:
        await allm.session.continue_(engine(TEXT, tools=recording_tools(ran)), tampered)
    assert caught.value.reason == "not_approved"
    assert ran == []


async def test_an_approval_is_used_once():
    """The next call with the same id needs its own approval."""
    ran = []
    session = allm.session.approve(await to_approve(ran), "c1")
    with pytest.raises(allm.SessionError) as caught:
        allm.session.approve(session, "c1")
    assert caught.value.reason == "already_answered"
    model = engine(PAY_CALL, TEXT, tools=recording_tools(ran))
    session, _ = await allm.session.continue_(model, session)
    assert (session.status, session.approvals, len(ran)) == ("awaiting_tools", (), 1)
    with pytest.raises(allm.SessionError):
        await allm.session.continue_(model, session)
    assert len(ran) == 1


@pytest.mark.parametrize("tool", [None, attrs.evolve(PAY, manual=False), attrs.evolve(PAY, handler=None)])
async def test_a_missing_rule_means_no(tool):
    """Without a manual tool with a handler nothing runs, and the error says why."""
    session = allm.session.approve(await to_approve([]), "c1")
    model = engine(TEXT, tools=[tool] if tool is not None else [])
    with pytest.raises(allm.SessionError, match="c1") as caught:
        await allm.session.continue_(model, session)
    assert caught.value.reason == "not_approved"
    assert model.adapter.requests == []
    session = allm.session.deny(session, "c1")
    assert (session.status, session.approvals) == ("idle", ())


async def test_a_question_waits_until_approved_calls_have_run():
    """Then the turn halts for the user again."""
    ran = []
    session = await to_approve(ran, [*PAY_CALL, fake.tool_call("ask", id="c2")])
    model = engine(TEXT, tools=recording_tools(ran))
    session, result = await allm.session.continue_(model, allm.session.approve(session, "c1"))
    assert (session.status, result.halted_reason, len(ran)) == ("awaiting_user", "ask_user", 1)
    assert session.pending_questions[0].hints == {"choices": ["Zug", "Bern"]}
    assert roles(session) == ["user", "assistant", "tool", "tool", "assistant"]
    session, _ = await allm.session.reply(model, session, "Zug")
    assert texts(session)[-2:] == ["Zug", "done"]


async def test_a_failure_is_still_one_when_approved_calls_have_run():
    """With on_tool_error="halt" the turn stays failed."""

    async def broken(arguments):
        raise LookupError("nope")

    tools = [PAY, allm.Tool("noop", "N.", handler=broken)]
    script = [fake.tool_call("noop", id="c0"), *PAY_CALL]
    session, _ = await allm.session.start(engine(script, tools=tools), "go", on_tool_error="halt")
    session = allm.session.approve(session, "c1")
    session, _ = await allm.session.continue_(engine(TEXT, tools=tools), session)
    assert (session.status, answered_ids(session)) == ("error", ["c0", "c1"])


async def test_an_approved_call_cut_short_is_answered():
    """It reads as cancelled, and the other calls keep their results."""
    ran = []
    session = await to_approve(ran, [fake.tool_call("noop", id="c0"), *PAY_CALL])
    session = allm.session.approve(session, "c1")
    async with allm.session.stream_continue(engine(TEXT, tools=recording_tools(ran)), session) as events:
        pass
    session, _ = events.outcome()
    allm.validate(session)
    assert (session.status, session.approvals, ran) == ("idle", (), [])
    assert texts(session)[2] == "ok"
    assert '"cancelled"' in texts(session)[3]


async def test_calls_are_looked_up_in_the_newest_answer():
    """A hand-made session may have no tool calls at all."""
    with pytest.raises(allm.SessionError):
        allm.session.submit_tool_result(await in_status("idle"), "c1", "x")
