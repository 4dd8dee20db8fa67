"""Cases for lifetimes: cancelling, leaving, slow readers and concurrent calls leave no task or connection behind."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

import attrs
import trio
import trio.testing

from allm import fake
from allm.data.events import AdapterEvent, Failed
from allm.data.json.codec import from_json, to_json
from allm.data.response import Response
from allm.execution.generate import generate, stream_generate
from allm.execution.options import prepare_call, resolve
from allm.runtime.retry import RetryPolicy
from allm.testing.cancelling import CancelTrial, cancel_everywhere
from allm.testing.conformance.checks import holds, same
from allm.testing.conformance.failure_cases import FailureCases
from allm.testing.conformance.samples import TEXT, failure, short_response
from allm.testing.conformance.setup import KEY, AdapterSetup, Script, Stage, case
from allm.testing.conformance.threaded_server import threaded_server
from allm.testing.faults import Stall
from allm.testing.leaks import tasks_left
from allm.testing.recorded import RecordedRequest
from allm.testing.replies import Reply
from allm.testing.steps import Lineage, instrumented
from allm.testing.wire_server import WireServer

__all__ = ["LifetimeCases", "settled"]

AT_ONCE = RetryPolicy(max_attempts=3, base_delay=0, jitter=0)
CALLS = 8  # concurrent calls
THINKING = 1000.0  # seconds
PIECE = 64 * 1024  # bytes
PIECES = 160  # 10 MB: several times what the pipeline and idle socket buffers hold


Exit = Literal["the end of its block", "an exception", "a cancel"]


class _MindChangedError(Exception):
    """Raised by a reader in the middle of a response."""


class LifetimeCases(FailureCases):
    """Cases for every way in which a call ends."""

    @case()
    async def test_cancel_at_every_checkpoint(self) -> None:
        """No task is left, the partial response is valid, the connection is closed, and the next call works."""
        script = short_response(self.capabilities)
        await self._cancel_everywhere(script, script, script)

    @case()
    async def test_cancel_at_every_checkpoint_of_a_call_that_is_retried(self) -> None:
        """The same for a call whose first attempt fails."""
        script = short_response(self.capabilities)
        await self._cancel_everywhere((fake.error(failure("provider_unavailable")),), script, script, script)

    async def _cancel_everywhere(self, *scripts: Script) -> None:
        replies = [self._in_pieces(script) for script in scripts]
        async with self.playing(scripts[-1]) as stage:
            whole = await generate(stage.engine(), "hi", tools=self.tools)
        results: list[Callable[[], Response]] = []

        async def call(stage: Stage) -> None:
            async with stream_generate(stage.engine(retry=AT_ONCE), "hi", tools=self.tools) as events:
                results[:] = [events.result]
                async for _ in events:
                    pass

        async def check(trial: CancelTrial[None]) -> None:
            [result] = results  # always set, since entering the block has no checkpoint
            response = result()
            same(from_json(to_json(response)), response, "the response against itself after JSON")
            holds(whole.output_text.startswith(response.output_text), f"the text is {response.output_text!r}")
            same(response.error, None, "the error")
            if not trial.caught:
                same(response.message, whole.message, "the whole response")
            if trial.stage.server is not None:
                await settled(trial.stage.server)
            response = await generate(trial.stage.engine(retry=AT_ONCE), "hi", tools=self.tools)
            same(response.message, whole.message, "the response to the next call")

        await cancel_everywhere(call, around=lambda: self.playing(*replies), check=check)

    def _in_pieces(self, script: Script) -> Script | Reply:
        """Over HTTP each event is written on its own, so that the call has a checkpoint between any two events."""
        if not self.has("http"):
            return script
        reply = self.make_reply(script)
        ends = [0, *reply.event_ends]
        sizes = [end - start for start, end in itertools.pairwise(ends)]
        return attrs.evolve(reply, chunks=sizes or None, flush=True)

    @case("http")
    async def test_every_exit_closes_the_connection(self) -> None:
        """After any event, in any way, every task ends at once and the connection is closed."""
        reply = self.make_reply(short_response(self.capabilities))
        unfinished = attrs.evolve(reply, flush=True, fault=Stall(len(reply.body) - 1))
        exits: tuple[Exit, ...] = ("the end of its block", "an exception", "a cancel")
        for way in exits:
            number = 1
            while await self._leave_at(number, way, unfinished):
                number += 1
            holds(number > 1, "an unfinished response showed no events: the adapter does not stream")

    async def _leave_at(self, number: int, way: Exit, unfinished: Reply) -> bool:
        """Make a call and leave it at event `number`; False if it has fewer events."""
        async with self.playing(unfinished) as stage:
            lineage = Lineage()
            with instrumented(lineage):
                left = await _leave(stage, number, way)
                same(tasks_left(lineage), [], f"tasks of the call after leaving at event {number} by {way}")
            with trio.fail_after(5):
                await stage.http.wait_outcomes()
                await stage.http.wait_idle()
            same(stage.http.requests[0].outcome, "client_closed", f"the request left at event {number} by {way}")
        return left

    @case()
    async def test_events_arrive_while_the_response_is_generated(self) -> None:
        """The reader gets the first words while the provider is generating the next."""
        async with self.playing((fake.text("first words "), fake.delay(THINKING), fake.text("last words"))) as stage:
            before = trio.current_time()
            async with stream_generate(stage.engine(), "hi", first_event_timeout=None, stream_timeout=None) as events:
                text = await anext(events.text(), "")
            holds(
                text and trio.current_time() - before < THINKING, "the text was held back until the end of the response"
            )

    @case()
    async def test_emit_is_awaited(self) -> None:
        """The adapter emits one burst at a time, and waits until it is taken: this is the back-pressure."""
        waiting, taken = 0, trio.Event()

        async def emit(*_events: AdapterEvent) -> None:
            nonlocal waiting
            waiting += 1
            await taken.wait()

        async with self.playing(tuple(fake.text(f"word {n} ") for n in range(200))) as stage:
            call = resolve(stage.engine(), "hi", {})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stage.adapter.stream, prepare_call(call), emit)
                await trio.testing.wait_all_tasks_blocked(0.05)
                nursery.cancel_scope.cancel()
        same(waiting, 1, "bursts emitted at once to a reader that takes none")

    @case("http")
    async def test_slow_reader_slows_the_server(self) -> None:
        """A response larger than all buffers on the way is sent only partly until the reader goes on."""
        reply = attrs.evolve(self.make_reply((fake.text(" " * PIECE),) * PIECES), chunks=PIECE)
        async with self.playing(reply) as stage:
            async with stream_generate(stage.engine(), "hi", stream_timeout=None) as events:
                await anext(events)
                sent = -1
                while sent != (sent := stage.http.statistics().bytes_sent):
                    await trio.testing.wait_all_tasks_blocked(0.05)
                size = len(reply.body)
                holds(sent < size * 0.8, f"{sent} of {size} bytes were read ahead of a reader that reads nothing")
            with trio.fail_after(5):
                await stage.http.wait_outcomes()
            same(stage.http.requests[0].outcome, "client_closed", "the request whose reader left")

    @case()
    async def test_concurrent_calls_do_not_mix(self) -> None:
        """One adapter can be used by many tasks."""
        texts = [f"the response to question {number} of {CALLS}" for number in range(CALLS)]
        scripts: list[Script] = [(fake.text(text[:9]), fake.delay(0.01), fake.text(text[9:])) for text in texts]

        def reply(request: RecordedRequest) -> Reply:
            [number] = [n for n in range(CALLS) if f"question <{n}>" in request.body.decode()]
            return attrs.evolve(self.make_reply(scripts[number]), flush=True)

        got: dict[int, Response] = {}

        async def ask(block: Any, number: int) -> None:
            async with block as events:
                got[number] = await events.until_done()

        queued = () if self.has("http") else scripts
        async with self.playing(*queued, default=reply) as stage, trio.open_nursery() as nursery:
            for number in range(CALLS):
                # Prepared here, in order, for adapters that take one script for each call.
                nursery.start_soon(ask, stream_generate(stage.engine(), f"question <{number}>"), number)
        same([got[n].output_text for n in range(CALLS)], texts, "the responses to concurrent calls")

    @case("http")
    def test_one_adapter_serves_several_runs(self) -> None:
        """An adapter keeps nothing that belongs to one Trio run, such as a connection or a lock."""
        with threaded_server(self.make_reply(TEXT)) as base_url:
            adapter = self.make_adapter(AdapterSetup(base_url=base_url, api_key=KEY))
            stage = Stage(adapter, None, self.model)
            for _ in range(2):
                trio.run(_succeeds, stage)

    @case("http", "connection_reuse")
    async def test_second_call_uses_the_connection_of_the_first(self) -> None:
        """The body is read to its end, so that the connection can be reused."""
        async with self.playing(TEXT, short_response(self.capabilities), TEXT) as stage:
            for _ in range(3):
                response = await generate(stage.engine(), "hi", tools=self.tools)
                same(response.error, None, "the error of one of several calls")
            same(stage.http.statistics().connections_total, 1, "connections for three calls in a row")


async def _leave(stage: Stage, number: int, way: Exit) -> bool:
    """Leave a stream at event `number`; False if it has fewer events."""
    with trio.CancelScope() as scope, suppress(_MindChangedError):
        async with stream_generate(stage.engine(), "hi", stream_timeout=60) as events:
            for _ in range(number):
                if isinstance(await anext(events), Failed):
                    return False
            if way == "an exception":
                raise _MindChangedError
            if way == "a cancel":
                scope.cancel()
                await trio.sleep_forever()
    return True


async def _succeeds(stage: Stage) -> None:
    """Check that a call succeeds; in real time, since a jumping clock does not wait for another thread."""
    response = await generate(stage.engine(), "hi", request_timeout=30)
    same(
        (response.error, response.output_text), (None, "one two three four five six"), "the response in one of two runs"
    )


async def settled(server: WireServer) -> None:
    """Wait until every request has its outcome, and no connection is open except a reusable one."""
    with trio.move_on_after(5) as scope:
        await server.wait_outcomes()
        while server.connections > any(request.outcome == "completed" for request in server.requests):  # noqa: ASYNC110 - not told
            await trio.sleep(0.5)
    outcomes = [request.outcome for request in server.requests]
    holds(not scope.cancelled_caught, f"{server.connections} connections are open; requests: {outcomes}")
