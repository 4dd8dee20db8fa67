"""The request to a model, its checks, the parts in it that a service cannot be sent, and the order of what is sent.

Another service's opaque parts in an assistant message can be left out. Parts in other messages were added to be read,
and a response without them would be wrong, so they are an error and nothing is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import NoneType
from typing import Any, TypeAlias, TypedDict, Unpack

import attrs
from typing_extensions import TypeForm

from allm.data.attrs_classes import frozen
from allm.data.content import HOLDS, MEDIA_TYPES, HostedCall, ImagePart, Part, ProviderPart, ReasoningPart
from allm.data.errors import ValidationError
from allm.data.message import Message, Role, Thread, call_ids, messages_problems, thread_problems, user
from allm.data.message_pieces import for_dicts
from allm.data.problems import Problem, check_names, mapping_field, refuse, shown, wrong_type
from allm.data.response import OutputT
from allm.data.tool import TOOL_NAME, Tool, tool_problems
from allm.data.toolset import Toolset
from allm.data.types.hints import is_type

__all__ = [
    "JsonSchema",
    "Request",
    "RequestFields",
    "ResponseFormat",
    "ToolChoice",
    "call_name",
    "json_schema",
    "request",
    "request_problems",
    "results_in_place",
    "to_messages",
    "unsupported_parts",
]

MAX_TEMPERATURE = 2
"""OpenAI and Gemini take up to 2, Anthropic up to 1, which its adapter checks."""


@frozen
class JsonSchema:
    """Structured output: the answer is one JSON document that fits `schema`.

    Attributes:
        name: The format's name as the provider shows it: letters, digits, `_`, `-`.
        strict: Ask the provider to enforce the schema.
        output_type: The type the schema was made from; not part of the value.
    """

    name: str
    schema: dict[str, Any] = attrs.field(hash=False)
    strict: bool = True
    output_type: Any = attrs.field(default=None, eq=False, repr=False, kw_only=True)


ToolChoice = str | Mapping[str, Any]
"""`"auto"`, `"none"`, `"required"`, a tool's name, or a provider's own mapping."""

ResponseFormat: TypeAlias = JsonSchema | Mapping[str, Any] | str | TypeForm[OutputT]
"""A type (a class, `list[Trip]`, a union, a Literal, ...), `json_schema(...)`, `"text"`, `"json"` (any object), or a
provider's own mapping."""


def _texts(value: str | Iterable[str] | None) -> Any:
    return (value,) if isinstance(value, str) else value if value is None else _tuple(value)


def _tuple(value: Iterable[Any]) -> Any:
    if type(value) is tuple or isinstance(value, str):
        return value
    return tuple(value) if isinstance(value, Iterable) else value


@frozen
class Request:
    """One model call. Fields left at None are filled from the call's options, the engine, then the defaults.

    Attributes:
        messages, model, tools: The conversation to send, the provider's model id, and what the model may call.
        tool_choice: `auto`, `none`, `required`, or the name of the tool that has to be called.
        response_format: A type, `json_schema(...)`, `"json"` or a provider's own mapping; None is text.
        max_tokens, temperature, top_p: Output limit in tokens; how freely the model chooses its words.
        stop: Texts that end the answer where the model would write one of them; a text is one of them.
        seed: Ask for the same answer to the same request, as far as the provider can.
        parallel_tool_calls: Whether an answer may have several tool calls.
        service_tier: A provider's own word, such as `flex`; `auto` and `default` are the same everywhere.
        logprobs: Ask for the log probability of each token, and of so many likeliest ones in its place (0: none).
        options: Merged over the provider's request body as it is, and wins over anything derived.
        structured_finalize: Ask for the format in one last call without tools (chat only).
        metadata: Your own data; it is not sent.
    """

    messages: tuple[Message, ...] = attrs.field(converter=_tuple)
    model: str | None = attrs.field(default=None, kw_only=True)
    tools: tuple[Tool, ...] = attrs.field(default=(), kw_only=True, converter=_tuple)
    tool_choice: ToolChoice | None = attrs.field(default=None, kw_only=True, hash=False)
    temperature: float | None = attrs.field(default=None, kw_only=True)
    max_tokens: int | None = attrs.field(default=None, kw_only=True)
    top_p: float | None = attrs.field(default=None, kw_only=True)
    stop: tuple[str, ...] | None = attrs.field(default=None, kw_only=True, converter=_texts)
    seed: int | None = attrs.field(default=None, kw_only=True)
    parallel_tool_calls: bool | None = attrs.field(default=None, kw_only=True)
    service_tier: str | None = attrs.field(default=None, kw_only=True)
    logprobs: int | None = attrs.field(default=None, kw_only=True)
    response_format: ResponseFormat | None = attrs.field(default=None, kw_only=True, hash=False)
    structured_finalize: bool = attrs.field(default=False, kw_only=True)
    options: dict[str, Any] = mapping_field()
    metadata: dict[str, Any] = mapping_field()


