"""A `Request` as the body of POST /v2/chat (https://docs.cohere.com/reference/chat, and the types of Cohere's SDK).

What the wire format does not have, or not so:

- Documents are no parts of messages: those that are text go into one list beside them, with ids by their order, and are
  cited. Documents in results of tools stay where they are.
- An assistant's thinking, the plan before its calls and citations of its text go back as they came.
- A choice of one tool by its name is sent as that tool alone, which has to be called.
- Left out, because only its maker can read it: an assistant's reasoning and provider items of other services. Left out
  because Cohere has no place for it: files in assistant messages, text without a visible character.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from allm.adapters import (
    AdapterOptions,
    Origin,
    Path,
    Problem,
    UnusableMediaError,
    as_list,
    base64_text,
    call_name,
    dumps,
    is_text,
    mime_type_of,
    own_upload,
    refuse,
    results_in_place,
    unsupported_parts,
)
from allm.data.content import DocumentPart, ImagePart, Part, ReasoningPart, TextPart, ToolCall
from allm.data.errors import ValidationError
from allm.data.message import Message
from allm.data.request import JsonSchema, Request
from allm.data.tool import Tool
from allm.providers.cohere.chat_decode import PLAN, PROVIDER

__all__ = ["encode"]

_BUDGETS = {"minimal": 512, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_768, "max": 32_768}
_CHOICES = {None: None, "auto": None, "none": "NONE", "required": "REQUIRED"}
_HAS_NOT = ("logprobs", "service_tier", "parallel_tool_calls")
_ADDED = ("documents", "tools")


def encode(request: Request, options: AdapterOptions, origin: Origin) -> dict[str, Any]:
    """The request body; `request.options` are merged over it and win.

    Raises:
        ValidationError: With every problem found.
    """
    encoder = _Encoder(origin)
    body: dict[str, Any] = {"model": request.model, "messages": encoder.messages(request.messages), "stream": True}
    problems = encoder.problems
    if not body["messages"] and not problems:
        problems.append(Problem(("messages",), "empty", "nothing is left to send; Cohere needs a message to answer"))
    if encoder.documents:
        body["documents"] = encoder.documents
        if not encoder.wants_citations:
            body["citation_options"] = {"mode": "OFF"}
    given = {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "p": request.top_p,
        "seed": request.seed,
        "stop_sequences": list(request.stop) if request.stop else None,
        "thinking": _thinking(options.reasoning_effort, problems),
        "response_format": _format(request, problems),
    }
    body |= {name: value for name, value in given.items() if value is not None}
    _add_tools(request, body, problems)
    for name in _HAS_NOT:
        if getattr(request, name) is not None:
            problems.append(Problem((name,), "unsupported_option", f"Cohere has no {name}; leave it out"))
    refuse(problems)
    added = {name: [*body.get(name, ()), *as_list(request.options[name])] for name in _ADDED if name in request.options}
    return {**body, **request.options, **added}


@attrs.define(eq=False)
class _Encoder:
    """Encodes the messages of one request."""

    origin: Origin
    documents: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]], init=False)
    wants_citations: bool = attrs.field(default=False, init=False)
    problems: list[Problem] = attrs.field(factory=list[Problem], init=False)
    _count: int = attrs.field(default=0, init=False)  # of documents, wherever they stand

    def messages(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        messages = tuple(messages)
        self.problems += unsupported_parts(messages, PROVIDER, takes=(ImagePart, DocumentPart))
        encoded = (self._message(message, ("messages", index)) for index, message in results_in_place(messages))
        return [message for message in encoded if message is not None]

    def _message(self, message: Message, path: Path) -> dict[str, Any] | None:
        match message.role:
            case "system":
                return {"role": "system", "content": message.text} if message.text.strip() else None
            case "assistant":
                return self._assistant(message)
            case "tool":
                return self._result(message, path)
            case _:
                content = self._content(message, path)
                return {"role": "user", "content": content} if content else None

    def _content(self, message: Message, path: Path) -> Any:
        if isinstance(message.content, str):
            return message.content if message.content.strip() else None
        parts: list[dict[str, Any]] = []
        for number, part in enumerate(message.content):
            try:
                parts += self._part(part, in_result=message.role == "tool")
            except UnusableMediaError as error:
                self.problems.append(Problem((*path, "content", number), error.tag, str(error)))
        return parts

    def _part(self, part: Part, *, in_result: bool) -> list[dict[str, Any]]:
        if isinstance(part, TextPart):
            return [{"type": "text", "text": part.text}] if part.text.strip() else []
        if isinstance(part, ImagePart):
            if in_result:
                what = "Cohere takes no image in the result of a tool"
                raise UnusableMediaError("unsupported_part", f"{what}; send it in a message of the user")
            return [{"type": "image_url", "image_url": {"url": self._image(part)}}]
        if not isinstance(part, DocumentPart):
            return []
        document = {"id": f"doc:{self._count}", "data": self._document(part)}
        self._count += 1
        if in_result:
            return [{"type": "document", "document": document}]
        self.documents.append(document)
        self.wants_citations = self.wants_citations or part.citations is not False
        return []

    def _image(self, part: ImagePart) -> Any:
        own_upload(part.image, self.origin)  # it keeps none, so any is another's
        if part.image.url is not None:
            return part.image.url
        try:
            return base64_text(part.image, f"data:{mime_type_of(part.image)};base64,")
        except ValidationError as error:
            raise UnusableMediaError(error.errors[0][1], str(error)) from error

    def _document(self, part: DocumentPart) -> dict[str, Any]:
        document = part.document
        own_upload(document, self.origin)
        if document.url is not None or not is_text(mime_type_of(document)):
            what = "Cohere takes documents as text, and fetches none"
            raise UnusableMediaError("unsupported_document_format", f"{what}; pass Document.from_text(...)")
        try:
            text = document.text()
        except ValidationError as error:
            raise UnusableMediaError(error.errors[0][1], str(error)) from error
        told = {"title": part.title, "url": part.source, "context": part.context}
        return {"text": text, **{name: value for name, value in told.items() if value is not None}}

    def _assistant(self, message: Message) -> dict[str, Any] | None:
        content: list[dict[str, Any]] = []
        citations: list[dict[str, Any]] = []
        plan: list[str] = []
        for part in message.parts:
            if isinstance(part, TextPart) and part.text.strip():
                # The number of a block is its own in what is sent, and citations with several sources came as several.
                cited = [{**data, "content_index": len(content)} for data in self.origin.cited(part)]
                citations += [data for number, data in enumerate(cited) if data not in cited[:number]]
                content.append({"type": "text", "text": part.text})
            elif isinstance(part, ReasoningPart) and self.origin.made(part) and part.text:
                if self.origin.kept(part).get(PLAN):
                    plan.append(part.text)
                else:
                    content.append({"type": "thinking", "thinking": part.text})
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call_name(call.name), "arguments": _arguments(call)},
            }
            for call in message.tool_calls
        ]
        fields = {"tool_calls": calls, PLAN: "".join(plan), "content": content, "citations": citations}
        told = {name: value for name, value in fields.items() if value}
        return {"role": "assistant", **told} if content or calls else None

    def _result(self, message: Message, path: Path) -> dict[str, Any]:
        content = self._content(message, path) or ""
        if message.is_error:
            failed = "The tool failed."
            content = (
                f"{failed} {content}".strip()
                if isinstance(content, str)
                else [{"type": "text", "text": failed}, *content]
            )
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": content}


def _arguments(call: ToolCall) -> str:
    return call.raw_arguments or dumps({} if call.arguments is None else dict(call.arguments)).decode()


def _thinking(effort: str | None, problems: list[Problem]) -> dict[str, Any] | None:
    if effort is None:
        return None
    if effort == "none":
        return {"type": "disabled"}
    if not effort.isdecimal() and effort not in _BUDGETS:
        sentence = f"{effort!r} is neither a number of tokens nor one of none, {', '.join(_BUDGETS)}"
        problems.append(Problem(("reasoning_effort",), "unknown", sentence))
    return {"type": "enabled", "token_budget": int(effort) if effort.isdecimal() else _BUDGETS.get(effort)}


def _format(request: Request, problems: list[Problem]) -> dict[str, Any] | None:
    wanted = request.response_format
    if isinstance(wanted, Mapping):
        return dict(wanted)
    if isinstance(wanted, JsonSchema):
        return {"type": "json_object", "json_schema": wanted.schema}
    if wanted == "json" and request.tools:
        sentence = "Cohere has no JSON mode beside tools; leave one of them out"
        problems.append(Problem(("response_format",), "unsupported_capability", sentence))
    return {"type": "json_object"} if wanted == "json" else None


def _add_tools(request: Request, body: dict[str, Any], problems: list[Problem]) -> None:
    choice, tools, own = request.tool_choice, request.tools, request.options.get("tools")
    if isinstance(choice, Mapping):
        sentence = "Cohere chooses by a word; expected auto, none, required or the name of a tool"
        problems.append(Problem(("tool_choice",), "wrong_type", sentence))
    elif choice in _CHOICES:
        if choice == "required" and not tools and not own:
            problems.append(Problem(("tool_choice",), "requires_tools", "a call is required, but there are no tools"))
        if (tools or own) and (word := _CHOICES[choice]) is not None:
            body["tool_choice"] = word
    else:
        tools = tuple(tool for tool in tools if tool.name == choice)
        if not tools:
            sentence = f"{choice!r} is neither auto, none, required nor the name of a tool of this request"
            problems.append(Problem(("tool_choice",), "unknown_tool", sentence))
        body["tool_choice"] = "REQUIRED"
    if tools:
        body["tools"] = [_tool(tool) for tool in tools]


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "parameters": {"type": "object", **tool.schema}}
    return {
        "type": "function",
        "function": {**function, "description": tool.description} if tool.description else function,
    }
