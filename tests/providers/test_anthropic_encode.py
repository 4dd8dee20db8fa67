"""Anthropic requests: what becomes of every part of a `Request`."""

from __future__ import annotations

import base64

import attrs
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
from allm.providers.anthropic import file_parts as images
from allm.providers.anthropic.encode import Settings, encode
from allm.runtime.adapters import AdapterOptions
from request_types import check_anthropic

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
PNG_TEXT = base64.b64encode(PNG).decode()
WEBP_TEXT = base64.b64encode(b"RIFF\x0e\0\0\0WEBPpixels").decode()
HEIC = b"\0\0\0\x18ftypheic"
PNG_BLOCK = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG_TEXT}}
SIGNATURE = "c2lnbmVk"
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOSED_PLACE = {**PLACE, "additionalProperties": False}
WEATHER = Tool("weather", "Looks out of the window.", PLACE)
CLOCK = Tool("clock", "", {})
WEATHER_TOOL = {"name": "weather", "description": "Looks out of the window.", "input_schema": PLACE}
CLOCK_TOOL = {"name": "clock", "input_schema": {"type": "object"}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
FORMAT = JsonSchema("place", PLACE)
HI = (user("hi"),)
OLD, NEW = "2023-06-01", "2026-10-21"


def say(value, **beside):
    """A text block."""
    return {"type": "text", "text": value, **beside}


def turns(*contents, first="user"):
    """Messages that take turns."""
    roles = ["user", "assistant"] if first == "user" else ["assistant", "user"]
    return [{"role": roles[index % 2], "content": content} for index, content in enumerate(contents)]


def use(call_id, name="clock", arguments=None, **beside):
    """A `tool_use` block."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments or {}, **beside}


def result(call_id, content=None, **beside):
    """A `tool_result` block."""
    kept = {} if content is None else {"content": content}
    return {"type": "tool_result", "tool_use_id": call_id, **kept, **beside}


def kept(**data):
    """What the decoder keeps with a part."""
    return {"anthropic": data}


def chat(*messages, name="claude-haiku-4-5", **fields):
    """A request to `name`."""
    return Request(messages, model=name, **fields)


def body_of(request, settings=None, **options):
    """The body of a request."""
    return encode(request, AdapterOptions(**options), settings or Settings())


HELLO = {"model": "claude-haiku-4-5", "max_tokens": 64_000, "messages": turns([say("hi")]), "stream": True}

# Name: (messages, the messages as they are sent). What has calls also has a tool, so that none is made up for it.
CONTENTS = {
    "text": (
        (user("hi"), assistant("hello"), user("bye")),
        turns([say("hi")], [say("hello")], [say("bye")]),
    ),
    "one side twice": (
        (user("a"), user("b", "c"), assistant("d"), assistant("e"), user("f")),
        turns([say("a"), say("b"), say("c")], [say("d"), say("e")], [say("f")]),
    ),
    "nothing to see": (
        (user("hi"), assistant(""), user(TextPart(" \n"), TextPart("again"))),
        turns([say("hi"), say("again")]),
    ),
    "refusal": (
        (user("hi"), assistant(TextPart("no", refusal=True)), user("why")),
        turns([say("hi")], [say("no")], [say("why")]),
    ),
    "an answer to be continued": (
        (user("count"), assistant("1, 2,\n ")),
        turns([say("count")], [say("1, 2,")]),
    ),
    "a call to be continued": (
        (
            user("?"),
            assistant(
                "so ",
                ProviderPart(
                    "anthropic", {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
                ),
            ),
        ),
        turns([say("?")], [say("so "), use("srvtoolu_1", "web_search") | {"type": "server_tool_use"}]),
    ),
    "thinking": (
        (
            user("hi"),
            assistant(
                ReasoningPart("hm", provider="anthropic", signature=SIGNATURE),
                ReasoningPart("", provider="anthropic", encrypted_content="cmVk"),
                ReasoningPart("", provider="anthropic", signature=SIGNATURE),
                ReasoningPart("broken off", provider="anthropic"),
                ReasoningPart("not signed", provider="anthropic", signature=""),
                TextPart("hello"),
            ),
            user("and?"),
        ),
        turns(
            [say("hi")],
            [
                {"type": "thinking", "thinking": "hm", "signature": SIGNATURE},
                {"type": "redacted_thinking", "data": "cmVk"},
                {"type": "thinking", "thinking": "", "signature": SIGNATURE},
                {"type": "thinking", "thinking": "not signed", "signature": ""},
                say("hello"),
            ],
            [say("and?")],
        ),
    ),
    "Anthropic's own tools": (
        (
            user("6*7"),
            assistant(
                ProviderPart(
                    "anthropic",
                    {
                        "type": "server_tool_use",
                        "id": "srvtoolu_1",
                        "name": "bash_code_execution",
                        "input": {"command": "echo $((6*7))"},
                    },
                ),
                ProviderPart(
                    "anthropic",
                    {
                        "type": "bash_code_execution_tool_result",
                        "tool_use_id": "srvtoolu_1",
                        "content": {
                            "type": "bash_code_execution_result",
                            "stdout": "42\n",
                            "stderr": "",
                            "return_code": 0,
                            "content": [],
                        },
                    },
                ),
                TextPart(
                    "42",
                    metadata=kept(
                        citations=[
                            {
                                "type": "char_location",
                                "cited_text": "42",
                                "document_index": 0,
                                "document_title": None,
                                "start_char_index": 0,
                                "end_char_index": 2,
                            }
                        ]
                    ),
                ),
            ),
            user(ProviderPart("anthropic", {"type": "container_upload", "file_id": "file_1"}), "and?"),
        ),
        turns(
            [say("6*7")],
            [
                {
                    "type": "server_tool_use",
                    "id": "srvtoolu_1",
                    "name": "bash_code_execution",
                    "input": {"command": "echo $((6*7))"},
                },
                {
                    "type": "bash_code_execution_tool_result",
                    "tool_use_id": "srvtoolu_1",
                    "content": {
                        "type": "bash_code_execution_result",
                        "stdout": "42\n",
                        "stderr": "",
                        "return_code": 0,
                        "content": [],
                    },
                },
                say(
                    "42",
                    citations=[
                        {
                            "type": "char_location",
                            "cited_text": "42",
                            "document_index": 0,
                            "document_title": None,
                            "start_char_index": 0,
                            "end_char_index": 2,
                        }
                    ],
                ),
            ],
            [{"type": "container_upload", "file_id": "file_1"}, say("and?")],
        ),
    ),
    "results of a turn": (
        (
            user("?"),
            assistant(
                "Let me see.", ToolCall("a", "weather", {"city": "Ulm"}, '{"city": "Ulm"}'), ToolCall("b", "clock", {})
            ),
            user("quick!"),
            tool_result("a", "fog"),
            tool_result("b", "the clock is broken", is_error=True),
            user("thanks"),
        ),
        turns(
            [say("?")],
            [say("Let me see."), use("a", "weather", {"city": "Ulm"}), use("b")],
            [result("a", "fog"), result("b", "the clock is broken", is_error=True), say("quick!"), say("thanks")],
        ),
    ),
    "results with nothing in them": (
        (
            user("?"),
            assistant(ToolCall("a", "clock", {}), ToolCall("b", "clock", {})),
            tool_result("a", ""),
            tool_result("b", " \n"),
        ),
        turns([say("?")], [use("a"), use("b")], [result("a"), result("b")]),
    ),
    "a result in parts": (
        (
            user("?"),
            assistant(ToolCall("a", "clock", {}), ToolCall("b", "clock", {})),
            Message("tool", (TextPart("see"), TextPart(" here")), tool_call_id="a"),
            Message("tool", (TextPart("see"), ImagePart(Image.from_bytes(PNG)), TextPart(" ")), tool_call_id="b"),
        ),
        turns([say("?")], [use("a"), use("b")], [result("a", "see here"), result("b", [say("see"), PNG_BLOCK])]),
    ),
    "arguments that are not JSON": (
        (
            user("?"),
            assistant(ToolCall("a", "weather", None, '{"city": '), ToolCall("b", "clock", None, None)),
            tool_result("a", "no", is_error=True),
            tool_result("b", "no", is_error=True),
        ),
        turns(
            [say("?")],
            [use("a", "weather", {"INVALID_JSON": '{"city": '}), use("b", arguments={"INVALID_JSON": ""})],
            [result("a", "no", is_error=True), result("b", "no", is_error=True)],
        ),
    ),
    "ids of other providers": (
        (
            user("?"),
            assistant(
                ToolCall("functions.clock:0", "clock", {}),
                ToolCall("functions_clock_0", "clock", {}),
                ToolCall("é|7", "clock", {}),
            ),
            tool_result("é|7", "3"),
            tool_result("functions.clock:0", "1"),
            tool_result("functions_clock_0", "2"),
            assistant(ToolCall("functions.clock:0", "clock", {})),
            tool_result("functions.clock:0", "4"),
        ),
        turns(
            [say("?")],
            [use("functions_clock_0"), use("functions_clock_0_2"), use("__7")],
            [result("__7", "3"), result("functions_clock_0", "1"), result("functions_clock_0_2", "2")],
            [use("functions_clock_0_3")],
            [result("functions_clock_0_3", "4")],
        ),
    ),
    "what Anthropic keeps with a call": (
        (
            user("?"),
            assistant(
                ToolCall("a", "clock", {}, "", metadata=kept(caller={"type": "direct"})),
                ToolCall("b", "click", {"x": 1}, metadata=kept(toolset_name="browser")),
            ),
            tool_result("a", "12"),
            tool_result("b", "done"),
        ),
        turns(
            [say("?")],
            [use("a", caller={"type": "direct"}), use("b", "click", {"x": 1}, toolset_name="browser")],
            [result("a", "12"), result("b", "done", toolset_name="browser")],
        ),
    ),
    "images": (
        (
            user(
                "what?",
                Image.from_bytes(PNG),
                Image.from_base64(WEBP_TEXT, "image/png"),
                Image.from_url("https://example.com/cat"),
            ),
            assistant("a cat", ImagePart(Image.from_bytes(PNG))),
            user("sure?"),
        ),
        turns(
            [
                say("what?"),
                PNG_BLOCK,
                {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": WEBP_TEXT}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/cat"}},
            ],
            [say("a cat")],
            [say("sure?")],
        ),
    ),
    "OpenAI's and Gemini's parts": (
        (
            user("?"),
            assistant(
                ReasoningPart("o", provider="openai", id="rs_1", encrypted_content="x"),
                ReasoningPart("g", provider="gemini", signature="x"),
                ReasoningPart("by hand"),
                ProviderPart("openai", {"type": "web_search_call", "id": "ws_1"}),
                ProviderPart("gemini", {"executableCode": {"code": "1"}}),
                TextPart(
                    "let me look", metadata={"gemini": {"thought_signature": "x"}, "openai": {"phase": "commentary"}}
                ),
                ToolCall(
                    "call_1", "weather", {"city": "Bonn"}, '{"city":"Bonn"}', metadata={"openai": {"item_id": "fc_1"}}
                ),
                ToolCall("b2", "clock", {}, metadata={"gemini": {"id": "b2", "thought_signature": "x"}}),
            ),
            tool_result("call_1", "[1, 2]"),
            tool_result("b2", "12:00"),
            assistant(ReasoningPart("only this", provider="openai")),
            user("so?"),
        ),
        turns(
            [say("?")],
            [say("let me look"), use("call_1", "weather", {"city": "Bonn"}), use("b2")],
            [result("call_1", "[1, 2]"), result("b2", "12:00"), say("so?")],
        ),
    ),
    "citations are the model's": (
        (user(TextPart("quoted", metadata=kept(citations=[{"type": "x"}]))),),
        turns([say("quoted")]),
    ),
}

CACHED = {"type": "ephemeral"}
LONG = {"type": "ephemeral", "ttl": "1h"}
TALK = (system("Be kind."), user("hi"), assistant("hello"), user("and", "so"))
TALK_TURNS = turns([say("hi")], [say("hello")], [say("and"), say("so", cache_control=CACHED)])

# Name: (request, options of the call, what the adapter is set to, what differs from the least body).
BODIES = {
    "least": (chat(*HI), {}, {}, {}),
    "system": (
        chat(system("Be kind."), *HI, system("Be brief."), system("  ")),
        {},
        {},
        {"system": [say("Be kind."), say("Be brief.")]},
    ),
    "numbers": (chat(*HI, temperature=0, max_tokens=9), {"verbosity": "low"}, {}, {"temperature": 0, "max_tokens": 9}),
    "the newer version": (chat(*HI, max_tokens=9), {}, {"api_version": NEW}, {"max_tokens": 9}),
    "tools": (chat(*HI, tools=(WEATHER, CLOCK)), {}, {}, {"tools": [WEATHER_TOOL, CLOCK_TOOL]}),
    **{
        f"choice {choice}": (
            chat(*HI, tools=(WEATHER, CLOCK), tool_choice=choice),
            {},
            {},
            {"tools": [WEATHER_TOOL, CLOCK_TOOL], "tool_choice": encoded},
        )
        for choice, encoded in {
            "auto": {"type": "auto"},
            "none": {"type": "none"},
            "required": {"type": "any"},
            "clock": {"type": "tool", "name": "clock"},
        }.items()
    },
    "choice auto without tools": (chat(*HI, tool_choice="auto"), {}, {}, {}),
    "choice in Anthropic's words": (
        chat(*HI, tools=(CLOCK,), tool_choice={"type": "auto", "disable_parallel_tool_use": True}),
        {},
        {},
        {"tools": [CLOCK_TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    "choice of a tool in the options": (
        chat(*HI, tool_choice="web_search", options={"tools": [SEARCH]}),
        {},
        {},
        {"tools": [SEARCH], "tool_choice": {"type": "tool", "name": "web_search"}},
    ),
    "calls without tools": (
        chat(
            user("?"),
            assistant(ToolCall("a", "clock", {}), ToolCall("b", "clock", {})),
            tool_result("a", "1"),
            tool_result("b", "2"),
        ),
        {},
        {},
        {
            "messages": turns([say("?")], [use("a"), use("b")], [result("a", "1"), result("b", "2")]),
            "tools": [{"name": "clock", "description": "No longer available.", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "none"},
        },
    ),
    "options": (
        chat(
            *HI,
            tools=(WEATHER,),
            response_format=FORMAT,
            options={
                "max_tokens": 100,
                "stop_sequences": ["END"],
                "tools": (SEARCH, {**WEATHER_TOOL, "strict": True}),
                "output_config": {"effort": "max"},
                "metadata": {"user_id": "1"},
            },
            name="claude-opus-5",
        ),
        {"reasoning_effort": "low"},
        {},
        {
            "model": "claude-opus-5",
            "max_tokens": 100,
            "stop_sequences": ["END"],
            "thinking": {"type": "adaptive"},
            "tools": [SEARCH, {**WEATHER_TOOL, "strict": True}],
            "output_config": {"effort": "max", "format": {"type": "json_schema", "schema": CLOSED_PLACE}},
            "metadata": {"user_id": "1"},
        },
    ),
    "options win": (
        chat(
            *HI,
            temperature=0.5,
            max_tokens=9,
            options={"temperature": 1, "messages": turns([say("bye")]), "stream": True},
        ),
        {},
        {},
        {"temperature": 1, "max_tokens": 9, "messages": turns([say("bye")])},
    ),
    "schema": (
        chat(*HI, response_format=FORMAT),
        {},
        {},
        {"output_config": {"format": {"type": "json_schema", "schema": CLOSED_PLACE}}},
    ),
    "schema beside tools": (
        chat(*HI, response_format=FORMAT, tools=(CLOCK,), tool_choice="required"),
        {},
        {},
        {
            "output_config": {"format": {"type": "json_schema", "schema": CLOSED_PLACE}},
            "tools": [CLOCK_TOOL],
            "tool_choice": {"type": "any"},
        },
    ),
    "a format in Anthropic's words": (
        chat(*HI, response_format={"type": "json_schema", "schema": {"type": "string"}}),
        {},
        {},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "string"}}}},
    ),
    "plain text": (chat(*HI, response_format="text"), {}, {}, {}),
    "cache": (
        chat(*TALK, tools=(WEATHER, CLOCK)),
        {},
        {"prompt_cache": True},
        {
            "system": [say("Be kind.", cache_control=CACHED)],
            "tools": [WEATHER_TOOL, {**CLOCK_TOOL, "cache_control": CACHED}],
            "messages": TALK_TURNS,
        },
    ),
    "cache for an hour": (
        chat(user("?"), assistant(ToolCall("a", "clock", {})), tool_result("a", "12"), tools=(CLOCK,)),
        {},
        {"prompt_cache": "1h"},
        {
            "tools": [{**CLOCK_TOOL, "cache_control": LONG}],
            "messages": turns([say("?")], [use("a")], [result("a", "12", cache_control=LONG)]),
        },
    ),
    "cache with marks of the caller's": (
        chat(*HI, options={"system": [say("by hand")], "tools": [{**SEARCH, "cache_control": LONG}]}),
        {},
        {"prompt_cache": "5m"},
        {
            "system": [say("by hand")],
            "tools": [{**SEARCH, "cache_control": LONG}],
            "messages": turns([say("hi", cache_control={"type": "ephemeral", "ttl": "5m"})]),
        },
    ),
    **{
        name: (chat(*messages, tools=(CLOCK,)), {}, {}, {"messages": sent, "tools": [CLOCK_TOOL]})
        for name, (messages, sent) in CONTENTS.items()
    },
}


def built(name, version=None):
    """The body of an entry, and what it is expected to be."""
    request, options, settings, changes = BODIES[name]
    settings = Settings(**({"api_version": version} if version else {}) | settings)
    return body_of(request, settings, **options), {**HELLO, **changes}


@pytest.mark.parametrize("name", BODIES)
def test_body(name):
    """Every request has exactly this body."""
    body, expected = built(name)

    assert body == expected


@pytest.mark.parametrize("name", BODIES)
def test_anthropic_would_accept_it(name):
    """Every body fits the types of the vendor's SDK for the API version."""
    check_anthropic(built(name)[0], BODIES[name][2].get("api_version", OLD))


@pytest.mark.parametrize("name", [name for name in BODIES if "temperature" not in BODIES[name][3]])
def test_anthropic_would_accept_it_in_the_newer_version(name):
    """And those of the newer version, which knows no sampling parameters."""
    check_anthropic(built(name, NEW)[0], NEW)


@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize(
    "body",
    [
        {**HELLO, "max_output_tokens": 1},
        {**HELLO, "messages": turns([{"type": "text", "txt": "hi"}])},
        {**HELLO, "messages": turns([{"type": "image_url", "image_url": {"url": "x"}}])},
        {**HELLO, "tools": [{"name": "clock", "parameters": {}}]},
        {**HELLO, "tool_choice": "auto"},
        {**HELLO, "output_config": {"effort": "huge"}},
    ],
)
def test_the_judge_is_awake(body, version):
    """What Anthropic refuses does not pass the check that the bodies above pass."""
    with pytest.raises(Exception, match=r"validation error"):
        check_anthropic(body, version)


def problems_of(request, settings=None, **options):
    """Why a request cannot be sent."""
    with pytest.raises(ValidationError) as caught:
        body_of(request, settings, **options)
    return caught.value


@pytest.mark.parametrize(
    ("messages", "fields", "problem"),
    [
        ((system("alone"),), {}, (("messages",), "empty")),
        ((user(" "),), {}, (("messages",), "empty")),
        ((user("?"), tool_result("x", "1")), {}, (("messages", 1, "tool_call_id"), "unknown_tool_call")),
        (HI, {"tool_choice": "clock"}, (("tool_choice",), "unknown_tool")),
        (HI, {"tool_choice": "required"}, (("tool_choice",), "requires_tools")),
        (HI, {"temperature": 1.5}, (("temperature",), "out_of_range")),
        (HI, {"response_format": "json"}, (("response_format",), "unsupported_capability")),
        (
            (user(Image.from_bytes(b"\0\0\0\x18ftypheic")),),
            {},
            (("messages", 0, "content", 0), "unsupported_image_format"),
        ),
        ((user(Image.from_url("gs://a/c.gif")),), {}, (("messages", 0, "content", 0), "unsupported_image_url")),
        ((user(Image(("url", "cat.png"))),), {}, (("messages", 0, "content", 0), "unsupported_image_url")),
        ((user(Image.from_bytes(b"?")),), {}, (("messages", 0, "content", 0), "missing_mime_type")),
        ((user(Image(("file", "/nowhere.png"))),), {}, (("messages", 0, "content", 0), "unreadable_file")),
        (
            (
                user("?"),
                assistant(ToolCall("x", "clock", {})),
                Message("tool", (ImagePart(Image.from_bytes(b"?")),), tool_call_id="x"),
            ),
            {},
            (("messages", 2, "content", 0), "missing_mime_type"),
        ),
    ],
)
def test_what_cannot_be_sent_is_said_before(messages, fields, problem):
    """A request that Anthropic would refuse is a `ValidationError` that names the place, and nothing is sent."""
    assert problems_of(chat(*messages, **fields)).errors == (problem,)


def test_all_problems_are_found():
    """None hides another, and the message has a sentence for each."""
    error = problems_of(
        chat(user("?", Image(("url", "cat.png"))), tool_result("x", "1"), tool_choice="nobody", temperature=2)
    )

    assert len(error.errors) == 4
    assert "messages[0].content[1]: Anthropic fetches https URLs" in str(error)


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"temperature": 1}, [("temperature",)]),
        ({"options": {"top_p": 0.9, "top_k": 5}}, [("options", "top_p"), ("options", "top_k")]),
        ({"temperature": 0, "options": {"temperature": 1}}, [("temperature",), ("options", "temperature")]),
    ],
)
def test_the_newer_version_has_no_sampling_parameters(fields, paths):
    """Not even with their defaults; the error says which version that is."""
    error = problems_of(chat(*HI, **fields), Settings(api_version=NEW))

    assert error.errors == tuple((path, "unsupported_in_api_version") for path in paths)
    assert NEW in str(error)


