"""`messages_from_openai`: the dictionaries of OpenAI's library as messages."""

from __future__ import annotations

import pytest

import allm
from allm import fake
from allm.providers import Fake

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def test_a_conversation_with_a_tool():
    """Texts, calls and results get the form that the functions of this library give them."""
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Zug"}'}}
    messages = allm.messages_from_openai(
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Weather?", "name": "ann"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            {"role": "assistant", "content": "Sunny."},
        ]
    )
    assert messages[0] == allm.system("Be brief.")
    assert messages[1] == allm.Message("user", "Weather?", name="ann")
    assert messages[2].tool_calls[0].arguments == {"city": "Zug"}
    assert messages[3:] == (allm.tool_result("c1", "sunny"), allm.assistant("Sunny."))


def test_parts():
    """Text and images, by URL or inline, and a refusal."""
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/x.png", "detail": "low"}},
        {"type": "input_image", "image_url": PIXEL},
        {"type": "refusal", "refusal": "No."},
    ]
    [message] = allm.messages_from_openai([{"role": "user", "content": content}])
    assert message.text == "What is this?No."
    assert [part.image.url for part in message.images] == ["https://example.com/x.png", None]
    assert message.parts[-1] == allm.TextPart("No.", refusal=True)


def test_files_and_sound():
    """In the forms of both APIs; one that OpenAI keeps stays a reference."""
    content = [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "input_audio", "input_audio": {"data": "SUQz", "format": "mp3"}},
    ]
    [message] = allm.messages_from_openai([{"role": "user", "content": content}])
    inline, kept, linked, sound = message.parts
    assert (inline.document.file_name(), inline.document.to_bytes()) == ("a.pdf", b"%PDF-")
    assert kept.document.upload == allm.FileRef(provider="openai", id="file-1")
    assert linked.document.url == "https://example.com/a.pdf"
    assert (sound.audio.mime_type, sound.audio.data) == ("audio/mpeg", b"ID3")


def test_broken_arguments_are_kept():
    """What a model got wrong stays, so that it can be shown to it."""
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city"'}}
    [message] = allm.messages_from_openai([{"role": "assistant", "tool_calls": [call]}])
    assert message.tool_calls == (allm.ToolCall("c1", "weather", None, raw_arguments='{"city"'),)


WRONG = {
    "a single dictionary": ({"role": "user", "content": "x"}, "messages"),
    "a text": ("hi", "messages"),
    "no role": ([{"content": "x"}], "messages[0].role"),
    "an unknown role": ([{"role": "bot", "content": "x"}], "messages[0].role"),
    "a number": ([7], "messages[0]"),
    "sound": ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0]"),
    "a content of another type": ([{"role": "user", "content": 7}], "messages[0].content"),
    "an image without a URL": ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0]"),
    "a broken image": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png;base64,?"}]}],
        "messages[0].content[0]",
    ),
    "calls of another kind": ([{"role": "assistant", "tool_calls": [{"type": "custom"}]}], "messages[0].tool_calls[0]"),
    "calls as a dictionary": ([{"role": "assistant", "tool_calls": {"id": "c1"}}], "messages[0].tool_calls"),
    "arguments as an object": (
        [{"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}]}],
        "messages[0].tool_calls[0].function.arguments",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_has_no_counterpart(kind):
    """One error that names the place."""
    given, place = WRONG[kind]
    with pytest.raises(allm.ValidationError) as caught:
        allm.messages_from_openai(given)
    assert caught.value.message.startswith(place)
    assert "expected" in caught.value.message or "base64" in caught.value.message


def test_every_problem_is_in_one_error():
    """So that a long conversation is not mended one try at a time."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.messages_from_openai([{"role": "bot"}, {"role": "user", "content": "x"}, 3])
    assert [path[:2] for path, _ in caught.value.errors] == [("messages", 0), ("messages", 2)]


async def test_the_messages_can_be_sent():
    """And errors about dictionaries name the function."""
    engine = allm.Engine(adapter=Fake(script=[fake.text("Hi.")]))
    given = [{"role": "user", "content": "Hello"}]
    for wrong in (given, given[0], allm.Message("user", [{"type": "text", "text": "x"}])):
        with pytest.raises(allm.ValidationError, match="messages_from_openai"):
            await allm.generate(engine, wrong)
    assert allm.unwrap(await allm.generate(engine, allm.messages_from_openai(given))) == "Hi."
