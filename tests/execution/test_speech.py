"""Streamed speech holds one connection: every way out of its block closes it before the next statement runs."""

from __future__ import annotations

import gzip
import importlib
import os

import pytest
import trio

import allm
from allm.providers import FakeSpeech, OpenAISpeech
from allm.testing import Reply, Stall, WireServer

SOUND = bytes(range(256)) * 40


@pytest.fixture(params=["httpx", "httpx2"])
async def library(request):
    """Each installed HTTP library."""
    return pytest.importorskip(request.param, reason="tested where it is installed")


@pytest.fixture
async def client(library):
    async with library.AsyncClient(timeout=None) as client:
        yield client


@pytest.fixture
async def server():
    async with WireServer() as server:
        yield server


def engine_for(server, client, **fields):
    adapter = OpenAISpeech(api_key="test", base_url=f"{server.base_url}/v1", http_client=client)
    return allm.Engine(speech_adapter=adapter, speech_model="tts-1", **fields)


def sound(**fields):
    return Reply(body=SOUND, headers={"content-type": "audio/mpeg"}, **{"chunks": 20, **fields})


def speaker(*script, **fields):
    return allm.Engine(speech_adapter=FakeSpeech(script), **fields)


async def cancel_after(checkpoints, scope):
    for _ in range(checkpoints):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def leave_by_break(engine):
    async with allm.stream_synthesize(engine, "hi") as speech:
        async for _ in speech:
            break
    return speech


async def leave_by_exception(engine):
    with pytest.raises(ZeroDivisionError):
        async with allm.stream_synthesize(engine, "hi") as speech:
            await anext(speech)
            raise ZeroDivisionError
    return speech


async def leave_by_cancel_while_reading(engine):
    with trio.CancelScope() as scope:
        async with allm.stream_synthesize(engine, "hi") as speech:
            await anext(speech)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_after, 40, scope)
                async for _ in speech:
                    pass
    assert scope.cancelled_caught
    return speech


async def leave_by_cancel_while_busy(engine):
    with trio.CancelScope() as scope:
        async with allm.stream_synthesize(engine, "hi") as speech:
            await anext(speech)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    return speech


EARLY_EXITS = [leave_by_break, leave_by_exception, leave_by_cancel_while_reading, leave_by_cancel_while_busy]


@pytest.mark.parametrize("leave", EARLY_EXITS)
async def test_early_exits_close_the_connection(server, client, leave):
    """A break, an exception or a cancellation closes the connection and frees the place."""
    server.add(sound(fault=Stall(3000)))
    engine = engine_for(server, client, limiter=trio.CapacityLimiter(1))
    speech = await leave(engine)
    assert engine.limiter.borrowed_tokens == 0
    with trio.fail_after(30):
        await server.wait_outcomes()
        await server.wait_idle()
    assert server.requests[0].outcome == "client_closed"
    assert speech.result().audio.data
    assert SOUND.startswith(speech.result().audio.data)
    assert not speech.result().complete


async def test_leaving_a_compressed_answer(server, client):
    """Leaving a compressed response closes its connection too."""
    body = gzip.compress(SOUND + os.urandom(9000))
    server.add(Reply(body=body, headers={"content-encoding": "gzip"}, chunks=20, fault=Stall(6000)))
    async with allm.stream_synthesize(engine_for(server, client), "hi") as speech:
        async for piece in speech:
            assert SOUND.startswith(piece[:100])
            break
    with trio.fail_after(30):
        await server.wait_idle()
    assert speech.result().audio.data


async def test_the_normal_end_leaves_the_connection_reusable(server, client):
    """After reading to the end the next call uses the same connection."""
    server.add(sound(), sound())
    for _ in range(2):
        async with allm.stream_synthesize(engine_for(server, client), "hi") as speech:
            async for _piece in speech:
                pass
        assert (speech.result().audio.data, speech.result().complete) == (SOUND, True)
    assert server.statistics().connections_total == 1