CITED = {"type": "text", "text": "a", "citations": [{"type": "char_location"}]}
DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ((user("?"), assistant(ProviderPart("anthropic", DOCUMENT)), user("!")), ("messages", 1, "content", 0)),
        ((user(ProviderPart("anthropic", CITED)),), ("messages", 0, "content", 0)),
        (
            (user("?", ProviderPart("anthropic", {"type": "search_result", "content": [CITED]})),),
            ("messages", 0, "content", 1),
        ),
    ],
)
def test_the_newer_version_wants_blocks_in_their_places(messages, path):
    """No document in an assistant's message, no citations in a user's; the older version takes both."""
    error = problems_of(chat(*messages), Settings(api_version=NEW))
    assert error.errors == ((path, "unsupported_in_api_version"),)
    assert body_of(chat(*messages))["messages"]


def test_the_newer_version_takes_what_has_its_place():
    """A document of the user's, also among the results of a search, and citations of the model's."""
    own = TextPart("a", metadata={"anthropic": {"citations": [{"type": "char_location"}]}})
    found = {"type": "search_result", "content": [{"type": "text", "text": "a"}]}
    messages = user(ProviderPart("anthropic", DOCUMENT), ProviderPart("anthropic", found)), assistant(own), user("!")
    body = body_of(chat(*messages), Settings(api_version=NEW))
    assert body["messages"] == body_of(chat(*messages))["messages"]
    assert body["messages"][1]["content"] == [CITED]


