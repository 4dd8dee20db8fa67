"""Messages as the `contents` and `systemInstruction` of a request.

https://ai.google.dev/api/caching#Content, https://ai.google.dev/gemini-api/docs/thought-signatures,
https://ai.google.dev/gemini-api/docs/function-calling.

What the wire format does not have, or not so:

- System messages go to `systemInstruction`, wherever in the conversation they stand, joined by an empty line.
- The results of one turn's calls are `functionResponse` parts of one content, in the order of the calls. They name the
  function, which is looked up by the call's id, and hold an object.
- Images in a result are parts of the `functionResponse`; models before Gemini 3, which take none there, get them from
  the user right behind the results.
- A signature is sent on the part that it came on, and a call's id if Gemini had given it: neither is made up, but for
  `NO_SIGNATURE`.
- Left out, because only its maker can read it: reasoning and provider items of other services. Left out as well:
  messages and text parts with nothing in them, which Gemini refuses, and what describes an answer without being part of
  it (`groundingMetadata`).
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, assert_never, cast

import attrs

from allm.adapters import (
    MEDIA_TYPES,
    Beginning,
    JsonTextError,
    MediaPart,
    Origin,
    Path,
    Problem,
    UnusableMediaError,
    as_object,
    call_name,
    document_note,
    document_text,
    encoding_format,
    keep_encoding,
    kept_encoding,
    loads,
    media_of,
    results_in_place,
    unsupported_parts,
)
from allm.data.content import (
    AudioPart,
    CachePoint,
    DocumentPart,
    HostedCall,
    ImagePart,
    Part,
    ProviderPart,
    ReasoningPart,
    TextPart,
    ToolCall,
    VideoPart,
)
from allm.data.errors import ValidationError
from allm.data.message import Message
from allm.providers.gemini.file_parts import FileEncoder
from allm.providers.gemini.part_decode import PROVIDER

__all__ = ["NO_SIGNATURE", "TOOL_NAME", "ContentEncoder"]

TOOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
"""`FunctionDeclaration.name`."""

NO_SIGNATURE = "skip_thought_signature_validator"
"""Stands for the signature of a call that Gemini did not make. Gemini 3 and newer answer 400 when the first call of a
content has no signature, and document this value for conversations that come from elsewhere."""

_IN_RESULTS = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"})
"""Types of what the result of a call may have in its `parts`; a picture at an address has none."""
_NOT_PARTS = frozenset({"groundingMetadata"})


@attrs.frozen
class _Sent:
    """A call of the conversation, as its result has to refer to it."""

    order: int
    name: str
    id: str | None


@attrs.define(eq=False)
class ContentEncoder:
    """Encodes the messages of one request.

    Attributes:
        origin: Whose opaque data is sent.
        signed_calls: The model refuses calls without a signature.
        media_in_results: The model takes images in the result of a call.
        contents: The contents so far.
        system: Texts of the system messages so far.
        problems: What cannot be sent.
    """

    origin: Origin
    signed_calls: bool
    media_in_results: bool = attrs.field(default=True, kw_only=True)
    contents: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]], init=False)
    system: list[str] = attrs.field(factory=list[str], init=False)
    problems: list[Problem] = attrs.field(factory=list[Problem], init=False)
    _files: FileEncoder = attrs.field(init=False)
    _calls: dict[str, _Sent] = attrs.field(factory=dict[str, _Sent], init=False)
    _count: int = attrs.field(default=0, init=False)
    _behind: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]], init=False)  # images of the results
    _results: list[tuple[int, dict[str, Any]]] = attrs.field(factory=list[tuple[int, dict[str, Any]]], init=False)

    def __attrs_post_init__(self) -> None:
        self._files = FileEncoder(self.origin)

    def encode(self, messages: Iterable[Message]) -> None:
        """Encode a whole conversation."""
        messages = tuple(messages)
        self.problems += unsupported_parts(messages, PROVIDER, _refused_part, takes=MEDIA_TYPES)
        begun = Beginning.of(messages, self._format) if len(messages) > Beginning.FEW else Beginning()
        if begun.length:
            contents, system, calls, self._count = begun.encoded
            self.contents, self.system, self._calls = [*contents], [*system], dict(calls)
        for position, (index, message) in enumerate(results_in_place(messages, begun.length), begun.length):
            path: Path = ("messages", index)
            if position == index == begun.until and not self.problems:
                self._close_results()
                begun.keep(([*self.contents], [*self.system], dict(self._calls), self._count))
            if message.role == "tool":
                self._result(message, path)
                continue
            self._close_results()
            if message.role == "system":
                if message.text.strip():
                    self.system.append(message.text)
            elif message.role == "assistant":
                self._content("model", message, path)
            else:
                self._content("user", message, path)
        self._close_results()

    def _content(self, role: str, message: Message, path: Path) -> None:
        if isinstance(message.content, str):
            if message.content:
                self.contents.append({"role": role, "parts": [{"text": message.content}]})
            return
        kept: tuple[list[dict[str, Any]], list[tuple[str, _Sent]]] | None = kept_encoding(message, self._format)
        if kept is None:
            parts = self._parts(message, path, role)
            keep_encoding(message, self._format, (parts, [(c.id, self._calls[c.id]) for c in message.tool_calls]))
        else:
            parts, calls = kept
            for call_id, sent in calls:
                self._calls[call_id] = _Sent(self._count, sent.name, sent.id)
                self._count += 1
        if parts:
            self.contents.append({"role": role, "parts": parts})

    def _parts(self, message: Message, path: Path, role: str) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        for index, part in enumerate(message.parts):
            if (encoded := self._part(part, (*path, "content", index), role)) is not None:
                parts += [*_note_of(part), encoded]
        if self.signed_calls:
            first = next((part for part in parts if "functionCall" in part), None)
            if first is not None:
                first.setdefault("thoughtSignature", NO_SIGNATURE)
        return parts

    @functools.cached_property
    def _format(self) -> object:
        return encoding_format("gemini", self.signed_calls, self.origin)

    def _part(self, part: Part, path: Path, role: str) -> dict[str, Any] | None:
        match part:
            case TextPart():
                return self._text(part)
            case ImagePart() | AudioPart() | VideoPart() | DocumentPart():
                return self._file(part, path)
            case ToolCall():
                return self._call(part)
            case ReasoningPart():
                return self._reasoning(part)
            case CachePoint():  # prompts are kept unasked
                return None
            case HostedCall() | ProviderPart():
                # What a user wrote by hand is for the format, wherever it goes.
                own = self.origin.made(part) if role == "model" else part.provider == PROVIDER
                known = own and part.data and not _NOT_PARTS.intersection(part.data)
                return dict(part.data) if known else None
            case _ as unreachable:
                assert_never(unreachable)

    def _text(self, part: TextPart) -> dict[str, Any] | None:
        signature = self.origin.kept(part).get("thought_signature")
        # An empty text that carries a signature is how Gemini signs an answer: it has to come back.
        return _signed({"text": part.text}, signature) if part.text or signature else None

    def _reasoning(self, part: ReasoningPart) -> dict[str, Any] | None:
        if not self.origin.made(part) or not (part.text or part.signature):
            return None
        return _signed({"text": part.text, "thought": True}, part.signature)

    def _file(self, part: MediaPart, path: Path) -> dict[str, Any] | None:
        try:
            if isinstance(part, DocumentPart) and _is_text(part):
                return {"text": document_text(part)}
            kept = dict(self.origin.kept(part))
            signature = kept.pop("thought_signature", None)
            return _signed({**self._files.encode(media_of(part)), **kept}, signature)
        except UnusableMediaError as error:
            self.problems.append(Problem(path, error.tag, str(error)))
            return None

    def _call(self, part: ToolCall) -> dict[str, Any]:
        kept = self.origin.kept(part)
        name = part.name if TOOL_NAME.fullmatch(part.name) else call_name(part.name)
        name = name if TOOL_NAME.match(name) else f"_{name}"
        call: dict[str, Any] = {"name": name}
        if part.arguments is not None:
            call["args"] = dict(part.arguments)
        else:  # the model's text was not JSON; only an object has a place here
            call["args"] = {"raw_arguments": part.raw_arguments or ""}
        if "id" in kept:
            call["id"] = kept["id"]
        self._calls[part.id] = _Sent(self._count, name, kept.get("id"))
        self._count += 1
        return _signed({"functionCall": call}, kept.get("thought_signature"))

    def _result(self, message: Message, path: Path) -> None:
        call = self._calls.get(message.tool_call_id or "")
        if call is None and message.name is not None:
            call = _Sent(self._count, message.name, None)
        if call is None:
            sentence = f"no call {message.tool_call_id!r} comes before this result, and Gemini needs the tool's name"
            self.problems.append(Problem((*path, "tool_call_id"), "unknown_tool_call", sentence))
            return
        response: dict[str, Any] = {"name": call.name, "response": _response(message)}
        if call.id is not None:
            response["id"] = call.id
        files: list[dict[str, Any]] = []
        for index, part in enumerate(() if isinstance(message.content, str) else message.content):
            if isinstance(part, MEDIA_TYPES):
                encoded = self._file(cast("MediaPart", part), (*path, "content", index))
                files += [] if encoded is None else [*_note_of(part), encoded]
        inside = [_in_result(file) for file in files] if self.media_in_results else []
        if inside and None not in inside:
            response["parts"] = inside
        elif files:
            what = "Images" if len(message.images) == len(files) else "Files"
            self._behind += [{"text": f"{what} of the result of {call.name}:"}, *files]
        self._results.append((call.order, {"functionResponse": response}))

    def _close_results(self) -> None:
        if self._results:
            ordered = sorted(self._results, key=lambda result: result[0])
            self.contents.append({"role": "user", "parts": [part for _, part in ordered]})
            self._results = []
        if self._behind:
            self.contents.append({"role": "user", "parts": self._behind})
            self._behind = []


def _signed(part: dict[str, Any], signature: Any) -> dict[str, Any]:
    if isinstance(signature, str):
        part["thoughtSignature"] = signature
    return part


def _note_of(part: Part) -> list[dict[str, Any]]:
    """What is said of a document before it: Gemini has no fields for it."""
    if not isinstance(part, DocumentPart) or (note := document_note(part)) is None:
        return []
    return [] if _is_text(part) else [{"text": note}]


def _is_text(part: DocumentPart) -> bool:
    try:
        return part.document.is_text
    except ValidationError:  # told where it is encoded
        return False


def _in_result(part: dict[str, Any]) -> dict[str, Any] | None:
    """A part as the result of a call may have it; None if it may not."""
    if "text" in part:
        data = base64.b64encode(part["text"].encode("utf-8", "replace")).decode("ascii")
        return {"inlineData": {"mimeType": "text/plain", "data": data}}
    return part if part.get("inlineData", {}).get("mimeType", "image/png") in _IN_RESULTS else None


def _refused_part(role: str, data: Mapping[str, Any]) -> str | None:
    if role != "user":
        return f"is in a message of role {role!r}, of which Gemini takes only text and, from a tool, images"
    if not _NOT_PARTS.isdisjoint(data):
        return f"has {', '.join(sorted(data))}, which describes an answer and is no part of a prompt"
    return None


def _response(message: Message) -> dict[str, Any]:
    """A tool's result as the object that Gemini wants.

    A JSON object is sent as it is, anything else under `result`; a failure under `error`, the key that Gemini documents
    for it. Numbers and quoted strings stay text: they may be identifiers, and Gemini's numbers are doubles.
    """
    content = message.content
    text = content if isinstance(content, str) else "\n".join(p.text for p in content if isinstance(p, TextPart))
    value: Any = text
    if text.lstrip()[:1] in {"{", "["}:
        with suppress(JsonTextError):
            value = loads(text)
    fields = as_object(value) if isinstance(value, dict) else None
    if message.is_error:
        return fields if fields is not None and fields.keys() == {"error"} else {"error": value}
    return {"result": value} if fields is None else fields
