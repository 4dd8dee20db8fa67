"""`allm.telemetry.record`: what is in the file, and that nothing about the file disturbs a call."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import threading

import attrs
import pytest

import allm
from allm import fake
from allm.http.keys import Secret
from allm.providers import Fake
from allm.runtime.telemetry import start_span
from allm.telemetry import recording
from allm.telemetry.event_lines import MOST_CHARACTERS, plain
from allm.testing import Reply, WireServer


def engine(*scripts, **options):
    return allm.Engine(adapter=Fake(scripts=list(scripts) or [[fake.text("Hello")]]), model="m", **options)


def lines_in(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def test_each_event_is_a_line(tmp_path):
    """After a header, with times since 1970; the last line says that the block was left."""
    heard = []
    detach = allm.telemetry.attach(heard.append)
    with allm.telemetry.record(tmp_path / "run.jsonl"):
        await allm.generate(engine([fake.text("Hello"), fake.usage(output_tokens=7)]), "Hi")
    detach()
    await allm.generate(engine(), "not recorded")

    header, *events, end = lines_in(tmp_path / "run.jsonl")

    assert (header["allm"], header["v"], header["content"], header["process"]) == ("telemetry", 1, False, os.getpid())
    assert [(line["name"], line["phase"]) for line in events] == [(event.name, event.phase) for event in heard]
    assert len(events) >= 2
    assert events[-1]["attributes"]["usage"]["output_tokens"] == 7
    assert events[-1]["at"] - events[0]["at"] == pytest.approx(events[-1]["duration"], abs=1e-4)
    assert abs(events[0]["at"] - header["at"]) < 60
    assert end["ended"] is True
    assert len({line["run"] for line in (header, *events, end)}) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_new_file_is_its_owners(tmp_path):
    """A recording may have conversations in it."""
    with allm.telemetry.record(tmp_path / "run.jsonl"):
        pass
    assert (tmp_path / "run.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_file_is_continued_on_a_new_line(tmp_path):
    """Also one whose last line was cut off: what follows it is whole."""
    path = tmp_path / "run.jsonl"
    path.write_text('{"half')
    with allm.telemetry.record(path):
        start_span("one").stop()
    with allm.telemetry.record(path):
        pass

    first, *others = path.read_bytes().splitlines()

    assert first == b'{"half'
    assert [json.loads(line).get("allm") for line in others] == ["telemetry", None, None, None, "telemetry", None]


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path):
    """It is one of the program, so it is raised before anything runs."""
    with pytest.raises(FileNotFoundError), allm.telemetry.record(tmp_path / "no folder" / "run.jsonl"):
        raise AssertionError


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")  # noqa: PTH110  (a device)
async def test_a_full_disk_is_one_warning(caplog):
    """The calls do not notice."""
    with allm.telemetry.record("/dev/full"):
        assert allm.unwrap(await allm.generate(engine(), "Hi")) == "Hello"
        assert allm.unwrap(await allm.generate(engine(), "Hi")) == "Hello"
    assert [record.message for record in caplog.records] == [
        "recording /dev/full has ended early: No space left on device"
    ]


def test_a_file_ends_before_its_limit(tmp_path, caplog):
    """With whole lines, and one warning."""
    path = tmp_path / "run.jsonl"
    with allm.telemetry.record(path, max_bytes=1_000):
        for _ in range(100):
            start_span("span").stop()
    assert path.stat().st_size <= 1_000
    assert len(caplog.records) == 1
    assert "its limit is 1000" in caplog.text
    assert lines_in(path)[-1].items() >= {"ended": True, "full": True}.items()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a named pipe")
async def test_a_disk_that_hangs_holds_nothing_up(tmp_path, monkeypatch, caplog):
    """Calls go on, what has no place is counted, and the end of the block waits for a limited time."""
    monkeypatch.setattr(recording, "MOST_WAITING", 100_000)
    monkeypatch.setattr(recording, "_CLOSING", 0.0)
    path = tmp_path / "pipe"
    os.mkfifo(path)  # without a reader: a write waits as soon as the pipe is full
    with allm.telemetry.record(path):
        for _ in range(3_000):
            start_span("span").stop()
        assert allm.unwrap(await allm.generate(engine(), "Hi")) == "Hello"
    assert "the disk is too slow" in caplog.text

    [thread] = [thread for thread in threading.enumerate() if thread.name == "allm recording"]
    with path.open("rb") as pipe:
        lines = [json.loads(line) for line in pipe]
    thread.join()
    lost = sum(line.get("lost", 0) for line in lines)
    assert lost > 0
    assert lost + sum(line.get("name") == "span" for line in lines) >= 6_000
    assert lines[-1].get("ended") or lines[-1].get("lost")


def test_a_span_may_end_in_the_middle_of_another_one(tmp_path):
    """Python may collect an abandoned generator at any line, and with it end the span that it is in."""
    path, count = tmp_path / "run.jsonl", 0

    def at_every_line(frame, _what, _argument):
        nonlocal count
        if frame.f_code.co_filename.endswith(("recording.py", "threading.py", "queue.py")):
            start_span("inner").stop()
            count += 1
        return at_every_line

    with allm.telemetry.record(path):
        span, before = start_span("outer"), sys.gettrace()
        sys.settrace(at_every_line)
        span.stop()
        sys.settrace(before)
    ended = [line["name"] for line in lines_in(path) if line.get("phase") == "stop"]
    assert count > 5
    assert sorted(ended) == ["inner"] * count + ["outer"]


KILLED = """
import os, signal, sys, allm
from allm.runtime.telemetry import start_span
with allm.telemetry.record(sys.argv[1]):
    start_span("call").stop()
    start_span("unfinished")
    while b"unfinished" not in open(sys.argv[1], "rb").read():
        pass
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_process_leaves_what_it_had_written(tmp_path):
    """Lines are written while the program runs, not at its end."""
    path = tmp_path / "run.jsonl"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert [line.get("name") for line in lines_in(path)] == [None, "call", "call", "unfinished"]


