"""What needs no server: lines, events, results, questions, and the values that name servers."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

import allm
from allm.data.content import media_of
from allm.data.tool import TOOL_NAME
from allm.mcp.elicitation import as_question, take_answers, with_answers
from allm.mcp.events import EventReader
from allm.mcp.lines import Lines, LongLine
from allm.mcp.listing import _safe_name
from allm.mcp.results import error_text, result_value

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"


def split(data, cuts):
    """The data in pieces."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line)), st.lists(st.integers(0, 200)))
def test_lines_are_the_same_however_they_arrive(lines, cuts):
    """One that is longer than the limit keeps its size and its ends."""
    reader = Lines(8)
    found = [line for piece in split(b"".join(line + b"\n" for line in lines), cuts) for line in reader.feed(piece)]
    assert found == [line if len(line) <= 8 else LongLine(len(line), line, line) for line in lines]


def test_a_long_line_is_not_kept():
    """Only its ends are, however it arrives."""
    reader, text = Lines(1000), b"a" * 600 + b"b" * 1_000_000 + b"c" * 600
    [line] = [line for piece in (*split(text, range(0, len(text), 997)), b"\n") for line in reader.feed(piece)]
    assert line == LongLine(1_001_200, b"a" * 512, b"c" * 512)


STREAM = b"id: 1\ndata: a\ndata: b\n\n: note\nevent: message\ndata:c\nretry: 20\nid: 2\n\nevent: x\ndata: d\n\ndata: e"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@given(st.lists(st.integers(0, 200)))
def test_events_are_the_same_however_they_arrive(end, cuts):
    """Whatever ends their lines; those of another kind, and one that has not ended, are none."""
    reader = EventReader(100)
    found = [event for piece in split(STREAM.replace(b"\n", end), cuts) for event in reader.feed(piece)]
    assert [event.data for event in found] == [b"a\nb", b"c"]
    assert (reader.last_id, reader.retry) == ("2", 0.02)


def test_an_event_that_is_too_long_has_its_size_only():
    """Also in many lines."""
    reader = EventReader(10)
    found = [*reader.feed(b"data: 123456\ndata: 123456\n\n"), *reader.feed(b"data: " + b"x" * 50 + b"\n\ndata: ok\n\n")]
    assert [(event.data, event.size) for event in found] == [(b"", 12), (b"", 50), (b"ok", 2)]


def block(kind, **fields):
    return SimpleNamespace(type=kind, **fields)


def result(*content, structured=None):
    return SimpleNamespace(content=content, structured_content=structured)


@pytest.mark.parametrize(
    ("given_result", "expected"),
    [
        (result(), ""),
        (result(block("text", text="hi")), "hi"),
        (result(structured={"a": 1}), '{"a":1}'),
        (result(block("text", text='{"a": 1}'), structured={"a": 1}), '{"a": 1}'),
        (result(block("text", text="5"), structured={"result": 5}), "5"),
        (result(block("text", text="x"), structured={"result": "x"}), "x"),
        (
            result(block("audio", mime_type="audio/wav", data="!!")),
            "[audio that cannot be shown: ",
        ),
        (
            result(block("image", mime_type="image/png", data="!!")),
            "[an image that cannot be shown: ",
        ),
        (
            result(block("resource", resource=SimpleNamespace(uri="f:/a", mime_type="text/plain", text="body"))),
            "[resource f:/a, text/plain]\nbody",
        ),
        (
            result(block("resource", resource=SimpleNamespace(uri="f:/a", mime_type=None, blob="AAEA"))),
            "[resource f:/a, 3 bytes, which cannot be shown here]",
        ),
        (
            result(block("resource_link", uri="f:/a", title=None, name="A", description="The a.", mime_type=None)),
            "[resource f:/a: A; The a.]",
        ),
        (result(block("hologram")), "[hologram, 0 bytes, which cannot be shown here]"),
    ],
)
def test_results_as_the_model_reads_them(given_result, expected):
    """Nothing is left out in silence."""
    value = result_value(given_result)
    assert isinstance(value, str)
    assert value.startswith(expected)


def test_structured_content_beside_other_text_is_a_part_of_its_own():
    """The text may be a summary."""
    parts = result_value(result(block("text", text="three of them"), structured={"items": [1, 2, 3]}))
    assert [part.text for part in parts] == ["three of them", '{"items":[1,2,3]}']


def test_lists_of_items_are_said_once():
    """The SDK makes a text of each."""
    parts = result_value(result(block("text", text="1"), block("text", text="2"), structured={"result": [1, 2]}))
    assert [part.text for part in parts] == ["1", "2"]


def test_images_are_parts():
    """Also those in resources; an error has only words."""
    image = block("image", mime_type="image/jpg", data=PIXEL)
    inside = block("resource", resource=SimpleNamespace(uri="f:/a.png", mime_type="image/png", blob=PIXEL))
    parts = result_value(result(block("text", text="see"), image, inside))
    assert [type(part) for part in parts] == [allm.TextPart, allm.ImagePart, allm.ImagePart]
    assert parts[1].image.mime_type == "image/png"
    assert error_text(result(block("text", text="see"), image)) == "see\n[an image]"
    assert error_text(result()) == "the tool failed, and says no more"


