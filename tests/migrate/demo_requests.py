"""What the requests of two formats ask; those of Responses need what the server keeps."""

from __future__ import annotations

import base64
from typing import Any

from migrate.demo_model import Asked, Turn


def of_chat(body: dict[str, Any]) -> Asked:
    """What a request of Chat Completions asks."""
    turns = [
        Turn(
            role=one["role"],
            text=text_of(one.get("content")),
            media=media_of(one.get("content")),
            result=one["role"] == "tool",
        )
        for one in body["messages"]
    ]
    tools = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in body.get("tools") or ()}
    schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    return Asked(turns=turns, tools=tools, schema=schema, **tool_choice_of(body), most=most)


def of_anthropic(body: dict[str, Any]) -> Asked:
    """What a request of Messages asks."""
    turns = [Turn(role="system", text=text_of(body["system"]))] if body.get("system") else []
    for message in body["messages"]:
        content = message["content"]
        blocks = [] if isinstance(content, str) else content
        results = [block for block in blocks if block["type"] == "tool_result"]
        turns += [Turn(role="user", text=text_of(block["content"]), result=True) for block in results]
        if len(results) < len(blocks) or isinstance(content, str):
            cited = [block for block in blocks if (block.get("citations") or {}).get("enabled")]
            sources = [(block["title"], block["source"]["data"]) for block in cited]
            turns.append(Turn(role=message["role"], text=text_of(content), media=media_of(content), sources=sources))
    tools = {tool["name"]: tool["input_schema"] for tool in body.get("tools", ()) if "input_schema" in tool}
    schema = body.get("output_config", {}).get("format") or body.get("output_format") or {}
    return Asked(
        turns=turns, tools=tools, schema=schema.get("schema"), **tool_choice_of(body), most=body.get("max_tokens")
    )


def tool_choice_of(body: dict[str, Any]) -> dict[str, bool]:
    """Whether the model may call a tool, and whether it has to."""
    given = body.get("tool_choice") or "auto"
    word = given if isinstance(given, str) else given.get("type")
    return {"may_call": word != "none", "must_call": word not in ("auto", "none")}


def text_of(content: Any) -> str:
    """The text of a message."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or "" for part in content)


def media_of(content: Any) -> list[str]:
    """What kind of files a message shows, and how large each is."""
    found = []
    for part in content if isinstance(content, list) else ():
        url = part.get("image_url") or part.get("file_data") or part.get("file", {}).get("file_data") or ""
        url = url if isinstance(url, str) else url["url"]
        source = part.get("source", {})
        kind, data = source.get("media_type"), source.get("data")
        if url.startswith("data:"):
            kind, _, data = url.removeprefix("data:").partition(";base64,")
        if data and kind != "text/plain":
            found.append(f"{kind} of {len(base64.b64decode(data))} bytes")
    return found