FORKED = """
import os, sys, allm
from allm.runtime.telemetry import start_span
with allm.telemetry.record(sys.argv[1]):
    start_span("before").stop()
    child = os.fork()
    for _ in range(1_000):
        start_span("child" if child == 0 else "parent").stop()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_is_not_recorded(tmp_path):
    """It has no thread that writes, and must not wait for one."""
    path = tmp_path / "run.jsonl"
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED, str(path)], check=True, timeout=30)
    assert [line.get("name") for line in lines_in(path)] == [None, *["before"] * 2, *["parent"] * 2_000, None]


def test_two_recordings_in_one_file(tmp_path):
    """Each line is whole and says which it belongs to, also where two processes write at the same time."""
    path = tmp_path / "run.jsonl"
    program = (
        "import sys, allm\nfrom allm.runtime.telemetry import start_span\n"
        "with allm.telemetry.record(sys.argv[1]):\n    [start_span('x' * 5_000).stop() for _ in range(500)]"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path)]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]

    # There may be an empty line: one process saw half of what the other was writing, and began a new line.
    lines = [json.loads(line) for line in path.read_bytes().splitlines() if line]

    assert len(lines) == 2 * (1 + 1_000 + 1)
    assert len({line["run"] for line in lines}) == 2


def test_calls_from_asyncio_and_from_threads_are_recorded(tmp_path):
    """Telemetry is of the process, wherever the calls are made."""
    path = tmp_path / "run.jsonl"
    with allm.telemetry.record(path):
        allm.blocking.generate(engine(), "Hi")
        asyncio.run(allm.aio.generate(engine(), "Hi"))
    names = [line.get("name") for line in lines_in(path) if line.get("phase") == "stop"]
    assert names.count("generate") == 2


class Rude:
    def __repr__(self):
        raise RuntimeError("no")


class RudeError(Exception):
    def __str__(self):
        raise RuntimeError("no")


class RudeMapping(dict):
    def items(self):
        raise RuntimeError("no")


@attrs.frozen
class Hiding:
    seen: int = 1
    unset: str | None = None
    hidden: str = attrs.field(default="secret", repr=False)


VALUES = [
    (None, None),
    (math.nan, "nan"),
    (10**400, "an int of many digits"),
    (b"12345", "5 bytes"),
    ((1, {"a": [2]}), [1, {"a": [2]}]),
    ({3: 4}, {"3": 4}),
    (Rude(), "a Rude"),
    (Hiding(), {"type": "Hiding", "seen": 1}),
    (Secret("sk-0123456789"), "Secret('***')"),
    (ValueError("no"), {"type": "ValueError", "message": "no"}),
    (RudeError(), {"type": "RudeError", "message": "RudeError"}),
    (RudeMapping(), "a RudeMapping"),
    ({Rude(): 1}, "a dict"),
    (allm.Image.from_base64("iVBORw0KGgo" + "A" * 3_000), "Image(base64=<3012 characters>, mime_type='image/png')"),
    (allm.Document.from_text("x" * 3_000), "Document(text=<3000 characters>, mime_type='text/plain')"),
    (allm.Audio.from_bytes(b"x" * 3_000), "Audio(bytes=<3000 bytes>, mime_type=None)"),
    (allm.Video.from_base64("A" * 3_000, "video/mp4"), "Video(base64=<3000 characters>, mime_type='video/mp4')"),
    ("\ud800", "\ud800"),
    (allm.Usage(input_tokens=3), {"input_tokens": 3}),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=lambda value: type(value).__name__)
def test_any_value_becomes_plain(value, expected):
    """Whatever an attribute is, its line can be written, and shows nothing that its `repr` hides."""
    assert plain(value) == expected


def test_an_error_has_its_facts():
    """The reason, the status and the message, but no headers, which may identify an account."""
    error = allm.AdapterError("busy", reason="overloaded", provider="p", status=529, headers={"x-account": "me"})
    found = plain(error)
    assert found.items() >= {"type": "AdapterError", "reason": "overloaded", "status": 529, "message": "busy"}.items()
    assert "headers" not in found


async def test_content_is_recorded_if_asked_for(tmp_path):
    """What was said is in the file then, and otherwise nowhere in it."""
    tool = allm.Tool("look", "Look.", handler=lambda _arguments, _context: "canary result")
    scripts = [[fake.tool_call("look", {"at": "canary argument"})], [fake.text("canary answer")]]
    for content in (True, False):
        with allm.telemetry.record(tmp_path / f"{content}.jsonl", content=content):
            await allm.chat(engine(*scripts), "canary question", tools=[tool])
    said, silent = ((tmp_path / f"{content}.jsonl").read_text() for content in (True, False))
    for word in ("question", "argument", "result", "answer"):
        assert f"canary {word}" in said
    assert "canary" not in silent
    assert said.count("\n") == silent.count("\n")


def test_of_a_long_conversation_the_end_is_kept():
    """What was said last is what a reader looks for."""
    messages = [allm.user(f"{number} " + "x" * 1_000) for number in range(1_000)]
    kept = plain({"messages": messages})["messages"]
    assert kept[0] == "..."
    assert kept[-1]["content"].startswith("999 ")
    assert 100 < len(kept) < 250


def test_a_line_has_a_limited_size():
    """However long its texts are, and however many there are."""
    endless = []
    endless.append(endless)
    for value in ("x" * 10**7, ["y" * 1_000] * 10_000, {str(n): n for n in range(10**6)}, endless):
        assert len(json.dumps(plain(value))) < MOST_CHARACTERS * 4
    assert plain("x" * 10**6).endswith("(800000 characters more)")


async def test_no_key_is_in_a_recording(tmp_path):
    """Not even one that the provider sends back."""
    key = "sk-canary-0123456789-abcdefghijklmnopqrstuvwxyz"
    path = tmp_path / "run.jsonl"
    async with WireServer() as server:
        adapter = allm.providers.Anthropic(api_key=key, base_url=server.url("anthropic"))
        server.add(Reply.json({"type": "error", "error": {"type": key, "message": f"{key} is wrong"}}, status=401))
        with allm.telemetry.record(path, content=True), allm.telemetry.span("request", key=Secret(key)):
            await allm.generate(allm.Engine(adapter=adapter, model="m", retry=None), "Hi")
    text = path.read_text()
    assert "is wrong" in text
    assert key[:16] not in text
