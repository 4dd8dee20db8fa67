"""Gemini requests: what becomes of every part of a `Request`."""

from __future__ import annotations

import base64

import pytest

from allm import (
    Image,
    ImagePart,
    JsonSchema,
    Message,
    ProviderPart,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCall,
    ValidationError,
    assistant,
    system,
    tool_result,
    user,
)
from allm.providers.gemini import file_parts as images
from allm.providers.gemini.content_encode import NO_SIGNATURE
from allm.providers.gemini.encode import encode
from allm.runtime.adapters import AdapterOptions
from request_types import check_gemini

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
PNG_TEXT = base64.b64encode(PNG).decode()
WEBP_TEXT = base64.b64encode(b"RIFF\x0e\0\0\0WEBPpixels").decode()
SIGNATURE = "c2lnbmVk"
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}
WEATHER = Tool("weather", "Looks out of the window.", PLACE)
CLOCK = Tool("clock", "")
HI = (user("hi"),)
HELLO = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
FUNCTIONS = [
    {"name": "weather", "description": "Looks out of the window.", "parametersJsonSchema": PLACE},
    {"name": "clock", "description": "", "parametersJsonSchema": {"type": "object", "properties": {}}},
]


def kept(**data):
    """What the decoder keeps with a part."""
    return {"gemini": data}


def model(*parts):
    """A content of the model's."""
    return {"role": "model", "parts": list(parts)}


def from_user(*parts):
    """A content of the user's."""
    return {"role": "user", "parts": list(parts)}


def chat(*messages, name="gemini-2.5-flash", **fields):
    """A request to `name`."""
    return Request(messages, model=name, **fields)


