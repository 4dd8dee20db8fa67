"""Questions of a server to the user in the middle of a call ("elicitation"), and how they are answered.

https://modelcontextprotocol.io/specification/2025-11-25/client/elicitation: a form, which is a flat schema, or a URL
for the user to visit. The answer is `accept` with the content of the form, `decline`, or `cancel`. Up to 2025-11-25 the
server asks while the call waits; from 2026-07-28 on the call ends with the question and is made again with the answer,
which the SDK does.

With `on_elicit` the program answers within the call. Without it the call is cancelled and returns an `AskUser`. Once
the user has answered, the model makes the call again, with the answers in the argument that `with_answers` adds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import attrs

from allm.data.attrs_classes import frozen
from allm.data.problems import mapping_field
from allm.data.tool_control import AskUser

__all__ = ["Elicitation", "OnElicit", "as_elicitation", "as_question", "take_answers", "with_answers"]

_ARGUMENT = "user_answers"


@frozen(kw_only=True)
class Elicitation:
    """A question of a server to the user.

    Attributes:
        message: The question.
        server: The server's name.
        schema: The form: a JSON Schema of an object without nesting; empty where there is a URL.
        url: Where the user is to go instead, such as to sign in. Show the whole of it before it is opened.
    """

    message: str
    server: str
    schema: dict[str, Any] = mapping_field()
    url: str | None = attrs.field(default=None)


OnElicit: TypeAlias = Callable[[Elicitation], Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None]
"""Answers a question: the content of the form (`{}` for a URL), or None for a user who declines."""


def as_elicitation(params: Any, server: str) -> Elicitation:
    """The question in the parameters of a request of the SDK."""
    schema = dict(getattr(params, "requested_schema", None) or {})
    return Elicitation(message=params.message, server=server, schema=schema, url=getattr(params, "url", None))


def as_question(asked: Elicitation) -> AskUser:
    """The question as one that halts a turn. The text has the fields of the form, since the model reads it too."""
    lines = [asked.message or "The tool needs an answer."]
    if asked.url is not None:
        lines.append(f"Open {asked.url}, and say when you are done.")
    properties: Any = asked.schema.get("properties", {})
    if isinstance(properties, Mapping):
        lines += [_field(name, field, asked.schema) for name, field in properties.items()]
    return AskUser("\n".join(lines), mcp_server=asked.server, schema=asked.schema, url=asked.url)


def _field(name: str, field: Any, schema: Mapping[str, Any]) -> str:
    facts: Mapping[str, Any] = field if isinstance(field, Mapping) else {}
    kind = str(facts.get("type", "any"))
    if choices := facts.get("enum"):
        kind = " | ".join(map(str, choices))
    if name not in (schema.get("required") or ()):
        kind += ", optional"
    text = facts.get("description") or facts.get("title")
    return f"- {name} ({kind}){f': {text}' if text else ''}"


def with_answers(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a tool that has asked, with the argument for answers."""
    properties: dict[str, Any] = schema.get("properties") or {}
    if _ARGUMENT in properties:
        return schema
    answer = {
        "type": "object",
        "properties": {"action": {"type": "string", "enum": ["accept", "decline"]}, "content": {"type": "object"}},
        "required": ["action"],
    }
    what = (
        "Only after this tool has asked the user in this conversation: what the user answered to its questions, in "
        "their order; `content` has the fields of the question. Never answer for the user."
    )
    return {**schema, "properties": {**properties, _ARGUMENT: {"type": "array", "description": what, "items": answer}}}


def take_answers(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """The arguments for the server, and the answers that were among them.

    Args:
        schema: The tool's schema as the server has it: it may have an argument of that name itself.
    """
    own = dict(arguments)
    answers = None if _ARGUMENT in (schema.get("properties") or ()) else own.pop(_ARGUMENT, None)
    return own, list(answers) if isinstance(answers, (list, tuple)) else []
