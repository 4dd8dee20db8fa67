"""Tool sets in calls: loaded once, accepted wherever tools are, approved, limited, and never in each other's way."""

from __future__ import annotations

import threading
from functools import partial

import attrs
import pytest
import trio

import allm
from allm import fake
from allm.providers import Fake
from allm.testing import cancel_everywhere


def named(name, answer=None, **fields):
    return allm.Tool(name, f"Does {name}.", handler=lambda arguments: answer or name, **fields)


def calls(*names, **arguments):
    return [fake.tool_call(name, arguments, id=f"c{index}") for index, name in enumerate(names)]


DONE = [fake.text("Done.")]


def engine(*scripts, **fields):
    return allm.Engine(adapter=Fake(scripts=scripts), model="m", **fields)


def sent(given):
    return [[tool.name for tool in request.tools] for request in given.adapter.requests]


@attrs.define(eq=False)
class Server:
    """Where tools come from; they change when `names` does."""

    names: tuple[str, ...] = ("a", "b")
    seconds: float = 0
    loads: int = 0
    failures: list[Exception] = attrs.field(factory=list)

    async def load(self):
        self.loads += 1
        found = [named(name) for name in self.names]
        await trio.sleep(self.seconds)
        if self.failures:
            raise self.failures.pop(0)
        return found


# --- where a set is accepted -----------------------------------------------------------------------------------------


async def in_engine(toolset):
    given = engine(calls("x_a"), DONE, tools=[toolset])
    return given, await allm.chat(given, "go")


async def with_tools(toolset):
    given = engine(calls("x_a"), DONE)
    return given, await allm.chat(given.with_tools(toolset), "go")


async def in_params(toolset):
    given = engine(calls("x_a"), DONE)
    return given, await allm.chat(given.with_params(tools=[toolset]), "go")


async def in_call(toolset):
    given = engine(calls("x_a"), DONE)
    return given, await allm.chat(given, "go", tools=[toolset])


async def in_request(toolset):
    given = engine(calls("x_a"), DONE)
    return given, await allm.chat(given, allm.request("go", tools=[toolset]))


async def in_defaults(toolset):
    given = engine(calls("x_a"), DONE)
    with allm.defaults(tools=[toolset]):
        return given, await allm.chat(given, "go")


async def in_before_step(toolset):
    given = engine(calls("x_a"), DONE)
    return given, await allm.chat(given, "go", before_step=lambda step: {"tools": [toolset]})


async def in_changes(toolset):
    given = engine(calls("x_a"), DONE)
    return given, await allm.chat(given, "go", before_step=lambda step: allm.StepChanges(tools=(toolset,)))


async def in_session(toolset):
    given = engine(calls("x_a"), DONE)
    _, result = await allm.session.start(given, "go", tools=[toolset])
    return given, result


PLACES = [in_engine, with_tools, in_params, in_call, in_request, in_defaults, in_before_step, in_changes, in_session]


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("place", PLACES)
async def test_a_set_goes_wherever_tools_go(place, is_lazy):
    """Loaded or not, its tools are sent in each step, and run."""
    server = Server()
    toolset = allm.Toolset(server.load if is_lazy else [named("a"), named("b")]).prefixed("x_")
    given, result = await place(toolset)
    assert sent(given) == [["x_a", "x_b"]] * 2
    assert [message.text for message in result.steps[0].tool_results] == ["a"]
    assert result.halted_reason == "completed"
    assert server.loads == is_lazy


async def test_one_call_sends_the_tools_too():
    """`generate`, `stream_generate` and `step`, with a choice that names a tool which is not loaded yet."""
    for call in (allm.generate, allm.step):
        given = engine(calls("b"))
        await call(given, "go", tools=[allm.Toolset(Server().load)], tool_choice="b")
        assert sent(given) == [["a", "b"]]
    given = engine(DONE)
    async with allm.stream_generate(given, "go", tools=[allm.Toolset(Server().load)]) as events:
        assert await events.until_done() == events.result()
    assert sent(given) == [["a", "b"]]


