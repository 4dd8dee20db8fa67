"""A disk may be full at any byte. In real time, since limits are those of processes."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import allm
from allm import fake
from allm.testing import Reply, WireServer, replay

WRITER = Path(__file__).with_name("full_disk.py")
ANSWER = Reply.script("openai", [fake.text("word " * 4000)])


async def write(what, path, limit, url):
    """What the writer printed."""
    command = [sys.executable, WRITER, what, path, str(limit), url]
    ended = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    errors = ended.stderr.decode()
    assert ended.returncode == 0, errors
    return ended.stdout.decode().strip()


async def command_line(path, limit, url):
    """`allm chat` with its session in a JSON file."""
    command = [sys.executable, "-m", "allm", "chat", "-m", "openai:m", "--base-url", url, "--session", path]
    limited = ["prlimit", f"--fsize={limit}", *command] if limit else command
    ended = await trio.run_process(
        limited,
        stdin=b"hi" * 20_000 + b"\n",
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**os.environ, "OPENAI_API_KEY": "k"},
    )
    errors = ended.stderr.decode()
    assert "Traceback" not in errors
    assert (ended.returncode == 0) == (not errors)
    return errors.strip() or "ok"


async def messages_in_store(path):
    async with allm.session.open_store(f"sqlite:///{path}") as store:
        session, version = await store.load("s")
    allm.validate(session)
    return version, len(session.thread.messages)


async def exchanges_in(path):
    await trio.lowlevel.checkpoint()
    with replay(path) as cassette:
        return len(cassette.exchanges)


async def bytes_in(path):
    await trio.lowlevel.checkpoint()
    return len(path.read_bytes())


async def messages_in_file(path):
    await trio.lowlevel.checkpoint()
    return len(allm.from_json(path.read_text(), allm.Session).thread.messages)


WRITERS = {
    "a session in SQLite": (functools.partial(write, "sqlite"), messages_in_store, "chat.db"),
    "a cassette": (functools.partial(write, "cassette"), exchanges_in, "calls.json"),
    "an image": (functools.partial(write, "image"), bytes_in, "a.png"),
    "a chat in a JSON file": (command_line, messages_in_file, "chat.json"),
}


@pytest.mark.timeout(600)
@pytest.mark.sample(1)
@pytest.mark.parametrize("what", WRITERS)
async def test_a_full_disk(what, tmp_path, long, chance, record_property):
    """Where a file cannot be written to its end, the old one is intact, and the error says what happened."""
    writing, reading, name = WRITERS[what]
    path = tmp_path / name
    async with WireServer(ANSWER) as server:
        assert await writing(path, 0, server.url("openai")) == "ok"
        before, old_size = await reading(path), path.stat().st_size
        (tmp_path / "old").mkdir()
        for file in tmp_path.glob(f"{name}*"):
            shutil.copy(file, tmp_path / "old")
        full = 0
        for _ in range(12 if long else 1):
            limit = chance.randint(1, old_size if what != "a session in SQLite" else 2 * old_size)
            said = await writing(path, limit, server.url("openai"))
            if said == "ok":
                assert what == "a session in SQLite"
            else:
                full += 1
                assert any(word in said.lower() for word in ("too large", "full", "space", "i/o", "disk")), said
                assert await reading(path) == before, said
            for file in tmp_path.glob(f"{name}*"):
                file.unlink()
            for file in (tmp_path / "old").iterdir():
                shutil.copy(file, tmp_path)
        assert await writing(path, 0, server.url("openai")) == "ok"
    assert not list(tmp_path.glob(".*.unfinished"))
    record_property("writes that failed", full)


@contextlib.contextmanager
def small_disk(folder, kilobytes):
    """A file system of this size, where we may mount one."""
    folder.mkdir()
    command = ["/bin/mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False) if Path("/bin/mount").exists() else None
    if mounted is None or mounted.returncode:
        pytest.skip("mounting a small file system needs root; the limits of processes are tested")
    try:
        yield folder
    finally:
        subprocess.run(["/bin/umount", str(folder)], check=True)


@pytest.mark.timeout(600)
async def test_a_small_file_system(tmp_path, record_property):
    """A store in SQLite goes on until its disk is full, says so, and keeps every turn that it acknowledged."""
    with small_disk(tmp_path / "disk", 400) as folder:
        path, turns = folder / "chat.db", 0
        async with WireServer(ANSWER) as server:
            engine = allm.Engine(adapter=allm.providers.OpenAI(api_key="k", base_url=server.url("openai")), model="m")
            with pytest.raises(allm.SessionError, match="full") as caught:
                async with allm.session.open_store(f"sqlite:///{path}") as store:
                    while True:
                        async with store.turn("s") as turn:
                            await turn.reply(engine, "hi")
                        turns += 1
        assert caught.value.reason == "unavailable"
        assert (await messages_in_store(path))[1] == 2 * turns
    record_property("turns until the disk was full", turns)
