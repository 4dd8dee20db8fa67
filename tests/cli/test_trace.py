"""`allm trace`: what is read from a recording, whatever happened to it, and where the page goes."""

from __future__ import annotations

import json
import webbrowser

import pytest

import allm
from allm import fake
from allm.cli.trace.page import page_of
from allm.cli.trace.spans import read
from allm.cli.trace.summary import kind_of, totals_of
from allm.providers import Fake

BASE = 1_795_910_000.0


class Lines:
    """The lines of a recording, made by hand."""

    def __init__(self, run="r"):
        self.run, self.lines, self.ids = run, [], 0
        self.add(allm="telemetry", v=1, at=BASE, version="0", process=1, content=False)

    def add(self, **line):
        self.lines.append(json.dumps({"run": self.run, **line}).encode() + b"\n")

    def start(self, name, at, parent=None, **attributes):
        self.ids += 1
        self.add(name=name, phase="start", span=self.ids, parent=parent, at=BASE + at, attributes=attributes)
        return self.ids

    def stop(self, span, at, phase="stop", **attributes):
        self.add(name="?", phase=phase, span=span, at=BASE + at, duration=1.0, attributes=attributes)

    def event(self, name, at, parent=None, **attributes):
        self.ids += 1
        self.add(name=name, phase="event", span=self.ids, parent=parent, at=BASE + at, attributes=attributes)


def usage(tokens, cost=None):
    return {"type": "Usage", "input_tokens": tokens, "output_tokens": 1, "total_cost": cost}


def an_agent_in_a_tool():
    """A turn whose tool makes a call of its own, with a retry, a cancelled tool and a failure."""
    lines = Lines()
    chat = lines.start("chat", 0, model="m")
    step = lines.start("step", 0, chat)
    call = lines.start("model_call", 0, step)
    lines.event("adapter.retry", 0.5, call, attempt=1, delay=0.5, error={"type": "AdapterError"})
    lines.stop(call, 1, usage=usage(10, 0.5))
    tool = lines.start("tool", 1, step, tool_name="ask")
    inner = lines.start("generate", 1, tool)
    lines.stop(inner, 2, usage=usage(100, 0.25))
    lines.stop(tool, 2)
    other = lines.start("tool", 1, step, tool_name="wait")
    lines.stop(other, 2, outcome="cancelled")
    lines.stop(step, 3, usage=usage(10, 0.5))
    last = lines.start("step", 3, chat)
    lines.stop(last, 4, error={"type": "AdapterError"}, usage=usage(1))
    lines.stop(chat, 4, error={"type": "AdapterError"}, usage=usage(11))
    lines.start("embed", 4)
    lines.add(ended=True, at=BASE + 5)
    return lines.lines


def test_spans_are_a_tree():
    """In the order of their beginning, each parent before its children."""
    [recording], skipped = read(an_agent_in_a_tool())
    spans = recording.in_order()
    assert skipped == 0
    assert recording.ended
    assert [(span.depth, span.name, kind_of(span), span.status) for span in spans] == [
        (0, "chat", "turn", "error"),
        (1, "step", "step", "ok"),
        (2, "model_call", "model", "ok"),
        (3, "adapter.retry", "retry", "ok"),
        (2, "tool", "tool", "ok"),
        (3, "generate", "agent", "ok"),
        (2, "tool", "tool", "cancelled"),
        (1, "step", "step", "error"),
        (0, "embed", "request", "unfinished"),
    ]


def test_nothing_is_counted_twice():
    """Tokens are those of the innermost report; one failure is one, though each span around it has it too."""
    [recording], _ = read(an_agent_in_a_tool())
    assert totals_of(recording.in_order()) == {
        "requests": 2,
        "model_calls": 4,
        "tools": 2,
        "agents": 1,
        "retries": 1,
        "errors": 1,
        "cancelled": 1,
        "unfinished": 1,
        "input_tokens": 111,
        "output_tokens": 3,
        "cached_input_tokens": 0,
        "reasoning_tokens": 0,
        "cost": 0.75,
        "unpriced": 1,
    }