async def test_steps_record_the_tools_of_a_set():
    """What `before_step` gave is in the step as tools, without what cannot be saved."""
    given = engine(calls("a"), DONE)
    toolset = allm.Toolset(Server().load).approval(lambda tool, call: False).limited(1)
    result = await allm.chat(given, "go", before_step=lambda step: {"tools": [toolset]})
    changes = result.steps[0].changes
    assert [(tool.name, tool.handler, tool.limit, tool.manual) for tool in changes.tools] == [
        ("a", None, None, True),
        ("b", None, None, True),
    ]
    assert allm.from_json(allm.to_json(result.steps[0])).changes == changes


async def test_before_step_sees_and_filters_the_tools_of_a_set():
    """They are tools like others, with the set's limits in them."""
    given = engine(calls("a"), DONE)

    def before(step):
        assert [tool.name for tool in step.tools] == ["a", "b"]
        return {"tools": [tool for tool in step.tools if tool.name == "a"]}

    await allm.chat(given, "go", tools=[allm.Toolset(Server().load).limited(1)], before_step=before)
    assert sent(given) == [["a"]] * 2


# --- loading ---------------------------------------------------------------------------------------------------------


async def test_a_set_is_loaded_once(autojump_clock):
    """By however many callers at the same time, for all sets made from it, and never again."""
    server = Server(seconds=1)
    toolset = allm.Toolset(server.load)
    assert repr(toolset) == "<Toolset of Server.load, not loaded>"
    sets = [toolset, toolset.prefixed("x_"), toolset.filtered(["b"])]
    assert toolset.known() is None
    async with trio.open_nursery() as nursery:
        for each in sets * 3:
            nursery.start_soon(each.load)
    assert trio.current_time() == 1
    assert [[tool.name for tool in each.known()] for each in sets] == [["a", "b"], ["x_a", "x_b"], ["b"]]
    await allm.chat(engine(DONE, tools=[toolset]), "go")
    assert server.loads == 1


async def test_several_sets_are_loaded_side_by_side(autojump_clock):
    """A call waits for the slowest of them only."""
    sets = [allm.Toolset(Server(seconds=n).load).prefixed(f"s{n}_") for n in (1, 2, 3)]
    given = engine(DONE, tools=sets)
    await allm.chat(given, "go")
    assert trio.current_time() == 3
    assert sent(given) == [["s1_a", "s1_b", "s2_a", "s2_b", "s3_a", "s3_b"]]


async def test_a_cancelled_load_is_taken_over(autojump_clock):
    """By the next who waits; the loader runs again from its start."""
    server = Server(seconds=2)
    toolset = allm.Toolset(server.load)
    loaded = []

    async def impatient():
        with trio.move_on_after(1):
            await toolset.load()

    async def patient():
        loaded.append(await toolset.load())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(patient)
        nursery.start_soon(patient)
    assert (server.loads, trio.current_time()) == (2, 3)
    assert [len(tools) for tools in loaded] == [2, 2]


async def test_a_failure_is_one_clear_error_for_all_who_wait(autojump_clock):
    """The loader was called once; whoever comes later tries again."""
    cause = OSError("connection refused")
    server = Server(seconds=1, failures=[cause])
    toolset = allm.Toolset(server.load)
    errors = []

    async def call():
        try:
            await allm.chat(engine(DONE, tools=[toolset]), "go")
        except allm.EngineError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(call)
    assert server.loads == 1
    assert [error.reason for error in errors] == ["tools_not_loaded"] * 3
    assert all(error.__cause__ is cause for error in errors)
    assert errors[0].message == (
        "the tools of Server.load could not be loaded: OSError: connection refused; the next call loads them again"
    )
    assert (await allm.chat(engine(DONE, tools=[toolset]), "go")).output_text == "Done."


@pytest.mark.parametrize("given", ["abc", None, [len], [named("a"), named("a")]])
async def test_what_is_loaded_is_checked(given):
    """A loader that returns something else fails as one that raises does."""
    with pytest.raises(allm.EngineError, match="could not be loaded: tools") as caught:
        await allm.generate(engine(DONE), "go", tools=[allm.Toolset(lambda: given)])
    assert isinstance(caught.value.__cause__, allm.ValidationError)


async def test_a_sync_loader_runs_in_a_thread(autojump_clock):
    """One that returns an awaitable is awaited; the clock of a test does not run on meanwhile."""
    threads = []

    def load():
        threads.append(threading.current_thread())
        return [named("a")]

    assert [tool.name for tool in await allm.Toolset(load).load()] == ["a"]
    assert threads != [threading.main_thread()]
    server = Server()
    assert len(await allm.Toolset(partial(Server.load, server)).load()) == 2
    assert trio.current_time() == 0


