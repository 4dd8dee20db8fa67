"""The real client packages read what `allm.web` writes, and end with what the result of the call has."""

from __future__ import annotations

import json
from contextlib import closing

import attrs
import pytest
from hypothesis import HealthCheck, assume, given, settings, strategies as st

import allm
import allm.web
from allm import fake
from allm.web.ag_ui_events import AgUiEvents
from allm.web.plain import PlainEvents
from allm.web.ui_chunks import UiChunks
from turn_scripts import engine, options, scripts
from web_shapes import PNG, SCRIPTS, comparable, fold, run, turn, written

pytest.importorskip("web_clients")
from web_clients import Clients, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))
MANY = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


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
    # With hidden deltas, blocks begin later, and nothing tells of one that is cut.
    events, result = turn(given, **{**chosen, "emit_text_deltas": True})
    check_ui(clients.read(client, written(UiChunks(), events), text="go"), result)
    events = cut_at(events, cut)
    read = clients.read(client, written(UiChunks(), events), text="go")
    folded = fold(events)
    check_ui(read, folded)


@pytest.mark.parametrize("client", ["ai7", "ai6"])
def test_without_deltas_a_chat_gets_whole_blocks(clients, client):
    """Deltas may be hidden by options of the call."""
    events, result = turn(SCRIPTS["parallel tools"], emit_text_deltas=False, emit_tool_deltas=False)
    read = clients.read(client, written(UiChunks(), events), text="go")

    check_ui(read, result)
    assert [chunk["delta"] for chunk in read["chunks"] if chunk["type"] == "text-delta"] == ["All."]


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
    # With hidden deltas, blocks begin later, and nothing tells of one that is cut.
    events, result = turn(given, **{**chosen, "emit_text_deltas": True})
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


DELETE = allm.Tool("delete", "T.", handler=lambda arguments, context: {"deleted": arguments}, manual=True)


def test_a_chat_approves_a_call_and_goes_on(clients):
    """The page is asked; its answer approves the call of the session; the turn that runs it grows the same message."""
    scripts = [[fake.text("I would."), fake.tool_call("delete", {"a": 1})], [fake.text("Gone.")]]
    allm_engine = engine(scripts)

    async def turns():
        async with allm.session.stream_start(allm_engine, "go", tools=[DELETE]) as stream:
            events = [event async for event in stream]
            session, _ = stream.outcome()
        written_first = written(UiChunks(approve=["delete"]), events)
        read = clients.read("ai7", written_first, text="go")
        [call] = [part for part in read["messages"][-1]["parts"] if part["type"] == "tool-delete"]
        assert call["state"] == "approval-requested"
        # What `addToolApprovalResponse` does to it.
        call |= {"state": "approval-responded", "approval": {**call["approval"], "approved": True}}
        asked = allm.web.read_ui({"id": "chat", "messages": read["messages"]})
        assert asked.approvals == {call["toolCallId"]: True}
        for call_id, approved in asked.approvals.items():
            session = (allm.session.approve if approved else allm.session.deny)(session, call_id)
        async with allm.session.stream_continue(allm_engine, session, tools=[DELETE]) as stream:
            events = [event async for event in stream]
            session, _ = stream.outcome()
        return session, clients.read("ai7", written(UiChunks(), events), messages=read["messages"])

    session, read = run(turns)
    assert read["errors"] == []
    assert len(read["messages"]) == 2
    [call] = [part for part in read["messages"][-1]["parts"] if part["type"] == "tool-delete"]
    assert call["state"] == "output-available"
    assert comparable(allm.web.read_ui(read["next"]).thread) == comparable(session.thread)


