"""`allm.fallback`: the next engine is asked when one fails before its content."""

from __future__ import annotations

import logging

import attrs
import pytest
import trio

import allm
from allm import fake, telemetry
from allm.providers import Anthropic, Fake, OpenAI
from allm.testing import Reply, WireServer, cancel_everywhere, override_engine

BUSY = allm.AdapterError("busy", reason="overloaded", status=529)
BROKEN = allm.AdapterError("no", reason="invalid_request", status=400)


def engine(*scripts, **fields):
    return allm.Engine(adapter=Fake(scripts=scripts), **fields)


class Counted:
    """An adapter that answers with its name, or fails while it is down."""

    requires_model = False

    def __init__(self, name="a", *, fails=None, refuses=None):
        self.provider, self.fails, self.refuses = name, fails, refuses
        self.requests, self.options = [], []

    def prepare(self, request, options):
        if self.refuses is not None:
            raise self.refuses
        self.options.append(options)
        return request

    async def stream(self, request, emit):
        self.requests.append(request)
        await trio.lowlevel.checkpoint()
        await emit(allm.MessageStarted(model=request.model))
        if self.fails is not None:
            raise self.fails
        await emit(
            allm.TextDelta("text", self.provider),
            allm.TextCompleted("text", self.provider),
            allm.MessageCompleted(message=allm.assistant(self.provider), finish_reason="stop"),
        )


def pair(first=None, second=None, **settings):
    adapters = first or Counted("a"), second or Counted("b")
    return allm.fallback(*[allm.Engine(adapter=adapter) for adapter in adapters], **settings), *adapters


def seen_by(group):
    return [len(member.adapter.requests) for member in group.members]


@pytest.mark.parametrize("how", ["raised", "folded"])
@pytest.mark.parametrize("reason", ["overloaded", "timeout", "authentication_failed", "not_found", "unknown"])
async def test_the_next_is_asked_at_once(autojump_clock, how, reason):
    """After a failure that the adapter raises, and after one that is an event; no retries, nothing is seen of it."""
    error = allm.AdapterError("no", reason=reason)
    script = [fake.usage(input_tokens=3), fake.error(error)]
    first = engine(script, script) if how == "folded" else allm.Engine(adapter=Counted(fails=error))
    group = allm.fallback(first, engine([fake.text("hi")]))
    async with allm.stream_generate(group, "x") as events:
        seen = [event async for event in events]
    assert not any(isinstance(event, allm.Failed) for event in seen)
    response = events.result()
    assert (response.output_text, response.error, trio.current_time()) == ("hi", None, 0)
    if how == "folded":
        assert first.adapter.remaining == 1
        assert response.abandoned_usage.input_tokens == 3


async def test_after_content_nobody_else_is_asked():
    """A partial answer is kept with its error, as with any engine."""
    group = allm.fallback(engine([fake.text("half"), fake.error(BUSY)]), engine([fake.text("hi")]))
    response = await allm.generate(group, "x")
    assert (response.output_text, response.error) == ("half", BUSY)


async def test_a_failure_of_the_request_itself_ends_the_call():
    """Another provider would refuse it too; a function or reasons may say otherwise."""
    group, _, b = pair(Counted(fails=BROKEN))
    assert (await allm.generate(group, "x")).error is BROKEN
    assert b.requests == []
    for on in ({"invalid_request"}, lambda error: error.status == 400):
        group, _, _ = pair(Counted(fails=BROKEN), on=on)
        assert (await allm.generate(group, "x")).output_text == "b"


async def test_the_last_is_retried_as_its_policy_says(autojump_clock):
    """The others are not: the wait for them would be the user's."""
    group, a, b = pair(Counted(fails=BUSY), Counted("b", fails=BUSY))
    response = await allm.generate(group, "x")
    assert [len(a.requests), len(b.requests)] == [1, 3]
    assert response.error.reason == "overloaded"
    assert "before it, a: overloaded, status 529" in response.error.message
    assert "before it" not in BUSY.message