class RequestFields(TypedDict, total=False):
    """The fields of a `Request` but its messages."""

    model: str | None
    tools: Iterable[Tool | Toolset]
    tool_choice: ToolChoice | None
    temperature: float | None
    max_tokens: int | None
    top_p: float | None
    stop: str | Iterable[str] | None
    seed: int | None
    parallel_tool_calls: bool | None
    service_tier: str | None
    logprobs: int | None
    response_format: ResponseFormat | None
    structured_finalize: bool
    options: dict[str, Any]
    metadata: dict[str, Any]


def request_problems(request: Request, thread: Thread | None = None) -> list[Problem]:
    """The problems of a request, in the order of its fields.

    Args:
        thread: The conversation that its messages are, which may know that most of it was checked.
    """
    problems: list[Problem] = []
    if request.messages == ():
        problems.append(Problem(("messages",), "empty", "there is no message; a model answers at least one"))
    # With one of these OpenAI has the earlier messages, so a request may begin with the results of their calls.
    begun_elsewhere = not request.options.keys().isdisjoint({"previous_response_id", "conversation"})
    if thread is not None and thread.messages is request.messages and not begun_elsewhere:
        problems += thread_problems(thread)
    else:
        problems += messages_problems(request.messages, begun_elsewhere=begun_elsewhere)
    if request.messages and not problems and not begun_elsewhere and not any(m.content for m in request.messages):
        sentence = "there is nothing in them; expected a text or an image for the model to answer"
        problems.append(Problem(("messages",), "empty", sentence))
    if request.model is not None and not (isinstance(request.model, str) and request.model):
        sentence = f"is {shown(request.model)}; expected the model's name, or None"
        problems.append(Problem(("model",), "invalid_type", sentence))
    problems += _tools_problems(request.tools)
    if request.tool_choice is not None and not isinstance(request.tool_choice, (str, Mapping)):
        expected = "'auto', 'none', 'required', a tool's name, a provider's mapping, or None"
        problems.append(wrong_type(("tool_choice",), request.tool_choice, expected))
    problems += _number_problems(request)
    problems += _sampling_problems(request)
    problems += _format_problems(request)
    return problems


def _tools_problems(tools: Any) -> list[Problem]:
    if not isinstance(tools, tuple):
        return [wrong_type(("tools",), tools, "an iterable of Tool")]
    problems: list[Problem] = []
    names: list[str] = []
    for index, tool in enumerate(tools):
        if isinstance(tool, Toolset):  # its tools are checked with the call that loads them
            continue
        problems += [problem.under("tools", index) for problem in tool_problems(tool)]
        if isinstance(tool, Tool) and isinstance(tool.name, str):
            names.append(tool.name)
    if len(set(names)) != len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        sentence = f"two tools have the name {shown(twice)}; a call could mean either"
        problems.append(Problem(("tools",), "duplicate_name", sentence))
    return problems


def _number_problems(request: Request) -> Iterator[Problem]:
    temperature, max_tokens = request.temperature, request.max_tokens
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float, NoneType)):
        yield wrong_type(("temperature",), temperature, f"a number from 0 to {MAX_TEMPERATURE}, or None")
    elif temperature is not None and not 0 <= temperature <= MAX_TEMPERATURE:
        sentence = f"is {shown(temperature)}; expected a number from 0 to {MAX_TEMPERATURE}"
        yield Problem(("temperature",), "out_of_range", sentence)
    yield from _logprobs_problems(request.logprobs)
    is_count = isinstance(max_tokens, int) and not isinstance(max_tokens, bool)
    if max_tokens is not None and not (is_count and max_tokens > 0):
        sentence = f"is {shown(max_tokens)}; expected a number of tokens, 1 or more, or None"
        yield Problem(("max_tokens",), "must_be_positive", sentence)


