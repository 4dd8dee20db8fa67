"""A provider that takes fewer requests than a run would send: nearly all that it takes are sent, and hardly more."""

from __future__ import annotations

import pytest
import trio

import allm
from allm import fake
from allm.providers import Fake

ALLOWED = 50  # requests a second
SECONDS = 120


class Storm:
    """Takes 50 requests a second, and a few at once; an answer takes a fifth of a second."""

    def __init__(self, retry_after):
        self.taken = self.refused = 0
        self._retry_after = retry_after
        self._tokens, self._at = 5.0, trio.current_time()
        self.fake = Fake(respond=self._respond)

    async def _respond(self, _request):
        self.fake.requests.clear()
        now = trio.current_time()
        self._tokens = min(5.0, self._tokens + (now - self._at) * ALLOWED)
        self._at = now
        if self._tokens < 1:
            self.refused += 1
            error = allm.AdapterError("slow down", reason="rate_limited", status=429, retry_after=self._retry_after)
            return [fake.error(error)]
        self._tokens -= 1
        self.taken += 1
        await trio.sleep(0.2)
        return "ok"


@pytest.mark.parametrize("retry_after", [None, 1.0])
async def test_a_storm_of_refusals(autojump_clock, retry_after):
    """At least 97 % of what is allowed, less than 1 % refused, and no item fails."""
    storm = Storm(retry_after)
    engine = allm.Engine(adapter=storm.fake, model="m")
    inputs = (f"q{number}" for number in range(10**6))
    failed = 0
    with trio.move_on_after(SECONDS):
        async with allm.bulk(engine, inputs, limit=64) as run:
            async for item in run:
                failed += item.error is not None
    sent = storm.taken + storm.refused
    assert failed == 0
    assert storm.taken >= 0.97 * ALLOWED * SECONDS
    assert storm.refused <= 0.01 * sent


async def test_a_limiter_of_the_engine_is_used():
    """A run makes none of its own then."""
    limiter = trio.CapacityLimiter(3)
    most = 0

    async def respond(_request):
        nonlocal most
        await trio.lowlevel.checkpoint()
        most = max(most, limiter.borrowed_tokens)
        return "ok"

    engine = allm.Engine(adapter=Fake(respond=respond), model="m", limiter=limiter)
    async with allm.bulk(engine, [str(number) for number in range(50)], limit=20) as run:
        async for _ in run:
            pass
    assert most == 3


async def test_a_stop_ends_the_waiting_at_the_limiter(autojump_clock):
    """What has not been sent yet is under way for nobody."""
    engine = allm.Engine(
        adapter=Fake(respond=lambda _: "ok"), model="m", limiter=allm.RateLimit(requests_per_minute=1, adaptive=False)
    )
    async with allm.bulk(engine, [str(number) for number in range(50)], limit=20) as run:
        await anext(run)
        run.stop()
        with pytest.raises(allm.BulkError):
            while True:
                await anext(run)
    assert trio.current_time() < 1


async def test_a_stop_lets_a_turn_go_on(autojump_clock):
    """One whose model has answered, and whose tool runs, gets its next request."""

    @allm.tool
    async def look() -> str:
        """Look."""
        running.set()
        await trio.sleep(5)
        return "seen"

    running = trio.Event()
    scripts = [[fake.tool_call("look", {})], [fake.text("done")]]
    limiter = allm.RateLimit(requests_per_minute=60, adaptive=False)
    engine = allm.Engine(adapter=Fake(scripts=scripts), model="m", limiter=limiter, tools=[look])
    async with allm.bulk(engine, ["a", "b"], limit=1, call=allm.chat) as run:

        async def stop():
            await running.wait()
            run.stop()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            item = await anext(run)
    assert item.response.output_text == "done"


async def test_a_group_of_engines(tmp_path, autojump_clock):
    """Each member has its own limiter, the next is asked when one fails, and other members are another run."""
    limiter = trio.CapacityLimiter(2)
    down = Fake(respond=lambda _: [fake.error(allm.AdapterError("down", reason="provider_unavailable"))])
    up = Fake(respond=lambda _: "ok")
    first = allm.Engine(adapter=down, model="a", limiter=limiter)
    group = allm.fallback(first, allm.Engine(adapter=up, model="b"))
    journal = tmp_path / "run.sqlite"
    async with allm.bulk(group, [str(number) for number in range(20)], limit=4, journal=journal) as run:
        items = [item async for item in run]
    assert [item.response.output_text for item in items] == ["ok"] * 20
    other = allm.fallback(first, allm.Engine(adapter=up, model="c"))
    async with allm.bulk(other, ["0"], journal=journal) as run:
        with pytest.raises(allm.BulkError) as caught:
            await anext(run)
    assert caught.value.reason == "changed_input"
