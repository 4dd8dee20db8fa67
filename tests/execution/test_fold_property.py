"""For any script the blocking call is the fold of the stream, and every prefix of the stream can be sent again."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given, settings, strategies as st

import allm
from turn_scripts import engine, options, scripts


def run(function, *args):
    return trio.run(function, *args, clock=trio.testing.MockClock(autojump_threshold=0))


def comparable(result):
    """A result without what depends on the order in which tasks start at the same instant."""
    return allm.to_json(result)


async def streamed(open_stream, scripts, given):
    prefixes = []
    async with open_stream(engine(scripts), "go", **given) as events:
        prefixes.append(events.result())
        async for _ in events:
            prefixes.append(events.result())
    return events.result(), prefixes


async def called(call, scripts, given):
    return await call(engine(scripts), "go", **given)


def check_sendable(thread, *, left_to_caller=()):
    allm.validate(thread)
    assert allm.from_json(allm.to_json(thread)) == thread
    last = max((index for index, message in enumerate(thread.messages) if message.tool_calls), default=None)
    for index, message in enumerate(thread.messages):
        left = left_to_caller if index == last else ()  # an earlier answer may have used the same ids
        expected = list(dict.fromkeys(call.id for call in message.tool_calls if call.id not in left))
        following = []
        for later in thread.messages[index + 1 :]:
            if later.role != "tool":
                break
            following.append(later.tool_call_id)
        if message.role == "assistant":
            assert following == expected


@settings(max_examples=150, deadline=None)
@given(scripts, options)
def test_chat_is_the_fold_of_stream_and_every_prefix_can_be_sent_again(scripts, given):
    """`fold(stream(x)) == chat(x)`; each prefix folds to a conversation that validates and survives JSON."""
    result, prefixes = run(streamed, allm.stream, scripts, given)
    assert comparable(result) == comparable(run(called, allm.chat, scripts, given))
    for prefix in prefixes:
        left = {call.id for step in prefix.steps for call in step.manual_tool_calls}
        check_sendable(prefix.thread, left_to_caller=left)
        assert allm.from_json(allm.to_json(prefix)) == prefix
    for prefix in prefixes[:-1]:
        assert prefix.halted_reason in {"cancelled", "error"}


@settings(max_examples=100, deadline=None)
@given(scripts, options)
def test_step_is_the_fold_of_stream_step(scripts, given):
    """`step == fold(stream_step)`, and each prefix is a valid step."""
    result, prefixes = run(streamed, allm.stream_step, scripts, given)
    assert comparable(result) == comparable(run(called, allm.step, scripts, given))
    for prefix in prefixes:
        left = {call.id for call in prefix.manual_tool_calls}
        check_sendable(prefix.thread, left_to_caller=left)


@settings(max_examples=100, deadline=None)
@given(scripts, st.integers(0, 40))
def test_a_cut_at_any_event_keeps_what_was_read(scripts, cut):
    """After a `break` the result is the fold of exactly the events read."""

    async def cut_short():
        seen, expected = 0, None
        async with allm.stream(engine(scripts), "go", include_raw_chunks=True) as events:
            async for _ in events:
                seen += 1
                expected = comparable(events.result())
                if seen > cut:
                    break
        assert comparable(events.result()) == expected
        check_sendable(
            events.result().thread,
            left_to_caller={call.id for step in events.result().steps for call in step.manual_tool_calls},
        )

    run(cut_short)