def test_an_ag_ui_client_gets_an_interrupt_for_an_approval_and_for_a_question(clients):
    """The run ends with them, and the next run has to answer them by the ids of the calls."""
    events, _ = turn(SCRIPTS["approval"])
    read = clients.read("agui", written(AgUiEvents("thread-1", "run-1", approve=["delete"]), events), messages=GO)
    assert [(found["reason"], found["toolCallId"]) for found in read["pending"]] == [("approval", "call_0")]

    events, result = turn(SCRIPTS["two questions"])
    read = clients.read("agui", written(AgUiEvents("thread-1", "run-1"), events), messages=GO)
    assert [(found["reason"], found["message"]) for found in read["pending"]] == [("ask_user", result.pending_question)]
    run_input = allm.web.read_ag_ui(
        {**read["next"], "resume": [{"interruptId": "call_0", "status": "resolved", "payload": "x"}]}
    )
    assert run_input.resume == {"call_0": "x"}


def test_calls_of_the_client_are_pending_at_the_end_of_a_run(clients):
    """A tool of the client is a manual tool here; its call is named at the end, and the client's result is read."""
    tools = [{"name": "by_hand", "description": "T.", "parameters": {"type": "object", "properties": {"a": {}}}}]
    sent = {"threadId": "thread-1", "runId": "run-1", "messages": GO, "tools": tools, "context": [], "state": {}}
    run_input = allm.web.read_ag_ui(sent)
    assert [(tool.name, tool.manual) for tool in run_input.tools] == [("by_hand", True)]
    events, _ = turn(SCRIPTS["manual"])
    read = clients.read("agui", written(AgUiEvents("thread-1", "run-1"), events), messages=GO, tools=tools)
    assert read["events"][-1]["outcome"] == {"type": "success", "pendingToolCallIds": ["call_1"]}
    answer = {"id": "t1", "role": "tool", "toolCallId": "call_1", "content": "done"}
    messages = allm.web.read_ag_ui({**read["next"], "messages": [*read["next"]["messages"], answer]}).thread.messages
    assert [message.tool_call_id for message in messages if message.role == "tool"] == ["call_1", "call_2"]
    allm.validate(allm.Thread(messages))


def test_a_call_id_that_comes_again_is_another_call(clients):
    """Some providers count the calls of each answer from 0; the client keeps each call apart, in all runs."""
    first, _ = turn([[fake.tool_call("good", {"a": 1}, id="c")], [fake.tool_call("good", {"a": 2}, id="c")], []])
    read = clients.read("agui", written(AgUiEvents("thread-1", "run-1"), first), messages=GO)
    run_input = allm.web.read_ag_ui({**read["next"], "runId": "run-2"})
    known = [call.id for message in run_input.thread.messages for call in message.tool_calls]
    assert known == ["c", "c#2"]
    second, _ = turn([[fake.tool_call("good", {"a": 3}, id="c")], []])
    form = AgUiEvents("thread-1", "run-2", known_calls=known)
    read = clients.read("agui", written(form, second), messages=read["messages"], runId="run-2")
    calls = [call for message in read["messages"] for call in message.get("toolCalls", [])]
    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [
        ("c", '{"a":1}'),
        ("c#2", '{"a":2}'),
        ("c#3", '{"a":3}'),
    ]


@pytest.mark.parametrize("client", ["ai7", "ai6"])
def test_a_page_that_resumes_gets_the_message_from_its_beginning(clients, client):
    """`useChat({ resume: true })` after a reload: the page has the user's message, and gets the answer."""
    events, result = turn(SCRIPTS["parallel tools"])
    user = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "go"}]}
    read = clients.read(client, written(UiChunks(), events), messages=[user], resume=True)

    assert read["asked"][0]["method"] == "GET"
    assert comparable(allm.web.read_ui(read["next"]).thread) == comparable(result.thread)


