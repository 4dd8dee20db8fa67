"""The scripts and requests that the cases play."""

from __future__ import annotations

from collections.abc import Container

from allm import fake
from allm.data.content import ProviderPart, ReasoningPart, TextPart, ToolCall
from allm.data.errors import AdapterError, AdapterReason
from allm.data.message import Message, assistant, system, user
from allm.data.request import Request
from allm.data.tool import Tool, tool_result
from allm.testing.conformance.setup import Script

__all__ = [
    "FOREIGN",
    "STATUS",
    "TEXT",
    "UNICODE",
    "failure",
    "foreign_thread",
    "full_request",
    "short_response",
    "tool_turns",
    "two_tools",
]

TEXT: Script = (fake.text("one two three four five six"),)

# Unusual line breaks, a byte order mark, combined and right-to-left characters, and JSON in text.
UNICODE = (
    'Zürich 👋🏽 日本 עברית\u2028line\u2029para\x85next\ufeffmark\r\ntab\there {"data": "data: [DONE]"}\n\nend \\u00e9'
)

STATUS: dict[AdapterReason, int] = {
    "rate_limited": 429,
    "quota_exhausted": 429,
    "overloaded": 503,
    "provider_unavailable": 500,
    "authentication_failed": 401,
    "invalid_request": 400,
    "not_found": 404,
    "context_length_exceeded": 400,
    "content_filter": 400,
}

FOREIGN = "foreign-opaque-6c1f2a"
"""A marker in all data that only another provider understands."""


def two_tools() -> tuple[Tool, ...]:
    """The tools of requests; new ones each time, as a broken adapter may change them."""
    city = {"type": "object", "properties": {"city": {"type": "string"}}}
    return (
        Tool("get_weather", "The weather of a city.", {**city, "required": ["city"]}),
        Tool("get_time", "The time of a city.", dict(city)),
    )


def failure(reason: AdapterReason, *, message: str = "as scripted", retry_after: float | None = None) -> AdapterError:
    """An error with the usual HTTP status of its reason."""
    return AdapterError(message, reason=reason, status=STATUS[reason], retry_after=retry_after)


def short_response(capabilities: Container[str]) -> Script:
    """A short response with every kind of content that the provider supports."""
    items: list[fake.ScriptItem] = [fake.text("Hello you")]
    if "reasoning" in capabilities:
        items.insert(0, fake.reasoning("Hm."))
    if "tools" in capabilities:
        items.append(fake.tool_call("get_time", {"city": "Bern"}, id="call_1"))
    if "usage" in capabilities:
        items.append(fake.usage(input_tokens=3, output_tokens=4, total_tokens=7))
    return tuple(items)


def tool_turns(result: str) -> list[Message]:
    """A conversation with two tool calls and their results, one of which is an error."""
    calls = [
        ToolCall("call_1", "get_weather", {"city": "Zürich"}, '{"city": "Zürich"}'),
        ToolCall("call_2", "get_time", {"city": "Zürich"}),
    ]
    return [
        user("What is the weather in Zürich?"),
        assistant("Let me see.", *calls),
        tool_result("call_1", result),
        tool_result("call_2", "the clock is broken", is_error=True),
    ]


def full_request(model: str, capabilities: Container[str]) -> Request:
    """A request with everything that the provider supports."""
    tools = "tools" in capabilities
    turns = [*tool_turns('{"degrees": 21}'), assistant("21 degrees.")] if tools else [user("Hi"), assistant("Hello")]
    return Request(
        [system("Be brief."), *turns, user("And in Bern? 👋")],
        model=model,
        tools=two_tools() if tools else (),
        tool_choice="auto" if tools else None,
        temperature=0.5,
        max_tokens=50,
        metadata={"trace": ["1"]},
    )


def foreign_thread(capabilities: Container[str]) -> list[Message]:
    """A conversation that began with another provider, with that provider's opaque data."""
    theirs = {"someone_else": {"signature": FOREIGN}}
    thinking = ReasoningPart(
        "Thinking aloud.",
        provider="someone_else",
        id=FOREIGN,
        signature=FOREIGN,
        encrypted_content=FOREIGN,
        metadata=theirs,
    )
    redacted = ReasoningPart("", provider="someone_else", encrypted_content=FOREIGN)
    search = ProviderPart("someone_else", {"type": "server_tool_use", "id": FOREIGN})
    said = TextPart("Hello.", metadata=theirs)
    turns = [user("Hi"), assistant(thinking, redacted, search, said), user("And now?")]
    if "tools" in capabilities:
        call = ToolCall("call_1", "get_time", {"city": "Bern"}, metadata=theirs)
        turns += [assistant(thinking, call), tool_result("call_1", "noon"), user("Thanks. And in Zürich?")]
    return turns
