"""The real client packages read what `allm.web` writes, and end with what the result of the call has."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from hypothesis import HealthCheck, assume, given, settings, strategies as st

import allm
import allm.web
from allm import fake
from allm.web.ag_ui_events import AgUiEvents
from allm.web.plain import PlainEvents
from allm.web.ui_chunks import UiChunks
from turn_scripts import options, scripts
from web_shapes import SCRIPTS, comparable, fold, turn, written

pytest.importorskip("web_clients")
from web_clients import Clients, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))
MANY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def clients():
    """The Node process."""
    with closing(Clients()) as process:
        yield process


@pytest.fixture(params=SCRIPTS)
def shape(request):
    """A turn: its events and its result."""
    return turn(SCRIPTS[request.param])


def data_of(read):
    """The data of an answer that was read by chance in pieces that end anywhere."""
    return [json.loads(event["data"]) for event in read["events"]]


def number_fits(item):
    """Whether the numbers among the arguments of a call are numbers of JavaScript too."""
    arguments = item.arguments if isinstance(item, fake.ToolCallItem) else {}
    return all(abs(value) < 2**53 for value in arguments.values())


def cut_at(events, cut):
    """The beginning of a turn; not up to where a single call would end, with its tools left to the caller."""
    if cut <= len(events) and isinstance(events[cut - 1], allm.MessageCompleted):
        cut -= 1
    return events[:cut]


def check_ui(read, result):
    """A chat of the AI SDK has read everything, and has what the result has."""
    failed = result.error is not None or any(step.response.error for step in result.steps)
    assert read["errors"] == read["readErrors"]
    assert len(read["errors"]) == failed
    assert read["status"] == ("error" if failed else "ready")
    assert comparable(allm.web.read_ui(read["next"]).thread) == comparable(result.thread)
    states = [part.get("state") for part in read["messages"][-1]["parts"]]
    assert not {"streaming", "input-streaming"} & {*states}


@pytest.mark.parametrize("client", ["ai7", "ai6"])
def test_a_chat_of_the_ai_sdk_ends_with_the_conversation(clients, shape, client):
    """What the chat holds after the turn, and sends with the next message, is the conversation of the result."""
    events, result = shape
    read = clients.read(client, written(UiChunks(), events), text="go")

    check_ui(read, result)
    usage = (read["messages"][-1].get("metadata") or {}).get("usage", {})
    assert usage.get("input_tokens") == result.usage.input_tokens


@MANY
@given(scripts, options, st.integers(0, 60), st.sampled_from(["ai7", "ai6"]))
def test_a_chat_reads_any_turn_and_any_beginning_of_one(clients, given, chosen, cut, client):
    """Whatever happens in a turn, and wherever its stream ends, the chat has what there is of it, and no error."""
    assume(all(number_fits(item) for script in given for item in script))
    events, result = turn(given, **chosen)
    is_cut = result.halted_reason in {"cancelled", "error"}
    assume(not (is_cut and chosen.get("emit_text_deltas") is False))  # what was hidden so far has no other event
    check_ui(clients.read(client, written(UiChunks(), events), text="go"), result)
    events = cut_at(events, cut)
    read = clients.read(client, written(UiChunks(), events), text="go")
    folded = fold(events)
    check_ui(read, folded)


def check_agui(read, result):
    """An AG-UI client has read everything, and has what the result has."""
    assert read["misfits"] == []
    assert read["isInput"]
    failed = result.error is not None or any(step.response.error for step in result.steps)
    assert read["error"] is None
    assert read["events"][-1]["type"] == ("RUN_ERROR" if failed else "RUN_FINISHED")
    asked = allm.web.read_ag_ui(read["next"])
    assert comparable(asked.thread, whole_texts=True) == comparable(result.thread, whole_texts=True)


GO = [{"id": "u1", "role": "user", "content": "go"}]


def test_an_ag_ui_client_ends_with_the_conversation(clients, shape):
    """What the agent holds after the run, and sends with the next one, is the conversation of the result."""
    events, result = shape
    read = clients.read("agui", written(AgUiEvents("thread-1", "run-1"), events), messages=GO)

    check_agui(read, result)


@MANY
@given(scripts, options, st.integers(0, 60))
def test_an_ag_ui_client_reads_any_turn_and_any_beginning_of_one(clients, given, chosen, cut):
    """Whatever happens in a turn, and wherever its stream ends, the events keep the order of the protocol."""
    assume(all(number_fits(item) for script in given for item in script))
    events, result = turn(given, **chosen)
    is_cut = result.halted_reason in {"cancelled", "error"}
    assume(not (is_cut and chosen.get("emit_text_deltas") is False))  # what was hidden so far has no other event
    check_agui(clients.read("agui", written(AgUiEvents("thread-1", "run-1"), events), messages=GO), result)
    events = cut_at(events, cut)
    read = clients.read("agui", written(AgUiEvents("thread-1", "run-1"), events), messages=GO)
    check_agui(read, fold(events))


def test_a_parser_of_server_sent_events_reads_every_event(clients, shape):
    """One event of ours is one message of an `EventSource`, with its number."""
    events, _result = shape
    numbered = list(enumerate(events, 1))
    read = clients.read("sse", written(PlainEvents(), numbered))
    shown = [event for event in data_of(read) if event["type"] != "End"]

    assert read["errors"] == []
    assert [int(event["id"]) for event in read["events"][:-1]] == [
        number for number, event in numbered if PlainEvents().feed(event)
    ]
    assert [event["type"] for event in shown] == [type(event).__name__ for event in events if PlainEvents().feed(event)]


def test_a_program_reads_the_whole_events(clients, shape):
    """`allm.from_json` reads each message of the whole form as the event it was."""
    events, _result = shape
    read = clients.read("sse", written(PlainEvents(whole=True), events))

    assert [allm.to_json(allm.from_json(event["data"])) for event in read["events"][:-1]] == [
        allm.to_json(event) if not hasattr(event, "result") else read["events"][index]["data"]
        for index, event in enumerate(events)
    ]
