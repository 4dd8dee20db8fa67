"""A server that answers for every vendor: what a program asks for, and nothing that it could have expected."""

from __future__ import annotations

import json
import os
from typing import Any

from allm import fake
from allm.testing import RecordedRequest, Reply, Services, WireServer
from schema_values import Schema, value_of

MODELS = ("openai:gpt-5.4-mini", "anthropic:claude-sonnet-4-6", "gemini:gemini-3-flash-preview")
CHATS = ("/chat/completions", "/messages", ":streamGenerateContent")  # what each is asked at
SERVICES = Services(transcript="How is the weather?")
TEXT = "That is how it is."
STRINGS = {"date": "2027-05-03", "date-time": "2027-05-03T10:00:00Z"}


def answer(request: RecordedRequest) -> Reply:
    """Call each tool once, one after the other; then write a value of the schema, or a sentence."""
    if request.path.endswith("/chat/completions"):
        return _reply("openai", *_openai(request.json()))
    if request.path.endswith("/messages"):
        return _reply("anthropic", *_anthropic(request.json()))
    if ":streamGenerateContent" in request.path:
        return _reply("gemini", *_gemini(request.json()))
    return SERVICES(request)


def no_settings() -> dict[str, str]:
    """The environment without settings, addresses and keys."""
    parts = ("ALLM_", "_API_KEY", "_BASE_URL")
    return {key: value for key, value in os.environ.items() if not any(part in key for part in parts)}


def addresses(server: WireServer) -> dict[str, str]:
    """The environment in which every vendor is the server."""
    return {
        **{f"{name}_API_KEY": "key" for name in ("OPENAI", "ANTHROPIC", "GEMINI", "VOYAGE")},
        "OPENAI_BASE_URL": server.url("openai"),
        "VOYAGE_BASE_URL": server.url("openai"),
        "ANTHROPIC_BASE_URL": server.base_url,
        "GOOGLE_GEMINI_BASE_URL": server.base_url,
    }


def text_of(field: Schema) -> str:
    """A text for a field of an answer."""
    return STRINGS.get(field.get("format", ""), "12.50")  # also a decimal number, a path and a word


def _reply(vendor: Any, schema: Any, tools: list[tuple[str, Any]], results: int) -> Reply:
    counts = fake.usage(input_tokens=20, output_tokens=5)
    if results < len(tools):
        name, arguments = tools[results]
        return Reply.script(vendor, [fake.tool_call(name, value_of(arguments, text_of)), counts])
    if schema is not None:
        return Reply.script(vendor, [fake.text(json.dumps(value_of(schema, text_of))), counts])
    return Reply.script(vendor, [fake.text(TEXT), counts])


def _openai(body: dict[str, Any]) -> tuple[Any, list[tuple[str, Any]], int]:
    functions = [tool["function"] for tool in body.get("tools", ())]
    return (
        body.get("response_format", {}).get("json_schema", {}).get("schema"),
        [(function["name"], function["parameters"]) for function in functions],
        [message["role"] for message in body["messages"]].count("tool"),
    )


def _anthropic(body: dict[str, Any]) -> tuple[Any, list[tuple[str, Any]], int]:
    blocks = [block["type"] for message in body["messages"] for block in message["content"]]
    return (
        body.get("output_config", {}).get("format", {}).get("schema"),
        [(tool["name"], tool["input_schema"]) for tool in body.get("tools", ())],
        blocks.count("tool_result"),
    )


def _gemini(body: dict[str, Any]) -> tuple[Any, list[tuple[str, Any]], int]:
    functions = [function for tool in body.get("tools", ()) for function in tool["functionDeclarations"]]
    parts = [kind for content in body["contents"] for part in content["parts"] for kind in part]
    return (
        body.get("generationConfig", {}).get("responseJsonSchema"),
        [(function["name"], function.get("parametersJsonSchema", {"type": "object"})) for function in functions],
        parts.count("functionResponse"),
    )
