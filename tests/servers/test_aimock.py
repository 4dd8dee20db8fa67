"""Tests against aimock, a Node program: scripted reasoning, ordered blocks, parallel tools and refusals of all vendors.

Where Node is installed, `nox -s servers` installs aimock and sets AIMOCK_MODULES to its folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import trio

import allm
from servers import vendors
from servers.vendors import KEY, each

NODE = shutil.which("node")
PROGRAM = Path(os.environ.get("AIMOCK_MODULES", "node_modules"), "@copilotkit", "aimock", "dist", "cli.js")
if NODE is None:
    pytest.skip("aimock needs Node.js, and there is no `node` here", allow_module_level=True)
if not PROGRAM.exists():
    pytest.skip("aimock is installed by `nox -s servers`", allow_module_level=True)

FIXTURES = Path(__file__).parent / "aimock" / "fixtures.json"
GREETING = "Grüezi mitenand 👋 from a fixture, cut into several pieces."
START_SECONDS = 30
PREFIX = {"openai_chat": "/v1", "openai_responses": "/v1", "anthropic": "", "gemini": ""}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The server's address; the process ends with the tests of this file."""
    log = tmp_path_factory.mktemp("aimock") / "log"
    command = [NODE, PROGRAM, "-p", "0", "-h", "127.0.0.1", "-f", FIXTURES, "--strict", "--validate-on-load"]
    with log.open("wb") as output:
        environment = {**os.environ, "AIMOCK_API_KEYS": KEY}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            yield wait_for_address(process, log)
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for_address(process, log):
    """The line that the process prints once it listens."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if found := re.search(r"listening on (http://127\.0\.0\.1:\d+)", log.read_text()):
            return found[1]
        time.sleep(0.02)
    raise AssertionError(f"aimock did not start:\n{log.read_text()}")


def ask_at(server, vendor, **options):
    return vendors.engine(vendor, server + PREFIX[vendor], **options)


@each()
async def test_text_and_usage(server, vendor):
    """Text arrives in the pieces that the server sends, then the usage."""
    async with allm.stream_generate(ask_at(server, vendor), "greet me") as events:
        pieces = [piece async for piece in events.text()]
    response = events.result()
    assert "".join(pieces) == allm.unwrap(response) == GREETING
    assert len(pieces) > 1
    assert (response.usage.input_tokens, response.usage.output_tokens) == (11, 7)


@each()
async def test_chat_with_parallel_tools(server, vendor):
    """A response with two calls is followed by a request with two results."""
    asked = []

    def handler(arguments):
        asked.append(arguments)
        return {"degrees": 21}

    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    weather = allm.Tool("get_weather", "The weather of a city.", schema, handler=handler)
    result = await allm.chat(ask_at(server, vendor), "weather, please", tools=[weather])
    assert result.halted_reason == "completed"
    assert sorted(arguments["city"] for arguments in asked) == ["Bern", "Zürich"]
    first, second = result.steps
    assert first.response.output_text == "Let me see."
    assert first.response.finish_reason == "tool_calls"
    assert [message.role for message in first.tool_results] == ["tool", "tool"]
    assert second.response.output_text == "It is 21 degrees."


@each()
async def test_reasoning_is_a_separate_part(server, vendor):
    """It is not in the text."""
    response = await allm.generate(ask_at(server, vendor), "think hard")
    assert response.output_text == "The answer is 42."
    assert response.reasoning_text == "First I consider the question."


@each()
async def test_reasoning_can_be_sent_back(server, vendor):
    """Together with its opaque data."""
    engine = ask_at(server, vendor)
    first = await allm.generate(engine, "think hard")
    thread = [allm.user("think hard"), first.message, allm.user("now greet me")]
    assert allm.unwrap(await allm.generate(engine, thread)) == GREETING


@each()
async def test_text_around_a_call(server, vendor):
    """Every block arrives."""
    response = await allm.generate(ask_at(server, vendor), "mixed blocks", tools=[vendors.get_weather])
    assert response.output_text == "Before. After."
    [call] = response.tool_calls
    assert call.arguments == {"city": "Bern"}
    if vendor != "openai_chat":  # its format has one text field
        kinds = [type(part).__name__ for part in response.message.parts]
        assert kinds == ["TextPart", "ToolCall", "TextPart"]


@each("openai_chat", "anthropic", "gemini")  # aimock's incomplete response of the Responses API gives no reason
async def test_length(server, vendor):
    """The token limit ends a response with `length`."""
    response = await allm.generate(ask_at(server, vendor), "too long")
    assert response.finish_reason == "length"
    assert response.output_text == "cut off here"


@each()
async def test_rate_limit(server, vendor):
    """The error has the time to wait."""
    response = await allm.generate(ask_at(server, vendor), "wait")
    assert response.error.reason == "rate_limited"
    assert response.error.retryable
    assert response.error.retry_after == 7


@each()
async def test_overload(server, vendor):
    """A status that only one vendor documents is recognized."""
    response = await allm.generate(ask_at(server, vendor), "overload")
    assert response.error.reason == "overloaded"
    assert response.error.status == 529


@each()
async def test_wrong_key(server, vendor):
    """It is refused; all other tests send the right key, in the header that each vendor expects."""
    response = await allm.generate(ask_at(server, vendor, api_key="some-other-key"), "greet me")
    assert response.error.reason == "authentication_failed"
    assert "some-other-key" not in repr(response)


@each()
async def test_broken_connection(server, vendor):
    """The server drops the connection after some pieces; the text is a beginning of the whole."""
    response = await allm.generate(ask_at(server, vendor), "break off")
    assert response.error.reason in {"stream_truncated", "network_error"}
    assert "This is cut off after a few pieces of its text, in the middle of it.".startswith(response.output_text)


@each()
async def test_events_arrive_as_they_are_sent(server, vendor):
    """The first words arrive long before the last; leaving early takes no time."""
    with trio.fail_after(10):
        async with allm.stream_generate(ask_at(server, vendor), "slow") as events:
            first = await anext(events.text())
    assert "One two three four".startswith(first)
    assert events.result().finish_reason is None


def with_service(server, slot, adapter, model):
    asked = adapter(base_url=server + "/v1", api_key=KEY)
    return allm.Engine(**{f"{slot}_adapter": asked, f"{slot}_model": model})


async def test_an_image_is_generated(server):
    """From a prompt, as base64."""
    engine = with_service(server, "image", allm.providers.OpenAIImages, "gpt-image-2")
    response = await allm.generate_image(engine, "a pixel", size="1024x1024")
    assert (response.image.size(), response.image.revised_prompt) == ((1, 1), "one black pixel")


async def test_an_image_is_edited(server):
    """From two images and a mask, in one form."""
    engine = with_service(server, "image", allm.providers.OpenAIImages, "gpt-image-2")
    original = (await allm.generate_image(engine, "a pixel")).image
    response = await allm.edit_image(engine, [original, original], "a pixel with a hat", mask=original)
    assert response.image.to_bytes() == original.to_bytes()


async def test_speech_arrives(server):
    """As the bytes of an audio file."""
    engine = with_service(server, "speech", allm.providers.OpenAISpeech, "gpt-4o-mini-tts")
    speech = await allm.synthesize(engine, "Guten Tag", format="wav")
    assert speech.complete
    assert allm.Audio.from_bytes(speech.audio.data).mime_type == "audio/wav"


async def test_speech_is_transcribed(server):
    """With timestamps on request."""
    speaker = with_service(server, "speech", allm.providers.OpenAISpeech, "gpt-4o-mini-tts")
    listener = with_service(server, "transcription", allm.providers.OpenAITranscription, "whisper-1")
    speech = await allm.synthesize(speaker, "Guten Tag", format="wav")
    assert (await allm.transcribe(listener, speech.audio)).text == "Guten Tag"
    found = await allm.transcribe(listener, speech.audio, timestamps=["word", "segment"])
    assert (found.text, found.language, found.duration) == ("Guten Tag", "german", 1.5)
    assert [(word.text, word.start) for word in found.words] == [("Guten", 0.0), ("Tag", 0.6)]
    assert found.segments[0].end == 1.1


async def test_a_service_refuses_the_wrong_key(server):
    """The error has the reason and does not show the key."""
    adapter = allm.providers.OpenAIImages(base_url=server + "/v1", api_key="some-other-key")
    engine = allm.Engine(image_adapter=adapter, image_model="gpt-image-2")
    with pytest.raises(allm.ImageAdapterError) as caught:
        await allm.generate_image(engine, "a pixel")
    assert caught.value.reason == "authentication_failed"
    assert "some-other-key" not in str(caught.value)
