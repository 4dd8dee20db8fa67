"""Documents of sessions: what every release reads, and the error for everything else."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

import allm
from allm.data.json import document as json_document
from allm.data.results import ToolOutcome
from allm.data.session import AnswerEntry
from allm.session.stores import writing
from allm.session.stores.memory import MemoryBackend
from conversations import TEXT, engine

GOLDEN = Path(__file__).parent / "golden"

REPLAY = allm.assistant(
    allm.ReasoningPart("Hm.", provider="anthropic", signature="sig+/="),
    allm.ReasoningPart("", provider="openai", id="rs_1", encrypted_content="enc"),
    allm.TextPart("Let me look.", metadata={"gemini": {"thought_signature": "abc"}}),
    allm.ProviderPart("openai", {"type": "web_search_call", "id": "ws_1", "action": {"query": "Zug"}}),
    allm.ToolCall("c1", "pay", {"amount": 5, "to": "Zürich \u2028"}, '{"amount": 5, "to": "Z\\u00fcrich"}'),
    allm.ToolCall("c2", "broken", None, "{", metadata={"incomplete": True}),
)
PICTURES = allm.user(
    "What are these?",
    allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n", mime_type="image/png"),
    allm.Image.from_url("https://example.org/x.png"),
    allm.ImagePart(allm.Image.from_base64("/9j/", mime_type="image/jpeg"), "low"),
)
PENDING = REPLAY.tool_calls[:1]
BROKEN = allm.tool_result("c2", '{"error":{"type":"invalid_arguments","message":"no JSON"}}', is_error=True)
ERROR = allm.AdapterError(
    "slow down",
    reason="rate_limited",
    provider="openai",
    status=429,
    retry_after=2.5,
    request_id="req_1",
    provider_code="rate_limit_exceeded",
)
# One session per state. What is here was written by some release and has to be read by every later one: add to it,
# change nothing.
VERSION_1 = {
    "empty": allm.Session(),
    "idle": allm.Session(id="trip-1", thread=allm.Thread([allm.system("Be brief."), PICTURES], metadata={"t": 1})),
    "completed": allm.Session(
        id="trip-1",
        thread=allm.Thread([allm.user("go"), allm.assistant(allm.TextPart("No.", refusal=True))]),
        status="completed",
        context={"user": 7, "tuple": (1, b"\x00\xff"), "far": float("inf"), "$type": "mine", "keys": {1: "one"}},
        halt=allm.HandlerHalted("enough", "c0", "{}"),
        metadata={"cut": "half \ud83d"},
    ),
    "awaiting_tools": allm.Session(
        id="trip-1",
        thread=allm.Thread([PICTURES, REPLAY, BROKEN]),
        status="awaiting_tools",
        pending_tool_calls=PENDING,
        approvals=[allm.session.Approval("c1", allm.session.fingerprint(PENDING[0]))],
    ),
    "awaiting_user": allm.Session(
        id="trip-1",
        thread=allm.Thread(
            [
                allm.user("go"),
                allm.assistant(allm.ToolCall("c1", "ask", {}, "{}"), allm.ToolCall("c2", "ask", {}, "{}")),
                allm.tool_result("c1", "<awaiting user response>"),
                allm.tool_result("c2", "<awaiting user response>"),
                allm.Message("assistant", "Which?", metadata={"ask_user": True, "tool_call_id": "c1"}),
            ]
        ),
        status="awaiting_user",
        pending_questions=[
            allm.PendingQuestion("Which?", "c1", hints={"choices": ["a", "b"]}),
            allm.PendingQuestion("When?", "c2"),
        ],
    ),
    "error": allm.Session(
        id="trip-1",
        thread=allm.Thread([allm.user("go"), allm.assistant(allm.TextPart("half"))]),
        status="error",
        error=ERROR,
        resume_at=1,
    ),
    "tool_error": allm.Session(
        thread=allm.Thread([allm.user("go")]),
        status="error",
        error=allm.ToolError("nope", reason="handler_raised", tool_name="pay", tool_call_id="c1"),
    ),
    "journal_answer": AnswerEntry(
        kept=1,
        messages=[BROKEN],
        response=allm.Response(
            message=REPLAY, finish_reason="tool_calls", usage=allm.Usage(input_tokens=3, extra={"x": 1}), id="resp_1"
        ),
    ),
    "journal_result": ToolOutcome(
        message=allm.tool_result("c1", "paid"),
        halt=allm.UserAsked([allm.PendingQuestion("Which?", "c1", hints={"a": 1})]),
    ),
    "journal_failure": ToolOutcome(
        message=BROKEN,
        halt=allm.ToolFailed(
            allm.ToolError("no JSON", reason="invalid_arguments", tool_name="broken", tool_call_id="c2")
        ),
    ),
    "journal_halt": ToolOutcome(message=allm.tool_result("c1", "{}"), halt=allm.HandlerHalted("enough", "c1", "{}")),
}


@pytest.mark.parametrize("name", VERSION_1)
def test_golden_files_of_version_1(name):
    """The reader reads the files of version 1, and the writer writes the same text."""
    text = (GOLDEN / "v1" / f"{name}.json").read_text("utf-8").rstrip("\n")
    assert allm.from_json(text) == VERSION_1[name]
    assert allm.to_json(VERSION_1[name]) == text
    if isinstance(VERSION_1[name], allm.Session):
        allm.validate(VERSION_1[name])


def test_every_golden_file_is_tested():
    """Every golden file belongs to a test."""
    assert {path.stem for path in (GOLDEN / "v1").iterdir()} == set(VERSION_1)


ROWS_1 = {
    **{name: value for name, value in VERSION_1.items() if isinstance(value, allm.Session)},
    "blobs": allm.Session(
        id="trip-1",
        thread=allm.Thread(
            [
                allm.user("Look", allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100_000))),
                allm.assistant(allm.ImagePart(allm.Image.from_base64("QUJD" * 20_000))),
                allm.assistant(allm.ToolCall("c1", "read", {}, "{}")),
                allm.tool_result("c1", "no base64 " * 10_000),
            ],
        ),
        metadata={"x": [b"\xff" * 70_000]},
    ),
}


@pytest.mark.parametrize("name", ROWS_1)
async def test_golden_rows_of_version_1(name, monkeypatch):
    """A store reads the rows of version 1 and writes the same; the names of blobs are hashes of their content."""
    monkeypatch.setattr(writing, "token_hex", lambda size: "0" * 2 * size)
    change = await writing.change_of(ROWS_1[name], None)
    golden = json.loads((GOLDEN / "rows_v1" / f"{name}.json").read_text("utf-8"))
    assert {"head": change.head, "messages": [*change.messages], "blobs": sorted(change.blobs)} == golden
    backend = MemoryBackend()
    await backend.write("trip-1", change, version=0, token=None)
    found, version = await allm.session.SessionStore(backend).load("trip-1")
    assert (found, version) == (attrs.evolve(ROWS_1[name], id="trip-1"), 1)


def test_every_golden_row_is_tested():
    """As for documents."""
    assert {path.stem for path in (GOLDEN / "rows_v1").iterdir()} == set(ROWS_1)


def test_fields_of_a_later_release_are_ignored():
    """Unknown fields are ignored at every level."""
    document = json.loads((GOLDEN / "v1" / "error.json").read_text("utf-8"))
    document["new"] = document["error"]["new"] = {"deep": [1]}
    for message in document["thread"]["messages"]:
        message["new"] = True
    document["thread"]["messages"][1]["content"][0]["new"] = None
    assert allm.from_json(json.dumps(document)) == VERSION_1["error"]


# --- documents that someone or something has changed ---------------------------------------------------------------


def session_text(**changes):
    return json.dumps({**json.loads(allm.to_json(VERSION_1["awaiting_tools"])), **changes})


BAD = {
    "truncated": (session_text()[:-40], "malformed"),
    "empty": ("", "malformed"),
    "not JSON": ("Session(id=1)", "malformed"),
    "not UTF-8": (b'{"v": 1, "type": "\xff"}', "malformed"),
    "NaN": (session_text(metadata={"x": float("nan")}), "malformed"),
    "no object": ("[]", "missing_type_tag"),
    "no tag": ('{"v": 1}', "missing_type_tag"),
    "unknown tag": (session_text(type="Engine"), "unknown_type_tag"),
    "code as a tag": (session_text(metadata={"x": {"$type": "os.system", "command": "false"}}), "malformed_value"),
    "a list as a tag": (session_text(metadata={"x": {"$type": []}}), "malformed_value"),
    "another type": (allm.to_json(allm.user("go")), "unexpected_type"),
    "no version": ('{"type": "Session"}', "unknown_version"),
    "later version": (session_text(v=2), "unknown_version"),
    "version as text": (session_text(v="1"), "unknown_version"),
    "version as a flag": (session_text(v=True), "unknown_version"),
    "unknown status": (session_text(status="running"), "malformed_value"),
    "wrong type": (session_text(pending_tool_calls="c1"), "malformed_value"),
    "id as a number": (session_text(id=7), "malformed_value"),
    "unknown part": (
        session_text(thread={"messages": [{"role": "user", "content": [{"type": "Handler"}]}]}),
        "malformed_value",
    ),
    "unknown error": (session_text(error={"type": "SystemExit", "message": "x"}), "malformed_value"),
    "unknown reason": (session_text(error={"type": "AdapterError", "message": "x", "reason": "y"}), "malformed_value"),
    "bad base64": (session_text(metadata={"x": {"$type": "bytes", "base64": "!"}}), "malformed_value"),
    "deep": ('{"v": 1, "type": "Session", "metadata": ' + '{"a": ' * 300 + "1" + "}" * 301, "too_deep"),
    "bottomless": ("[" * 1_000_000, "too_deep"),
    "very many values": ('{"v": 1, "type": "Session", "metadata": {"x": [' + "[]," * 1_100_000 + "1]}}", "too_many"),
}


@pytest.mark.parametrize(("text", "tag"), BAD.values(), ids=BAD)
def test_changed_documents_are_refused(text, tag):
    """Each gets the right tag."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.from_json(text, allm.Session)
    assert caught.value.reason == "invalid_json"
    assert [found for _, found in caught.value.errors] == [tag]