@pytest.mark.parametrize("checkpoints", range(31))
async def test_cancel_at_any_checkpoint_leaves_the_engine_usable(server, client, checkpoints):
    """The next call works, and no connection stays open."""
    server.default = sound()
    engine = engine_for(server, client, limiter=trio.CapacityLimiter(1))
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_after, checkpoints, scope)
            await allm.synthesize(engine, "first")
    assert engine.limiter.borrowed_tokens == 0
    with trio.fail_after(30):
        speech = await allm.synthesize(engine, "second")
    assert (speech.audio.data, speech.complete) == (SOUND, True)
    await client.aclose()
    with trio.fail_after(30):
        await server.wait_idle()


async def test_the_place_at_the_limiter_is_held_while_the_connection_is(server, client):
    """It is held from the request to the end of audio or block."""
    server.default = sound()
    engine = engine_for(server, client, limiter=trio.CapacityLimiter(2))
    async with allm.stream_synthesize(engine, "one") as first, allm.stream_synthesize(engine, "two") as second:
        await anext(first)
        assert engine.limiter.borrowed_tokens == 2
        async for _ in second:
            pass
        assert engine.limiter.borrowed_tokens == 1
        assert (await allm.synthesize(engine, "three")).complete
    assert engine.limiter.borrowed_tokens == 0


async def test_each_piece_is_a_checkpoint():
    """A buffered piece is a checkpoint too, and a cancellation there loses none."""

    class Buffered(FakeSpeech):
        def open(self, prepared):
            return Opened()

    class Opened:
        async def __aenter__(self):
            return importlib.import_module("allm.runtime.adapters").SpokenAnswer(pieces=Pieces(), mime_type=None)

        async def __aexit__(self, *_):
            pass

    class Pieces:
        left = 5

        async def __anext__(self):
            self.left -= 1
            if self.left < 0:
                raise StopAsyncIteration
            return b"a"

    async with allm.stream_synthesize(allm.Engine(speech_adapter=Buffered()), "x") as speech:
        for _ in range(2):
            with trio.CancelScope() as scope:
                scope.cancel()
                await anext(speech)
            assert scope.cancelled_caught
            await anext(speech)
        async for _ in speech:
            with trio.testing.assert_checkpoints():
                await anext(speech, None)
        with pytest.raises(StopAsyncIteration), trio.testing.assert_checkpoints():
            await anext(speech)
    assert (speech.result().audio.data, speech.result().complete) == (b"aaaaa", True)


async def test_what_was_cut_short_is_not_complete(autojump_clock):
    """Reading on after a failure, a limit or a cancellation is an error."""
    for script in ((b"a", allm.AdapterError("cut", reason="stream_truncated")), (b"a", 60, b"b")):
        async with allm.stream_synthesize(speaker(*script), "x", first_event_timeout=5) as speech:
            await anext(speech)
            with pytest.raises(allm.AdapterError):
                await anext(speech)
            with pytest.raises(allm.StreamError, match="cut short"):
                await anext(speech)
        assert not speech.result().complete
    async with allm.stream_synthesize(speaker(b"a", 60, b"b"), "x") as speech:
        with trio.move_on_after(5):
            async for _ in speech:
                pass
        with pytest.raises(allm.StreamError, match="cut short"):
            await anext(speech)
    assert not speech.result().complete


async def test_one_reader(autojump_clock):
    """A second task that reads at the same time gets a clear error."""
    async with allm.stream_synthesize(speaker(b"a", 60, b"b"), "x") as speech, trio.open_nursery() as nursery:
        await anext(speech)
        nursery.start_soon(anext, speech)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(allm.StreamError, match="one reader"):
            await anext(speech)


async def test_the_limit_of_the_call_does_not_end_the_code_of_the_block(autojump_clock):
    """The limit does not cancel the body; the next read raises."""
    async with allm.stream_synthesize(speaker(b"a", 1, b"b"), "x", request_timeout=5) as speech:
        await anext(speech)
        await trio.sleep(10)
        with pytest.raises(allm.AdapterError, match="request_timeout"):
            await anext(speech)


async def test_exceptions_of_the_block_are_its_own(server, client, library):
    """Even an exception of the HTTP library, if the body raised it."""
    for error in (library.ReadTimeout("theirs"), library.InvalidURL("theirs"), StopAsyncIteration("theirs")):
        server.add(sound())
        with pytest.raises(type(error)) as caught:
            async with allm.stream_synthesize(engine_for(server, client), "hi") as speech:
                await anext(speech)
                raise error
        assert caught.value is error
