"""Messages as the `system` and `messages` of a request.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html.

What the wire format does not have, or not so:

- System messages go to `system`, one block each, wherever in the conversation they stand.
- Messages of one side that follow each other are one turn. The results of a turn's calls come first in the turn after
  it, wherever they stand.
- Ids of calls have 64 letters, digits, `_` and `-` at most, and appear once in a conversation; others are changed so
  that they do, the same in a call and its result.
- `input` is an object: arguments that were not JSON go under `INVALID_JSON`.
- Thinking goes back with its signature, redacted thinking as its data, a text with its citations, and what the service
  ran itself as it came, each in its place.
- Left out, because only its maker can read it: an assistant's reasoning and provider items of other services. Left out
  because Bedrock refuses it: text without a visible character, files in assistant turns, and white space at the end of
  an answer that is to be continued.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, assert_never

import attrs

from allm.adapters import (
    MEDIA_TYPES,
    Origin,
    Path,
    Problem,
    UnusableMediaError,
    call_name,
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
from allm.data.message import Message
from allm.providers.bedrock.file_parts import FileEncoder
from allm.providers.bedrock.names import INVALID_JSON, PROVIDER

__all__ = ["ContentEncoder"]

_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")
_MAX_ID = 64
_IN_SYSTEM = frozenset({"text", "cachePoint", "guardContent"})


@attrs.define(eq=False)
class ContentEncoder:
    """Encodes the messages of one request.

    Attributes:
        origin: Whose opaque data is sent.
        marks: Whether cache points are sent.
        system: Blocks of the system messages so far.
        called: Names of the tools that have been called.
        problems: What cannot be sent.
    """

    origin: Origin
    marks: bool = attrs.field(default=True, kw_only=True)
    system: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]], init=False)
    called: dict[str, None] = attrs.field(factory=dict[str, None], init=False)
    problems: list[Problem] = attrs.field(factory=list[Problem], init=False)
    _turns: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]], init=False)
    _files: FileEncoder = attrs.field(init=False)
    _calls: dict[str, str] = attrs.field(factory=dict[str, str], init=False)  # ids as sent, by those of the messages
    _ids: set[str] = attrs.field(factory=set[str], init=False)

    def __attrs_post_init__(self) -> None:
        self._files = FileEncoder(self.origin)

    def encode(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        """The turns of a whole conversation."""
        messages = tuple(messages)
        self.problems += unsupported_parts(messages, PROVIDER, _refused_part, takes=MEDIA_TYPES)
        for index, message in results_in_place(messages):
            path: Path = ("messages", index)
            if message.role == "system":
                self.system += self._blocks(message, path)
            elif message.role == "tool":
                self._result(message, path)
            else:
                self._turn(message.role, self._blocks(message, path))
                if message.role == "user":
                    self._check_documents(message, path)
        if self._turns:
            _end_with_text(self._turns[-1])
        return self._turns

    def _turn(self, role: str, blocks: list[dict[str, Any]]) -> None:
        if not blocks:
            return
        if not self._turns or self._turns[-1]["role"] != role:
            self._turns.append({"role": role, "content": []})
        self._turns[-1]["content"] += blocks

    def _blocks(self, message: Message, path: Path) -> list[dict[str, Any]]:
        if isinstance(message.content, str):
            return [{"text": message.content}] if message.content.strip() else []
        encoded = (
            self._part(part, (*path, "content", index), of_assistant=message.role == "assistant")
            for index, part in enumerate(message.content)
        )
        return [block for block in encoded if block is not None]

    def _part(self, part: Part, path: Path, *, of_assistant: bool) -> dict[str, Any] | None:
        match part:
            case TextPart():
                return self._text(part) if part.text.strip() else None
            case ImagePart() | DocumentPart() | AudioPart() | VideoPart():
                return None if of_assistant else self._file(part, path)
            case ToolCall():
                return self._call(part)
            case ReasoningPart():
                return self._reasoning(part) if of_assistant else None
            case CachePoint():
                mark = {"type": "default"} | ({} if part.ttl is None else {"ttl": part.ttl})
                return {"cachePoint": mark} if self.marks else None
            case HostedCall() | ProviderPart():
                # What a user wrote by hand is for the format, wherever it goes.
                own = self.origin.made(part) if of_assistant else part.provider == PROVIDER
                return dict(part.data) if own and part.data else None
            case _ as unreachable:
                assert_never(unreachable)

    def _text(self, part: TextPart) -> dict[str, Any]:
        citations = self.origin.cited(part)
        if not citations:
            return {"text": part.text}
        return {"citationsContent": {"content": [{"text": part.text}], "citations": citations}}

    def _reasoning(self, part: ReasoningPart) -> dict[str, Any] | None:
        if not self.origin.made(part):
            return None
        if part.encrypted_content is not None:
            return {"reasoningContent": {"redactedContent": part.encrypted_content}}
        if not part.text and part.signature is None:
            return None
        said = {"text": part.text} | ({} if part.signature is None else {"signature": part.signature})
        return {"reasoningContent": {"reasoningText": said}}

    def _file(self, part: ImagePart | DocumentPart | AudioPart | VideoPart, path: Path) -> dict[str, Any] | None:
        try:
            return self._files.encode(part)
        except UnusableMediaError as error:
            self.problems.append(Problem(path, error.tag, str(error)))
            return None

    def _check_documents(self, message: Message, path: Path) -> None:
        has_document = any(isinstance(part, DocumentPart) for part in message.parts)
        if has_document and not message.text.strip():
            sentence = "has a document and no text; Bedrock wants both in one message: say what to do with it"
            self.problems.append(Problem((*path, "content"), "document_without_text", sentence))

    def _call(self, part: ToolCall) -> dict[str, Any]:
        arguments = {INVALID_JSON: part.raw_arguments or ""} if part.arguments is None else dict(part.arguments)
        name = call_name(part.name)
        self._calls[part.id] = call_id = self._new_id(part.id)
        self.called[name] = None
        return {"toolUse": {"toolUseId": call_id, "name": name, "input": arguments}}

    def _new_id(self, given: str) -> str:
        base = wanted = _NOT_IN_IDS.sub("_", given)[:_MAX_ID] or "call"
        number = 1
        while wanted in self._ids:
            number += 1
            wanted = f"{base[: _MAX_ID - len(str(number)) - 1]}_{number}"
        self._ids.add(wanted)
        return wanted

    def _result(self, message: Message, path: Path) -> None:
        call_id = self._calls.get(message.tool_call_id or "")
        if call_id is None:
            sentence = f"no call {message.tool_call_id!r} comes before this result"
            self.problems.append(Problem((*path, "tool_call_id"), "unknown_tool_call", sentence))
            return
        status = "error" if message.is_error else "success"
        result = {"toolUseId": call_id, "content": self._blocks(message, path), "status": status}
        self._turn("user", [{"toolResult": result}])


def _refused_part(role: str, data: Mapping[str, Any]) -> str | None:
    if role == "system" and _IN_SYSTEM.isdisjoint(data):
        return f"has {', '.join(sorted(data))}; Bedrock takes {', '.join(sorted(_IN_SYSTEM))} in a system prompt"
    return None


def _end_with_text(turn: dict[str, Any]) -> None:
    """Cut the white space off an answer that the model is to continue."""
    last = turn["content"][-1]
    if turn["role"] == "assistant" and "text" in last:
        turn["content"][-1] = {"text": last["text"].rstrip()}
