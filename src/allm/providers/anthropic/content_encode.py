"""Messages as the `system` and `messages` of a request.

https://platform.claude.com/docs/en/api/messages, .../agents-and-tools/tool-use/handle-tool-calls,
.../build-with-claude/thinking.

What the wire format does not have, or not so:

- System messages go to `system`, one block each, wherever in the conversation they stand.
- Messages of one side that follow each other are one turn. The results of a turn's calls come first in the turn after
  it, before what the user said, wherever they stand, and are sent with `is_error` where the tool failed.
- Ids of calls are made of letters, digits, `_` and `-`, and appear once in a conversation. Those of other providers are
  changed so that they do, the same in a call and its result.
- `input` is an object: arguments that were not JSON go under `INVALID_JSON`.
- Thinking goes back with its signature, redacted thinking as its data, and the items of Anthropic's own tools as they
  came, each in its place.
- Parts of Anthropic's own in a user's message, in a result and, if they are text, in a system message are sent as they
  are; those of others are refused there.
- Left out, because only its maker can read it: an assistant's reasoning and provider items of other services. Left out
  because Anthropic refuses it: text without a visible character (but for what is between cited texts), images in
  assistant turns, thinking without a signature, white space at the end of an answer that is to be continued.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, assert_never

import attrs

from allm.adapters import (
    Beginning,
    Origin,
    Path,
    Problem,
    UnusableMediaError,
    as_list,
    as_object,
    call_name,
    encoding_format,
    keep_encoding,
    kept_encoding,
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
from allm.providers.anthropic.cache_marks import PromptCache, mark
from allm.providers.anthropic.file_parts import FileEncoder
from allm.providers.anthropic.models import Model
from allm.providers.anthropic.names import INVALID_JSON, PROVIDER

__all__ = ["STRICT_VERSION", "ContentEncoder"]

STRICT_VERSION = "2026-10-21"
"""The first API version that refuses sampling parameters, even with their defaults, and blocks where the model makes no
use of them: https://platform.claude.com/docs/en/api/versioning."""

_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")


@attrs.define(eq=False)
class _WireTurn:
    role: str
    results: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    blocks: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])

    def sent(self) -> dict[str, Any]:
        return {"role": self.role, "content": [*self.results, *self.blocks]}

    def copy(self) -> _WireTurn:
        return _WireTurn(self.role, [*self.results], [*self.blocks])


@attrs.frozen(kw_only=True)
class _SoFar:
    """The state of an encoder between two messages."""

    sent: list[dict[str, Any]]
    open: _WireTurn | None
    system: list[dict[str, Any]]
    calls: dict[str, dict[str, Any]]
    ids: set[str]
    called: dict[str, None]
    by_hand: bool


@attrs.frozen
class _Answer:
    """What an assistant message was encoded to; its calls by the ids that they have in the conversation."""

    blocks: list[dict[str, Any]]
    calls: dict[str, dict[str, Any]]
    by_hand: bool = attrs.field(kw_only=True)