def test_a_file_that_ends_anywhere_can_be_read():
    """At most the last line is skipped, the tree is that of what is there, and the page can be made."""
    whole = b"".join(an_agent_in_a_tool())
    [recording], _ = read(an_agent_in_a_tool())
    names = {span.id: span.name for span in recording.in_order()}
    for end in range(len(whole) + 1):
        cut = whole[:end]
        recordings, skipped = read(cut.splitlines(keepends=True))
        assert skipped <= (not cut.endswith(b"\n"))
        for recording in recordings:
            assert {span.id: span.name for span in recording.in_order()}.items() <= names.items()
    assert page_of(recordings, name="run.jsonl").endswith(b"</html>\n")


def test_a_missing_line_costs_its_own_span_only():
    """Any one line can be lost: a start, an end, a parent."""
    lines = an_agent_in_a_tool()
    for number in range(len(lines)):
        [recording], skipped = read([*lines[:number], *lines[number + 1 :]])
        spans = recording.in_order()
        assert skipped == 0
        assert len(spans) >= 7
        page_of([recording], name="run.jsonl")
        totals_of(spans)


BROKEN = [
    b"\n",
    b"{",
    b"[1]\n",
    b"null\n",
    b"\xff\xfe\n",
    b'{"run": 3, "at": 1}\n',
    b'{"run": "r", "at": "soon"}\n',
    b'{"run": "r", "at": 1e400, "name": "x", "phase": "start", "span": 1}\n',
    b'{"run": "r", "at": 1, "name": "x", "phase": "middle", "span": 1}\n',
    b'{"run": "r", "at": 1, "name": ["x"], "phase": "start", "span": 1}\n',
    b'{"run": "r", "at": 1, "name": "x", "phase": ["start"], "span": 1}\n',
    b'{"run": "r", "at": 1, "name": "x", "phase": "start", "span": true}\n',
    b'{"run": "r", "at": 1, "lost": true}\n',
    b"[" * 100_000 + b"\n",
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda line: line[:40])
def test_a_broken_line_is_skipped(broken):
    """And counted, unless it is empty; the others are read."""
    lines = an_agent_in_a_tool()
    [recording], skipped = read([*lines[:5], broken, *lines[5:]])
    assert skipped == (broken != b"\n")
    assert len(recording.in_order()) == 9


STRANGE = [
    {"parent": 1},
    {"parent": 99},
    {"parent": "x"},
    {"attributes": [1]},
    {"attributes": {"usage": 3, "error": 4, "time_to_first_event": "x", "outcome": [1], "tool_name": {}, "model": 3}},
    {"attributes": {"usage": {"input_tokens": "x", "output_tokens": 1e300, "total_cost": True}}},
    {"duration": -5, "phase": "stop"},
    {"duration": "x", "phase": "stop"},
    {"at": -BASE},
    {"content": 3},
    {"name": ""},
    {"name": "x" * 10**6},
]


@pytest.mark.parametrize("strange", STRANGE, ids=lambda fields: str(fields)[:40])
def test_a_strange_line_is_shown(strange):
    """Fields of other types than those that are written end nothing, and a circle of parents is none."""
    lines = Lines()
    lines.add(**{"name": "tool", "phase": "start", "span": 1, "parent": 2, "at": BASE, **strange})
    lines.add(name="generate", phase="stop", span=2, parent=1, at=BASE)
    recordings, _ = read(lines.lines)
    assert len(recordings[0].in_order()) == 2
    page_of(recordings, name="x")


def test_recordings_in_one_file_are_told_apart():
    """The ids of spans are only unique in a process."""
    first, second = Lines("a"), Lines("b")
    for lines, name in ((first, "one"), (second, "two")):
        lines.stop(lines.start(name, 0), 1)
    mixed = [line for pair in zip(first.lines, second.lines, strict=True) for line in pair]
    recordings, _ = read(mixed)
    assert [[span.name for span in recording.in_order()] for recording in recordings] == [["one"], ["two"]]