async def test_a_failure_that_moves_nobody_on_is_retried(autojump_clock):
    """With `on`, an engine keeps its retries for all other reasons."""
    group, a, b = pair(Counted(fails=BUSY), on={"timeout"})
    assert (await allm.generate(group, "x")).error is BUSY
    assert [len(a.requests), len(b.requests)] == [3, 0]


async def test_the_time_limit_of_the_first_event_is_that_of_each(autojump_clock):
    """A silent engine is followed by the next, which has as long."""
    group = allm.fallback(engine([fake.delay(100)]), engine([fake.delay(8), fake.text("hi")]))
    assert (await allm.generate(group, "x", first_event_timeout=10)).output_text == "hi"
    assert trio.current_time() == 18


async def test_who_is_down_is_left_out_for_a_while(autojump_clock):
    """One call tries it after the cool-down, which doubles while it stays down, and ends with its first answer."""
    group, a, b = pair(Counted(fails=BUSY), cool_down=5)

    async def ask(times=1):
        before = len(a.requests), len(b.requests)
        async with trio.open_nursery() as nursery:
            for _ in range(times):
                nursery.start_soon(allm.generate, group, "x")
        return len(a.requests) - before[0], len(b.requests) - before[1]

    assert await ask() == (1, 1)
    assert await ask(5) == (0, 5)
    await trio.sleep(5)
    assert await ask(5) == (1, 5)  # half open: one tries it, and it is down still
    await trio.sleep(9)
    assert await ask() == (0, 1)
    a.fails = None
    assert await ask() == (0, 1)
    await trio.sleep(1)
    assert await ask() == (1, 0)
    assert await ask(5) == (5, 0)


async def test_a_provider_says_for_how_long_it_is_down(autojump_clock):
    """Its own wait counts, longer or shorter than the cool-down; copies of the group know of it too."""
    group, a, _ = pair(Counted(fails=allm.AdapterError("wait", reason="rate_limited", retry_after=1)))
    await allm.generate(group, "x")
    await trio.sleep(1)
    a.fails = allm.AdapterError("wait", reason="rate_limited", retry_after=40)
    await allm.generate(group, "x")
    a.fails = None
    await trio.sleep(39)
    assert (await allm.generate(group.with_params(temperature=0), "x")).output_text == "b"
    await trio.sleep(1)
    assert (await allm.generate(group, "x")).output_text == "a"


async def test_who_is_down_is_asked_when_nobody_else_can(autojump_clock):
    """Rather than to fail without having asked."""
    group, a, b = pair(Counted(fails=BUSY), Counted("b"))
    await allm.generate(group, "x")
    a.fails, b.fails = None, BUSY
    assert (await allm.generate(group, "x")).output_text == "a"


async def test_who_is_down_takes_no_retries_from_the_others(autojump_clock):
    """The one that is up tries again before one that is down is asked, which is the last resort."""
    group, a, b = pair(Counted(fails=BUSY), cool_down=60)
    await allm.generate(group, "x")
    b.fails = BUSY
    assert (await allm.generate(group, "x")).error is not None
    assert [len(a.requests), len(b.requests)] == [1 + 3, 1 + 3]


async def test_an_answer_about_the_request_says_that_it_is_up(autojump_clock):
    """A probe that is refused for what it asks ends the cool-down."""
    group, a, b = pair(Counted(fails=BUSY), cool_down=5)
    await allm.generate(group, "x")
    await trio.sleep(5)
    a.fails = BROKEN
    assert (await allm.generate(group, "x")).error is BROKEN
    a.fails = None
    await allm.generate(group, "x")
    assert [len(a.requests), len(b.requests)] == [3, 1]


async def test_a_probe_that_is_cancelled_says_nothing(autojump_clock):
    """The next call tries instead of it."""
    group, a, _ = pair(Counted(fails=BUSY), cool_down=5)
    await allm.generate(group, "x")
    await trio.sleep(5)
    with trio.CancelScope() as scope:
        scope.cancel()
        await allm.generate(group, "x")
    a.fails = None
    assert (await allm.generate(group, "x")).output_text == "a"


def test_what_is_known_is_of_one_run():
    """Another Trio run begins without it."""
    group, a, b = pair(Counted(fails=BUSY))
    for _ in range(2):
        trio.run(allm.generate, group, "x")
    assert [len(a.requests), len(b.requests)] == [2, 2]


