"""A `Request` as the body of POST /chat/completions (https://platform.openai.com/docs/api-reference/chat/create).

What the wire format does not have, or not so:

- The text of an assistant message is one string before its calls; a refusal stands beside it.
- Reasoning goes back in the field it came in, and so do the fields of calls and messages that only the service knows:
  only its own, and not where `Preset.replays` says that they are refused. `Preset.reasoning_always` services want the
  field on every assistant message.
- Left out, because only its maker can read it: reasoning and provider items of other vendors. Left out because nobody
  takes it: images in assistant messages.
- Images in tool results come from the user right behind the results: as parts of the result itself they are a 400 at
  OpenAI, or its model does not see them.
- The results of a message's calls follow it directly. Ids and names that the service refuses are changed.
- Left out, because some services refuse it: an assistant message with nothing in it.
- A `ProviderPart` of the service itself in a user's message is sent as it is: a file, a sound. Any other one there, and
  in a tool's result, is refused: the model would not see it.
- A tool has `strict` only if its metadata says so: `Tool(..., metadata={"openai": {"strict": True}})`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, assert_never, cast

import attrs

from allm.adapters import (
    MEDIA_TYPES,
    AdapterOptions,
    Beginning,
    MediaPart,
    Origin,
    Path,
    Problem,
    UnusableMediaError,
    call_name,
    encoding_format,
    keep_encoding,
    kept_encoding,
    refuse,
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
from allm.data.request import JsonSchema, Request
from allm.data.tool import Tool
from allm.providers.openai.chat_fields import FIELDS, MESSAGE_FIELDS
from allm.providers.openai.chat_reasoning import DETAILS, FIELD
from allm.providers.openai.presets import OPENAI, TAKES_MARKS, THINKING, Preset, is_bound
from allm.providers.openai.shared_encode import (
    arguments_text,
    call_id,
    image_url,
    is_custom,
    lacks,
    own_name,
    parameters,
    sampling,
    tool_choice,
    with_options,
)

if TYPE_CHECKING:
    from allm.providers.openai.file_parts import FileEncoder

__all__ = ["encode"]

_USER_PARTS = frozenset({"file", "image_url", "input_audio", "text"})


def encode(
    request: Request, options: AdapterOptions, preset: Preset = OPENAI, origin: Origin | None = None
) -> dict[str, Any]:
    """The request body; `request.options` are merged over it and win.

    Raises:
        ValidationError: With every problem found.
    """
    hosted: list[Problem] = []
    if any(tool.hosted for tool in request.tools):
        from allm.providers.openai.hosted_tools import with_hosted

        request = with_hosted(request, preset, hosted, responses=False)
    may_keep = preset.takes_cache_key and options.prompt_cache is not False
    marks = may_keep and TAKES_MARKS.match(request.model or "") is not None
    encoder = _MessageEncoder(preset, origin or Origin(preset.name), marks)
    encoder.problems += hosted
    encoder.problems += unsupported_parts(request.messages, preset.name, _refused_part, takes=MEDIA_TYPES)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": encoder.encode(request.messages),
        "stream": True,
    }
    if preset.stream_usage:
        body["stream_options"] = {"include_usage": True}  # without it a stream reports no usage at all
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    choice, limit = request.tool_choice, request.max_tokens
    optional = {
        "tool_choice": None if choice is None else tool_choice(request, encoder.problems, nested=True),
        "response_format": _response_format(request.response_format, preset),
        "temperature": request.temperature,
        **({} if limit is None else {_limit_field(preset, request.model): limit}),
        **_sampling(request, preset, encoder.problems),
        "reasoning_effort": options.reasoning_effort,
        "verbosity": options.verbosity,
    }
    if encoder.marked or (options.prompt_cache, options.prompt_cache_key) != (None, None):
        from allm.providers.openai.prompt_cache import cache_fields

        optional |= cache_fields(options, preset, request, body["messages"])
    body.update({name: value for name, value in optional.items() if value is not None})
    refuse(encoder.problems)
    return with_options(body, request.options) if request.options else body


_MAX_STOPS = 4
"""At OpenAI itself: "Up to 4 sequences where the API will stop generating further tokens"."""


def _sampling(request: Request, preset: Preset, problems: list[Problem]) -> dict[str, Any]:
    """The fields of a body of Chat Completions; None for what is not sent."""
    stop = list(request.stop) if request.stop else None
    if stop is not None and len(stop) > _MAX_STOPS and is_bound(preset):
        sentence = f"has {len(stop)} texts; OpenAI takes at most {_MAX_STOPS}"
        problems.append(Problem(("stop",), "too_many", sentence))
    fields: dict[str, Any] = {"stop": stop}
    if (request.top_p, request.parallel_tool_calls, request.service_tier) != (None, None, None):
        fields |= sampling(request, preset, problems)
    if request.logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": request.logprobs}
    if request.seed is not None:
        if preset.seed_field is None:
            problems.append(lacks("seed", f"{preset.name} takes no seed; leave it out"))
        else:
            fields[preset.seed_field] = request.seed
    return fields


def _limit_field(preset: Preset, model: str | None) -> str:
    """The name of the output limit; at a server that nothing is known of, the one that the model was made with."""
    if preset.max_tokens_field is not None:
        return preset.max_tokens_field
    return "max_completion_tokens" if re.match(THINKING, own_name(model)) else "max_tokens"


@attrs.define(eq=False)
class _MessageEncoder:
    preset: Preset
    origin: Origin
    marks: bool  # whether what is before a cache point is marked
    marked: bool = attrs.field(default=False, init=False)  # whether anything was
    problems: list[Problem] = attrs.field(factory=list[Problem], init=False)
    _behind: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]], init=False)  # files of the results
    _files: FileEncoder | None = attrs.field(default=None, init=False)
    _is_long: bool = attrs.field(default=False, init=False)  # so that it pays to keep what messages are encoded to

    def encode(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        messages = tuple(messages)
        self._is_long = len(messages) > Beginning.FEW
        begun = Beginning.of(messages, self._whole_format) if self._is_long else Beginning()
        encoded: list[dict[str, Any]] = []
        if begun.length:
            encoded, self.marked = [*begun.encoded[0]], begun.encoded[1]
        for position, (index, message) in enumerate(results_in_place(messages, begun.length), begun.length):
            if position == index == begun.until:
                begun.keep(([*encoded], self.marked))
            if message.role != "tool":
                self._close_results(encoded)
            if (sent := self._message(message, ("messages", index))) is not None:
                self._add(encoded, sent)
        self._close_results(encoded)
        return encoded

    def _close_results(self, encoded: list[dict[str, Any]]) -> None:
        if self._behind:
            self._add(encoded, {"role": "user", "content": self._behind})
            self._behind = []

    def _add(self, encoded: list[dict[str, Any]], message: dict[str, Any]) -> None:
        if not self.preset.user_after_tool and message["role"] == "user" and encoded and encoded[-1]["role"] == "tool":
            encoded.append({"role": "assistant", "content": "OK."})
        encoded.append(message)

    def _message(self, message: Message, path: Path) -> dict[str, Any] | None:
        if message.role == "tool":
            return self._result(message, path)
        if message.role == "assistant":
            kept: dict[str, Any] | None = kept_encoding(message, self._format) if self._is_long else None
            return self._answer(message) if kept is None else kept
        encoded: dict[str, Any] = {"role": message.role}
        if message.name is not None:
            encoded["name"] = message.name
        if isinstance(message.content, str):
            encoded["content"] = message.content
            return encoded
        parts: list[dict[str, Any]] = []
        for i, part in enumerate(message.parts):
            if isinstance(part, CachePoint):
                if self.marks:
                    from allm.providers.openai.prompt_cache import mark_end

                    mark_end(parts, part)
                    self.marked = True
            else:
                parts += self._part(part, (*path, "content", i))
        return {**encoded, "content": parts or ""}

    def _part(self, part: Part, path: Path) -> list[dict[str, Any]]:
        match part:
            case TextPart():
                return [{"type": "text", "text": part.text}]
            case ImagePart():
                url = image_url(part, self.preset, self.origin, path, self.problems)
                return [] if url is None else [{"type": "image_url", "image_url": {"url": url, "detail": part.detail}}]
            case DocumentPart() | AudioPart() | VideoPart():
                return self._file(part, path)
            case ProviderPart():
                own = part.provider == self.preset.name and part.data.get("type") in _USER_PARTS
                return [dict(part.data)] if own else []
            case ReasoningPart() | ToolCall() | HostedCall() | CachePoint():  # only an assistant has the first three
                return []
            case _:
                assert_never(part)

    def _file(self, part: MediaPart, path: Path) -> list[dict[str, Any]]:
        if self._files is None:
            from allm.providers.openai.file_parts import FileEncoder

            self._files = FileEncoder(self.preset, self.origin, responses=False)
        try:
            return self._files.encode(part)
        except UnusableMediaError as error:
            self.problems.append(Problem(path, error.tag, str(error)))
            return []

    def _result(self, message: Message, path: Path) -> dict[str, Any]:
        sent_id = call_id(message.tool_call_id, self.preset)
        text = message.text
        if not isinstance(message.content, str) and any(isinstance(part, MEDIA_TYPES) for part in message.content):
            text = "\n".join(part.text for part in message.parts if isinstance(part, TextPart))
            text = text or "The result is in the next message of the user."
            of_tool = f"{message.name} ({sent_id})" if message.name else sent_id
            of_images = not any(isinstance(part, (DocumentPart, AudioPart, VideoPart)) for part in message.content)
            self._behind.append(
                {"type": "text", "text": f"{'Images' if of_images else 'Files'} of the result of {of_tool}:"}
            )
            for index, part in enumerate(message.parts):
                if isinstance(part, MEDIA_TYPES):
                    self._behind += self._part(part, (*path, "content", index))
        return {"role": "tool", "tool_call_id": sent_id, "content": text}

    def _answer(self, message: Message) -> dict[str, Any] | None:
        answer = self._assistant(message)
        if answer == {"content": ""}:
            return None
        named = {} if message.name is None else {"name": message.name}
        encoded = {"role": message.role, **named, **answer, **self._always(answer)}
        if self._is_long:
            keep_encoding(message, self._format, encoded)
        return encoded

    @functools.cached_property
    def _format(self) -> object:
        of = self.preset
        return encoding_format(
            "chat", of.name, of.replays, of.reasoning_field, of.reasoning_always, of.call_ids, self.origin
        )

    @property
    def _whole_format(self) -> object:
        return encoding_format("chat in a row", self.preset.user_after_tool, self.marks, self._format)

    def _assistant(self, message: Message) -> dict[str, Any]:
        if isinstance(message.content, str):
            return {"content": message.content}
        texts = [part for part in message.content if isinstance(part, TextPart)]
        text = "".join([part.text for part in texts if not part.refusal])
        refusal = "".join([part.text for part in texts if part.refusal])
        calls = [self._call(part) for part in message.content if isinstance(part, ToolCall)]
        encoded: dict[str, Any] = {"content": text or (None if calls or refusal else "")}
        if refusal:
            encoded["refusal"] = refusal
        if calls:
            encoded["tool_calls"] = calls
        if len(texts) + len(calls) == len(message.content) and not any(part.metadata for part in texts):
            return encoded  # neither a thought nor a field of the service
        return {**self._fields(message), **encoded, **self._thinking(message)}

    def _thinking(self, message: Message) -> dict[str, Any]:
        own = [part for part in message.reasoning if self.origin.made(part)]
        notes = [self.origin.kept(part) for part in own]
        details = [detail for note in notes for detail in note.get(DETAILS, ())]
        if details:
            return {DETAILS: details} if self.preset.replays else {}
        text = "".join(part.text for part in own)
        came_in = next((note[FIELD] for note in notes if FIELD in note), None) if self.preset.replays else None
        field = self.preset.reasoning_field or came_in
        return {field: text} if text and field is not None else {}

    def _always(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The field that a service wants on each assistant message, also where no thought of its own was in it."""
        field = self.preset.reasoning_field
        if not self.preset.reasoning_always or field is None or field in answer:
            return {}
        return {field: ""}

    def _fields(self, message: Message) -> dict[str, Any]:
        """The fields that came with the message and only the service knows, a parsed file among them."""
        if not self.preset.replays:
            return {}
        fields: dict[str, Any] = {}
        for part in message.parts:
            if isinstance(part, ProviderPart) and self.origin.made(part):
                if part.data.get("type") == MESSAGE_FIELDS:
                    fields |= {key: value for key, value in part.data.items() if key != "type"}
            elif isinstance(part, TextPart):
                # OpenRouter reads and bills a PDF once: https://openrouter.ai/docs/features/multimodal/pdfs
                files = [note for note in self.origin.kept(part).get("annotations", ()) if _is_file(note)]
                if files:
                    fields["annotations"] = files
        return fields

    def _call(self, call: ToolCall) -> dict[str, Any]:
        name, sent_id = call_name(call.name), call_id(call.id, self.preset)
        fields = dict(self.origin.kept(call).get(FIELDS, {})) if self.preset.replays else {}
        of_function = fields.pop("function", {})
        if is_custom(call, self.preset.name):
            custom = {"name": name, "input": call.raw_arguments or ""}
            return {**fields, "id": sent_id, "type": "custom", "custom": custom}
        function = {**of_function, "name": name, "arguments": arguments_text(call, self.preset)}
        return {**fields, "id": sent_id, "type": "function", "function": function}


