"""Reads that need no wait are decoded together: nothing of them is lost, or shown late, however the body goes on."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

import allm
from allm.adapters import MessageBuilder, dumps
from allm.providers.openai.chat_decode import ChatDecoder
from allm.testing import Reply, WireServer
from allm.testing.faults import Cut, Stall, TruncatedChunk
from allm.testing.steps import StepCounter, instrumented


def sse(text, finish=None):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + dumps({"id": "1", "model": "m", "choices": [choice]}) + b"\n\n"


def reply(reads, **options):
    headers = {"content-type": "text/event-stream"}
    return Reply(headers=headers, body=b"".join(reads), chunks=[len(read) for read in reads], **options)


@asynccontextmanager
async def asked(answer):
    async with WireServer() as server:
        server.add(answer)
        adapter = allm.providers.OpenAI(api_key="k", base_url=server.url("openai"), endpoint="chat_completions")
        async with allm.stream_generate(allm.Engine(adapter=adapter, model="m", retry=None), "hi") as stream:
            yield stream


async def ask(answer):
    async with asked(answer) as stream:
        return await stream.until_done()


@pytest.mark.parametrize("per_read", [1, 3, 200])
@pytest.mark.parametrize("fault", [TruncatedChunk, Cut])
async def test_what_came_in_one_packet_with_a_broken_end_is_not_lost(fault, per_read):
    """Reads that were gathered are decoded, whether the HTTP library waited before it found the fault or not."""
    events = [sse(f"{n} ") for n in range(150)]
    reads = [b"".join(events[at : at + per_read]) for at in range(0, 150, per_read)]
    response = await ask(reply([*reads, b"data: {"], fault=fault(sum(map(len, events)))))
    assert response.output_text == "".join(f"{n} " for n in range(150))
    assert response.error.reason == "stream_truncated"


@pytest.mark.parametrize("flush", [True, False])
async def test_nothing_waits_for_a_consumer_that_has_room(flush, autojump_clock):
    """What has come is shown before the next wait, however many reads it came in."""
    events, seen = [sse(f"{n} ") for n in range(100)], ""
    async with asked(reply(events, fault=Stall(sum(map(len, events))), flush=flush)) as stream:
        with trio.move_on_after(1):
            async for event in stream:
                seen += getattr(event, "delta", "")
    assert seen == "".join(f"{n} " for n in range(100))


async def test_a_slow_consumer_gets_everything_in_order(autojump_clock):
    """It stops the reading when the channel is full, and nothing is lost or waits for the network."""
    events = [*(sse(f"{n} ") for n in range(3000)), sse("", "stop"), b"data: [DONE]\n\n"]
    async with asked(reply(events)) as stream:
        async for event in stream:
            if getattr(event, "delta", "").endswith("7 "):
                await trio.sleep(0.01)
        response = stream.result()
    assert response.output_text == "".join(f"{n} " for n in range(3000))


async def test_a_bug_in_a_decoder_ends_the_call(monkeypatch, autojump_clock):
    """Also if it shows where nothing can be raised; what came before it is kept, and no wait is left behind."""
    before = ChatDecoder.on_event

    def on_event(self, name, event):
        if "bug" in event:
            raise ZeroDivisionError("a bug")
        before(self, name, event)

    monkeypatch.setattr(ChatDecoder, "on_event", on_event)
    events = [*map(sse, ("a", "b", "c")), b'data: {"bug": true}\n\n']
    with trio.fail_after(60):
        response = await ask(reply(events, fault=Stall(sum(map(len, events)))))
    assert response.output_text == "abc"
    assert "ZeroDivisionError" in str(response.error)


@pytest.mark.parametrize("per_read", [1, 50])
async def test_task_steps_follow_reads_of_the_socket(per_read):
    """A server that is ahead costs a task step for many tokens, however it has cut them."""
    events = [*(sse(f"{n} ") for n in range(4000)), sse("", "stop"), b"data: [DONE]\n\n"]
    reads = [b"".join(events[at : at + per_read]) for at in range(0, len(events), per_read)]
    counter = StepCounter()
    async with asked(reply(reads)) as stream:
        with instrumented(counter):
            response = await stream.until_done()
    assert response.output_text == "".join(f"{n} " for n in range(4000))
    assert counter.steps < 4000 / 20


async def test_result_after_each_event_copies_the_text_once():
    """The pieces that were joined for one result are one piece for the next."""
    collector = allm.StreamCollector()
    collector.add(allm.MessageStarted())
    for n in range(5000):
        collector.add(allm.TextDelta("t", f"{n} "))
        assert not n % 100 or len(collector.response().output_text) > n
        assert max(len(block.pieces) for block in collector._builder._blocks.values()) <= 101
    assert collector.response().output_text == "".join(f"{n} " for n in range(5000))


def test_a_long_text_is_kept_in_long_pieces():
    """Its pieces are joined every 1,024, in whichever way they come."""
    collector, builder = allm.StreamCollector(), MessageBuilder()
    for n in range(10_000):
        collector.add(allm.TextDelta("t", f"{n} "))
    for n in range(0, 10_000, 50):
        builder.more(allm.TextDelta, "t", [f"{n} " for n in range(n, n + 50)])
    for made in (collector._builder, builder):
        [block] = made._blocks.values()
        assert len(block.pieces) <= 1024 + 10
        assert made.length("text") == len("".join(f"{n} " for n in range(10_000)))
        assert made.content()[0].text == "".join(f"{n} " for n in range(10_000))


def test_a_decoder_and_the_fold_have_one_copy_of_a_long_text():
    """They join the same pieces, however these come, and keep the same long ones."""
    decoder, collector = MessageBuilder(), allm.StreamCollector()
    for n in range(0, 10_000, 60):
        for event in decoder.more(allm.TextDelta, "t", [f"é{n} " for n in range(n, n + 60)]):
            collector.add(event)
    [[block], [copy]] = (builder._blocks.values() for builder in (decoder, collector._builder))
    assert sum(one is other for one, other in zip(block.pieces, copy.pieces, strict=False)) >= 9
    assert type(decoder.content()[0].text) is type(collector.response().output_text) is str
    assert decoder.content() == collector.response().message.content


def test_a_text_of_exactly_one_long_piece():
    """It is a plain text."""
    builder = MessageBuilder()
    builder.more(allm.TextDelta, "t", [*["ab"] * 1024, ""])
    assert type(builder.content()[0].text) is str
    assert builder.content()[0].text == "ab" * 1024
