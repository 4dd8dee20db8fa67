"""Worker threads under a test clock that jumps: no deadline passes while one works."""

from __future__ import annotations

import time

import pytest
import trio

import allm
from allm.providers import Fake, FakeSpeech

SLOW = 0.03  # seconds of real time, in which such a clock would jump


async def keep_a_conversation(folder):
    """In a database."""
    url = f"sqlite:///{folder / 'chat.db'}"
    async with allm.session.open_store(url) as store, store.turn("trip") as turn:
        await turn.reply(allm.Engine(adapter=Fake([allm.fake.text("Hello.")])), "Hi")


async def keep_a_file(folder):
    """Of a provider."""
    engine = allm.Engine(adapter=Fake())
    kept = await allm.files.upload(engine, allm.Document.from_bytes(b"text", "text/plain"))
    path = await allm.files.download(engine, kept, folder / "a.txt")
    assert path.stat().st_size == len(b"text")


async def keep_speech(folder):
    """As it arrives."""
    async with allm.stream_synthesize(allm.Engine(speech_adapter=FakeSpeech()), "Hello there.") as speech:
        path = await speech.save(folder / "hello.wav")
        assert path.stat().st_size == len(speech.result().audio.data)


@pytest.mark.parametrize("keep", [keep_a_conversation, keep_a_file, keep_speech])
async def test_a_thread_is_waited_for(autojump_clock, monkeypatch, tmp_path, keep):
    """Whatever it does for the library, and however slow the disk is."""
    run_sync, threads = trio.to_thread.run_sync, []

    async def slowly(function, *args, **options):
        threads.append(function)
        return await run_sync(lambda: (time.sleep(SLOW), function(*args))[1], **options)

    monkeypatch.setattr(trio.to_thread, "run_sync", slowly)
    with trio.fail_after(1):
        await keep(tmp_path)
    assert threads