async def test_one_that_refuses_the_call_is_skipped():
    """Before anything is sent; when all refuse, one error names each and its reason."""
    refusal = allm.EngineError("there is no key", reason="missing_key")
    group, _, _ = pair(Counted(refuses=refusal))
    assert (await allm.generate(group, "x")).output_text == "b"
    group, _, _ = pair(None, Counted("b", refuses=refusal))
    assert (await allm.generate(group, "x")).output_text == "a"
    group, _, _ = pair(Counted(refuses=refusal), Counted("b", refuses=BROKEN))
    with pytest.raises(allm.EngineError, match="a: there is no key; b: no") as caught:
        allm.stream_generate(group, "x")
    assert caught.value.reason == "all_refused"
    group = allm.fallback(allm.Engine(), allm.Engine(adapter=Counted("b")))
    assert (await allm.generate(group, "x")).output_text == "b"


async def test_each_has_its_own_model_parameters_and_key():
    """By the precedence of every call: call, request, engine, application."""
    a, b = Counted("a", fails=BUSY), Counted("b")
    group = allm.fallback(
        allm.Engine(adapter=a, model="m1").with_params({"top_k": 1}, temperature=0.1, api_key="key-a-1234567"),
        allm.Engine(adapter=b, model="m2").with_params({"beam": 2}, temperature=0.2, api_key="key-b-1234567"),
    )
    with allm.defaults(seed=7, temperature=0.9):
        await allm.generate(group, "x", max_tokens=5)
    first, second = a.requests[0], b.requests[0]
    assert (first.model, first.temperature, first.options) == ("m1", 0.1, {"top_k": 1})
    assert (second.model, second.temperature, second.options) == ("m2", 0.2, {"beam": 2})
    assert {(each.seed, each.max_tokens) for each in (first, second)} == {(7, 5)}
    assert [a.options[0].api_key.reveal(), b.options[0].api_key.reveal()] == ["key-a-1234567", "key-b-1234567"]
    await allm.generate(group, allm.request("x", temperature=0.5))
    assert b.requests[-1].temperature == 0.5


async def test_a_change_of_the_group_is_one_of_each_member():
    """Params, tools, retries, other engines in their place."""
    group, _, b = pair(Counted(fails=BUSY))
    tool = allm.Tool("look", "Looks.", handler=lambda _: "seen")
    changed = group.with_params({"top_k": 3}, temperature=0.5, max_turns=2).with_tools(tool).with_context(user=1)
    await allm.generate(changed, "x")
    sent = b.requests[-1]
    assert (sent.temperature, sent.options, sent.tools) == (0.5, {"top_k": 3}, (tool,))
    assert (changed.params, changed.context) == ({"max_turns": 2}, {"user": 1})
    limiter = trio.CapacityLimiter(1)
    changed = attrs.evolve(group, limiter=limiter, retry=None)
    assert [(each.limiter, each.retry) for each in changed.members] == [(limiter, None)] * 2
    with override_engine(adapter=Fake(script=[fake.text("scripted")])):
        assert (await allm.generate(group, "x")).output_text == "scripted"
    with pytest.raises(allm.EngineError, match="its own"):
        group.with_model("m")
    same = allm.fallback(allm.Engine(adapter=Counted("a", fails=BUSY)), allm.Engine(adapter=Counted("a")))
    assert (await allm.generate(same.with_model("m"), "x")).model == "m"


@pytest.mark.parametrize("option", [{"model": "m"}, {"api_key": "k-12345678"}])
async def test_what_belongs_to_one_provider_is_refused(option):
    """A key of one would be sent to the other; engines of one provider may have it."""
    group, _, _ = pair()
    with pytest.raises(allm.EngineError, match="a and b") as caught:
        await allm.generate(group, "x", **option)
    assert "k-12345678" not in str(caught.value)
    same = allm.fallback(allm.Engine(adapter=Counted("a")), allm.Engine(adapter=Counted("a")))
    assert (await allm.generate(same, "x", **option)).output_text == "a"


