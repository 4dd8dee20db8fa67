"""Events before the content are held back, so that a failure after them can still be retried."""

from __future__ import annotations

import pytest
import trio

import allm
from allm.execution.stream.attempt import MAX_HELD_BYTES, MAX_HELD_EVENTS

BUSY = allm.AdapterError("overloaded", reason="overloaded")
POLICY = allm.RetryPolicy(jitter=0)
STARTED = allm.MessageStarted(id="m1", model="m")
USED = allm.UsageReported(allm.Usage(input_tokens=10, output_tokens=1))


class Scripted:
    """An adapter whose attempts each play a list: events, bursts, seconds to wait, or an error to raise."""

    provider = "scripted"
    requires_model = False

    def __init__(self, *attempts):
        self.attempts = list(attempts)
        self.asked = 0

    def prepare(self, request, options):
        return None

    async def stream(self, prepared, emit):
        self.asked += 1
        for item in self.attempts.pop(0):
            if isinstance(item, allm.AllmError):
                raise item
            if isinstance(item, (int, float)):
                await trio.sleep(item)
            else:
                await emit(*(item if isinstance(item, tuple) else (item,)))


def whole(text="ok", *before):
    end = allm.MessageCompleted(allm.assistant(text), "stop")
    return [*before, allm.TextDelta("t", text), allm.TextCompleted("t", text), end]


async def read(*attempts, **options):
    adapter = Scripted(*attempts)
    async with allm.stream_generate(allm.Engine(adapter=adapter, retry=POLICY), "hi", **options) as events:
        seen = [event async for event in events]
    return adapter, seen, events.result()


