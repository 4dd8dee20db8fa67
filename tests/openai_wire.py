"""OpenAI's wire formats, written by hand for tests: Responses items and events, and what is decoded from them."""

from __future__ import annotations

import allm
from allm.data.json.text import dumps, loads
from allm.providers.openai.responses_decode import ResponsesDecoder

TOOL = allm.Tool("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
PNG = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n0000")


FOREIGN = allm.Message(
    "assistant",
    [
        allm.ReasoningPart("Hm.", provider="anthropic", signature="sig"),
        allm.ReasoningPart("", provider="anthropic", encrypted_content="redacted"),
        allm.ReasoningPart("Ah.", provider="gemini", signature="sig"),
        allm.TextPart("I "),
        allm.TextPart("look.", metadata={"gemini": {"thought_signature": "x"}}),
        allm.ProviderPart("anthropic", {"type": "server_tool_use", "id": "s"}),
        allm.ToolCall("toolu_1", "weather", {"city": "Bern"}, metadata={"gemini": {"id": "g"}}),
    ],
)
"""An assistant message with parts and metadata of other vendors."""

CONVERSATION = [
    allm.system("Be brief."),
    allm.Message("system", [allm.TextPart("And kind.")]),
    allm.Message("user", "Hello", name="ann"),
    allm.user("What is this?", PNG, allm.Image.from_url("https://x.example/a.png")),
    allm.assistant(
        allm.TextPart("A picture. "), allm.ToolCall("call_1", "weather", {"city": "Zug"}, '{"city": "Zug"}')
    ),
    allm.tool_result("call_1", "sunny"),
    FOREIGN,
    allm.tool_result("toolu_1", "rain", is_error=True),
    allm.assistant(allm.TextPart("I cannot say.", refusal=True)),
    allm.assistant(allm.ImagePart(PNG), allm.TextPart("")),
    allm.user("Go on"),
]

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
BODY_FIELDS = {
    "text": {},
    "tools": {"tools": [TOOL], "tool_choice": "required"},
    "named tool": {"tools": [TOOL], "tool_choice": "weather"},
    "schema": {"response_format": allm.json_schema("answer", SCHEMA)},
    "loose schema": {"response_format": allm.json_schema("answer", SCHEMA, strict=False)},
    "any json": {"response_format": "json"},
    "plain text": {"response_format": "text"},
    "limits": {"temperature": 0.5, "max_tokens": 100},
    "body options": {"options": {"metadata": {"k": "v"}}},
}
"""Fields of requests that exercise every mapping."""

EVERYTHING = allm.adapters.AdapterOptions(reasoning_effort="low", reasoning_summary="auto", verbosity="low")


def prepare(*messages, adapter=None, asked=None, **fields):
    """The call for these messages; `asked` is what a call's options tell the adapter, `fields` go into the request."""
    fields.setdefault("model", "gpt-5.4")
    adapter = adapter or allm.providers.OpenAI(api_key="k")
    request = allm.Request(messages or [allm.user("hi")], **fields)
    return adapter.prepare(request, asked or allm.adapters.AdapterOptions())


def chat(*messages, **fields):
    """The body for Chat Completions."""
    adapter = allm.providers.OpenAI(api_key="k", endpoint="chat_completions")
    return loads(prepare(*messages, adapter=adapter, **fields).body)


def responses(*messages, **fields):
    """The body for Responses."""
    adapter = allm.providers.OpenAI(api_key="k", endpoint="responses")
    return loads(prepare(*messages, adapter=adapter, **fields).body)


def reasoning(*summary, id="rs_1", encrypted="blob", **fields):
    """A reasoning item."""
    texts = [{"type": "summary_text", "text": text} for text in summary]
    return {"type": "reasoning", "id": id, "summary": texts, "encrypted_content": encrypted, **fields}


def message(*texts, id="msg_1", **fields):
    """A message item; a string becomes a part with text, a mapping is used as the part."""
    content = [
        {"type": "output_text", "text": text, "annotations": []} if isinstance(text, str) else text for text in texts
    ]
    return {"type": "message", "id": id, "role": "assistant", "status": "completed", "content": content, **fields}


def refusal(text):
    """A refusal part."""
    return {"type": "refusal", "refusal": text}


def call(name="weather", arguments='{"city":"Zug"}', *, id="fc_1", call_id="call_1", **fields):
    """A function call item."""
    return {
        "type": "function_call",
        "id": id,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        **fields,
    }


def custom_call(text, *, id="ctc_1", call_id="call_c"):
    """A call of a custom tool, which takes free text."""
    return {"type": "custom_tool_call", "id": id, "call_id": call_id, "name": "math", "input": text}


SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}


def answer(*output, status="completed", **fields):
    """A whole response object."""
    return {
        "object": "response",
        "id": "resp_1",
        "model": "gpt-5.4",
        "status": status,
        "output": list(output),
        **fields,
    }


CREATED = ("response.created", {"response": answer(status="in_progress", usage=None)})


def added(item, index=None):
    """`response.output_item.added`."""
    return "response.output_item.added", {"item": item} | ({} if index is None else {"output_index": index})


def done(item, index=None):
    """`response.output_item.done`."""
    return "response.output_item.done", {"item": item} | ({} if index is None else {"output_index": index})


def completed(*output, status="completed", **fields):
    """The terminal event."""
    return f"response.{status}", {"response": answer(*output, status=status, **fields)}


def decode(*events, decoder=None):
    """The events of a stream of `(type, fields)`, decoded as the common HTTP path does."""
    decoder = decoder or ResponsesDecoder()
    decoder.begin({"x-request-id": "req_1"})
    decoded = []
    for kind, fields in events:
        decoded += decoder.decode(kind, dumps({"type": kind, **fields}))
        if decoder.done:
            break
    return decoded


def fold(events):
    """The response that the events add up to."""
    collector = allm.StreamCollector()
    for event in events:
        collector.add(event)
    return collector.response()


def folded(*output, **fields):
    """The response of a JSON document with these items."""
    return fold(ResponsesDecoder().decode_document(answer(*output, **fields)))


def kinds(events):
    """The class names of the events."""
    return [type(event).__name__ for event in events]