@pytest.mark.parametrize(
    ("name", "effort", "sent"),
    [
        ("claude-opus-4-6", "xhigh", "max"),
        ("claude-sonnet-4-6", "max", "max"),
        ("claude-opus-4-7", "xhigh", "xhigh"),
        ("claude-sonnet-5", "minimal", "low"),
        ("claude-opus-4-6", "medium", "medium"),
    ],
)
def test_an_effort_that_the_model_lacks_is_the_next_one(name, effort, sent):
    """Upwards, as it is a 400 else."""
    assert body_of(chat(*HI, name=name), reasoning_effort=effort)["output_config"] == {"effort": sent}


@pytest.mark.parametrize(
    ("limit", "most"), [("MAX_IMAGE_BYTES", len(PNG_TEXT) - 1), ("MAX_REQUEST_BYTES", 3 * len(PNG_TEXT) - 1)]
)
def test_inline_images_have_limits(monkeypatch, limit, most):
    """One for each image and one for all of a request; the image that crosses it is the one that is named."""
    monkeypatch.setattr(images, limit, most)
    error = problems_of(chat(user("x", *[Image.from_bytes(PNG)] * (1 if limit == "MAX_IMAGE_BYTES" else 3))))

    assert error.errors == ((("messages", 0, "content", 1 if limit == "MAX_IMAGE_BYTES" else 3), "image_too_large"),)


@pytest.mark.parametrize(("name", "most"), [("claude-haiku-4-5", 100), ("claude-sonnet-4-6", 600), ("other", 600)])
def test_images_have_a_number(name, most):
    """It depends on the model; images that Anthropic fetches count as well."""
    image = Image.from_url("https://a.example/b.png")
    request = chat(user(*[image] * most), name=name, max_tokens=9)

    assert len(body_of(request)["messages"][0]["content"]) == most
    error = problems_of(attrs.evolve(request, messages=(*request.messages, user(image))))
    assert error.errors == ((("messages", 1, "content", 0), "too_many_images"),)


@pytest.mark.parametrize("name", ["options", "cache with marks of the caller's", "cache"])
def test_encoding_leaves_the_request_alone(name):
    """The body shares nothing that a later change of it could reach, at the places where it is built up."""
    request, options, settings, _ = BODIES[name]
    before = repr(request)
    body = body_of(request, Settings(**settings), **options)
    body["tools"].append({})
    body["messages"][0]["content"].append({})
    body.get("output_config", {})["effort"] = "changed"

    assert repr(request) == before