@attrs.define(eq=False)
class ContentEncoder:
    """Encodes the messages of one request.

    Attributes:
        model: Which model they are for.
        api_version: Which the request is for.
        origin: Whose opaque data is sent.
        cache_for: How long what is before a `CachePoint` is kept that does not say it; None: no point counts.
        system: Blocks of the system messages so far.
        called: Names of the tools that have been called.
        by_hand: A part has fields in Anthropic's own words, from the caller or from an earlier response.
        problems: What cannot be sent.
    """

    model: str
    api_version: str
    origin: Origin
    cache_for: PromptCache | None = attrs.field(default=True, kw_only=True)
    system: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]], init=False)
    called: dict[str, None] = attrs.field(factory=dict[str, None], init=False)
    by_hand: bool = attrs.field(default=False, init=False)
    problems: list[Problem] = attrs.field(factory=list[Problem], init=False)
    _sent: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]], init=False)
    _open: _WireTurn | None = attrs.field(default=None, init=False)  # the turn behind these, which may go on
    _files: FileEncoder | None = attrs.field(default=None, init=False)
    _calls: dict[str, dict[str, Any]] = attrs.field(factory=dict[str, dict[str, Any]], init=False)
    _ids: set[str] = attrs.field(factory=set[str], init=False)

    def encode(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        """The turns of a whole conversation."""
        messages = tuple(messages)
        self.problems += unsupported_parts(messages, PROVIDER, _refused_part, takes=(ImagePart, DocumentPart))
        begun = Beginning.of(messages, self._format) if len(messages) > Beginning.FEW else Beginning()
        if begun.length:
            self._go_on(begun.encoded)
        for position, (index, message) in enumerate(results_in_place(messages, begun.length), begun.length):
            path: Path = ("messages", index)
            if position == index == begun.until and not self.problems:
                begun.keep(self._so_far())
            if message.role == "system":
                self.system += self._instructions(message, path)
            elif message.role == "tool":
                self._result(message, path)
            else:
                blocks = self._answer(message, path) if message.role == "assistant" else self._blocks(message, path)
                if blocks:
                    self._turn(message.role).blocks += blocks
        if self._open is not None:
            _end_with_text(self._open)
            self._sent.append(self._open.sent())
        return self._sent

    def _so_far(self) -> _SoFar:
        return _SoFar(
            sent=[*self._sent],
            open=None if self._open is None else self._open.copy(),
            system=[*self.system],
            calls=dict(self._calls),
            ids=set(self._ids),
            called=dict(self.called),
            by_hand=self.by_hand,
        )

    def _go_on(self, known: _SoFar) -> None:
        self._sent, self.system, self.called = [*known.sent], [*known.system], dict(known.called)
        self._open = None if known.open is None else known.open.copy()
        self._calls, self._ids, self.by_hand = dict(known.calls), set(known.ids), known.by_hand

    @functools.cached_property
    def _format(self) -> object:
        return encoding_format("anthropic", self.api_version, self.origin, self.cache_for)

    def _answer(self, message: Message, path: Path) -> list[dict[str, Any]]:
        kept: _Answer | None = kept_encoding(message, self._format)
        if kept is not None and self._ids.isdisjoint(block["id"] for block in kept.calls.values()):
            self._ids.update(block["id"] for block in kept.calls.values())
            self._calls |= kept.calls
            self.called |= dict.fromkeys(block["name"] for block in kept.calls.values())
            self.by_hand = self.by_hand or kept.by_hand
            return kept.blocks
        before, problems, self.by_hand = self.by_hand, len(self.problems), False
        blocks = self._blocks(message, path)
        calls = {call.id: self._calls[call.id] for call in message.tool_calls}
        # An id with a number depends on the messages before, and so may what is wrong.
        is_alone = all(block["id"] == _NOT_IN_IDS.sub("_", given) for given, block in calls.items())
        if is_alone and len(calls) == len(message.tool_calls) and len(self.problems) == problems:
            keep_encoding(message, self._format, _Answer(blocks, calls, by_hand=self.by_hand))
        self.by_hand = self.by_hand or before
        return blocks

    def _turn(self, role: str) -> _WireTurn:
        if self._open is None or self._open.role != role:
            if self._open is not None:
                self._sent.append(self._open.sent())
            self._open = _WireTurn(role)
        return self._open

    def _instructions(self, message: Message, path: Path) -> list[dict[str, Any]]:
        if all(isinstance(part, TextPart) for part in message.parts):
            return [{"type": "text", "text": message.text}] if message.text.strip() else []
        return self._blocks(message, path)

    def _blocks(self, message: Message, path: Path) -> list[dict[str, Any]]:
        if isinstance(message.content, str):
            return [{"type": "text", "text": message.content}] if message.content.strip() else []
        of_assistant = message.role == "assistant"
        blocks: list[dict[str, Any]] = []
        for index, part in enumerate(message.content):
            if isinstance(part, CachePoint):
                self._mark(blocks, part, of_assistant=of_assistant)
            elif (block := self._part(part, (*path, "content", index), of_assistant=of_assistant)) is not None:
                blocks.append(block)
            elif of_assistant and isinstance(part, TextPart) and self._joins(message.content, index):
                blocks.append({"type": "text", "text": part.text})
        return blocks

    def _joins(self, parts: Sequence[Part], index: int) -> bool:
        """Whether white space stands between texts with citations, which the API takes back as it made it."""
        around = (*parts[index - 1 : index], *parts[index + 1 : index + 2])
        texts = [part for part in around if isinstance(part, TextPart) and part.text.strip()]
        return len(texts) > 1 and any(map(self.origin.cited, texts))

    def _mark(self, blocks: list[dict[str, Any]], point: CachePoint, *, of_assistant: bool) -> None:
        if not blocks or of_assistant or self.cache_for is None:
            return
        blocks[-1] = {**blocks[-1], "cache_control": mark(point.ttl or self.cache_for)}
        self.by_hand = True  # it counts as one of the caller's own marks

    def _part(self, part: Part, path: Path, *, of_assistant: bool) -> dict[str, Any] | None:
        match part:
            case TextPart():
                return self._text(part, of_assistant=of_assistant)
            case ImagePart() | DocumentPart():
                return None if of_assistant else self._file(part, path)
            case AudioPart() | VideoPart():
                return None  # refused by `unsupported_parts`, but for an assistant's own
            case ToolCall():
                return self._call(part)
            case ReasoningPart():
                return self._reasoning(part) if of_assistant else None
            case CachePoint():  # a mark on the block before it
                return None
            case HostedCall() | ProviderPart():
                # What a user wrote by hand is for the format, wherever it goes.
                own = self.origin.made(part) if of_assistant else part.provider == PROVIDER
                return self._own(part, path, of_assistant=of_assistant) if own and part.data else None
            case _ as unreachable:
                assert_never(unreachable)

    def _text(self, part: TextPart, *, of_assistant: bool) -> dict[str, Any] | None:
        if not part.text.strip():
            return None
        block = {"type": "text", "text": part.text}
        # Citations are the model's: the API refuses them in a user's text.
        return {**block, **self._kept(part), **self._cited(part)} if of_assistant else block

    def _cited(self, part: TextPart) -> dict[str, Any]:
        cited = self.origin.cited(part)
        self.by_hand = self.by_hand or bool(cited)
        return {"citations": cited} if cited else {}

    def _reasoning(self, part: ReasoningPart) -> dict[str, Any] | None:
        if not self.origin.made(part):
            return None
        if part.encrypted_content is not None:
            return {"type": "redacted_thinking", "data": part.encrypted_content}
        if part.signature is None:  # the stream broke off inside it
            return None
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}

    def _kept(self, part: TextPart | ToolCall) -> Mapping[str, Any]:
        kept = self.origin.kept(part)
        self.by_hand = self.by_hand or bool(kept)
        return kept

    def _own(self, part: HostedCall | ProviderPart, path: Path, *, of_assistant: bool) -> dict[str, Any]:
        if self.api_version >= STRICT_VERSION:
            kind = part.data.get("type")
            if of_assistant and kind == "document":
                self._refuse(path, "a document in an assistant's message; put it into a user's")
            texts = [part.data, *map(as_object, as_list(part.data.get("content")))]
            if not of_assistant and any(text.get("type") == "text" and text.get("citations") for text in texts):
                self._refuse(path, "the citations of a text in a user's message; leave them out")
        self.by_hand = True
        return dict(part.data)

    def _refuse(self, path: Path, what: str) -> None:
        sentence = f"API version {self.api_version} refuses {what}"
        self.problems.append(Problem(path, "unsupported_in_api_version", sentence))

    def _file(self, part: ImagePart | DocumentPart, path: Path) -> dict[str, Any] | None:
        if self._files is None:
            self._files = FileEncoder(Model.named(self.model).max_images, self.origin)
        try:
            return self._files.image(part.image) if isinstance(part, ImagePart) else self._files.document(part)
        except UnusableMediaError as error:
            self.problems.append(Problem(path, error.tag, str(error)))
            return None

    def _call(self, part: ToolCall) -> dict[str, Any]:
        arguments = {INVALID_JSON: part.raw_arguments or ""} if part.arguments is None else dict(part.arguments)
        name = call_name(part.name)
        block = {
            "type": "tool_use",
            "id": self._new_id(part.id),
            "name": name,
            "input": arguments,
            **self._kept(part),
        }
        self._calls[part.id] = block
        self.called[name] = None
        return block

    def _new_id(self, given: str) -> str:
        base = wanted = _NOT_IN_IDS.sub("_", given)
        number = 1
        while wanted in self._ids:
            number += 1
            wanted = f"{base}_{number}"
        self._ids.add(wanted)
        return wanted

    def _result(self, message: Message, path: Path) -> None:
        call = self._calls.get(message.tool_call_id or "")
        if call is None:
            sentence = f"no call {message.tool_call_id!r} comes before this result"
            self.problems.append(Problem((*path, "tool_call_id"), "unknown_tool_call", sentence))
            return
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call["id"]}
        if isinstance(message.content, str) or all(isinstance(part, TextPart) for part in message.content):
            content: Any = message.text if message.text.strip() else None
        else:
            content = self._blocks(message, path)
        if content:
            block["content"] = content
        if message.is_error:
            block["is_error"] = True
        if "toolset_name" in call:  # the API wants it on both
            block["toolset_name"] = call["toolset_name"]
        self._turn("user").results.append(block)


def _refused_part(role: str, data: Mapping[str, Any]) -> str | None:
    if role == "system" and data.get("type") != "text":
        return f"has the type {data.get('type')!r}; Anthropic takes only text in a system prompt"
    return None


def _end_with_text(turn: _WireTurn) -> None:
    """Cut the white space off an answer that the model is to continue."""
    last = turn.blocks[-1] if turn.blocks else {}
    if turn.role == "assistant" and last.get("type") == "text":
        turn.blocks[-1] = {**last, "text": last["text"].rstrip()}