async def test_a_forgotten_set_is_loaded_before_the_next_step():
    """The list has changed: the step that runs keeps its tools, the next one has the new ones."""
    server = Server()
    toolset = allm.Toolset(server.load)

    async def change(arguments):
        server.names = ("a", "new")
        toolset.prefixed("y_").forget()
        return "changed"

    given = engine(calls("change", "b"), DONE, tools=[toolset.prefixed("x_"), allm.Tool("change", ".", handler=change)])
    await allm.chat(given, "go")
    assert sent(given) == [["x_a", "x_b", "change"], ["x_a", "x_new", "change"]]
    assert server.loads == 2


async def test_tools_that_change_while_they_load_are_used_and_loaded_again(autojump_clock):
    """A server that announces changes all the time does not keep a call waiting."""
    server = Server(seconds=1)
    toolset = allm.Toolset(server.load)

    async def changing():
        while True:
            await trio.sleep(0.5)
            toolset.forget()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(changing)
        result = await allm.chat(engine(calls("a"), DONE, tools=[toolset]), "go")
        nursery.cancel_scope.cancel()
    assert result.halted_reason == "completed"
    assert (server.loads, trio.current_time()) == (2, 2)


async def test_a_failed_reload_ends_the_turn_with_what_there_is():
    """As any error between two steps does."""
    server = Server()
    toolset = allm.Toolset(server.load)

    async def change(arguments):
        server.failures.append(OSError("gone"))
        toolset.forget()

    result = await allm.chat(engine(calls("change"), tools=[toolset, allm.Tool("change", ".", handler=change)]), "go")
    assert (result.halted_reason, result.error.reason) == ("error", "tools_not_loaded")
    assert len(result.steps) == 1


async def test_the_time_limit_of_a_call_covers_the_loading(autojump_clock):
    """A loader that hangs ends the call at its limit."""
    toolset = allm.Toolset(Server(seconds=1000).load)
    response = await allm.generate(engine(DONE), "go", tools=[toolset], request_timeout=5)
    assert (response.error.reason, trio.current_time()) == ("timeout", 5)
    result = await allm.chat(engine(DONE), "go", tools=[toolset], request_timeout=5)
    assert (result.error.reason, trio.current_time()) == ("timeout", 10)


async def test_loading_may_be_cancelled_anywhere():
    """Nothing is left behind: the next call loads, and answers."""
    server = Server()
    toolset = allm.Toolset(server.load).limited(1)

    async def call():
        toolset.forget()
        await allm.chat(engine(calls("a", "b", "a", "a"), DONE, tools=[toolset]), "go", max_concurrency=2)

    await cancel_everywhere(call)
    assert (await allm.chat(engine(calls("a"), DONE, tools=[toolset]), "go")).output_text == "Done."


async def test_two_passes_are_decided_with_the_tools_of_the_set():
    """A model that takes no tools beside a schema gets both in turn, also where the tools were not known before."""
    given = engine(calls("a"), DONE, [fake.text("{}")])
    wanted = allm.json_schema("answer", {"type": "object"})
    result = await allm.chat(
        given, "go", tools=[allm.Toolset(Server().load)], response_format=wanted, structured_finalize=True
    )
    assert sent(given) == [["a", "b"], ["a", "b"], []]
    assert result.output_text == "{}"


# --- clashes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_lazy", [False, True])
async def test_a_set_never_replaces_another_tool(is_lazy):
    """Two sets, or a set and a tool, in one place or in two: an error that says what to do."""
    one, other = (allm.Toolset(Server().load) if is_lazy else allm.Toolset([named("a")]) for _ in range(2))
    for in_engine, in_call in (([one, other], []), ([one], [other]), ([named("a")], [one]), ([one], [named("a")])):
        with pytest.raises(allm.ValidationError, match=r"two tools have the name 'a'.*prefixed\('crm_'\)"):
            await allm.chat(engine(DONE, tools=in_engine), "go", tools=in_call)
    given = engine(DONE, tools=[one.prefixed("x_"), other])
    await allm.chat(given, "go")
    assert sent(given)[0][-1] in {"a", "b"}


