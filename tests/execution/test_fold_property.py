"""For any script the blocking call is the fold of the stream, and every prefix of the stream can be sent again."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given, settings, strategies as st

import allm
from allm import fake

words = st.text(max_size=5)
calls = st.builds(
    fake.tool_call,
    st.sampled_from(["good", "slow", "bad", "ask", "halt", "by_hand", "nope"]),
    st.dictionaries(st.sampled_from("ab"), st.integers(), max_size=2),
    raw_arguments=st.sampled_from([None, None, None, "{", "[]", ""]),
)
items = st.one_of(
    st.builds(fake.text, words),
    st.builds(fake.reasoning, words),
    calls,
    calls,
    st.builds(fake.tool_call_delta, st.sampled_from(["d1", "d2"]), st.sampled_from(['{"a"', ": 1}", ""])),
    st.builds(fake.delay, st.floats(0, 5)),
    st.builds(lambda n: fake.usage(input_tokens=n, output_tokens=1), st.integers(0, 9)),
    st.builds(fake.raw, words),
)
reasons = st.sampled_from(["rate_limited", "invalid_request", "stream_truncated"])
errors = st.builds(lambda reason: [fake.error(allm.AdapterError("no", reason=reason))], reasons)
finishes = st.sampled_from(["stop", "length", "tool_calls", "content_filter", "other"])
endings = st.one_of(st.just([]), st.just([]), errors, st.builds(lambda reason: [fake.finish(reason)], finishes))
scripts = st.lists(
    st.builds(lambda body, end: body + end, st.lists(items, max_size=6), endings), min_size=1, max_size=4
)
options = st.fixed_dictionaries(
    {},
    optional={
        "max_turns": st.integers(1, 3),
        "mode": st.sampled_from(["auto", "manual"]),
        "on_tool_error": st.sampled_from(["continue", "halt"]),
        "max_concurrency": st.just(1),
        "emit_text_deltas": st.booleans(),
        "emit_tool_deltas": st.booleans(),
        "include_raw_chunks": st.booleans(),
        "stream_timeout": st.just(3.41),  # never at the same instant as a tool or a script item
        "request_timeout": st.integers(2, 9).map(lambda seconds: seconds + 0.37),
    },
)


async def good(arguments):
    return {"got": arguments}


async def slow(arguments):
    await trio.sleep(arguments.get("a", 1) % 50)
    return "slept"


async def bad(arguments):
    raise ValueError("bad")


async def ask(arguments):
    return allm.AskUser("which?")


async def halt(arguments):
    return allm.Halt("mine", {"x": 1})


TOOLS = [allm.Tool(fn.__name__, "T.", handler=fn, timeout=10) for fn in (good, slow, bad, ask, halt)]
TOOLS.append(allm.Tool("by_hand", "T.", manual=True))


def engine(scripts):
    retry = allm.RetryPolicy(max_attempts=2, jitter=0)
    return allm.Engine(adapter=allm.providers.Fake(scripts=scripts), tools=TOOLS, retry=retry)


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