def test_sound_and_files_are_parts():
    """Of the kind that their type says; a file has the name that its address ends in."""

    def resource(uri, mime_type, data):
        return block("resource", resource=SimpleNamespace(uri=uri, mime_type=mime_type, blob=encoded(data)))

    def encoded(data):
        return base64.b64encode(data).decode()

    given_result = result(
        block("audio", mime_type="audio/wav", data=encoded(b"RIFF....WAVE")),
        resource("file:///a/b%20c.pdf", "application/pdf", b"%PDF-1.4"),
        resource("demo://x", None, b"plain"),
        resource("http://[", "video/mp4", b"film"),
        resource("f:/song", "audio/mpeg", b"ID3"),
        resource("f:/odd", None, b"\0\1"),
    )
    *parts, unknown = result_value(given_result)
    files = [(type(part), media_of(part).mime_type, media_of(part).name, media_of(part).to_bytes()) for part in parts]
    assert files == [
        (allm.AudioPart, "audio/wav", None, b"RIFF....WAVE"),
        (allm.DocumentPart, "application/pdf", "b c.pdf", b"%PDF-1.4"),
        (allm.DocumentPart, "text/plain", None, b"plain"),
        (allm.VideoPart, "video/mp4", None, b"film"),
        (allm.AudioPart, "audio/mpeg", "song", b"ID3"),
    ]
    assert unknown == allm.TextPart("[resource f:/odd, 3 bytes, which cannot be shown here]")
    assert error_text(given_result).splitlines()[:2] == ["[audio]", "[a document]"]


def test_a_question_has_the_fields_of_its_form():
    """The model reads them too."""
    fields = {
        "name": {"type": "string", "description": "Yours"},
        "size": {"enum": ["S", "L"]},
        "odd": "no schema",
    }
    asked = allm.mcp.Elicitation(message="Who?", server="s", schema={"properties": fields, "required": ["name"]})
    assert (
        as_question(asked).question == "Who?\n- name (string): Yours\n- size (S | L, optional)\n- odd (any, optional)"
    )
    visit = as_question(allm.mcp.Elicitation(message="", server="s", url="https://x.test/a"))
    assert visit.question == "The tool needs an answer.\nOpen https://x.test/a, and say when you are done."
    assert visit.hints["url"] == "https://x.test/a"


def test_answers_are_taken_out_of_the_arguments():
    """Unless the tool has an argument of that name itself."""
    own = {"type": "object", "properties": {"a": {}}}
    assert take_answers({"a": 1, "user_answers": [1]}, with_answers(own)) == ({"a": 1, "user_answers": [1]}, [])
    assert take_answers({"a": 1, "user_answers": [1]}, own) == ({"a": 1}, [1])
    assert take_answers({"a": 1, "user_answers": "no"}, own) == ({"a": 1}, [])
    its = {"type": "object", "properties": {"user_answers": {}}}
    assert with_answers(its) is its
    assert with_answers({"type": "object"})["properties"].keys() == {"user_answers"}


@given(st.lists(st.text(min_size=1, max_size=80), unique=True, max_size=8))
def test_names_are_those_that_providers_take(names):
    """And a name that is right stays as it is."""
    known = set(names)
    for name in names:
        safe = _safe_name(name, known)
        assert TOOL_NAME.fullmatch(safe)
        assert safe == name or not TOOL_NAME.fullmatch(name) or name in {"auto", "none", "required"}


def test_names_of_servers():
    """They are for messages, and have no secret in them."""
    assert allm.mcp.StdioServer("/usr/bin/npx", ["-y", "@scope/server-files", "/srv"]).name == "npx server-files"
    assert allm.mcp.StdioServer(Path("/opt/server")).name == "server"
    server = allm.mcp.HttpServer("https://user:secret@mcp.example.com/mcp?key=secret")
    assert server.name == "mcp.example.com"
    assert "secret" not in repr(server)
    assert "secret" not in repr(allm.mcp.StdioServer("x", env={"KEY": "secret"}))
    assert repr(allm.mcp.connect(server)) == "Connect()"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: allm.mcp.connect("npx server"),
        lambda: allm.mcp.connect([]),
        lambda: allm.mcp.connect(7),
        lambda: allm.mcp.StdioServer("x", "one text"),
        lambda: allm.mcp.StdioServer("x", env=["A=1"]),
        lambda: allm.mcp.StdioServer("x", prefix=1),
        lambda: allm.mcp.StdioServer("x", connect_timeout=0),
        lambda: allm.mcp.HttpServer("ftp://host"),
    ],
)
def test_what_is_no_server_is_refused_at_once(wrong):
    """With what was expected."""
    with pytest.raises(allm.ValidationError, match="expected"):
        wrong()


def test_servers_from_short_forms():
    """A command as a list, and a URL."""
    servers = allm.mcp.connect(["python", "server.py"], "https://host/mcp")._servers
    assert servers == (allm.mcp.StdioServer("python", ["server.py"]), allm.mcp.HttpServer("https://host/mcp"))
    assert allm.mcp.StdioServer("x", [Path("a") / "b"]).args == (str(Path("a", "b")),)