def test_what_a_provider_wants_back_comes_back(clients):
    """Signatures and ids of reasoning, and data with texts and calls, survive a conversation that the page keeps."""
    events = [
        allm.MessageStarted(id="r"),
        allm.ReasoningCompleted("a", "", provider="openai", item_id="rs_1", encrypted_content="e"),
        allm.ReasoningDelta("b", "hm"),
        allm.ReasoningCompleted("b", "hm", provider="anthropic", signature="sig", metadata={"x": [1, {"y": None}]}),
        allm.TextDelta("c", "No."),
        allm.TextCompleted("c", "No.", refusal=True, metadata={"gemini": {"thought_signature": "t"}}),
        allm.ToolCallCompleted("d", "good", {"a": 1}, metadata={"gemini": {"thought_signature": "u"}}),
        allm.MessageCompleted(allm.assistant("No.")),
    ]
    expected = fold(events).thread.messages[1]
    chat = clients.read("ai7", written(UiChunks(), events), text="go")["next"]
    agent = clients.read("agui", written(AgUiEvents("t", "r"), events), messages=GO)["next"]

    plain_call = {"raw_arguments": None}
    for message in (allm.web.read_ui(chat).thread.messages[1], allm.web.read_ag_ui(agent).thread.messages[1]):
        assert len(message.content) == len(expected.content)
        for part, ours in zip(message.content, expected.content, strict=True):
            changes = plain_call if isinstance(part, allm.ToolCall) else {}
            assert attrs.evolve(part, **changes) == attrs.evolve(ours, **changes)


def test_pictures_come_through(clients):
    """An image that a model made, and one that a tool returns; and one of the user comes back as an image."""
    image = allm.Image.from_bytes(PNG)
    events = [
        allm.MessageStarted(id="r"),
        allm.ImageCompleted("i", allm.ImagePart(image)),
        allm.MessageCompleted(allm.assistant("")),
    ]
    read = clients.read("ai7", written(UiChunks(), events), text="go")
    assert [part["mediaType"] for part in read["messages"][-1]["parts"] if part["type"] == "file"] == ["image/png"]
    [answer] = [message for message in allm.web.read_ui(read["next"]).thread.messages if message.role == "assistant"]
    assert [part.image.to_bytes() for part in answer.images] == [PNG]
    read = clients.read("agui", written(AgUiEvents("t", "r"), events), messages=GO)
    [activity] = [message for message in read["messages"] if message["role"] == "activity"]
    assert activity["content"] == {"url": image.to_data_uri(), "mimeType": "image/png"}


def test_sources_come_through(clients):
    """A page gets each address once; what the provider wants back goes through the page."""
    data = {"type": "web_search_result_location", "cited_text": "x", "url": "https://o.test", "encrypted_index": "E"}
    cited = allm.Citation(0, 5, url="https://o.test", title="Owls", provider="anthropic", data=data)
    answer = allm.assistant(allm.TextPart("Owls.", citations=[cited, cited]))
    events = [
        allm.MessageStarted(id="r"),
        allm.TextDelta("t", "Owls."),
        allm.CitationAdded("t", cited),
        allm.CitationAdded("t", cited),
        allm.TextCompleted("t", "Owls."),
        allm.MessageCompleted(answer),
    ]
    read = clients.read("ai7", written(UiChunks(), events), text="go")
    [source] = [part for part in read["messages"][-1]["parts"] if part["type"] == "source-url"]
    assert (source["url"], source["title"]) == ("https://o.test", "Owls")
    [back] = [message for message in allm.web.read_ui(read["next"]).thread.messages if message.role == "assistant"]
    assert back.parts == answer.parts
    read = clients.read("agui", written(AgUiEvents("t", "r"), events), messages=GO)
    [back] = [message for message in allm.web.read_ag_ui(read["next"]).thread.messages if message.role == "assistant"]
    assert back.parts == answer.parts


def test_a_message_of_the_user_that_joins_is_in_the_conversation(clients):
    """`send_user` during a turn: an AG-UI client sees it where it joined."""
    added = [
        allm.MessageStarted(id="r"),
        allm.TextDelta("t", "One."),
        allm.MessageCompleted(allm.assistant("One.")),
        allm.MessagesAdded([allm.user("And two?"), allm.system("secret")]),
        allm.MessageStarted(id="r"),
        allm.TextDelta("t", "Two."),
        allm.MessageCompleted(allm.assistant("Two.")),
    ]
    read = clients.read("agui", written(AgUiEvents("t", "r"), added), messages=GO)
    assert [message["content"] for message in read["messages"]] == ["go", "One.", "And two?", "Two."]