def test_events_that_were_lost_are_counted():
    """A recording says how many it could not keep; there may be several such lines."""
    lines = Lines()
    lines.start("chat", 0)
    for lost in (2, 3):
        lines.add(lost=lost, at=BASE + 1)
    [recording], skipped = read(lines.lines)
    assert (recording.lost, skipped) == (5, 0)
    assert b'"lost":5' in page_of([recording], name="x")


def test_a_deep_tree_is_read():
    """Without recursion."""
    lines = Lines()
    for depth in range(5_000):
        lines.start("span", depth, depth or None)
    [recording], _ = read(lines.lines)
    assert recording.in_order()[-1].depth == 4_999
    page_of([recording], name="x")


HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> {{SCRIPT}} {{DATA}} \u2028"


def test_what_was_recorded_is_data_in_the_page():
    """No text of it can end the script element that it stands in, or take the place of another part."""
    lines = Lines()
    lines.start(HOSTILE, 0, None, text=HOSTILE)
    recordings, _ = read(lines.lines)
    page = page_of(recordings, name=HOSTILE).decode()
    plain = page_of([], name="").decode()
    assert page.lower().count("<script") == plain.lower().count("<script") == 2
    assert page.count("<!--") == plain.count("<!--")
    data = page.partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(data)["recordings"][0]["spans"][0]["attributes"] == {"text": HOSTILE}


def test_the_page_loads_nothing():
    """No address stands in it but the name of SVG, and its policy forbids connections."""
    page = page_of([], name="x").decode()
    assert page.count("http") == page.count("http://www.w3.org/2000/svg") + page.count("http-equiv")
    assert "default-src 'none'" in page


@pytest.fixture
async def recorded(tmp_path):
    """A recording of one call."""
    path = tmp_path / "run.jsonl"
    with allm.telemetry.record(path):
        await allm.generate(allm.Engine(adapter=Fake(script=[fake.text("Hello")]), model="m"), "Hi")
    return path


async def test_the_page_is_written_beside_the_recording(allm_main, recorded):
    """Again and again, but over no file that is something else."""
    page = recorded.with_suffix(".html")
    for _ in range(2):
        code, output, beside = await allm_main("trace", str(recorded))
        assert (code, output) == (0, "")
        assert f"{page}: " in beside
        assert page.read_bytes().startswith(b"<!doctype html>")
    page.write_text("mine")
    code, _, beside = await allm_main("trace", str(recorded))
    assert (code, page.read_text()) == (2, "mine")
    assert "--force" in beside
    assert (await allm_main("trace", str(recorded), "--force"))[0] == 0


async def test_the_page_goes_where_it_is_asked_for(allm_main, recorded, tmp_path, monkeypatch):
    """Into a file, to standard output, or into the browser."""
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    code, *_ = await allm_main("trace", str(recorded), "-o", str(tmp_path / "my page.html"), "--open")
    assert code == 0
    assert opened == [(tmp_path / "my page.html").as_uri()]
    code, output, _ = await allm_main("trace", str(recorded), "-o", "-")
    assert code == 0
    assert output == (tmp_path / "my page.html").read_text(encoding="utf-8")


async def test_a_broken_recording_is_shown(allm_main, recorded):
    """With a count of the lines that could not be read."""
    recorded.write_bytes(recorded.read_bytes() + b'{"half\n\xff\n')
    code, _, beside = await allm_main("trace", str(recorded))
    assert code == 0
    assert "2 unreadable lines skipped" in beside


@pytest.mark.parametrize("content", [b"", b"{}\n", b"hello\n", b'{"v": 1, "exchanges": []}'])
async def test_another_file_is_an_error(allm_main, tmp_path, content):
    """It says what was expected."""
    (tmp_path / "a.jsonl").write_bytes(content)
    code, output, beside = await allm_main("trace", str(tmp_path / "a.jsonl"))
    assert (code, output) == (2, "")
    assert "allm.telemetry.record" in " ".join(beside.split())
    assert not (tmp_path / "a.html").exists()