def _logprobs_problems(count: Any) -> Iterator[Problem]:
    if isinstance(count, bool) or not isinstance(count, (int, NoneType)):
        yield wrong_type(("logprobs",), count, "a number of tokens, 0 or more, or None")
    elif count is not None and count < 0:
        yield Problem(("logprobs",), "must_not_be_negative", f"is {shown(count)}; expected 0 or more tokens, or None")


def _sampling_problems(request: Request) -> Iterator[Problem]:
    top_p, stop, seed = request.top_p, request.stop, request.seed
    if isinstance(top_p, bool) or not isinstance(top_p, (int, float, NoneType)):
        yield wrong_type(("top_p",), top_p, "a number from 0 to 1, or None")
    elif top_p is not None and not 0 <= top_p <= 1:
        yield Problem(("top_p",), "out_of_range", f"is {shown(top_p)}; expected a number from 0 to 1")
    if not isinstance(stop, (tuple, NoneType)):
        yield wrong_type(("stop",), stop, "a text, texts, or None")
    for index, text in enumerate(stop if isinstance(stop, tuple) else ()):
        if not (isinstance(text, str) and text):
            yield Problem(("stop", index), "invalid_text", f"is {shown(text)}; expected a text that is not empty")
    if isinstance(seed, bool) or not isinstance(seed, (int, NoneType)):
        yield wrong_type(("seed",), seed, "an int, or None")
    if not isinstance(request.parallel_tool_calls, (bool, NoneType)):
        yield wrong_type(("parallel_tool_calls",), request.parallel_tool_calls, "True, False, or None")
    tier = request.service_tier
    if tier is not None and not (isinstance(tier, str) and tier):
        yield Problem(("service_tier",), "invalid_type", f"is {shown(tier)}; expected a provider's word, or None")


def _format_problems(request: Request) -> Iterator[Problem]:
    wanted = request.response_format
    if isinstance(wanted, str):
        if wanted not in {"text", "json"}:
            sentence = f"is {shown(wanted)}; expected 'text' or 'json', a type, or json_schema(...)"
            yield Problem(("response_format",), "unknown", sentence)
    elif isinstance(wanted, JsonSchema):
        if not isinstance(wanted.schema, dict):
            sentence = f"is {type(wanted.schema).__name__}; expected a JSON Schema as a dict"
            yield Problem(("response_format", "schema"), "not_a_mapping", sentence)
        if not (isinstance(wanted.name, str) and TOOL_NAME.fullmatch(wanted.name)):
            sentence = f"is {shown(wanted.name)}; expected 1 to 64 letters, digits, '_' or '-'"
            yield Problem(("response_format", "name"), "invalid_format", sentence)
    elif wanted is not None and not isinstance(wanted, Mapping) and not is_type(wanted):
        sentence = (
            f"is {type(wanted).__name__}; expected a type, json_schema(...), 'text', 'json', or a provider's mapping"
        )
        yield Problem(("response_format",), "invalid_shape", sentence)
    if request.structured_finalize and not (isinstance(wanted, JsonSchema) or is_type(wanted)):
        sentence = "is set, but response_format has no schema; expected a type or json_schema(...) there"
        yield Problem(("structured_finalize",), "requires_json_schema", sentence)


def json_schema(name: str, schema: Mapping[str, Any], *, strict: bool = True) -> JsonSchema:
    """A structured-output format for `response_format=`."""
    return JsonSchema(name, dict(schema) if isinstance(schema, Mapping) else schema, strict)


def request(messages: str | Message | Thread | Iterable[Message], **fields: Unpack[RequestFields]) -> Request:
    """A `Request` from anything that `generate` accepts as messages; `fields` are those of `Request`.

    Raises:
        OptionError: An unknown name (suggests the nearest one); it is a `TypeError`.
        ValidationError: `messages` cannot be converted to messages.
    """
    check_names(Request, fields)
    return Request(to_messages(messages), **fields)


def to_messages(value: str | Message | Thread | Iterable[Message]) -> tuple[Message, ...]:
    """Convert a text, a message, messages or a thread to messages.

    Raises:
        ValidationError: It has another type, or contains anything but messages.
    """
    if isinstance(value, str):
        return (user(value),)
    if isinstance(value, Message):
        return (value,)
    if isinstance(value, Thread):
        return value.messages
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, Mapping)):
        return _checked(tuple(value))
    expected = "expected str, Message, Thread, Request, or an iterable of Message"
    sentence = f"cannot convert {type(value).__name__} to messages; {expected}{for_dicts(value)}"
    raise ValidationError([Problem(("messages",), "invalid_type", sentence)], reason="invalid_request")


