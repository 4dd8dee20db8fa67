"""Random scripts of turns: every kind of item, in any order, over tools of every kind."""

from __future__ import annotations

import trio
from hypothesis import strategies as st

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
