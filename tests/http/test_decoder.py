"""The part of decoding that is the same for every vendor, tested with a minimal vendor."""

from __future__ import annotations

from typing import ClassVar

import attrs
import pytest

import allm
from allm.data.json.text import dumps
from allm.http.decoder import StreamDecoder
from allm.http.stream_call import StreamCall, stream_events
from allm.testing import Reply, WireServer

ERROR = {"error": {"message": "no room", "code": 529, "type": "full"}}
HEADERS = {"x-request-id": "req_1", "x-ratelimit-remaining-requests": "7"}


@attrs.define(eq=False)
class Words(StreamDecoder):
    """A vendor whose events are `{"id": ..., "text": ..., "end": ...}`."""

    content_field: ClassVar[str] = "text"
    end_marker: ClassVar[str] = "its last event"

    provider: str = "words"
    held: str = ""

    def on_event(self, name, event):
        if "id" in event:
            self.start(id=event["id"], model=event.get("model"))
        if "text" in event:
            self.start()
            self.add(allm.TextDelta("text-0", event["text"]))
        if "call" in event:
            self.add(allm.ToolCallStarted("c", event["call"]))
        if event.get("bad"):
            raise allm.AdapterError("bad event", reason="malformed_response")
        if "end" in event:
            self.complete(event.get("finish", "stop"), event["end"])

    def on_failure(self):
        if self.held:
            self.add(allm.TextDelta("text-0", self.held))


def decoder(**fields):
    made = Words(**fields)
    made.begin(HEADERS)
    return made


def events(made, *values, name=""):
    return [event for value in values for event in made.decode(name, value if type(value) is bytes else dumps(value))]


def kinds(decoded):
    return [type(event).__name__ for event in decoded]


def test_a_response_starts_once_and_ends_with_the_known_facts():
    """The first id counts; the message holds what was added."""
    decoded = events(
        decoder(), {"id": "", "text": "a"}, {"id": "x", "model": "m"}, {"id": "y", "text": "b"}, {"end": "ok"}
    )
    assert decoded == [
        allm.MessageStarted(request_id="req_1"),
        allm.TextDelta("text-0", "a"),
        allm.TextDelta("text-0", "b"),
        allm.MessageCompleted(
            allm.Message("assistant", [allm.TextPart("ab")]), "stop", raw_finish_reason="ok", id="x", model="m"
        ),
    ]


def test_a_response_without_a_start_still_has_its_start_event():
    """`MessageStarted` comes first, whatever the service leaves out."""
    assert kinds(events(decoder(), {"end": "ok"})) == ["MessageStarted", "MessageCompleted"]


@pytest.mark.parametrize(
    ("finish", "raw", "called", "expected"),
    [
        ("stop", "stop", True, "tool_calls"),
        ("tool_calls", "tool_calls", False, "stop"),
        ("length", "length", True, "length"),
        ("other", "later", True, "other"),
        ("other", None, True, "tool_calls"),
        ("other", None, False, "other"),
    ],
)
def test_the_content_decides_between_stop_and_tool_calls(finish, raw, called, expected):
    """Other finish reasons are left alone; without one, the calls decide."""
    made = decoder()
    decoded = events(made, {"text": "a"} | ({"call": "f"} if called else {}), {"finish": finish, "end": raw})
    assert decoded[-1].finish_reason == expected
    assert made.done


@pytest.mark.parametrize("data", [b"{no", b"12", b'"x"', b"[]", b"[1]", b"null", b"\xff"])
def test_an_event_that_is_not_an_object_is_malformed(data):
    """The error quotes the event and has the response's ids."""
    with pytest.raises(allm.AdapterError, match="event of the stream") as caught:
        decoder().decode("", data)
    assert (caught.value.reason, caught.value.provider) == ("malformed_response", "words")
    assert caught.value.request_id == "req_1"


def test_a_foreign_done_marker_is_ignored():
    """Gateways add it to every stream; it neither ends nor breaks the response."""
    made = decoder()
    assert events(made, {"text": "a"}, b" [DONE] ")[-1] == allm.TextDelta("text-0", "a")
    assert not made.done