def test_a_document_that_is_too_long_is_not_parsed(monkeypatch):
    """Its length is checked first."""
    monkeypatch.setattr(json_document, "MAX_JSON_BYTES", 1000)
    monkeypatch.setattr(json_document, "_decode", None)
    with pytest.raises(allm.ValidationError, match="longer than 1000 bytes"):
        allm.from_json(" " * 1001)


def test_a_long_text_is_not_many_values():
    """Commas and brackets inside a text do not count as values."""
    text = '[{,"\\,\\\\' * 150_000
    session = allm.Session(thread=allm.Thread([allm.user(text)]))
    assert allm.from_json(allm.to_json(session)) == session


CONTRADICTIONS = {
    "forged approval": ({"approvals": [{"tool_call_id": "c9", "fingerprint": "x"}]}, ("approvals",)),
    "call left out": ({"pending_tool_calls": []}, ("pending_tool_calls",)),
    "call made up": (
        {"pending_tool_calls": [{"id": "c9", "name": "pay", "arguments": {}}]},
        ("pending_tool_calls",),
    ),
    "other arguments": (
        {"pending_tool_calls": [{"id": "c1", "name": "pay", "arguments": {"amount": 500}}]},
        ("pending_tool_calls",),
    ),
    "other status": ({"status": "completed"}, ("status",)),
    "question without one": ({"status": "awaiting_user"}, ("pending_questions",)),
    "error without one": ({"status": "error"}, ("error",)),
    "beyond the end": ({"resume_at": 99}, ("resume_at",)),
    "id of a file": ({"id": "a\nb"}, ("id",)),
    "message of nobody": (
        {"thread": {"messages": [{"role": "tool", "content": "x"}]}},
        ("thread", "messages", 0, "tool_call_id"),
    ),
}


@pytest.mark.parametrize(("changes", "path"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
async def test_documents_that_contradict_themselves_are_refused(changes, path):
    """They can be read but not used, and the error has the field."""
    session = allm.from_json(session_text(**changes), allm.Session)
    model = engine(TEXT)
    with pytest.raises(allm.ValidationError) as caught:
        await allm.session.continue_(model, session)
    assert path in [found for found, _ in caught.value.errors]
    assert model.adapter.requests == []