# Name: (messages, contents). The model is Gemini 2.5, which does not insist on signatures.
CONTENTS = {
    "text": (
        (user("hi"), assistant("hello"), user("bye")),
        [from_user({"text": "hi"}), model({"text": "hello"}), from_user({"text": "bye"})],
    ),
    "parts": ((user("a", TextPart("b")),), [from_user({"text": "a"}, {"text": "b"})]),
    "refusal": (
        (user("hi"), assistant(TextPart("no", refusal=True))),
        [from_user({"text": "hi"}), model({"text": "no"})],
    ),
    "nothing in an answer": (
        (user("hi"), assistant(""), user("again")),
        [from_user({"text": "hi"}), from_user({"text": "again"})],
    ),
    "signed empty text": (
        (user("hi"), assistant(TextPart("hello"), TextPart("", metadata=kept(thought_signature=SIGNATURE)))),
        [from_user({"text": "hi"}), model({"text": "hello"}, {"text": "", "thoughtSignature": SIGNATURE})],
    ),
    "signed text": (
        (user("hi"), assistant(TextPart("hello", metadata=kept(thought_signature=SIGNATURE)))),
        [from_user({"text": "hi"}), model({"text": "hello", "thoughtSignature": SIGNATURE})],
    ),
    "thoughts": (
        (
            user("hi"),
            assistant(
                ReasoningPart("hm", provider="gemini"),
                ReasoningPart("", provider="gemini", signature=SIGNATURE),
                ReasoningPart("", provider="gemini"),
                TextPart("hello"),
            ),
        ),
        [
            from_user({"text": "hi"}),
            model(
                {"text": "hm", "thought": True},
                {"text": "", "thought": True, "thoughtSignature": SIGNATURE},
                {"text": "hello"},
            ),
        ],
    ),
    "executed code": (
        (
            user("6*7"),
            assistant(
                ProviderPart(
                    "gemini",
                    {
                        "executableCode": {"language": "PYTHON", "code": "6*7", "id": "c1"},
                        "thoughtSignature": SIGNATURE,
                    },
                ),
                ProviderPart("gemini", {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42", "id": "c1"}}),
                TextPart("42"),
                ProviderPart("gemini", {"groundingMetadata": {"webSearchQueries": ["6*7"]}}),
            ),
        ),
        [
            from_user({"text": "6*7"}),
            model(
                {"executableCode": {"language": "PYTHON", "code": "6*7", "id": "c1"}, "thoughtSignature": SIGNATURE},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42", "id": "c1"}},
                {"text": "42"},
            ),
        ],
    ),
    "calls with ids, results out of order": (
        (
            user("?"),
            assistant(
                ToolCall("b1", "weather", {"city": "Ulm"}, metadata=kept(id="b1", thought_signature=SIGNATURE)),
                ToolCall("b2_1", "clock", {}, metadata=kept(id="b2")),
            ),
            tool_result("b2_1", "12:00"),
            tool_result("b1", '{"sky": "blue"}'),
            user("and?"),
        ),
        [
            from_user({"text": "?"}),
            model(
                {
                    "functionCall": {"name": "weather", "args": {"city": "Ulm"}, "id": "b1"},
                    "thoughtSignature": SIGNATURE,
                },
                {"functionCall": {"name": "clock", "args": {}, "id": "b2"}},
            ),
            from_user(
                {"functionResponse": {"name": "weather", "response": {"sky": "blue"}, "id": "b1"}},
                {"functionResponse": {"name": "clock", "response": {"result": "12:00"}, "id": "b2"}},
            ),
            from_user({"text": "and?"}),
        ],
    ),
    "an id that is used again": (
        (
            user("?"),
            assistant(ToolCall("x", "weather", {}), ToolCall("y", "clock", {})),
            tool_result("x", "fog"),
            tool_result("y", "12"),
            assistant(ToolCall("y", "weather", {}), ToolCall("x", "clock", {})),
            tool_result("x", "13"),
            tool_result("y", "rain"),
        ),
        [
            from_user({"text": "?"}),
            model({"functionCall": {"name": "weather", "args": {}}}, {"functionCall": {"name": "clock", "args": {}}}),
            from_user(
                {"functionResponse": {"name": "weather", "response": {"result": "fog"}}},
                {"functionResponse": {"name": "clock", "response": {"result": "12"}}},
            ),
            model({"functionCall": {"name": "weather", "args": {}}}, {"functionCall": {"name": "clock", "args": {}}}),
            from_user(
                {"functionResponse": {"name": "weather", "response": {"result": "rain"}}},
                {"functionResponse": {"name": "clock", "response": {"result": "13"}}},
            ),
        ],
    ),
    "arguments that are not JSON": (
        (user("?"), assistant(ToolCall("x", "weather", None, '{"city": ')), tool_result("x", "no", is_error=True)),
        [
            from_user({"text": "?"}),
            model({"functionCall": {"name": "weather", "args": {"raw_arguments": '{"city": '}}}),
            from_user({"functionResponse": {"name": "weather", "response": {"error": "no"}}}),
        ],
    ),
    "a result without its call": (
        (user("?"), Message("tool", "noon", tool_call_id="gone", name="clock")),
        [from_user({"text": "?"}), from_user({"functionResponse": {"name": "clock", "response": {"result": "noon"}}})],
    ),
    "a result with an image": (
        (
            user("?"),
            assistant(ToolCall("x", "clock", {})),
            Message("tool", (TextPart("see"), ImagePart(Image.from_bytes(PNG))), tool_call_id="x"),
        ),
        [
            from_user({"text": "?"}),
            model({"functionCall": {"name": "clock", "args": {}}}),
            from_user({"functionResponse": {"name": "clock", "response": {"result": "see"}}}),
            from_user(
                {"text": "Images of the result of clock:"},
                {"inlineData": {"mimeType": "image/png", "data": PNG_TEXT}},
            ),
        ],
    ),
    "images": (
        (
            user(
                "what?",
                Image.from_bytes(PNG),
                Image.from_base64(WEBP_TEXT, "image/png"),
                Image.from_url("https://example.com/a/cat.JPG?size=1"),
                Image.from_url("gs://bucket/cat", "image/heic"),
                Image.from_url("https://generativelanguage.googleapis.com/v1beta/files/abc"),
                Image.from_base64("JVBERi0=", "application/pdf"),
            ),
        ),
        [
            from_user(
                {"text": "what?"},
                {"inlineData": {"mimeType": "image/png", "data": PNG_TEXT}},
                {"inlineData": {"mimeType": "image/webp", "data": WEBP_TEXT}},
                {"fileData": {"fileUri": "https://example.com/a/cat.JPG?size=1", "mimeType": "image/jpeg"}},
                {"fileData": {"fileUri": "gs://bucket/cat", "mimeType": "image/heic"}},
                {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
                {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
            )
        ],
    ),
    "OpenAI's and Anthropic's parts": (
        (
            user("?"),
            assistant(
                ReasoningPart("o", provider="openai", id="rs_1", encrypted_content="x"),
                ReasoningPart("a", provider="anthropic", signature="x"),
                ReasoningPart("by hand"),
                ProviderPart("openai", {"type": "web_search_call", "id": "ws_1"}),
                ProviderPart("anthropic", {"type": "server_tool_use", "id": "srv_1"}),
                TextPart("let me look", metadata={"openai": {"phase": "commentary"}}),
                ToolCall(
                    "call_1", "weather", {"city": "Bonn"}, '{"city":"Bonn"}', metadata={"openai": {"item_id": "fc_1"}}
                ),
                ToolCall("toolu_2", "clock", {}, "", metadata={"anthropic": {"caller": {"type": "direct"}}}),
            ),
            tool_result("call_1", "[1, 2]"),
            tool_result("toolu_2", '{"error": {"type": "timeout", "message": "too slow"}}', is_error=True),
        ),
        [
            from_user({"text": "?"}),
            model(
                {"text": "let me look"},
                {"functionCall": {"name": "weather", "args": {"city": "Bonn"}}},
                {"functionCall": {"name": "clock", "args": {}}},
            ),
            from_user(
                {"functionResponse": {"name": "weather", "response": {"result": [1, 2]}}},
                {
                    "functionResponse": {
                        "name": "clock",
                        "response": {"error": {"type": "timeout", "message": "too slow"}},
                    }
                },
            ),
        ],
    ),
}

# Name: (request, options of the call, body).
BODIES = {
    "least": (chat(*HI), {}, HELLO),
    "system": (
        chat(system("Be kind."), *HI, system("Be brief.")),
        {},
        {**HELLO, "systemInstruction": {"parts": [{"text": "Be kind.\n\nBe brief."}]}},
    ),
    "numbers": (
        chat(*HI, temperature=0, max_tokens=9),
        {"verbosity": "low"},
        {**HELLO, "generationConfig": {"temperature": 0, "maxOutputTokens": 9}},
    ),
    "tools": (chat(*HI, tools=(WEATHER, CLOCK)), {}, {**HELLO, "tools": [{"functionDeclarations": FUNCTIONS}]}),
    "json": (
        chat(*HI, response_format="json"),
        {},
        {**HELLO, "generationConfig": {"responseMimeType": "application/json"}},
    ),
    "plain text": (chat(*HI, response_format="text"), {}, HELLO),
    "schema": (
        chat(*HI, response_format=JsonSchema("place", PLACE)),
        {},
        {**HELLO, "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": PLACE}},
    ),
    "a format in Gemini's words": (
        chat(*HI, response_format={"responseMimeType": "text/x.enum"}),
        {},
        {**HELLO, "generationConfig": {"responseMimeType": "text/x.enum"}},
    ),
    "options": (
        chat(
            *HI,
            temperature=0.5,
            tools=(WEATHER,),
            tool_choice="auto",
            options={
                "generationConfig": {"topP": 0.9, "thinkingConfig": {"includeThoughts": False}},
                "toolConfig": {"functionCallingConfig": {"mode": "ANY"}, "retrievalConfig": {"languageCode": "de"}},
                "tools": [{"googleSearch": {}}],
                "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
                "cachedContent": "cachedContents/1",
            },
        ),
        {"reasoning_effort": "low", "reasoning_summary": "auto"},
        {
            **HELLO,
            "generationConfig": {
                "temperature": 0.5,
                "topP": 0.9,
                "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": False},
            },
            "tools": [{"functionDeclarations": FUNCTIONS[:1]}, {"googleSearch": {}}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY"}, "retrievalConfig": {"languageCode": "de"}},
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            "cachedContent": "cachedContents/1",
        },
    ),
    "options win": (
        chat(
            *HI,
            temperature=0.5,
            response_format=JsonSchema("place", PLACE),
            options={
                "generationConfig": {"temperature": 1, "responseJsonSchema": {"type": "array"}},
                "contents": [from_user({"text": "bye"})],
                "tools": ({"urlContext": {}},),
            },
        ),
        {},
        {
            "contents": [from_user({"text": "bye"})],
            "generationConfig": {
                "temperature": 1,
                "responseMimeType": "application/json",
                "responseJsonSchema": {"type": "array"},
            },
            "tools": [{"urlContext": {}}],
        },
    ),
    **{
        f"choice {choice}": (
            chat(*HI, tools=(WEATHER, CLOCK), tool_choice=choice),
            {},
            {**HELLO, "tools": [{"functionDeclarations": FUNCTIONS}], "toolConfig": {"functionCallingConfig": config}},
        )
        for choice, config in {
            "auto": {"mode": "AUTO"},
            "none": {"mode": "NONE"},
            "required": {"mode": "ANY"},
            "clock": {"mode": "ANY", "allowedFunctionNames": ["clock"]},
        }.items()
    },
    "choice auto without tools": (chat(*HI, tool_choice="auto"), {}, HELLO),
    "choice in Gemini's words": (
        chat(*HI, tool_choice={"mode": "VALIDATED"}),
        {},
        {**HELLO, "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}}},
    ),
    "tool config in Gemini's words": (
        chat(*HI, tool_choice={"retrievalConfig": {"languageCode": "de"}}),
        {},
        {**HELLO, "toolConfig": {"retrievalConfig": {"languageCode": "de"}}},
    ),
    **{
        f"effort {effort} of {name}": (
            chat(*HI, name=name),
            {"reasoning_effort": effort},
            {**HELLO, "generationConfig": {"thinkingConfig": config}},
        )
        for name, effort, config in [
            ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
            ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
            ("gemini-2.5-pro", "medium", {"thinkingBudget": 8192}),
            ("gemini-2.5-pro", "-1", {"thinkingBudget": -1}),
            ("models/gemini-3-pro-preview", "none", {"thinkingLevel": "LOW"}),
            ("gemini-3.1-pro-preview", "minimal", {"thinkingLevel": "LOW"}),
            ("gemini-3.8-flash", "none", {"thinkingLevel": "LOW"}),
            ("gemini-3-flash-preview", "none", {"thinkingLevel": "MINIMAL"}),
            ("gemini-3-flash-preview", "xhigh", {"thinkingLevel": "HIGH"}),
            ("gemini-3-pro-preview", "medium", {"thinkingLevel": "HIGH"}),
            ("gemini-5-flash", "xhigh", {"thinkingLevel": "XHIGH"}),
            ("gemini-3.5-flash", "high", {"thinkingLevel": "HIGH"}),
            ("gemini-3.5-flash", "512", {"thinkingBudget": 512}),
            ("gemini-flash-latest", "low", {"thinkingLevel": "LOW"}),
            ("gemini-12-flash", "low", {"thinkingLevel": "LOW"}),
        ]
    },
    "no thoughts shown": (
        chat(*HI),
        {"reasoning_summary": "none"},
        {**HELLO, "generationConfig": {"thinkingConfig": {"includeThoughts": False}}},
    ),
    "thoughts shown": (
        chat(*HI),
        {"reasoning_summary": "detailed"},
        {**HELLO, "generationConfig": {"thinkingConfig": {"includeThoughts": True}}},
    ),
    **{name: (chat(*messages), {}, {"contents": contents}) for name, (messages, contents) in CONTENTS.items()},
}


@pytest.mark.parametrize("name", BODIES)
def test_body(name):
    """Every request has exactly this body."""
    request, options, body = BODIES[name]

    assert encode(request, AdapterOptions(**options)) == body


# Beyond the descriptors' words: a choice that only newer services know, and a format that is a value of its own.
@pytest.mark.parametrize("name", sorted(BODIES.keys() - {"choice in Gemini's words"}))
def test_google_would_accept_it(name):
    """Every body fits the types that Google publishes."""
    request, options, _ = BODIES[name]

    check_gemini(encode(request, AdapterOptions(**options)))


@pytest.mark.parametrize(
    "body",
    [
        {**HELLO, "max_tokens": 1},
        {"contents": [from_user({"txt": "hi"})]},
        {**HELLO, "toolConfig": {"functionCallingConfig": {"mode": "required"}}},
        {**HELLO, "generationConfig": {"thinkingConfig": {"effort": "low"}}},
    ],
)
def test_the_judge_is_awake(body):
    """What Google refuses does not pass the check that the bodies above pass."""
    with pytest.raises(Exception, match=r"(?i)no field|extra|not a valid"):
        check_gemini(body)


@pytest.mark.parametrize("name", ["gemini-3-pro-preview", "models/gemini-4-argon", "tunedModels/mine"])
def test_an_unsigned_first_call_says_so_to_models_that_check(name):
    """Gemini 3 and newer answer 400 to calls of other vendors, but for the value that Google documents for them."""
    messages = (
        user("?"),
        assistant(ToolCall("1", "weather", {}), ToolCall("2", "clock", {})),
        tool_result("1", "fog"),
        tool_result("2", "12"),
        assistant(ToolCall("3", "clock", {}, metadata=kept(thought_signature=SIGNATURE))),
        tool_result("3", "13"),
    )
    body = encode(chat(*messages, name=name), AdapterOptions())

    first, second = body["contents"][1]["parts"]
    assert first["thoughtSignature"] == NO_SIGNATURE
    assert "thoughtSignature" not in second
    assert body["contents"][3]["parts"][0]["thoughtSignature"] == SIGNATURE
    check_gemini(body)


@pytest.mark.parametrize(
    ("content", "is_error", "response"),
    [
        ("plain", False, {"result": "plain"}),
        ("", False, {"result": ""}),
        ('{"a": 1}', False, {"a": 1}),
        (' {"a": 1}\n', False, {"a": 1}),
        ("{not json}", False, {"result": "{not json}"}),
        ('[{"a": 1}]', False, {"result": [{"a": 1}]}),
        ("12345678901234567890", False, {"result": "12345678901234567890"}),
        ('"quoted"', False, {"result": '"quoted"'}),
        ("null", False, {"result": "null"}),
        ("broken", True, {"error": "broken"}),
        ('{"a": 1}', True, {"error": {"a": 1}}),
        ('{"error": {"a": 1}}', True, {"error": {"a": 1}}),
        ('{"error": 1, "b": 2}', True, {"error": {"error": 1, "b": 2}}),
        ("[1]", True, {"error": [1]}),
    ],
)
def test_a_result_is_an_object(content, is_error, response):
    """Gemini takes an object: a JSON object as it is, the rest under `result`, a failure under `error`."""
    messages = (user("?"), assistant(ToolCall("1", "clock", {})), tool_result("1", content, is_error=is_error))
    body = encode(chat(*messages), AdapterOptions())

    assert body["contents"][2]["parts"] == [{"functionResponse": {"name": "clock", "response": response}}]
    check_gemini(body)


@pytest.mark.parametrize(
    ("messages", "fields", "options", "problem"),
    [
        ((system("alone"),), {}, {}, (("messages",), "empty")),
        ((user("?"), tool_result("x", "1")), {}, {}, (("messages", 1, "tool_call_id"), "unknown_tool_call")),
        (HI, {"tool_choice": "clock"}, {}, (("tool_choice",), "unknown_tool")),
        (HI, {"tool_choice": "required"}, {}, (("tool_choice",), "requires_tools")),
        (HI, {"tools": (Tool("7zip", ""),)}, {}, (("tools", 0, "name"), "invalid_format")),
        (HI, {}, {"reasoning_effort": "huge"}, (("reasoning_effort",), "unknown")),
        (
            (user(Image.from_bytes(b"GIF89a")),),
            {},
            {},
            (("messages", 0, "content", 0), "unsupported_image_format"),
        ),
        (
            (user(Image.from_url("https://a.b/c.gif")),),
            {},
            {},
            (("messages", 0, "content", 0), "unsupported_image_format"),
        ),
        ((user(Image.from_url("ftp://a.b/c.png")),), {}, {}, (("messages", 0, "content", 0), "unsupported_image_url")),
        ((user(Image(("url", "cat.png"))),), {}, {}, (("messages", 0, "content", 0), "unsupported_image_url")),
        ((user(Image.from_bytes(b"?")),), {}, {}, (("messages", 0, "content", 0), "missing_mime_type")),
        ((user(Image(("file", "/nowhere.png"))),), {}, {}, (("messages", 0, "content", 0), "unreadable_file")),
        (
            (
                user("?"),
                assistant(ToolCall("x", "clock", {})),
                Message("tool", (ImagePart(Image.from_bytes(b"?")),), tool_call_id="x"),
            ),
            {},
            {},
            (("messages", 2, "content", 0), "missing_mime_type"),
        ),
    ],
)
def test_what_cannot_be_sent_is_said_before(messages, fields, options, problem):
    """A request that Gemini would refuse is a `ValidationError` that names the place, and nothing is sent."""
    with pytest.raises(ValidationError) as caught:
        encode(chat(*messages, **fields), AdapterOptions(**options))

    assert caught.value.errors == (problem,)


def test_all_problems_are_found():
    """Neither problem hides the other, and the message has a sentence for each."""
    messages = (user("?", Image(("url", "cat.png"))), tool_result("x", "1"))
    with pytest.raises(ValidationError) as caught:
        encode(chat(*messages, tool_choice="nobody"), AdapterOptions())

    assert len(caught.value.errors) == 3
    assert "messages[0].content[1]: Gemini fetches https and gs URLs" in str(caught.value)


def test_inline_images_have_a_limit_together(monkeypatch):
    """The limit is one of the request: the image that crosses it is the one that is named."""
    monkeypatch.setattr(images, "MAX_INLINE_BYTES", 3 * len(PNG_TEXT) - 1)
    image = Image.from_bytes(PNG)
    with pytest.raises(ValidationError) as caught:
        encode(chat(user(image), user(image), user(image)), AdapterOptions())

    assert caught.value.errors == ((("messages", 2, "content", 0), "image_too_large"),)


def test_images_have_a_number(monkeypatch):
    """Images that Google fetches count as well."""
    monkeypatch.setattr(images, "MAX_IMAGES", 1)
    with pytest.raises(ValidationError) as caught:
        encode(chat(user(Image.from_url("gs://a/b.png"), Image.from_url("gs://a/c.png"))), AdapterOptions())

    assert caught.value.errors == ((("messages", 0, "content", 1), "too_many_images"),)


def test_encoding_leaves_the_request_alone():
    """The body shares nothing that a later change of it could reach, at the places where it is built up."""
    request, options, _ = BODIES["options"]
    before = repr(request)
    body = encode(request, AdapterOptions(**options))
    body["generationConfig"]["thinkingConfig"]["includeThoughts"] = True
    body["tools"].append({})
    body["toolConfig"]["functionCallingConfig"]["mode"] = "NONE"

    assert repr(request) == before
