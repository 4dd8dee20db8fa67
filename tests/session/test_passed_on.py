"""A conversation that goes through JSON between its turns continues like one that does not."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given, settings, strategies as st

import allm
from allm import fake
from allm.testing import Reply, WireServer
from conversations import ASK, BY_HAND, NOOP, PAY, TEXT, engine
from recorded_calls import chat_adapter, model_of
from test_corpus import CASES
from wire_corpus import CORPUS


def through_json(session):
    text = allm.to_json(session)
    read = allm.from_json(text, allm.Session)
    assert read == session
    assert allm.to_json(read) == text
    return read


words = st.text(max_size=5)
calls = st.builds(
    fake.tool_call,
    st.sampled_from(["noop", "ask", "by_hand", "pay", "nope"]),
    st.dictionaries(
        words, st.one_of(st.integers(), words, st.none(), st.lists(st.floats(allow_nan=False))), max_size=2
    ),
    id=st.sampled_from([None, "c1"]),
    raw_arguments=st.sampled_from([None, None, None, "{", "[]", ""]),
)
items = st.one_of(st.builds(fake.text, words), st.builds(fake.reasoning, words), calls)
endings = st.sampled_from(
    [[], [], [fake.finish("length")], [fake.error(allm.AdapterError("no", reason="invalid_request"))]]
)
scripts = st.builds(lambda body, end: body + end, st.lists(items, max_size=4), endings)
pictures = st.builds(allm.Image.from_bytes, st.binary(min_size=1, max_size=9), mime_type=st.just("image/png"))
said = st.text(min_size=1, max_size=5)  # a message without any content is refused
turns = st.lists(st.tuples(said, st.lists(pictures, max_size=1), st.none() | st.integers(0, 9)), max_size=4)


async def converse(scripts, turns, passed_on):
    """Run a conversation of several turns; `passed_on` is applied to the session wherever it could be saved."""
    model = engine(*scripts, *[TEXT] * 40, tools=(NOOP, ASK, BY_HAND, PAY))
    session = passed_on(allm.Session(id="s", context={"n": 1}))
    for text, images, cut in turns:
        while session.status == "awaiting_tools":
            call, *others = session.pending_tool_calls
            if call.name == "pay" and not others and not session.approvals:
                session = passed_on(allm.session.approve(session, call.id))
                session, _ = await allm.session.continue_(model, session, max_turns=2)
            else:
                session = allm.session.submit_tool_result(session, call.id, {"n": len(others)})
            session = passed_on(session)
        if session.status == "error":
            block = allm.session.stream_continue(model, session, max_turns=2)
        else:
            block = allm.session.stream_reply(model, session, allm.user(text, *images), max_turns=2)
        async with block as events:
            async for _ in events:
                cut = None if cut is None else cut - 1
                if cut == 0:
                    await trio.testing.wait_all_tasks_blocked()  # how far the turn got must not be left to chance
                    break
        session = passed_on(events.outcome()[0])
        allm.validate(session)
    return session, model.adapter.requests


@settings(max_examples=80, deadline=None)
@given(st.lists(scripts, max_size=6), turns)
def test_sessions_go_on_from_json_as_without_it(scripts, turns):
    """With any events, also cut short: the same thread and the same requests."""

    def run(passed_on):
        return trio.run(converse, scripts, turns, passed_on, clock=trio.testing.MockClock(autojump_threshold=0))

    assert run(through_json) == run(lambda session: session)


@pytest.mark.skipif(not CASES, reason=f"no recorded answers at {CORPUS}")
@pytest.mark.parametrize(("api", "case"), CASES, ids=[case.name for _, case in CASES])
async def test_recorded_answers_go_on_from_json_as_without_it(api, case):
    """After saving and loading, the next request is byte for byte the same."""
    async with WireServer(default=Reply.recorded(case.folder, chunks=None)) as server:
        adapter = chat_adapter(case.url, server.base_url)
        model = allm.Engine(adapter=adapter, model=model_of(case.folder), retry=None)
        session, _ = await allm.session.start(model, "Hello", max_turns=1)
        through_json(session)
        if session.status == "error":
            session = allm.session.clear_error(session)
        one, _ = await allm.session.reply(model, session, "And now?", max_turns=1)
        other, _ = await allm.session.reply(model, through_json(session), "And now?", max_turns=1)
        assert through_json(other) == one
        assert server.requests[1].body == server.requests[2].body
