"""A response body that is not read to its end."""

from __future__ import annotations

import gc

import pytest
import trio

import allm
from allm import fake
from allm.testing import Reply, WireServer, loopback_clock


@pytest.fixture
def clock():
    return loopback_clock()


def asking(server, client=None):
    adapter = allm.providers.OpenAI(
        api_key="test", base_url=server.url("openai"), endpoint="chat_completions", http_client=client
    )
    return allm.Engine(adapter=adapter, model="m")


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_leaving_a_slow_reader_leaves_no_open_generator(library):
    """The HTTP library's generators end with the block: one left to the garbage collector warns."""
    module = pytest.importorskip(library, reason="tested where it is installed")
    words = [fake.text(f"word {number} ") for number in range(300)]
    async with WireServer() as server, module.AsyncClient(timeout=None) as client:
        server.add(Reply.script("openai", words, chunks=300, flush=True))
        async with allm.stream_generate(asking(server, client), "hi") as events:
            await anext(events)
            await trio.testing.wait_all_tasks_blocked(
                0.02
            )  # the adapter holds a burst that the full channel does not take
        gc.collect()
        with trio.fail_after(5):
            await server.wait_outcomes()
        assert server.requests[0].outcome in {"client_closed", "completed"}


async def test_the_rest_of_a_malformed_response_is_not_waited_for(clock):
    """The failure ends the call."""
    reply = Reply.script("openai", [fake.text("one two three four"), fake.delay(0.2), fake.text(" five")])
    broken = Reply.sse([(None, "{oops")])
    slow = Reply(headers=reply.headers, body=broken.body + reply.body, pauses={len(broken.body): 0.2})
    async with WireServer() as server:
        server.add(slow)
        before = trio.current_time()
        response = await allm.generate(asking(server), "hi")
        assert response.error.reason == "malformed_response"
        assert trio.current_time() == before