def test_the_done_marker_of_the_format_counts_once():
    """A second one after the end is ignored."""

    class Marked(Words):
        def on_done(self):
            self.complete("stop", "[DONE]")

    made = Marked()
    assert kinds(events(made, {"text": "a"}, b"[DONE]", b"[DONE]")).count("MessageCompleted") == 1


@pytest.mark.parametrize(
    ("name", "report"),
    [
        ("", ERROR),
        ("", [ERROR]),
        ("error", {**ERROR, "type": "x"}),
        ("", {**ERROR, "type": "error"}),
        ("", {**ERROR, "object": "error"}),
    ],
)
def test_an_error_report_is_the_failure_in_every_form(name, report):
    """Content before it is kept, and nothing after it is read."""
    made = decoder()
    decoded = [*events(made, {"text": "a"}), *events(made, report, name=name)]
    assert kinds(decoded) == ["MessageStarted", "TextDelta", "Failed"]
    error = decoded[-1].error
    assert (error.message, error.request_id, error.provider) == ("no room", "req_1", "words")
    assert (error.reason, error.status, error.retryable, error.provider_code) == ("overloaded", 529, True, "529")
    assert made.done


def test_an_array_is_read_as_its_elements():
    """Several events in one array, the last of which is an error."""
    decoded = events(decoder(), [{"text": "a"}, {"text": "b"}, ERROR, {"text": "c"}])
    assert kinds(decoded) == ["MessageStarted", "TextDelta", "TextDelta", "Failed"]


def test_a_failure_does_not_lose_the_events_before_it():
    """Without any it is raised; otherwise it is the last event."""
    decoded = events(decoder(), {"text": "a", "bad": True})
    assert kinds(decoded) == ["MessageStarted", "TextDelta", "Failed"]
    made = decoder()
    with pytest.raises(allm.AdapterError, match="bad event"):
        events(made, {"bad": True})
    assert not made.done


def test_held_back_content_comes_before_the_failure():
    """Nothing that arrived is lost."""
    decoded = events(decoder(held="tail"), {"text": "a"}, ERROR)
    assert decoded[-2] == allm.TextDelta("text-0", "tail")
    assert kinds(decoded)[-1] == "Failed"


def test_raw_chunks_are_emitted_on_request():
    """Each comes before the events made from it, named after the event, its type, or `chunk`."""
    assert events(decoder(), {"x": 1}, name="odd") == []
    asked = decoder()
    asked.raw_chunks = True
    assert events(asked, {"x": 1}, name="odd") == [allm.RawChunk("odd", {"x": 1})]
    assert events(asked, {"text": "a", "type": "word"})[0] == allm.RawChunk("word", {"text": "a", "type": "word"})
    assert events(asked, {"text": "b"}) == [allm.RawChunk("chunk", {"text": "b"}), allm.TextDelta("text-0", "b")]
    assert asked.decode("", b"[DONE]") == [allm.RawChunk("[DONE]")]


@pytest.mark.parametrize("document", [{"text": "ab", "end": "ok"}, [{"text": "a"}, {"text": "b", "end": "ok"}]])
def test_a_json_document_is_read_like_a_stream(document):
    """As one object, or as the array of its events."""
    decoded = decoder().decode_document(document)
    assert decoded[-1].message.text == "ab"


@pytest.mark.parametrize("document", [{}, [], 3, None, "x", [1], {"choices": []}])
def test_a_document_without_content_is_malformed(document):
    """The error names the field that is missing."""
    with pytest.raises(allm.AdapterError, match="has no text") as caught:
        decoder().decode_document(document)
    assert caught.value.reason == "malformed_response"


def test_an_error_document_is_the_failure():
    """Even under status 200, as gateways send it."""
    assert kinds(decoder().decode_document(ERROR)) == kinds(decoder().decode_document([ERROR])) == ["Failed"]