def _is_file(annotation: Any) -> bool:
    return isinstance(annotation, Mapping) and cast("Mapping[str, Any]", annotation).get("type") == "file"


def _refused_part(role: str, data: Mapping[str, Any]) -> str | None:
    if role == "tool":
        return "is in the result of a tool, of which Chat Completions takes only text; the Responses API takes more"
    if data.get("type") in _USER_PARTS:
        return None
    return f"has the type {data.get('type')!r}; Chat Completions takes {', '.join(sorted(_USER_PARTS))}"


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": parameters(tool.schema),
    }
    asked = tool.metadata.get("openai")
    if isinstance(asked, Mapping) and "strict" in asked:
        function["strict"] = bool(cast("Mapping[str, Any]", asked)["strict"])
    return {"type": "function", "function": function}


def _response_format(wanted: Any, preset: Preset) -> Any:
    if isinstance(wanted, JsonSchema):
        from allm.providers.openai.strict import as_sent

        schema, strict = as_sent(wanted, preset)
        return {"type": "json_schema", "json_schema": {"name": wanted.name, "schema": schema, "strict": strict}}
    if isinstance(wanted, str):
        return {"type": "json_object" if wanted == "json" else "text"}
    if isinstance(wanted, Mapping) and wanted.get("type") == "json_schema" and "json_schema" not in wanted:
        inner = {key: value for key, value in cast("Mapping[str, Any]", wanted).items() if key != "type"}
        return {"type": "json_schema", "json_schema": inner}  # as the Responses API has it
    return wanted
