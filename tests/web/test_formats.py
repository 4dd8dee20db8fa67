"""The formats as they are: what each writes for a turn, the rules of its protocol, and which events it leaves out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings, strategies as st

import allm
from allm import fake
from allm.web import ag_ui_events, plain, ui_chunks
from allm.web.ag_ui_events import AgUiEvents
from allm.web.frames import Frames, frame
from allm.web.plain import PlainEvents
from allm.web.ui_chunks import UiChunks
from turn_scripts import options, scripts
from web_shapes import SCRIPTS, turn, written

SCRIPT = [
    [fake.reasoning("Hm."), fake.text("I look."), fake.tool_call("good", {"a": 1}, id="c"), fake.usage(input_tokens=3)],
    [fake.text("It is 1.")],
]


def data_of(written_bytes):
    """The data of each frame."""
    frames = written_bytes.split(b"\n\n")
    assert frames.pop() == b""
    return [found.partition(b"data: ")[2].decode() for found in frames]


def chunks(form, events, error=None):
    return [json.loads(data) for data in data_of(written(form, events, error)) if data != "[DONE]"]


def test_the_ui_stream_of_a_turn():
    """Chunk for chunk, as the AI SDK's own servers write them."""
    events, _ = turn(SCRIPT)
    data = written(UiChunks(message_id="m", metadata={"mine": 1}), events)

    assert data.endswith(b"data: [DONE]\n\n")
    assert chunks(UiChunks(message_id="m", metadata={"mine": 1}), events) == [
        {"type": "start", "messageId": "m", "messageMetadata": {"mine": 1}},
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "1:reasoning-0"},
        {"type": "reasoning-delta", "id": "1:reasoning-0", "delta": "Hm."},
        {"type": "text-start", "id": "1:text-1"},
        {"type": "text-delta", "id": "1:text-1", "delta": "I look."},
        {"type": "tool-input-start", "toolCallId": "c", "toolName": "good"},
        {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": '{"a":1}'},
        {"type": "tool-input-available", "toolCallId": "c", "toolName": "good", "input": {"a": 1}},
        {"type": "reasoning-end", "id": "1:reasoning-0"},
        {"type": "text-end", "id": "1:text-1"},
        {"type": "tool-output-available", "toolCallId": "c", "output": {"got": {"a": 1}}},
        {"type": "finish-step"},
        {"type": "start-step"},
        {"type": "text-start", "id": "2:text-0"},
        {"type": "text-delta", "id": "2:text-0", "delta": "It is 1."},
        {"type": "text-end", "id": "2:text-0"},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "stop", "messageMetadata": {"usage": {"input_tokens": 3}}},
    ]


