"""Gemini sends its counts with every chunk: they are reported as the answer grows, and however it ends.

Counts are exact at every end; in between they lag behind by a third of it at most, since each report has to be priced.
"""

from __future__ import annotations

import itertools
import json
import math

import pytest
import trio

import allm
from allm.providers import Gemini
from allm.runtime.costs import Pricing
from allm.testing import Reply, WireServer
from allm.testing.faults import Cut, Stall

CHUNKS = 400


def body(**last):
    chunks = []
    for number in range(1, CHUNKS + 1):
        counts = {"promptTokenCount": 7, "candidatesTokenCount": number, "totalTokenCount": number + 7}
        candidate = {"content": {"parts": [{"text": "w "}], "role": "model"}, "index": 0}
        candidate |= last if number == CHUNKS else {}
        chunk = {"candidates": [candidate], "usageMetadata": counts, "modelVersion": "gemini-3.5-flash"}
        chunks.append(b"data: " + json.dumps({**chunk, "responseId": "r"}).encode() + b"\r\n\r\n")
    return chunks


async def answered(reply, **options):
    async with WireServer() as server:
        server.add(reply)
        adapter = Gemini(api_key="k", base_url=server.url("gemini"))
        engine = allm.Engine(adapter=adapter, model="gemini-3.5-flash", retry=None)
        async with allm.stream_generate(engine, "hi", **options) as events:
            return [event async for event in events], events.result()


def reply(chunks, **options):
    return Reply(headers={"content-type": "text/event-stream"}, body=b"".join(chunks), chunks=len(chunks[0]), **options)


async def test_an_answer_is_priced_a_few_times(monkeypatch):
    """The number of prices grows with the logarithm of the answer; the last of them is of all tokens."""
    priced, before = [], Pricing._priced
    monkeypatch.setattr(Pricing, "_priced", lambda self: priced.append(self) or before(self))
    events, response = await answered(reply(body(finishReason="STOP")))
    reports = [event.usage.output_tokens for event in events if isinstance(event, allm.UsageReported)]
    assert reports[0] == 1
    assert reports[-1] == response.usage.output_tokens == CHUNKS
    assert all(late - early <= early // 2 + 1 for early, late in itertools.pairwise(reports))
    assert len(reports) <= len(priced) <= 4 * math.log(CHUNKS)
    assert response.usage.total_cost > response.usage.input_cost > 0


@pytest.mark.parametrize("clean", [True, False])
async def test_counts_of_an_answer_that_breaks_off(clean):
    """The connection ends after a chunk: every count that has arrived is in the result."""
    chunks = body()
    _, response = await answered(reply(chunks, fault=Cut(sum(map(len, chunks[:395])), clean=clean)))
    assert response.error.reason == "stream_truncated"
    assert response.usage.output_tokens == 395


@pytest.mark.parametrize("limit", ["request_timeout", "stream_timeout"])
async def test_counts_at_a_time_limit(limit, autojump_clock):
    """The same when the server falls silent."""
    chunks = body()
    stalled = reply(chunks, fault=Stall(sum(map(len, chunks[:395]))))
    with trio.fail_after(100):
        _, response = await answered(stalled, **{limit: 5})
    assert response.error.reason == "timeout"
    assert response.usage.output_tokens == 395


async def test_counts_before_a_broken_event():
    """And when what follows is no event."""
    chunks = [*body()[:395], b"data: {broken\r\n\r\n"]
    _, response = await answered(reply(chunks))
    assert response.error.reason == "malformed_response"
    assert response.usage.output_tokens == 395
