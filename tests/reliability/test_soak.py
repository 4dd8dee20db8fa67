"""Thousands of streams at once, with everything that can go wrong."""

from __future__ import annotations

import gc
import logging
import random
import resource
import ssl
import statistics
from collections import Counter

import attrs
import pytest
import trio
import trio.testing

import allm
from allm.testing import Cut, Garbage, GarbageHead, Reply, Reset, Stall, WireServer
from calls import LOOK, TEXT, VENDORS, WORDS, in_pieces
from leftovers import client_library, descriptors, library_tasks, pooled, resident, task_names

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
HANG = 300  # seconds: two thousand streams on one busy core take half a minute each
SILENCE = 0.5  # seconds until a silent stream is given up
AT_ONCE = allm.RetryPolicy(max_attempts=2, base_delay=0.01, jitter=0)
PAUSE = 0.05  # seconds, at most, between two events of an answer


def answers(vendor):
    """Every reply that this vendor may give, the good ones more often."""
    whole = Reply.script(vendor, TEXT)
    size = len(whole.body)
    good = [whole, in_pieces(whole), attrs.evolve(in_pieces(whole), delay=PAUSE)]
    faults = [Cut(size // 2), Cut(size // 2, clean=True), Cut(-1), Reset(size // 2), Reset(-1), Stall(size // 2)]
    faults += [Stall(-1), Garbage(size // 2, b"\x00\xff{\n\n"), GarbageHead()]
    refused = [Reply.error(vendor, status) for status in (400, 401, 429, 500)]
    return [*good * 3, *(attrs.evolve(in_pieces(whole), fault=fault) for fault in faults), *refused]


@attrs.define(eq=False)
class Soak:
    """Callers that make calls until they are told to stop, and what came of these."""

    chance: random.Random
    ended: Counter = attrs.field(factory=Counter)
    is_over: bool = False

    async def caller(self, engine):
        while not self.is_over:
            way = self.chance.choice(["read", "read", "break", "raise", "cancel", "cancel", "chat"])
            try:
                with trio.move_on_after(self.chance.random() * 0.2 if way == "cancel" else HANG) as scope:
                    await self.call(engine, way)
                assert way == "cancel" or not scope.cancelled_caught, "a call hung"
                self.ended["cancelled" if scope.cancelled_caught else way] += 1
            except ZeroDivisionError:
                self.ended[way] += 1

    async def call(self, engine, way):
        if way == "chat":
            response = await allm.chat(engine, "hi", stream_timeout=SILENCE, first_event_timeout=SILENCE)
        else:
            async with allm.stream_generate(
                engine, "hi", stream_timeout=SILENCE, first_event_timeout=SILENCE
            ) as events:
                async for event in events:
                    if isinstance(event, allm.TextDelta) and way == "break":
                        break
                    if isinstance(event, allm.TextDelta) and way == "raise":
                        raise ZeroDivisionError
            response = events.result()
        assert WORDS.startswith(response.output_text)
        assert response.error is None or isinstance(response.error, allm.AllmError)
        self.ended["errors"] += response.error is not None


def raise_limit(wanted):
    """Allow that many descriptors, or as many as we may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, wanted), hard), hard))


def drained(server):
    server.requests.clear()  # it keeps every request with its body
    gc.collect()


@pytest.mark.timeout(1200)
async def test_soak(long, chance, caplog, record_property):
    """Thousands of streams at once, with faults and cancels, leave memory, file descriptors and tasks flat."""
    streams, seconds, warm_up = (2000, 180, 40) if long else (200, 5, 2)
    caplog.set_level(logging.CRITICAL, "allm")  # pytest keeps every record that is logged
    raise_limit(4 * streams + 100)
    replies = {vendor: answers(vendor) for vendor in VENDORS}
    paths = {"/v1/chat": "openai", "/v1/responses": "openai_responses", "/v1/messages": "anthropic"}

    def reply(request):
        vendor = next((name for start, name in paths.items() if request.path.startswith(start)), "gemini")
        return chance.choice(replies[vendor])

    soak, memory = Soak(chance), []
    async with WireServer(reply) as server:
        await trio.testing.wait_all_tasks_blocked()  # the server's own are there
        tasks_before, descriptors_before = task_names(), descriptors()
        library = client_library()
        wide = library.Limits(max_connections=None, max_keepalive_connections=20)
        async with (
            library.AsyncClient(verify=NO_TLS, timeout=None, limits=wide) as unbounded,
            library.AsyncClient(verify=NO_TLS, timeout=None) as bounded,  # by a hundred connections
        ):
            engines = [
                allm.Engine(adapter=make(server.base_url, client), model="m", tools=[LOOK], retry=retry)
                for make in VENDORS.values()
                for client in (unbounded, unbounded, unbounded, bounded)
                for retry in (None, AT_ONCE)
            ]
            async with trio.open_nursery() as nursery:
                for number in range(streams):
                    nursery.start_soon(soak.caller, engines[number % len(engines)])
                deadline = trio.current_time() + warm_up + seconds
                # A busy machine may sleep through all of it; the first third and the last need a measurement each.
                while (left := deadline - trio.current_time()) > 0 or len(memory) < 3:
                    await trio.sleep(max(0.1, min(1, left)))
                    drained(server)
                    if left < seconds:
                        memory.append(resident())
                soak.is_over = True
                nursery.cancel_scope.deadline = trio.current_time() + HANG
            assert not nursery.cancel_scope.cancelled_caught, "callers hung"
            assert library_tasks() == []
            with trio.fail_after(60):
                await server.wait_outcomes()
                while server.connections > len(pooled(unbounded)) + len(pooled(bounded)):
                    await trio.sleep(0.1)
            held = pooled(unbounded) + pooled(bounded)
            busy = [connection for connection in held if not (connection.is_idle() or connection.is_closed())]
            assert not busy, f"{len(busy)} connections can never be used again, such as {busy[0]}"
        with trio.fail_after(60):
            await server.wait_idle()
        with trio.move_on_after(60):  # the handlers of the server's last connections end in their own time
            while len(task_names()) > len(tasks_before):
                await trio.sleep(0.1)
        tasks, left = task_names(), descriptors()
        assert (tasks, left) == (tasks_before, descriptors_before)
    third = len(memory) // 3
    early, late = statistics.median(memory[:third]), statistics.median(memory[-third:])
    assert late < early * 1.1 + 4 * 2**20, f"memory grew from {early / 2**20:.1f} to {late / 2**20:.1f} MB"
    calls = sum(count for name, count in soak.ended.items() if name != "errors")
    record_property("streams at once", streams)
    record_property("seconds", seconds)
    record_property("calls", calls)
    record_property("cancelled", soak.ended["cancelled"])
    record_property("errors of providers", soak.ended["errors"])
    record_property("MB of memory", f"{early / 2**20:.0f} early, {late / 2**20:.0f} late")
    record_property("descriptors", f"{descriptors_before} before, {left} after")
    record_property("tasks", f"{len(tasks_before)} before, {len(tasks)} after")
    record_property("connections kept in the pool", len(held))