async def test_a_call_may_say_something_else_of_the_same_set():
    """The call's own word counts, as everywhere; what it leaves out stays as it is."""
    server = Server()
    toolset = allm.Toolset(server.load)
    given = engine(calls("a"), tools=[toolset, named("c")])
    result = await allm.chat(given, "go", tools=[toolset.filtered(["a"]).approval()])
    assert sent(given) == [["a", "b", "c"]]
    assert [call.name for call in result.manual_tool_calls] == ["a"]


# --- approval --------------------------------------------------------------------------------------------------------


def refund(log):
    async def handler(arguments):
        log.append(arguments["amount"])
        return "refunded"

    return allm.Tool("refund", "Refund.", handler=handler)


def above_100(tool, call):
    return call.arguments["amount"] > 100


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("approves", [True, False])
async def test_approval_survives_a_session(approves, is_lazy):
    """Through a store and a new process, whose set may not be loaded yet: approved runs, denied tells the model."""
    log = []
    source = (lambda: [refund(log)]) if is_lazy else [refund(log)]

    def shop():
        return allm.Toolset(source).prefixed("shop_").approval(above_100)

    given = engine(calls("shop_refund", amount=500), DONE)
    session, result = await allm.session.start(given, "go", tools=[shop()])
    assert (result.halted_reason, session.status, log) == ("manual_tool_calls", "awaiting_tools", [])
    session = allm.from_json(allm.to_json(session))
    decide = allm.session.approve if approves else allm.session.deny
    session = decide(session, "c0")
    session, result = await allm.session.continue_(given, session, tools=[shop()])
    assert (result.halted_reason, log) == ("completed", [500] if approves else [])
    [told] = [message for message in result.thread.messages if message.role == "tool"]
    assert told.text == "refunded" if approves else told.is_error


async def test_a_policy_is_asked_about_each_call():
    """Small ones run at once; one that it cannot judge is left to the caller, and the log says why."""
    log = []
    tools = [allm.Toolset([refund(log)]).approval(above_100).approval(lambda tool, call: False)]
    result = await allm.chat(engine(calls("refund", amount=5), DONE), "go", tools=tools)
    assert (result.output_text, log) == ("Done.", [5])
    result = await allm.chat(engine(calls("refund", amount="a lot")), "go", tools=tools)
    assert [call.arguments for call in result.manual_tool_calls] == [{"amount": "a lot"}]
    broken = [fake.tool_call("refund", raw_arguments="{", id="c0")]
    result = await allm.chat(engine(broken, DONE), "go", tools=tools)
    assert "invalid_arguments" in result.steps[0].tool_results[0].text
    assert log == [5]


async def test_an_approval_that_is_not_asked_for_any_more_is_refused():
    """The engine has the tool, without its policy; what was approved is another's."""
    tool = refund([])
    given = engine(calls("refund", amount=500))
    session, _ = await allm.session.start(given, "go", tools=[allm.Toolset([tool]).approval()])
    session = allm.session.approve(session, "c0")
    with pytest.raises(allm.SessionError, match="does not call for approval"):
        await allm.session.continue_(given, session, tools=[allm.Toolset([tool])])


# --- limits ----------------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Log:
    """When calls start and end, and how many run at once."""

    lines: list[str] = attrs.field(factory=list)
    running: int = 0
    most: int = 0

    def tool(self, name, seconds=1.0):
        async def handler(arguments):
            self.lines.append(f"{name} {trio.current_time():g}")
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                await trio.sleep(seconds)
            finally:
                self.running -= 1

        return allm.Tool(name, ".", handler=handler)


async def test_at_most_n_tools_of_a_set_run_at_once(autojump_clock):
    """In call order; other tools do not wait for them, also not for a place among `max_concurrency`."""
    log = Log()
    limited = allm.Toolset([log.tool("a"), log.tool("b")]).limited(1)
    other = log.tool("other")
    await allm.step(engine(calls("a", "b", "a", "other")), "go", tools=[limited, other], max_concurrency=2)
    assert log.lines == ["a 0", "other 0", "b 1", "a 2"]
    assert log.most == 2