def test_an_unfinished_document_is_truncated():
    """Its content is kept."""
    decoded = decoder().decode_document({"text": "a"})
    assert kinds(decoded) == ["MessageStarted", "TextDelta", "Failed"]
    assert decoded[-1].error.reason == "stream_truncated"


@pytest.mark.parametrize(
    ("stray", "reason", "words"),
    [
        ("", "stream_truncated", "its last event"),
        ("nonsense", "stream_truncated", "its last event"),
        ('{"note": 1}', "stream_truncated", "its last event"),
        ('{\n"error": {"message": "no room", "status": 529}}', "overloaded", "no room"),
        ('[{"error": {"message": "no room", "status": "529"}}]', "overloaded", "no room"),
        ('{"error": "no room"}', "unknown", "no room"),
        ('{"err', "stream_truncated", "inside an error report"),
        ('{"error": {"message": "no ro"', "stream_truncated", "inside an error report"),
    ],
)
def test_a_body_that_ends_too_early(stray, reason, words):
    """Text outside any SSE field may give the reason; otherwise the end marker is missing."""
    made = decoder()
    try:
        [*_, last] = made.end(stray)
        error = last.error
    except allm.AdapterError as raised:
        error = raised
    assert (error.reason, error.provider, error.request_id) == (reason, "words", "req_1")
    assert words in error.message


async def test_the_headers_of_the_response_reach_the_decoder():
    """All of them, with their names in lower case."""
    made = Words()
    emitted = []

    async def emit(*burst):
        emitted.extend(burst)

    async with WireServer() as server:
        server.add(
            Reply(headers={"X-Request-Id": "req_9", "X-Own": "yes"}, body=b'data: {"text": "a", "end": "ok"}\n\n')
        )
        call = StreamCall(
            provider="words",
            url=server.url("openai"),
            headers={},
            body=b"{}",
            new_decoder=lambda: made,
            classify=lambda _status, _headers, _body: allm.AdapterError("", reason="unknown"),
        )
        await stream_events(call, emit)
    assert made.headers["x-own"] == "yes"
    assert emitted[0] == allm.MessageStarted(request_id="req_9")


@pytest.mark.parametrize("name", ["ping", "heartbeat", "keepalive", "keep-alive"])
@pytest.mark.parametrize("data", [b"ping", b"null", b"{}", b"1", b'"still here"', b"[]", b"2026-01-01T00:00:00Z"])
def test_the_content_of_a_keep_alive_event_is_ignored(name, data):
    """Its name says that it has no meaning."""
    made = decoder()
    decoded = events(made, {"text": "a"}) + events(made, data, name=name) + events(made, {"end": "ok"})
    assert decoded[-1].message.text == "a"


@pytest.mark.parametrize(
    ("said", "stray", "quoted"),
    [
        ({"detail": "no capacity"}, "", "no capacity"),
        ({"message": "no capacity", "code": 500}, "", "no capacity"),
        ({"errors": [{"message": "no capacity"}]}, "", "no capacity"),
        ({"hello": 1}, "upstream connect error", "upstream connect error"),
        ({"hello": 1}, "<html>502" + "x" * 500, "<html>502"),
    ],
)
def test_a_truncated_response_quotes_the_servers_last_words(said, stray, quoted):
    """Gateways give their reason in an event of another kind, or in plain text between events."""
    made = decoder()
    events(made, {"text": "a"})
    events(made, said, name="odd")
    with pytest.raises(allm.AdapterError) as caught:
        made.end(stray)
    error = caught.value
    assert error.reason == "stream_truncated"
    assert "without its last event" in error.message
    assert quoted in error.message
    assert len(error.message) < 400


def test_a_truncated_response_without_a_reason():
    """Nothing is quoted."""
    made = decoder()
    events(made, {"text": "a"})
    events(made, {"hello": 1}, name="odd")
    with pytest.raises(allm.AdapterError) as caught:
        made.end("")
    assert caught.value.message.endswith("without its last event: the answer is cut off")