BROKEN = {
    "started, failed": [STARTED, allm.Failed(BUSY)],
    "started and failed at once": [(STARTED, allm.Failed(BUSY))],
    "started, raised": [STARTED, BUSY],
    "started, used, failed": [STARTED, USED, allm.Failed(BUSY)],
    "started, cut off": [STARTED],
    "used and started in one read, cut off": [(USED, STARTED)],
    "raised at once": [BUSY],
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_a_failure_before_the_content_is_retried(autojump_clock, broken):
    """No event of the abandoned attempt is visible."""
    observed = []
    adapter, seen, response = await read(broken, whole("ok", STARTED), on_event=observed.append)
    assert (adapter.asked, response.output_text, response.error) == (2, "ok", None)
    assert observed == seen
    assert [type(event) for event in seen].count(allm.MessageStarted) == 1
    assert not any(isinstance(event, allm.Failed) for event in seen)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_the_last_failure_shows_what_came_before_it(autojump_clock, broken):
    """The failed response has the ids and the usage that arrived before."""
    adapter, seen, response = await read(broken, broken, broken)
    assert adapter.asked == 3
    assert isinstance(seen[-1], allm.Failed)
    assert response.id == ("m1" if "MessageStarted" in str(broken) else None)
    if "UsageReported" in str(broken):
        assert response.usage.input_tokens == 10


async def test_usage_of_abandoned_attempts_is_told_and_totalled(autojump_clock):
    """It is in the retry event, in the response, and in the turn's total."""
    told = []
    detach = allm.telemetry.attach(told.append, events={"adapter.retry"})
    broken = [STARTED, USED, allm.Failed(BUSY)]
    good = [tuple(whole("ok", STARTED, allm.UsageReported(allm.Usage(input_tokens=10, output_tokens=5))))]
    try:
        _, seen, response = await read(broken, broken, good)
        result = await allm.chat(allm.Engine(adapter=Scripted(broken, good), retry=POLICY), "hi")
    finally:
        detach()
    assert [event.attributes["usage"].input_tokens for event in told] == [10, 10, 10]
    assert response.usage.output_tokens == 5
    assert (response.abandoned_usage.input_tokens, response.abandoned_usage.output_tokens) == (20, 2)
    assert (result.usage.input_tokens, result.usage.output_tokens) == (20, 6)
    assert [type(event) for event in seen].count(allm.MessageStarted) == 1
    assert seen[0].abandoned_usage == response.abandoned_usage


async def test_usage_of_abandoned_attempts_without_a_new_start(autojump_clock):
    """Without a MessageStarted in the retry, one is added for the usage."""
    _, seen, response = await read([USED, BUSY], whole("ok"))
    assert seen[0] == allm.MessageStarted(abandoned_usage=USED.usage)
    assert response.abandoned_usage == USED.usage


async def test_a_timeout_after_the_start_is_not_retried(autojump_clock):
    """The provider is still generating the response and will charge for it."""
    adapter, seen, response = await read([STARTED, 1000], whole(), stream_timeout=5)
    assert (adapter.asked, response.error.reason) == (1, "timeout")
    assert [type(event) for event in seen] == [allm.MessageStarted, allm.Failed]
    assert trio.current_time() == 5


async def test_content_ends_the_retries(autojump_clock):
    """A failure after content is the last event, and the content is kept."""
    adapter, seen, response = await read([STARTED, allm.TextDelta("t", "half"), BUSY], whole())
    assert (adapter.asked, response.output_text, response.error) == (1, "half", BUSY)
    assert seen[0] == STARTED


async def test_an_answer_without_content_is_shown_at_its_end():
    """The held events are shown when the response ends."""
    end = allm.MessageCompleted(allm.assistant(""), "stop")
    _, seen, _ = await read([STARTED, USED, end])
    assert seen == [STARTED, USED, end]


async def test_more_than_can_be_held_is_shown(autojump_clock):
    """Beyond the bound in count or size the events are shown, and retries end."""
    chunk = allm.RawChunk("ping", {"n": 1})
    for held in ([chunk] * (MAX_HELD_EVENTS + 1), [allm.RawChunk("big", "x" * (MAX_HELD_BYTES + 1))]):
        adapter, seen, response = await read([*held, BUSY], whole(), include_raw_chunks=True)
        assert (adapter.asked, response.error) == (1, BUSY)
        assert seen[:-1] == held
    adapter, _, response = await read([*[chunk] * MAX_HELD_EVENTS, BUSY], whole(), include_raw_chunks=True)
    assert (adapter.asked, response.output_text) == (2, "ok")


async def test_the_limit_of_the_call_shows_what_was_held(autojump_clock):
    """At the time limit the held ids and usage are shown with the failure."""
    _, seen, response = await read([STARTED, USED, 1000], request_timeout=3)
    assert [type(event) for event in seen] == [allm.MessageStarted, allm.UsageReported, allm.Failed]
    assert (response.id, response.usage.input_tokens, response.error.reason) == ("m1", 10, "timeout")


async def test_usage_is_not_lost_when_the_limit_passes_in_the_pause(autojump_clock):
    """The usage of the abandoned attempt comes with the failure."""
    slow = allm.AdapterError("busy", reason="overloaded", retry_after=2)
    _, _, response = await read([STARTED, USED, slow], [1000], request_timeout=3)
    assert response.error.reason == "timeout"
    assert response.abandoned_usage == USED.usage


async def test_raw_chunks_that_nobody_asked_for_are_dropped_without_a_task():
    """By default a call has one task, the producer."""
    tasks = []

    class Adapter(Scripted):
        async def stream(self, prepared, emit):
            tasks.extend(task.name for task in trio.lowlevel.current_task().parent_nursery.child_tasks)
            await super().stream(prepared, emit)

    adapter = Adapter([allm.RawChunk("x"), *whole()])
    async with allm.stream_generate(allm.Engine(adapter=adapter), "hi") as events:
        seen = [event async for event in events]
    assert tasks == ["allm producer"]
    assert allm.RawChunk not in map(type, seen)


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ({"include_raw_chunks": True}, []),
        ({"on_event": len}, ["allm observer"]),
        ({"emit_text_deltas": False}, ["allm filter"]),
        ({"emit_tool_deltas": False, "on_event": repr}, ["allm filter", "allm observer"]),
    ],
)
async def test_a_stage_has_work(options, stages):
    """A stage exists only if an option needs it."""
    tasks = []

    class Adapter(Scripted):
        async def stream(self, prepared, emit):
            tasks.extend(task.name for task in trio.lowlevel.current_task().parent_nursery.child_tasks)
            await super().stream(prepared, emit)

    if "on_event" in options:
        options = {**options, "on_event": lambda _event: None}
    async with allm.stream_generate(allm.Engine(adapter=Adapter(whole())), "hi", **options) as events:
        await events.until_done()
    assert sorted(tasks) == sorted(["allm producer", *stages])
