"""One scripted model behind every vendor's format, whole or as a stream: what both programs of a pair ask."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs

from allm import fake
from allm.testing import RecordedRequest, Reply

WORDS = {"string": "Zug", "integer": 2}


@attrs.frozen
class Said:
    """What the model says: a text, or a call of a tool."""

    text: str = ""
    tool: str | None = None
    arguments: dict[str, Any] = attrs.Factory(dict)


def answer(request: RecordedRequest) -> Reply:
    """The reply to a request in any of the formats."""
    body = request.json()
    if request.path.endswith("/messages"):
        return _anthropic(body)
    return _responses(body) if request.path.endswith("/responses") else _chat(body)


def say(question: str, results: Sequence[str], tools: dict[str, Any], schema: dict[str, Any] | None) -> Said:
    """What the model says to a question: as every page has it."""
    if results:
        return Said(f"It is {results[-1]}.")
    if tools:
        name, parameters = next(iter(tools.items()))
        return Said(tool=name, arguments=filled_in(parameters))
    if schema is not None:
        return Said(json.dumps(filled_in(schema)))
    if "Count" in question:
        return Said("one two three")
    return Said("11" if "Another" in question else "7" if "prime" in question else "Nurseries wait.")


def filled_in(schema: dict[str, Any]) -> dict[str, Any]:
    """A value for each required field."""
    return {name: WORDS[schema["properties"][name]["type"]] for name in schema.get("required", ())}


def _chat(body: dict[str, Any]) -> Reply:
    messages = body["messages"]
    question = _text(next(one["content"] for one in reversed(messages) if one["role"] == "user"))
    if "429" in question:
        return Reply.error("openai", 429)
    results = [_text(one["content"]) for one in messages if one["role"] == "tool"]
    tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools", ())}
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    said = say(question, results, tools, schema)
    if body.get("stream"):
        return Reply.script("openai", _items(said))
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
    if said.tool is not None:
        function = {"name": said.tool, "arguments": json.dumps(said.arguments)}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    reason = "stop" if said.tool is None else "tool_calls"
    return Reply.json(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
        }
    )


def _responses(body: dict[str, Any]) -> Reply:
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    question = _text(next(one["content"] for one in reversed(items) if one.get("role") == "user"))
    if "429" in question:
        return Reply.error("openai_responses", 429)
    results = [one["output"] for one in items if one.get("type") == "function_call_output"]
    tools = {tool["name"]: tool["parameters"] for tool in body.get("tools", ())}
    said = say(question, results, tools, body.get("text", {}).get("format", {}).get("schema"))
    if body.get("stream"):
        return Reply.script("openai_responses", _items(said))
    if said.tool is None:
        content = [{"type": "output_text", "text": said.text, "annotations": []}]
        output = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content}
    else:
        arguments = json.dumps(said.arguments)
        output = {"type": "function_call", "id": "f", "call_id": "call_1", "name": said.tool, "arguments": arguments}
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 11,
    }
    return Reply.json(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": body["model"],
            "output": [output],
            "usage": usage,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
    )


def _anthropic(body: dict[str, Any]) -> Reply:
    blocks = [
        block
        for message in body["messages"]
        for block in (
            [{"type": "text", "text": message["content"]}]
            if isinstance(message["content"], str)
            else message["content"]
        )
    ]
    question = next((block["text"] for block in reversed(blocks) if block["type"] == "text"), "")
    if "429" in question:
        return Reply.error("anthropic", 429)
    results = [_text(block["content"]) for block in blocks if block["type"] == "tool_result"]
    tools = {tool["name"]: tool["input_schema"] for tool in body.get("tools", ())}
    schema = body.get("output_config", body.get("output_format", {}))
    schema = schema.get("format", schema).get("schema")
    said = say(question, results, tools, schema)
    if body.get("stream"):
        return Reply.script("anthropic", _items(said))
    content = (
        [{"type": "text", "text": said.text}]
        if said.tool is None
        else [{"type": "tool_use", "id": "call_1", "name": said.tool, "input": said.arguments}]
    )
    return Reply.json(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": content,
            "stop_reason": "end_turn" if said.tool is None else "tool_use",
            "stop_sequence": None,
            "usage": {"input_tokens": 9, "output_tokens": 2},
        }
    )


def _items(said: Said) -> list[Any]:
    counts = fake.usage(input_tokens=9, output_tokens=2)
    if said.tool is not None:
        return [fake.tool_call(said.tool, said.arguments, id="call_1"), counts]
    return [*(fake.text(word) for word in said.text.replace(" ", " \0").split("\0")), counts]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
