"""What a call costs besides its tokens, in steps of tasks and in questions to the catalog; never in time."""

from __future__ import annotations

from contextlib import contextmanager

import attrs
import pytest
import trio

import allm
from allm import fake
from allm.execution.stream import attempt
from allm.execution.stream.folds import StepFold
from allm.http import transport
from allm.http.connecting import Connecting
from allm.providers.openai import connection
from allm.runtime import catalog
from allm.testing import Reply, WireServer


@attrs.define(eq=False)
class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks."""

    count: int = 0

    def before_task_step(self, task):
        self.count += 1


@contextmanager
def counted():
    """The steps of the block."""
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(steps)


class Nothing(allm.adapters.Adapter):
    """Answers at once."""

    provider = "nothing"

    def prepare(self, request, options):
        return request

    async def stream(self, prepared, emit):
        await emit(allm.MessageCompleted(allm.assistant("hi"), "stop"))


async def test_steps_of_a_call():
    """One, since nothing has to run beside the producer; a stream takes three, and a task."""
    engine = allm.Engine(adapter=Nothing(), model="m")
    with counted() as steps:
        for _ in range(100):
            await allm.generate(engine, "hi")
    assert steps.count <= 100 + 5
    with counted() as steps:
        for _ in range(100):
            async with allm.stream_generate(engine, "hi") as events:
                await events.until_done()
    assert steps.count <= 3 * 100 + 5


@pytest.mark.parametrize("call", [allm.generate, allm.chat, allm.step])
async def test_a_call_whose_events_nobody_reads_runs_in_the_task_of_its_caller(call):
    """With an `on_event`, which may take its time, there are tasks."""
    tasks = []

    class Watched(Nothing):
        async def stream(self, prepared, emit):
            tasks.append(trio.lowlevel.current_task())
            await super().stream(prepared, emit)

    engine = allm.Engine(adapter=Watched(), model="m")
    await call(engine, "hi")
    await call(engine, "hi", on_event=lambda _event: None)
    assert tasks[0] is trio.lowlevel.current_task()
    assert tasks[1].name == "allm producer"


@pytest.mark.parametrize("call", [allm.generate, allm.chat, allm.step])
async def test_a_cancelled_call_sends_nothing_and_one_cancelled_later_leaves_nothing(call, autojump_clock, caplog):
    """Neither a request, nor the state that calls inside it log their failures quietly."""
    begun = []

    class Slow(Nothing):
        async def stream(self, prepared, emit):
            begun.append(prepared)
            await trio.sleep(60)
            raise allm.AdapterError("broken", reason="network_error")

    engine = allm.Engine(adapter=Slow(), model="m", retry=None)
    with trio.CancelScope() as scope:
        scope.cancel()
        await call(engine, "hi")
    assert scope.cancelled_caught
    assert not begun
    with trio.move_on_after(1) as scope:
        await call(engine, "hi")
    assert scope.cancelled_caught
    assert len(begun) == 1
    assert not caplog.records
    await call(engine, "hi")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@allm.tool
async def nothing(n: int) -> str:
    """Do nothing."""
    return "ok"


async def steps_of_tools(count):
    """Steps of a turn with one batch of tools."""
    scripts = [[fake.tool_call("nothing", {"n": n}) for n in range(count)], [fake.text("done")]]
    engine = allm.Engine(adapter=allm.providers.Fake(scripts=scripts))
    with counted() as steps:
        result = await allm.chat(engine, "go", tools=[nothing])
    assert len(result.steps[0].tool_results) == count
    return steps.count


class Endless(Nothing):
    """Emits for ever, and waits for nothing."""

    async def stream(self, prepared, emit):
        for _ in range(100_000):
            await emit(allm.TextDelta("0", "x"))
        raise AssertionError("nobody else came to run")


@pytest.mark.parametrize("call", [allm.generate, allm.step, allm.chat])
async def test_an_adapter_that_never_waits_lets_others_run(call):
    """So it can be cancelled, and what it emitted before is not lost on the way."""
    engine = allm.Engine(adapter=Endless(), model="m")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.lowlevel.checkpoint)
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_soon, scope)
            await call(engine, "hi")
    assert scope.cancelled_caught


async def cancel_soon(scope):
    """Cancel when others have run."""
    for _ in range(3):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_steps_of_a_tool():
    """One to run it; eight are started in one, and one in a while lets others run."""
    few, many = await steps_of_tools(50), await steps_of_tools(250)
    assert many - few <= 1.3 * 200


@pytest.mark.parametrize("call", [allm.step, allm.chat])
async def test_a_turn_that_nobody_reads_is_folded_once(call, monkeypatch):
    """Its producer reads the fold of the result; a turn with a reader has a fold at each end."""
    added = []
    add = StepFold.add
    monkeypatch.setattr(StepFold, "add", lambda fold, event: added.append(event) or add(fold, event))
    scripts = [[fake.tool_call("nothing", {"n": 1})], [fake.text("done")]] * 2
    engine = allm.Engine(adapter=allm.providers.Fake(scripts=scripts), tools=[nothing])
    await call(engine, "go")
    assert len(added) == len(set(map(id, added))) > 5


async def test_the_catalog_is_searched_once_for_each_model(monkeypatch):
    """A call asks several times what its model can do; later calls with the same model search nothing."""
    searched = []
    find = catalog._find

    def noting(*args):
        searched.append(args[2])
        return find(*args)

    monkeypatch.setattr(catalog, "_find", noting)
    async with WireServer() as server:
        answer = [fake.text("hi"), fake.usage(input_tokens=1, output_tokens=1)]
        server.default = Reply.script("openai", answer, model="gpt-5.4")
        adapter = allm.providers.OpenAI(api_key="k", base_url=server.url("openai"), endpoint="chat_completions")
        engine = allm.Engine(adapter=adapter, model="gpt-5.4")
        assert (await allm.generate(engine, "hi")).usage.total_cost
        searched.clear()
        for _ in range(5):
            assert (await allm.generate(engine, "hi")).usage.total_cost
    assert searched == []


async def test_what_is_put_in_counts_at_once():
    """Also of a model that was asked for before."""
    assert allm.models.lookup("openai", "gpt-of-mine") is None
    allm.models.put(allm.models.ModelInfo(provider="openai", id="gpt-of-mine", tools=False))
    try:
        assert allm.models.lookup("openai", "gpt-of-mine").tools is False
    finally:
        allm.models.clear()
    assert allm.models.lookup("openai", "gpt-of-mine") is None


async def test_what_a_call_asks_of_its_surroundings(monkeypatch):
    """A route is found once, a vendor's settings are made once for all calls, and what came in one read is a burst."""
    routes, vendors, bursts = [], [], []
    route_of, vendor, to_show = transport._route_of, connection.Vendor, attempt._Attempt._to_show
    monkeypatch.setattr(transport, "_route_of", lambda url: routes.append(url) or route_of(url))
    monkeypatch.setattr(connection, "Vendor", lambda **fields: vendors.append(fields) or vendor(**fields))
    monkeypatch.setattr(attempt._Attempt, "_to_show", lambda this, burst: bursts.append(burst) or to_show(this, burst))
    async with WireServer() as server:
        server.default = Reply.script("openai", [fake.text("hi"), fake.usage(input_tokens=1, output_tokens=1)])
        adapter = allm.providers.OpenAI(api_key="k", base_url=server.url("openai"), endpoint="chat_completions")
        engine = allm.Engine(adapter=adapter, model="m")
        for _ in range(3):
            assert (await allm.generate(engine, "hi")).output_text == "hi"
    assert (len(routes), len(vendors), len(bursts)) == (3, 1, 3)


async def test_stages_that_the_http_library_reports(monkeypatch):
    """On a connection that was used before, nothing is reported behind the beginning of the request."""
    reported = []
    call = Connecting.__call__

    async def noting(this, event, info):
        reported.append(event.partition(".")[2])
        await call(this, event, info)

    monkeypatch.setattr(Connecting, "__call__", noting)
    async with WireServer() as server:
        server.default = Reply.script("openai", [fake.text("hi")])
        adapter = allm.providers.OpenAI(api_key="k", base_url=server.url("openai"), endpoint="chat_completions")
        engine = allm.Engine(adapter=adapter, model="m")
        await allm.generate(engine, "hi")
        assert "connect_tcp.started" in reported
        reported.clear()
        await allm.generate(engine, "hi")
    assert reported == ["send_request_headers.started", "send_request_headers.complete"]