def _checked(values: tuple[Any, ...]) -> tuple[Message, ...]:
    expected = "a Message: allm.user(text), allm.system(text), allm.assistant(text), allm.tool_result(id, text)"
    expected += next(filter(None, map(for_dicts, values)), "")
    refuse(
        [
            wrong_type(("messages", index), value, expected)
            for index, value in enumerate(values)
            if not isinstance(value, Message)
        ]
    )
    return values


def unsupported_parts(
    messages: Iterable[Message],
    provider: str,
    refuses: Callable[[Role, Mapping[str, Any]], str | None] | None = None,
    *,
    takes: tuple[type, ...] = (ImagePart,),
) -> list[Problem]:
    """The problems of parts that would not reach the provider, except in assistant messages.

    Args:
        messages: The messages of the request.
        provider: The provider whose parts can be sent.
        refuses: Returns why a part with this data cannot be sent in a message of this role, or None if it can; by
            default none can.
        takes: Which kinds of parts with files the provider can be sent.
    """
    refused = tuple(kind for kind in MEDIA_TYPES if kind not in takes)
    return [
        Problem(("messages", index, "content", position), "unsupported_part", sentence)
        for index, message in enumerate(messages)
        if message.role != "assistant" and not isinstance(message.content, str)
        for position, part in enumerate(message.content)
        if (
            sentence := _refused(part, message.role, provider, refused)
            or _refused_own(part, message.role, provider, refuses)
        )
    ]


def _refused(part: Part, role: Role, provider: str, media: tuple[type, ...]) -> str | None:
    if isinstance(part, media):
        return f"is {HOLDS[type(part)].phrase}, which {provider} does not take here"
    if isinstance(part, HostedCall) and (part.data or part.output is None or role != "user"):  # else it is an answer
        return f"is a hosted call in a message of role {role!r}; expected it in an assistant message"
    if isinstance(part, ReasoningPart):
        return f"is reasoning in a message of role {role!r}; expected it in an assistant message"
    if isinstance(part, ProviderPart) and part.provider != provider:
        wanted = f"did you mean {provider!r}?" if part.provider.lower() == provider else f"{provider} cannot read it"
        return f"is a part of {part.provider!r}; {wanted}"
    return None


def _refused_own(
    part: Part, role: Role, provider: str, refuses: Callable[[Role, Mapping[str, Any]], str | None] | None
) -> str | None:
    if not isinstance(part, ProviderPart):
        return None
    if refuses is None:
        return f"is a part that {provider} does not accept in a message of role {role!r}"
    return refuses(role, part.data)


# --- what no service accepts, repaired --------------------------------------------------------------------------------

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_MAX_NAME = 64


def call_name(name: str) -> str:
    """The name of a called tool in the characters that every provider accepts; a model may have made the name up."""
    if name.isidentifier() and name.isascii() and len(name) <= _MAX_NAME:  # as nearly every one is
        return name
    return _NOT_IN_NAMES.sub("_", name)[:_MAX_NAME] or "unnamed"


def results_in_place(messages: Iterable[Message], start: int = 0) -> list[tuple[int, Message]]:
    """The messages with their indexes, reordered so that the results of a message's calls directly follow it.

    Messages between a call and its result are moved behind the results. A result without a call stays where it is.

    Args:
        messages: The conversation.
        start: The index of the first message to take.
    """
    messages = tuple(messages)[start:]
    if _are_in_place(messages):  # as in nearly every conversation
        return list(enumerate(messages, start))
    rows: list[list[tuple[int, Message]]] = []
    waiting: dict[str, list[list[tuple[int, Message]]]] = {}  # by the call, the newest row of its id last
    for index, message in enumerate(messages, start):
        if message.role == "tool":
            asking = waiting.get(message.tool_call_id or "")
            if asking:
                asking.pop().append((index, message))
                continue
        rows.append(row := [(index, message)])
        for call_id in dict.fromkeys(call.id for call in message.tool_calls):
            waiting.setdefault(call_id, []).append(row)
    return [item for row in rows for item in row]


def _are_in_place(messages: tuple[Message, ...]) -> bool:
    """Whether every result is one of the message that its row of results follows."""
    waiting: list[str] = []
    for message in messages:
        if message.role == "tool":
            if message.tool_call_id not in waiting:
                return False
            waiting.remove(message.tool_call_id)
        else:
            waiting = [] if type(message.content) is str else list(call_ids(message))
    return True