async def test_members_give_their_tools_and_what_is_about_the_call():
    """All tools are offered to each; the first that sets something goes before the others."""
    one, two = (allm.Tool(name, "Looks.", handler=lambda _: "seen") for name in ("one", "two"))
    other = allm.Tool("one", "Looks elsewhere.", handler=lambda _: "other")
    a, b = Counted("a", fails=BUSY), Counted("b")
    group = allm.fallback(
        allm.Engine(adapter=a, tools=[one], context={"x": 1}).with_params(max_turns=3),
        allm.Engine(adapter=b, tools=[other, two], context={"x": 2, "y": 2}).with_params(
            max_turns=5, request_timeout=9
        ),
    )
    assert group.tools == (one, two)
    assert group.context == {"x": 1, "y": 2}
    assert group.params == {"max_turns": 3, "request_timeout": 9}
    await allm.chat(group, "x")
    assert b.requests[0].tools == (one, two)


async def test_a_turn_goes_on_with_whoever_answers(autojump_clock):
    """Each step asks the first again, unless it is down; sessions take a group as any engine."""
    ran = []
    tool = allm.Tool("look", "Looks.", handler=lambda _arguments: ran.append(1) or "seen")
    first = engine([fake.tool_call("look", {})], [fake.error(BUSY)], tools=[tool])
    second = engine([fake.text("done")], [fake.text("again")])
    group = allm.fallback(first, second)
    session, result = await allm.session.start(group, "hi")
    assert (result.output_text, ran, result.error) == ("done", [1], None)
    session, result = await allm.session.reply(group, session, "more")
    assert result.output_text == "again"


async def test_groups_nest(autojump_clock):
    """A fallback of hedges and a hedge of fallbacks; the usage of all that was abandoned is counted once."""

    def busy(count):
        return engine([fake.usage(input_tokens=count), fake.error(BUSY)], retry=None)

    def slow(count):
        return engine([fake.usage(input_tokens=count), fake.delay(50), fake.text("late")])

    answer = [fake.delay(1), fake.text("hi"), fake.usage(input_tokens=1000)]
    group = allm.fallback(allm.hedge(busy(1), busy(2), after=1), allm.hedge(slow(4), engine(answer), after=2))
    response = await allm.generate(group, "x")
    assert (response.output_text, response.usage.input_tokens, trio.current_time()) == ("hi", 1000, 3)
    assert response.abandoned_usage.input_tokens == 7
    group = allm.hedge(allm.fallback(busy(1), slow(2)), allm.fallback(busy(4), engine(answer)), after=2)
    response = await allm.generate(group, "x")
    assert (response.output_text, response.abandoned_usage.input_tokens, trio.current_time()) == ("hi", 7, 6)


async def test_an_answer_of_a_type_is_asked_for_as_each_can():
    """Output modes and tools per model: what the first does natively, the next does in its way."""
    a = Counted("a", fails=BUSY)
    a.output_modes = lambda _request, _options: ("native",)
    prompted = Fake(respond=lambda request: '{"n": 3}' if request.response_format is None else "native")
    prompted_engine = allm.Engine(adapter=prompted).with_params(output_mode="prompted")
    schema = allm.json_schema("n", {"type": "object", "properties": {"n": {"type": "integer"}}})
    response = await allm.generate(allm.fallback(allm.Engine(adapter=a), prompted_engine), "x", response_format=schema)
    assert a.requests[0].response_format is not None
    assert response.output_text == '{"n": 3}'