def test_the_ag_ui_events_of_a_turn():
    """Event for event."""
    events, _ = turn(SCRIPT)
    step, reasoning, call = {"stepName": "step 1"}, {"messageId": "r:1:reasoning-0"}, {"toolCallId": "c"}
    answer = {"messageId": "r:1"}

    assert chunks(AgUiEvents("t", "r"), events) == [
        {"type": "RUN_STARTED", "threadId": "t", "runId": "r"},
        {"type": "STEP_STARTED", **step},
        {"type": "REASONING_START", **reasoning},
        {"type": "REASONING_MESSAGE_START", **reasoning, "role": "reasoning", "metadata": {"answer": "r:1"}},
        {"type": "REASONING_MESSAGE_CONTENT", **reasoning, "delta": "Hm."},
        {"type": "TEXT_MESSAGE_START", **answer, "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", **answer, "delta": "I look."},
        {"type": "TOOL_CALL_START", **call, "toolCallName": "good", "parentMessageId": "r:1"},
        {"type": "TOOL_CALL_ARGS", **call, "delta": '{"a":1}'},
        {"type": "TOOL_CALL_END", **call},
        {"type": "REASONING_MESSAGE_END", **reasoning},
        {"type": "REASONING_END", **reasoning},
        {"type": "TEXT_MESSAGE_END", **answer},
        {"type": "TOOL_CALL_RESULT", "messageId": "c:result", **call, "content": '{"got":{"a":1}}', "role": "tool"},
        {"type": "STEP_FINISHED", **step},
        {"type": "STEP_STARTED", "stepName": "step 2"},
        {"type": "TEXT_MESSAGE_START", "messageId": "r:2", "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "r:2", "delta": "It is 1."},
        {"type": "TEXT_MESSAGE_END", "messageId": "r:2"},
        {"type": "STEP_FINISHED", "stepName": "step 2"},
        {
            "type": "RUN_FINISHED",
            "threadId": "t",
            "runId": "r",
            "outcome": {"type": "success"},
            "usage": [{"inputTokens": 3, "model": "fake"}],
        },
    ]


def test_a_page_gets_what_it_may_show():
    """Neither the conversation with its system prompt, nor headers, nor what a provider wants back."""
    engine_secret = "You are a secret."
    events, _ = turn(SCRIPT)
    events = [
        allm.MessageStarted(id="r", headers={"x-organization": "org-1"}, request_id="req-1"),
        allm.ReasoningCompleted("x", "hm", provider="anthropic", signature="sig-1"),
        allm.MessagesAdded([allm.system(engine_secret), allm.user("Go on.")]),
        *events,
    ]
    data = written(PlainEvents(), events)

    for secret in (b"org-1", b"req-1", b"sig-1", engine_secret.encode(), b"thread"):
        assert secret not in data
    assert b"Go on." in data


HOSTED = {allm.HostedCallStarted, allm.HostedCallCompleted}  # their clients would take them for calls of the page


@pytest.mark.parametrize(
    ("table", "left_out"),
    [
        (plain._SHOWN, {allm.ProviderPartCompleted, allm.RawChunk}),
        (ui_chunks._CHUNKS, {*HOSTED, allm.ProviderPartCompleted, allm.RawChunk, allm.MessagesAdded}),
        (ag_ui_events._CHUNKS, {*HOSTED, allm.ProviderPartCompleted, allm.RawChunk}),
    ],
)
def test_every_event_is_thought_of(table, left_out):
    """Whoever adds an event decides what each format makes of it."""
    assert {*table} | left_out == {*get_args(allm.Event)}
    assert not {*table} & left_out


def check_ui_rules(found):
    """What the AI SDK's reader asks for: parts are begun before they grow, and each output has its call."""
    open_parts, calls = set(), set()
    assert [chunk["type"] for chunk in found].count("start") == 1
    for chunk in found:
        kind, _, what = chunk["type"].partition("-")
        if kind in {"text", "reasoning"}:
            part = (kind, chunk["id"])
            assert (part in open_parts) == (what != "start")
            (open_parts.add if what == "start" else open_parts.discard if what == "end" else open_parts.__contains__)(
                part
            )
        elif chunk["type"] in {"tool-input-start", "tool-input-available"}:
            calls.add(chunk["toolCallId"])
        elif "toolCallId" in chunk:
            assert chunk["toolCallId"] in calls
    assert not open_parts


def check_ag_ui_rules(found):
    """What the verifier of AG-UI asks for: one run, and whatever is started is ended in it."""
    assert found[0]["type"] == "RUN_STARTED"
    assert found[-1]["type"] in {"RUN_FINISHED", "RUN_ERROR"}
    open_things = set()
    for chunk in found[1:-1]:
        kind = chunk["type"]
        thing = (kind.rpartition("_")[0], chunk.get("messageId") or chunk.get("toolCallId") or chunk.get("stepName"))
        if kind.endswith(("_START", "_STARTED")):
            assert thing not in open_things
            open_things.add(thing)
        elif kind.endswith(("_END", "_FINISHED")):
            open_things.remove(thing)
        elif kind.endswith(("_CONTENT", "_ARGS")):
            assert thing in open_things
            assert chunk["delta"]
    assert not open_things


@settings(max_examples=60, deadline=None)
@given(scripts, options, st.integers(0, 60), st.booleans())
def test_the_rules_hold_for_any_turn_and_any_beginning_of_one(given, chosen, cut, fails):
    """Wherever a stream ends or fails, what was begun is ended."""
    events, _ = turn(given, **chosen)
    error = RuntimeError("no") if fails else None
    for some in (events, events[:cut]):
        check_ui_rules(chunks(UiChunks(), some, error))
        check_ag_ui_rules(chunks(AgUiEvents("t", "r"), some, error))
        assert chunks(PlainEvents(), some, error)[-1] == {"type": "End"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_rules_hold_for_every_shape(name):
    """Each shape, in each format; a frame is one line of JSON, whatever the text."""
    events, _ = turn(SCRIPTS[name])
    check_ui_rules(chunks(UiChunks(), events))
    check_ag_ui_rules(chunks(AgUiEvents("t", "r"), events))
    for form in (PlainEvents(), PlainEvents(whole=True), UiChunks(), AgUiEvents("t", "r")):
        for found in written(form, events).split(b"\n\n")[:-1]:
            assert b"\n" not in found
            assert b"\r" not in found


def test_a_failure_is_told_last():
    """A page reads nothing behind an error, so the parts are ended and the usage is told before it."""
    events, _ = turn([[fake.usage(input_tokens=3), *SCRIPTS["failed in a call"][0]]])
    types = [chunk["type"] for chunk in chunks(UiChunks(), events)]
    assert types[-3:] == ["finish-step", "finish", "error"]
    found = chunks(AgUiEvents("t", "r"), events)
    assert found[-1] == {
        "type": "RUN_ERROR",
        "message": "The answer failed (stream_truncated).",
        "code": "stream_truncated",
        "usage": [{"inputTokens": 3, "model": "fake"}],
    }


def test_a_stream_that_is_cut_says_so():
    """Its end was not seen: the message is aborted, the run cancelled, and a call that ran has no result."""
    events, _ = turn(SCRIPT)
    events = events[: next(i for i, event in enumerate(events) if isinstance(event, allm.ToolExecutionCompleted))]
    found = chunks(UiChunks(), events)
    assert [chunk["type"] for chunk in found[-4:]] == ["tool-output-error", "finish-step", "message-metadata", "abort"]
    found = chunks(AgUiEvents("t", "r"), events)
    assert found[-1]["outcome"] == {"type": "cancelled"}
    assert [chunk["metadata"] for chunk in found if chunk["type"] == "TOOL_CALL_RESULT"] == [{"isError": True}]


def test_progress_hints_and_results_of_the_callers_own():
    """What has no JSON form is described, and never breaks a stream."""
    call = allm.ToolCall("c", "good", {})
    events = [
        allm.ToolCallCompleted("c", "good", {}),
        allm.ToolProgress(call, object()),
        allm.ToolExecutionCompleted(call, object()),
        allm.ToolProgress(call, {"done": 0.5}),
    ]
    assert [chunk["payload"] for chunk in chunks(PlainEvents(), events) if "payload" in chunk] == [
        "<object>",
        {"done": 0.5},
    ]
    progress = [chunk for chunk in chunks(UiChunks(), events) if chunk["type"] == "data-tool-progress"]
    assert progress[1] == {
        "type": "data-tool-progress",
        "data": {"toolCallId": "c", "payload": {"done": 0.5}},
        "transient": True,
    }
    whole = chunks(PlainEvents(whole=True), [events[2]])[0]
    assert allm.from_json(json.dumps(whole)).result == "<object>"
    [told] = chunks(PlainEvents(whole=True), [allm.ToolProgress(allm.ToolCall("c", "t", {}), object())])[:1]
    assert allm.from_json(json.dumps(told)).payload == "<object>"


def test_a_block_that_ends_otherwise_than_it_grew_keeps_what_was_shown():
    """The whole text replaces the deltas; what was shown cannot be taken back, and is not shown twice."""
    events = [allm.TextDelta("t", "Helo"), allm.TextCompleted("t", "Hello")]
    assert [chunk.get("delta") for chunk in chunks(UiChunks(), events) if "delta" in chunk] == ["Helo"]
    events = [allm.TextDelta("t", "He"), allm.TextCompleted("t", "Hello")]
    assert [chunk.get("delta") for chunk in chunks(UiChunks(), events) if "delta" in chunk] == ["He", "llo"]
    assert [chunk.get("delta") for chunk in chunks(AgUiEvents("t", "r"), events) if "delta" in chunk] == ["He", "llo"]


def test_the_form_of_a_frame():
    """With an id if it has a number."""
    assert frame(b"{}") == b"data: {}\n\n"
    assert frame(b"{}", "7") == b"id: 7\ndata: {}\n\n"
    frames = Frames(UiChunks())
    assert frames.feed((1, allm.TextDelta("t", "x"))).startswith(b'id: 1.1\ndata: {"type":"start"}\n\nid: 1.2\n')


def test_the_page_lists_every_event_that_a_page_gets():
    """The table of docs/web.md, whose rows name one event or several."""
    text = (Path(__file__).parents[2] / "docs" / "web.md").read_text("utf-8")
    [table] = re.findall(r"^\| `type` \| with \|\n(.*?)\n\n", text, re.DOTALL | re.MULTILINE)
    named = {name for row in table.splitlines() for name in re.findall(r"`([A-Z]\w+)`", row.split("|")[1])}

    assert named == {event.__name__ for event in plain._SHOWN} | {"End"}
