"""What a provider cannot take is not dropped from a prompt: nothing is sent, on every wire format and preset."""

from __future__ import annotations

import json

import pytest

import allm
from allm.adapters import AdapterOptions, unsupported_parts
from allm.providers import Anthropic, Bedrock, Gemini, OpenAI
from allm.providers.openai.presets import PRESETS

DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "the contract"}}
FILE = {"type": "file", "file": {"file_id": "f1"}}
INPUT_FILE = {"type": "input_file", "file_id": "f1"}
FILE_DATA = {"fileData": {"fileUri": "https://x.example/f1"}}
ADAPTERS = {
    "chat": OpenAI(api_key="k", endpoint="chat_completions"),
    "responses": OpenAI(api_key="k", endpoint="responses"),
    "anthropic": Anthropic(api_key="k"),
    "gemini": Gemini(api_key="k"),
    "bedrock": Bedrock(api_key="k", region="us-east-1"),
}
HELLO = (allm.assistant("Hello."), allm.user("Well?"))
CALL = allm.assistant(allm.ToolCall("c1", "f", {}))
PARTS = {
    "anthropic document": allm.ProviderPart("anthropic", DOCUMENT),
    "openai file": allm.ProviderPart("openai", FILE),
    "openai input_file": allm.ProviderPart("openai", INPUT_FILE),
    "gemini fileData": allm.ProviderPart("gemini", FILE_DATA),
    "gemini note": allm.ProviderPart("gemini", {"groundingMetadata": {}}),
    "typo": allm.ProviderPart("Anthropic", DOCUMENT),
    "somebody's": allm.ProviderPart("somebody", {"x": 1}),
    "thinking": allm.ReasoningPart("Hm.", provider="openai"),
}
TAKEN = {
    ("chat", "user"): {"openai file"},
    ("chat", "system"): {"openai file"},
    ("responses", "user"): {"openai input_file"},
    ("responses", "system"): {"openai input_file"},
    ("responses", "tool"): {"openai input_file"},
    ("anthropic", "user"): {"anthropic document"},
    ("anthropic", "tool"): {"anthropic document"},
    ("gemini", "user"): {"gemini fileData"},
}


def prepared(adapter, *messages):
    request = allm.Request(messages, model="m", max_tokens=10)
    return json.loads(adapter.prepare(request, AdapterOptions()).body)


def thread(role, part):
    """A conversation with the part in a message of the role; the index of the message."""
    texts = [allm.TextPart("Is it valid?"), part]
    if role == "tool":
        return [allm.user("Hi"), CALL, allm.Message("tool", texts, tool_call_id="c1")], 2
    return [allm.Message(role, texts), *HELLO], 0


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("role", ["user", "system", "tool"])
@pytest.mark.parametrize("wire", ADAPTERS)
def test_a_part_is_sent_or_refused(wire, role, kind):
    """It is in the body, or it is an error that names its place."""
    messages, index = thread(role, PARTS[kind])
    if kind in TAKEN.get((wire, role), ()):
        assert json.dumps(dict(PARTS[kind].data)) in json.dumps(prepared(ADAPTERS[wire], *messages))
        return
    with pytest.raises(allm.ValidationError) as caught:
        prepared(ADAPTERS[wire], *messages)
    assert caught.value.errors == ((("messages", index, "content", 1), "unsupported_part"),)


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("endpoint", ["chat_completions", "responses"])
def test_every_preset(preset, endpoint):
    """Its own parts are sent, those of others are not."""
    row = PRESETS[preset]
    adapter = OpenAI(api_key="k", preset=preset, endpoint=endpoint, base_url="https://x.example/v1")
    data = FILE if endpoint == "chat_completions" else INPUT_FILE
    assert "f1" in json.dumps(prepared(adapter, allm.user("x", allm.ProviderPart(row.name, data))))
    with pytest.raises(allm.ValidationError, match="is a part of 'elsewhere'"):
        prepared(adapter, allm.user("x", allm.ProviderPart("elsewhere", data)))


@pytest.mark.parametrize("wire", ADAPTERS)
def test_an_assistants_own_are_left_out(wire):
    """A conversation goes on with another provider."""
    parts = [part for kind, part in PARTS.items() if kind != "thinking"]
    foreign = [part for part in parts if part.provider not in {"openai", "anthropic", "gemini"}]
    sent = prepared(ADAPTERS[wire], allm.user("Hi"), allm.assistant("Hello.", *foreign), allm.user("And?"))
    assert "the contract" not in json.dumps(sent)


def test_the_sentence_says_what_would_help():
    """The name that was meant, or what the format takes."""
    with pytest.raises(allm.ValidationError, match="is a part of 'Anthropic'; did you mean 'anthropic'") as caught:
        prepared(ADAPTERS["anthropic"], allm.user("x", PARTS["typo"]))
    assert caught.value.problems[0].tag == "unsupported_part"
    with pytest.raises(allm.ValidationError, match="Chat Completions takes file, image_url, input_audio, text"):
        prepared(ADAPTERS["chat"], allm.user("x", PARTS["openai input_file"]))
    with pytest.raises(allm.ValidationError, match="of Chat Completions; the Responses API takes input_file"):
        prepared(ADAPTERS["responses"], allm.user("x", PARTS["openai file"]))


def test_a_text_of_anthropics_own_in_the_system_prompt():
    """It is a block with what the caller wrote, such as a cache mark, in its place."""
    text = {"type": "text", "text": "Two.", "cache_control": {"type": "ephemeral"}}
    system = allm.Message("system", [allm.TextPart("One."), allm.ProviderPart("anthropic", text)])
    assert prepared(ADAPTERS["anthropic"], system, allm.user("x"))["system"] == [{"type": "text", "text": "One."}, text]


async def test_through_a_call():
    """Nothing is sent: the error is raised when the call is made."""
    engine = allm.Engine(adapter=OpenAI(api_key="k", base_url="http://127.0.0.1:9"), model="m")
    with pytest.raises(allm.ValidationError, match=r"messages\[0\]\.content\[1\] is a part of 'anthropic'"):
        await allm.generate(engine, [allm.user("Is it valid?", PARTS["anthropic document"])])


def test_a_provider_without_parts_of_its_own():
    """It refuses all, those of its own name too."""
    messages = [
        allm.user("x", allm.ProviderPart("acme", {"x": 1})),
        allm.assistant(allm.ProviderPart("acme", {"x": 1})),
    ]
    [problem] = unsupported_parts(messages, "acme")
    assert (problem.path, problem.tag) == (("messages", 0, "content", 1), "unsupported_part")