async def test_calls_of_a_limited_set_start_in_their_order(autojump_clock):
    """With one at a time in the turn as well."""
    log = Log()
    names = [f"t{index}" for index in range(8)]
    limited = allm.Toolset([log.tool(name) for name in names]).limited(2)
    await allm.step(engine(calls(*names)), "go", tools=[limited], max_concurrency=1)
    assert log.lines == [f"{name} {index}" for index, name in enumerate(names)]
    log.lines.clear()
    await allm.step(engine(calls(*names)), "go", tools=[limited])
    # Two places that come free at the same moment are taken in either order.
    assert sorted(log.lines) == sorted(f"{name} {8 + index // 2}" for index, name in enumerate(names))


async def test_a_limit_holds_over_turns_and_derived_sets(autojump_clock):
    """It is that of the set; waiting for it is not the tool's own time."""
    log = Log()
    limited = allm.Toolset([log.tool("a")]).limited(2, timeout=1.5)
    results = []

    async def turn(toolset, name):
        results.append(await allm.step(engine(calls(*[name] * 3)), "go", tools=[toolset]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(turn, limited, "a")
        nursery.start_soon(turn, limited.prefixed("x_"), "x_a")
    assert (log.most, trio.current_time()) == (2, 3)
    assert not any(message.is_error for step in results for message in step.tool_results)


async def test_the_time_limit_of_a_set(autojump_clock):
    """It takes the place of the tools' own."""
    slow = allm.Toolset([attrs.evolve(Log().tool("a", 100), timeout=50)]).limited(timeout=2)
    step = await allm.step(engine(calls("a")), "go", tools=[slow])
    assert "longer than 2 s" in step.tool_results[0].text
    assert trio.current_time() == 2


async def test_a_cancelled_turn_gives_its_places_back(autojump_clock):
    """Wherever its calls were: running, or waiting for the set or for the turn."""
    log = Log()
    limited = allm.Toolset([log.tool("a", 10)]).limited(1)
    for most in (1, 2, 5):
        with trio.move_on_after(5):
            await allm.step(engine(calls("a", "a", "a")), "go", tools=[limited], max_concurrency=most)
    started = trio.current_time()
    await allm.step(engine(calls("a")), "go", tools=[limited])
    assert trio.current_time() == started + 10


async def test_an_iterator_of_tools_lasts_for_the_whole_turn():
    """Every step, and the check of an approval before the turn, has what it gave."""
    given = engine(calls("a"), calls("b"), DONE)
    await allm.chat(given, "go", tools=iter([allm.Toolset([named("a")]), named("b")]), stop=iter(["x"]))
    assert sent(given) == [["a", "b"]] * 3
    assert [request.stop for request in given.adapter.requests] == [("x",)] * 3
    guarded = allm.Toolset([named("a")]).approval()
    given = engine(calls("a"), DONE)
    session, _ = await allm.session.start(given, "go", tools=iter([guarded]))
    session, result = await allm.session.continue_(given, allm.session.approve(session, "c0"), tools=iter([guarded]))
    assert result.output_text == "Done."


async def test_a_wrong_name_among_many_tools_costs_little():
    """The model is told the names that are near, not all of them."""
    many = allm.Toolset([named(f"find_{index}") for index in range(500)])
    step = await allm.step(engine(calls("find_77x", "zzz")), "go", tools=[many])
    first, second = (message.text for message in step.tool_results)
    assert "did you mean find_77 or" in first
    assert "none has a similar name (there are 500 tools)" in second
    assert len(first) < 300


async def test_a_loader_that_needs_its_own_tools_is_an_error():
    """Directly, or in a call that it makes: it would wait for itself."""

    async def direct():
        return await toolset.load()

    async def in_a_call():
        await allm.chat(engine(DONE, tools=[toolset]), "go")
        return []

    for loader in (direct, in_a_call):
        toolset = allm.Toolset(loader)
        with pytest.raises(allm.EngineError, match="it needs them itself"):
            await allm.chat(engine(DONE, tools=[toolset]), "go")


async def test_before_step_may_give_an_iterator_of_sets():
    """They are loaded, and sent."""
    given = engine(calls("a"), DONE)
    server = Server()
    toolset = allm.Toolset(server.load)
    await allm.chat(given, "go", before_step=lambda step: {"tools": iter([toolset])})
    assert sent(given) == [["a", "b"]] * 2
