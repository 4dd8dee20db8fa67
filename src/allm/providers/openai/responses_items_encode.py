"""Messages as the `input` items of a request.

https://platform.openai.com/docs/api-reference/responses/create#responses-create-input,
https://platform.openai.com/docs/guides/reasoning#keeping-reasoning-items-in-context.

What the wire format does not have, or not so:

- An assistant message is a row of items: messages, calls, reasoning, and those of OpenAI's own tools, each in its
  place and with the id it came with. Text that did not come from this API is a message without an id; texts next to
  each other are one.
- A reasoning item needs the item that followed it: alone it is a 400. One that cannot go back (it has no encrypted
  content) takes the id of its successor with it, as that id would ask for it. An id of more than 64 characters, which
  some services make and OpenAI refuses, is left out in the same way, with its pair; an item of OpenAI's own tools that
  has one is left out whole. Reasoning that comes last is left out at OpenAI, and sent to others.
- A call's result names the `call_id`, and is in kind: free text for a custom tool. It may hold images.
- A `ProviderPart` of OpenAI in a user's message is sent as it is: as a part of the message where its type begins with
  `input_`, else as an item of its own after it (`mcp_approval_response`, `computer_call_output`). Parts of Chat
  Completions, those of others, and in a tool's result all but `input_...`, are refused: the model would not see them.
- An answer of `allm.hosted.approve`, `deny` or `screenshot` in a user's message is an item after it too. A call of a
  computer without its screenshot is a 400.
- Left out, because only its maker can read it: reasoning and provider items of other services. Left out because the API
  has no place for it: names of speakers, images in assistant messages that were not made here, text with nothing in it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, assert_never

import attrs

from allm.adapters import (
    Beginning,
    MediaPart,
    Origin,
    Path,
    Problem,
    UnusableMediaError,
    as_text,
    base64_text,
    call_name,
    encoding_format,
    keep_encoding,
    kept_encoding,
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
from allm.providers.openai.chat_fields import FIELDS, MESSAGE_FIELDS
from allm.providers.openai.presets import Preset, is_bound
from allm.providers.openai.shared_encode import (
    COMPUTER_CALL,
    CUSTOM_CALL,
    IMAGE_CALL,
    arguments_text,
    call_id,
    image_source,
    is_custom,
)

if TYPE_CHECKING:
    from allm.providers.openai.file_parts import FileEncoder

__all__ = ["ItemEncoder", "refused_part"]

_OF_CHAT = frozenset({"file", "image_url", "text"})

Item = dict[str, Any]

_LONGEST_ID = 64
"""Characters: "string too long. Expected a string with maximum length 64"."""


@attrs.define(eq=False)
class ItemEncoder:
    """Encodes the messages of one request.

    Attributes:
        preset: The service, and which ids of calls it takes.
        origin: Whose opaque data is sent.
        stored: The service keeps the items, so that reasoning may go back as its id alone.
        marks: What is before a cache point is marked.
        marked: Something was.
        problems: What cannot be sent.
    """

    preset: Preset
    origin: Origin
    stored: bool = attrs.field(default=False, kw_only=True)
    marks: bool = attrs.field(default=False, kw_only=True)
    marked: bool = attrs.field(default=False, init=False)
    problems: list[Problem] = attrs.field(factory=list[Problem], init=False)
    _files: FileEncoder | None = attrs.field(default=None, init=False)
    _custom: set[str] = attrs.field(factory=set[str], init=False)  # ids of calls of custom tools

    @property
    def provider(self) -> str:
        """Whose opaque data is sent."""
        return self.preset.name

    def encode(self, messages: Iterable[Message]) -> list[Item]:
        """The items of a whole conversation."""
        messages = tuple(messages)
        begun = Beginning.of(messages, self._format) if len(messages) > Beginning.FEW else Beginning()
        items: list[Item] = []
        if begun.length:
            known, custom, self.marked = begun.encoded
            items, self._custom = [*known], set(custom)
        for index, message in enumerate(messages[begun.length :], begun.length):
            if index == begun.until and not self.problems:
                begun.keep(([*items], set(self._custom), self.marked))
            if message.role == "assistant":
                kept: list[Item] | None = kept_encoding(message, self._format)
                items += self._answer(message) if kept is None else kept
            elif message.role == "tool":
                items.append(self._result(message, ("messages", index)))
            else:
                items += self._prompt(message, ("messages", index))
        self._refuse_unanswered(messages)
        return items

    @functools.cached_property
    def _format(self) -> object:
        return encoding_format(
            "responses", self.preset.name, self.preset.call_ids, self._is_openai, self.stored, self.origin, self.marks
        )

    def _answer(self, message: Message) -> list[Item]:
        items = self._assistant(message)
        # The result of a call of a custom tool has to know of it.
        if not any(is_custom(call, self.provider) for call in message.tool_calls):
            keep_encoding(message, self._format, items)
        return items

    def _prompt(self, message: Message, path: Path) -> list[Item]:
        if isinstance(message.content, str):
            return [{"role": message.role, "content": message.content}]
        content = self._contents(message, path)
        after = [item for part in message.content if (item := self._beside(part)) is not None]
        return [{"role": message.role, "content": content}, *after] if content else after

    def _beside(self, part: Part) -> Item | None:
        """What of a user's message is an item of its own."""
        if isinstance(part, HostedCall):
            if not self.origin.made(part):
                return None
            from allm.providers.openai.hosted_items import answer_item

            return answer_item(part)
        if isinstance(part, ProviderPart) and part.provider == self.provider and not _is_content(part):
            return dict(part.data)
        return None

    def _refuse_unanswered(self, messages: tuple[Message, ...]) -> None:
        """Note calls of a computer in the newest answer that have no screenshot."""
        answered: set[Any] = set()
        for index in reversed(range(len(messages))):
            message = messages[index]
            own = [(at, part) for at, part in enumerate(message.parts) if isinstance(part, (HostedCall, ProviderPart))]
            if message.role != "assistant":
                answered |= {part.id if isinstance(part, HostedCall) else part.data.get("call_id") for _, part in own}
                continue
            for at, part in own:
                call = part.data
                if call.get("type") != COMPUTER_CALL or call.get("call_id") in answered or not self.origin.made(part):
                    continue
                sentence = "is a call of a computer without an answer, which OpenAI refuses"
                advice = "; put allm.hosted.screenshot(call, image) into a message of the user after it"
                path = ("messages", index, "content", at)
                self.problems.append(Problem(path, "unanswered_call", sentence, advice=advice))
            return

    def _result(self, message: Message, path: Path) -> Item:
        kind = f"{CUSTOM_CALL}_output" if message.tool_call_id in self._custom else "function_call_output"
        only_text = isinstance(message.content, str) or all(isinstance(part, TextPart) for part in message.content)
        output = message.text if only_text else self._contents(message, path)
        return {"type": kind, "call_id": call_id(message.tool_call_id, self.preset), "output": output}

    def _contents(self, message: Message, path: Path) -> list[Item]:
        content: list[Item] = []
        for index, part in enumerate(message.parts):
            if isinstance(part, CachePoint):
                if self.marks:
                    from allm.providers.openai.prompt_cache import mark_end

                    mark_end(content, part)
                    self.marked = True
            else:
                content += self._content(part, (*path, "content", index))
        return content

    def _content(self, part: Part, path: Path) -> list[Item]:
        match part:
            case TextPart():
                return [{"type": "input_text", "text": part.text}]
            case ImagePart():
                source = image_source(part, self.preset, self.origin, path, self.problems)
                return [] if source is None else [{"type": "input_image", **source, "detail": part.detail}]
            case DocumentPart() | AudioPart() | VideoPart():
                return self._file(part, path)
            case ProviderPart():
                return [dict(part.data)] if part.provider == self.provider and _is_content(part) else []
            case ReasoningPart() | ToolCall() | HostedCall() | CachePoint():  # only an assistant has the first three
                return []
            case _:
                assert_never(part)

    def _file(self, part: MediaPart, path: Path) -> list[Item]:
        if self._files is None:
            from allm.providers.openai.file_parts import FileEncoder

            self._files = FileEncoder(self.preset, self.origin, responses=True)
        try:
            return self._files.encode(part)
        except UnusableMediaError as error:
            self.problems.append(Problem(path, error.tag, str(error)))
            return []

    def _assistant(self, message: Message) -> list[Item]:
        if isinstance(message.content, str):
            text = message.content
            return [{"type": "message", "role": "assistant", "content": text}] if text else []
        items: list[Item] = []
        waiting: list[Item] = []  # reasoning whose successor has not come yet
        without_id: set[Any] = set()  # successors of reasoning that is left out
        orphaned = False
        for part in message.content:
            if isinstance(part, ReasoningPart):
                if self.origin.made(part):
                    thought = self._reasoning(part)
                    orphaned = thought is None
                    waiting = [] if thought is None else [*waiting, thought]
                continue
            item_id = self._id_of(part)
            if self._is_too_long(item_id):
                without_id.add(item_id)
                waiting = []  # reasoning asks for its successor by the id
            elif item_id is not None and orphaned and not isinstance(part, (HostedCall, ProviderPart)):
                without_id.add(item_id)
            item = self._item(part, without_id)
            if item is None:
                continue
            orphaned = False
            if waiting or not items or not _joined(items[-1], item):
                items += [*waiting, item]
                waiting = []
        # OpenAI refuses reasoning where nothing follows it; OpenRouter puts it last.
        return items if self._is_openai else [*items, *waiting]

    def _id_of(self, part: Part) -> str | None:
        """The id that an item would have."""
        if isinstance(part, (HostedCall, ProviderPart)):
            return as_text(part.data.get("id")) if self.origin.made(part) else None
        return as_text(self.origin.kept(part).get("id")) if isinstance(part, (TextPart, ToolCall)) else None

    def _is_too_long(self, item_id: str | None) -> bool:
        """Whether the service refuses an id for its length: OpenAI does; xAI makes longer ones itself."""
        return item_id is not None and len(item_id) > _LONGEST_ID and self._is_openai

    @property
    def _is_openai(self) -> bool:
        """Whether this is OpenAI itself, or Azure: stricter than those who speak its format."""
        return is_bound(self.preset)

    def _reasoning(self, part: ReasoningPart) -> Item | None:
        if part.encrypted_content is None and not (self.stored and part.id):
            return None
        if self._is_too_long(part.id):
            return None
        replay: Any = part.metadata.get(self.provider)
        texts: dict[str, Any] = replay if isinstance(replay, dict) else {"summary": [part.text] if part.text else []}
        summary = [{"type": "summary_text", "text": text} for text in texts.get("summary", ())]
        item: Item = {"type": "reasoning", "summary": summary}
        if part.id is not None:
            item["id"] = part.id
        if texts.get("content"):
            item["content"] = [{"type": "reasoning_text", "text": text} for text in texts["content"]]
        if part.encrypted_content is not None:
            item["encrypted_content"] = part.encrypted_content
        return item

    def _item(self, part: Part, without_id: set[Any]) -> Item | None:
        match part:
            case TextPart():
                return self._message(part, without_id) if part.text else None
            case ToolCall():
                return self._call(part, without_id)
            case HostedCall() | ProviderPart():
                own = self.origin.made(part) and part.data and part.data.get("type") != MESSAGE_FIELDS
                return dict(part.data) if own and part.data.get("id") not in without_id else None
            case ImagePart():
                return self._image(part)
            case DocumentPart() | AudioPart() | VideoPart():  # no model gives them here
                return None
            case ReasoningPart() | CachePoint():  # the first waits for its successor
                return None
            case _:
                assert_never(part)

    def _image(self, part: ImagePart) -> Item | None:
        """An image that the model made here; no other one is accepted in an answer."""
        item = self.origin.kept(part)
        return {**item, "result": base64_text(part.image)} if item.get("type") == IMAGE_CALL else None

    def _message(self, part: TextPart, without_id: set[Any]) -> Item:
        replay = self.origin.kept(part)
        phase = {"phase": replay["phase"]} if "phase" in replay else {}
        if "id" not in replay or replay["id"] in without_id:
            return {"type": "message", "role": "assistant", "content": part.text, **phase}
        content: Item = {"type": "output_text", "text": part.text, "annotations": self.origin.cited(part)}
        if part.refusal:
            content = {"type": "refusal", "refusal": part.text}
        return {
            "type": "message",
            "id": replay["id"],
            "role": "assistant",
            "status": replay.get("status", "completed"),
            "content": [content],
            **phase,
        }

    def _call(self, part: ToolCall, without_id: set[Any]) -> Item:
        replay = dict(self.origin.kept(part))
        replay.pop("type", None)
        replay.pop(FIELDS, None)  # of Chat Completions
        if replay.get("id") in without_id:
            del replay["id"]
        if is_custom(part, self.provider):
            self._custom.add(part.id)
            own = {"type": CUSTOM_CALL, "input": part.raw_arguments or ""}
        else:
            own = {"type": "function_call", "arguments": arguments_text(part, self.preset)}
        return {**replay, **own, "call_id": call_id(part.id, self.preset), "name": call_name(part.name)}


def refused_part(role: str, data: Mapping[str, Any]) -> str | None:
    """Why a part of OpenAI in a message that is not the assistant's cannot be sent; None if it can."""
    kind = data.get("type")
    if kind in _OF_CHAT:
        return f"has the type {kind!r} of Chat Completions; the Responses API takes input_file, input_image, input_text"
    if role == "tool" and not str(kind).startswith("input_"):
        return f"has the type {kind!r}; the result of a tool takes input_file, input_image, input_text"
    return None


def _is_content(part: ProviderPart) -> bool:
    return str(part.data.get("type")).startswith("input_")


def _joined(before: Item, item: Item) -> bool:
    """Whether `item` is more of the message `before`, to which it has then been added."""
    if not before.get("type") == item.get("type") == "message":
        return False
    if before.get("id") != item.get("id") or before.get("phase") != item.get("phase"):
        return False
    before["content"] += item["content"]
    return True