async def test_a_conversation_with_one_vendor_goes_on_with_another():
    """Over the wire: a tool call of OpenAI's model is sent to Anthropic's as its own."""
    tool = allm.Tool("look", "Looks.", handler=lambda _arguments: "seen")
    async with WireServer() as server:
        server.add(Reply.script("openai", [fake.tool_call("look", {})]))
        server.add(Reply.error("openai", 503), Reply.script("anthropic", [fake.text("done")]))
        group = allm.fallback(
            allm.Engine(
                adapter=OpenAI(base_url=server.url("openai"), api_key="k", endpoint="chat_completions"), model="m"
            ),
            allm.Engine(adapter=Anthropic(base_url=server.url("anthropic"), api_key="k"), model="c"),
        )
        result = await allm.chat(group, "hi", tools=[tool])
        assert result.output_text == "done"
        sent = server.requests[-1].json()["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]


async def test_telemetry_has_each_attempt(autojump_clock):
    """As an event and as a span; never as an event of the stream."""
    heard = []
    detach = telemetry.attach(heard.append)
    try:
        group, *_ = pair(Counted(fails=BUSY))
        await allm.chat(group, "x")
        await allm.generate(group, "x")
    finally:
        detach()
    attempts = [event.attributes for event in heard if event.name == "engine.attempt"]
    assert [(each["group"], each["attempt"], each["provider"]) for each in attempts] == [
        ("fallback", 1, "a"),
        ("fallback", 2, "b"),
        ("fallback", 1, "b"),
    ]
    assert attempts[1]["error"] is BUSY
    skipped = [event.attributes for event in heard if event.name == "engine.skipped"]
    assert [(each["provider"], each["reason"]) for each in skipped] == [("a", "down")]
    calls = [event for event in heard if event.name == "model_call" and event.phase == "stop"]
    assert [(each.attributes["provider"], each.attributes["finish_reason"]) for each in calls] == [
        ("a", "error"),
        ("b", "stop"),
        ("b", "stop"),
    ]
    whole = next(event for event in heard if event.name == "generate" and event.phase == "stop")
    assert (whole.attributes["group"], whole.attributes["provider"]) == ("fallback", "b")
    assert whole.span_id == calls[-1].parent_id


async def test_members_log_at_debug(autojump_clock, caplog):
    """One warning for a call that failed, none for one that was answered."""
    caplog.set_level(logging.DEBUG, "allm")
    group, _, _ = pair(Counted(fails=BUSY))
    await allm.generate(group, "x")
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    assert any("a failed" in record.message for record in caplog.records)
    caplog.clear()
    group, _, _ = pair(Counted(fails=BUSY), Counted("b", fails=BUSY))
    await allm.generate(group, "x")
    above = [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert [record.levelno for record in above] == [logging.WARNING]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (allm.fallback, "no member"),
        (lambda: allm.fallback(Fake()), "expected an Engine"),
        (lambda: allm.fallback(engine(), on={"overload"}), "did you mean 'overloaded'"),
        (lambda: allm.fallback(engine(), cool_down=-1), "0 or more"),
        (lambda: allm.hedge(engine(), after="2"), "expected a number of seconds"),
    ],
)
def test_a_wrong_group_is_refused(make, said):
    """Where it is made, with what is expected."""
    with pytest.raises(allm.EngineError, match=said):
        make()


async def test_counts_and_choices_with_a_group():
    """Tokens are those of the first; a classification is any call; files belong to one provider."""
    group = allm.fallback(engine(), engine())
    assert (await allm.count_tokens(group, "hello there")).tokens > 0
    group = allm.fallback(engine([fake.error(BUSY)]), engine([fake.text('{"mood": "good"}')]))
    assert (await allm.classify(group, "x", {"mood": ["good", "bad"]}))["mood"] == "good"
    with pytest.raises(allm.EngineError, match="members"):
        await allm.list_models(group)


async def test_many_requests_ask_a_group():
    """`allm.bulk` takes it as any engine, and its retries are those of each member."""
    group = allm.fallback(engine(*[[fake.error(BUSY)]] * 3), allm.Engine(adapter=Fake(respond=lambda _request: "hi")))
    async with allm.bulk(group, ["a", "b", "c"]) as run:
        answers = [item.response.output_text async for item in run]
    assert answers == ["hi"] * 3


async def test_it_can_be_cancelled_everywhere():
    """At every moment, in a turn with a tool."""
    tool = allm.Tool("look", "Looks.", handler=lambda _arguments: "seen")

    async def turn():
        first = engine([fake.error(BUSY)])
        second = engine([fake.tool_call("look", {})], [fake.text("done")])
        return await allm.chat(allm.fallback(first, second), "hi", tools=[tool])

    report = await cancel_everywhere(turn)
    assert report.result.output_text == "done"
