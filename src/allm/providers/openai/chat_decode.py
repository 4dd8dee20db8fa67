"""Chat Completions answers as events, streamed chunks and plain JSON alike.

What the recordings show beyond the vendor's documents: usage comes in an extra chunk with `"choices": []`, in a chunk
that has a choice (OpenRouter), in the choice itself (Moonshot), or three times (Groq); Azure's first chunk has empty
ids; only choice 0 counts; a forced tool ends with `finish_reason: "stop"`; a failure inside the stream is an object
with `error`, or is one itself (`"object": "error"`, vLLM), or stands in the choice (OpenRouter) or in `x_groq`, and
often no `[DONE]` follows; a report may share its chunk with text and usage. Perplexity, Cerebras and others never send
`[DONE]`. The calls are in `chat_call_decode`, thinking is in `chat_reasoning`, what goes back unread in `chat_fields`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from allm.adapters import (
    Run,
    StreamDecoder,
    as_count,
    as_object,
    as_objects,
    as_text,
    finish_reason_of,
    malformed,
)
from allm.data.content import ProviderPart
from allm.data.errors import AdapterError
from allm.data.events import (
    AdapterEvent,
    ProviderPartCompleted,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
)
from allm.data.response import FinishReason
from allm.providers.openai.answer_notes import (
    CHOICE,
    CHUNK,
    FINISH,
    LISTS,
    MESSAGE,
    NO_WORD,
    Media,
    chat_usage,
    take_notes,
)
from allm.providers.openai.chat_beside import NOT_KEPT, NOTHING_BESIDE, read_beside
from allm.providers.openai.chat_call_decode import CallDecoder
from allm.providers.openai.chat_fields import MESSAGE_FIELDS, merge_fields, rest_of_message, settled
from allm.providers.openai.chat_reasoning import HOLDERS, Reasoning, thought_in
from allm.providers.openai.errors import stream_error
from allm.providers.openai.logprobs import read_chat_logprobs
from allm.providers.openai.usual_events import TAKE_RUN, ChatShape, Text, chat_reader, chat_shape_of, texts_of

if TYPE_CHECKING:
    from allm.providers.openai.citations import Annotations

__all__ = ["ChatDecoder"]

_GROQ = frozenset({"usage", "error"})

_FINGERPRINT = "system_fingerprint"
_PLAIN = ChatShape()
_read_plain = chat_reader(_PLAIN)
_LOOKS = 32  # runs of no usual shape, one after the other, after which no other shape is looked for


def _first_choice(choices: Any) -> dict[str, Any]:
    """Choice 0 of a chunk; with n > 1 the others are left alone."""
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and not as_count(choice.get("index")):
            return choice
    return {}


def _said(choice: dict[str, Any]) -> dict[str, Any]:
    """What a choice says, in a piece or as a whole."""
    return as_object(choice.get("delta")) or as_object(choice.get("message"))


def _meaning(word: str | None) -> FinishReason:
    return FINISH.get(word) or finish_reason_of(word)


def _word(value: Any) -> str | None:
    """A finish reason: a text, or an object that names its type (SGLang)."""
    word = as_text(value) or as_text(as_object(value).get("type"))
    return None if word in NO_WORD else word


def _tokens(counts: dict[str, Any]) -> int:
    return as_count(counts.get("completion_tokens")) or 0


@attrs.define(eq=False)
class ChatDecoder(StreamDecoder):
    """One answer. It has begun with the first chunk that has an id, a model or a choice.

    Attributes:
        annotations: Those of the text.
        sends_done: A stream without `[DONE]` is cut off, whatever came before its end.
    """

    content_field: ClassVar[str] = "choices"
    end_marker: ClassVar[str] = "a finish reason or its end marker [DONE]"

    provider: str = "openai"
    sends_done: bool = False
    _calls: CallDecoder = attrs.field(factory=CallDecoder, init=False)
    _reasoning: Reasoning = attrs.field(factory=Reasoning, init=False)
    _media: Media = attrs.field(init=False)
    annotations: Annotations | None = attrs.field(default=None, init=False)
    _strange: str = attrs.field(default="", init=False)  # the first chunk that said nothing
    _finish: str | None = attrs.field(default=None, init=False)
    _counts: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)  # the newest
    _unreported: bool = attrs.field(default=False, init=False)  # they have changed since the last report
    _reported: int | None = attrs.field(default=None, init=False)  # tokens of the answer in that
    _fields: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)  # of the message, for the service alone
    _shape: ChatShape = attrs.field(default=_PLAIN, init=False)  # of the newest run
    _read: Callable[[bytes, int], list[Any]] = attrs.field(default=_read_plain, init=False)  # chunks of that shape
    _looks: int = attrs.field(default=0, init=False)  # for another shape, since the newest run

    def __attrs_post_init__(self) -> None:
        self._media = Media(self.provider)

    def on_event(self, name: str, event: dict[str, Any]) -> None:  # noqa: ARG002  chunks have no names
        """One chunk."""
        self._chunk(event, "delta")

    def on_run(self, run: Run) -> int:
        """More text, or thinking, or arguments of one call."""
        known = self.id is not None and self.model is not None
        if not known or not (chunks := self._read(run.lines, run.size) or self._look_again(run)):
            return 0
        self._looks = 0
        tier, fingerprint = chunks[0].service_tier, chunks[0].system_fingerprint
        if (tier and tier != self.service_tier) or (fingerprint and fingerprint != self.notes.get(_FINGERPRINT)):
            return 0
        deltas: list[Any] = []
        for chunk in chunks:
            if chunk.service_tier != tier or chunk.system_fingerprint != fingerprint:
                break
            deltas.append(chunk.choices[0].delta)
            if chunk.usage and self._are_due(chunk.usage):
                break
        return self._take_run(chunks, deltas)

    def _take_run(self, chunks: list[Any], deltas: list[Any]) -> int:
        kind = self._shape.delta_type
        texts = [delta.content for delta in deltas] if kind is Text else texts_of(kind, deltas)
        if "" in texts:
            del texts[texts.index("") :]
        taken = chunks[: len(texts)]
        beside = read_beside(self._shape, taken) if any(self._shape[1:]) else NOTHING_BESIDE
        if not taken or beside is None or (kind is not Text and not TAKE_RUN[kind](self, texts, deltas)):
            return 0
        if kind is Text:
            self.more(TextDelta, "text-0", texts)
        for notes in beside.notes:
            take_notes(self.notes, notes, notes)
        for fields in beside.fields:
            merge_fields(self._fields, fields)
        for counts in filter(None, [chunk.usage for chunk in taken]):
            self._take_counts(counts)
        return len(taken)

    def _look_again(self, run: Run) -> list[Any]:
        """Read the run in the shape that its first chunk has; nothing if that is not a new one."""
        self._looks += 1
        shape = None if self._looks > _LOOKS else chat_shape_of(run.lines.partition(b"\n")[0], self._shape)
        if shape is None or shape == self._shape:
            return []
        self._shape, self._read = shape, chat_reader(shape)
        return self._read(run.lines, run.size)

    def on_document(self, document: dict[str, Any]) -> None:
        """A plain JSON answer: a chunk with a whole message."""
        if isinstance(document.get("choices"), list):
            self._chunk(document, "message")
            if not self.done:
                self._end_answer(_meaning(self._finish) if self._finish is not None else "stop")

    def on_done(self) -> None:
        """`[DONE]`: the answer has ended."""
        if not self.begun:
            raise malformed(self.provider, "the stream ended without an answer", self._strange)
        self._end_answer(_meaning(self._finish))

    def on_end(self) -> None:
        """The body ended without `[DONE]`: complete if there was a finish reason, since many services never send it."""
        if self.sends_done or self._finish is None:
            raise self.cut_off(self.end_marker)
        self.on_done()

    def error_of(self, report: Any) -> AdapterError:
        """An object with `error`, or one that is itself an error."""
        return stream_error(self.provider, report)

    def on_report(self, report: dict[str, Any]) -> None:
        """A report that shares its chunk, or its document, with a part of the answer."""
        choice = _first_choice(report.get("choices"))
        self._begin(report, _said(choice))
        if choice:
            self._choice(choice, "delta")
        self._note(report, choice)
        self._count_tokens(report, choice)

    def on_cut(self) -> None:
        """The citations that are left, and the counts that had no report of their own."""
        self._report_counts()
        self._cite_the_rest()

    on_failure = on_cut

    def _end_answer(self, finish: FinishReason) -> None:
        self._complete_blocks()
        self._report_counts()
        if self.notes:
            self.notes.update(settled(self.notes))
        self.complete(finish, self._finish)

    def _chunk(self, chunk: dict[str, Any], content_key: str) -> None:
        # Once per token: what is rare is looked for where a key says that it may be there.
        before = len(self.events)
        choice = _first_choice(chunk.get("choices"))
        error = choice.get("error") or ("x_groq" in chunk and as_object(chunk["x_groq"]).get("error"))
        if self.id is None or self.model is None or not self.begun:
            self._begin(chunk, _said(choice) if error else choice)
        if choice:
            self._choice(choice, content_key)
        self._note(chunk, choice)
        self._count_tokens(chunk, choice)
        if error:
            self.fail(self.error_of({"error": error}))
        elif len(self.events) == before:
            self._strange = self._strange or repr(chunk)

    def _count_tokens(self, chunk: dict[str, Any], choice: dict[str, Any]) -> None:
        usage = chunk.get("usage") or choice.get("usage")
        if usage is None and "x_groq" in chunk:
            usage = as_object(chunk["x_groq"]).get("usage")
        if isinstance(usage, dict):
            self._take_counts(as_object(usage))

    def _take_counts(self, usage: dict[str, Any]) -> None:
        """Take the counts of a chunk, which some services send with each; reported when the answer has grown."""
        if usage == self._counts:
            return
        if usage.keys() != self._counts.keys():
            self._report_counts()
        self._counts, self._unreported = usage, True
        if self.has_grown(_tokens(usage), self._reported):
            self._report_counts()

    def _are_due(self, usage: dict[str, Any]) -> bool:
        return usage.keys() != self._counts.keys() or self.has_grown(_tokens(usage), self._reported)

    def _report_counts(self) -> None:
        """Report the counts as they are, unless that has been done."""
        if self._unreported:
            self._unreported, self._reported = False, _tokens(self._counts)
            self.report(chat_usage(self._counts))

    def _note(self, chunk: dict[str, Any], choice: dict[str, Any]) -> None:
        """Keep what the chunk says beside its content."""
        self.serve(chunk.get("service_tier"))
        if own := [name for name in chunk.keys() - CHUNK if chunk[name] is not None]:
            take_notes(self.notes, chunk, own)
        if "x_groq" in chunk:
            rest = {name: value for name, value in as_object(chunk["x_groq"]).items() if name not in _GROQ}
            take_notes(self.notes, {"x_groq": rest}, ("x_groq",))
        if own := [name for name in choice.keys() - CHOICE if choice[name] is not None]:
            take_notes(self.notes, choice, own)
        if logprobs := choice.get("logprobs"):
            self.logprobs.extend(read_chat_logprobs(logprobs))

    def _begin(self, chunk: dict[str, Any], choice: dict[str, Any]) -> None:
        if self.begun or choice or as_text(chunk.get("id")) or as_text(chunk.get("model")):
            self.start(id=chunk.get("id"), model=chunk.get("model"))

    def _choice(self, choice: dict[str, Any], content_key: str) -> None:
        content = as_object(choice[content_key]) if content_key in choice else self._rest(choice.get("message"))
        may_think = not HOLDERS.isdisjoint(content) or type(content.get("content")) is list
        if may_think and (thought := self._reasoning.take(content)):
            self.add(ReasoningDelta("reasoning-0", thought))
        aloud = thought_in(content) if "extra_content" in content else None
        if aloud is not None:
            self.add(ReasoningDelta("reasoning-0", aloud))
            content = {key: value for key, value in content.items() if key not in {"content", "extra_content"}}
        for key, value in content.items():
            if not value:
                continue
            take = _TAKE.get(key)
            if take is not None:
                take(self, value)
            elif key in MESSAGE:
                take_notes(self.notes, content, (key,))
            elif key not in NOT_KEPT:
                merge_fields(self._fields, {key: value})
        self._finish = _word(choice.get("finish_reason")) or self._finish

    def _rest(self, message: Any) -> dict[str, Any]:
        """What a whole message in a stream says beyond its pieces: some services end with one, or send nothing else."""
        said = set(self._fields)
        if self.message.length("reasoning") or self._reasoning.details:
            said |= HOLDERS
        if self._calls.begun:
            said |= {"tool_calls", "function_call"}
        if self.annotations:
            said.add("annotations")
        return rest_of_message(as_object(message), said, self.message)

    def _content(self, value: Any) -> None:
        if isinstance(value, str):
            if value:
                self.add(TextDelta("text-0", value))
            return
        for part in as_objects(value):  # Mistral's reasoning models send parts
            self._content(part.get("text"))
            self._refusal(part.get("refusal"))
            self._images([part])

    def _images(self, value: Any) -> None:
        for part in as_objects(value):
            for event in self._media.image(part):
                self.add(event)

    def _audio(self, value: Any) -> None:
        for event in self._media.audio(as_object(value)):
            self.add(event)

    def _refusal(self, value: Any) -> None:
        if value and isinstance(value, str):
            self.add(TextDelta("refusal-0", value, refusal=True))

    def _tool_calls(self, value: Any) -> None:
        for event in self._calls.decode(value):
            self.add(event)

    def _annotate(self, value: Any) -> None:
        from allm.providers.openai.citations import annotate  # few answers have sources

        annotate(self, value)

    def _cite_the_rest(self) -> None:
        if self.annotations is not None or not LISTS.isdisjoint(self.notes):
            from allm.providers.openai.citations import cite_the_rest

            cite_the_rest(self)

    def _complete_blocks(self) -> None:
        """Nothing marks the end of a block: all of them end with the answer."""
        self._cite_the_rest()
        for event in self._calls.complete() if self._calls.begun else ():
            self.add(event)
        thought = False
        for event in self.message.complete():
            thought = thought or isinstance(event, ReasoningCompleted)
            self.add(self._replayable(event))
        for event in self._media.complete() if self._media.sound else ():
            self.add(event)
        if self._reasoning.details and not thought:  # encrypted, with nothing to read
            self.add(self._replayable(ReasoningCompleted("reasoning-0", "")))
        if self._fields:
            part = ProviderPart(self.provider, {"type": MESSAGE_FIELDS, **settled(self._fields)})
            self.add(ProviderPartCompleted("fields-0", part))

    def _replayable(self, event: AdapterEvent) -> AdapterEvent:
        """The completion of a block with what has to go back with it, or belongs to it."""
        if isinstance(event, ReasoningCompleted):
            return self._reasoning.completed(event, self.provider)
        files = self.annotations.files if self.annotations else None
        if files and isinstance(event, TextCompleted) and not event.refusal:
            return attrs.evolve(event, metadata={self.provider: {"annotations": files}})
        if isinstance(event, ToolCallCompleted) and (kept := self._calls.kept(event.id)):
            arguments = None if "type" in kept else event.arguments  # free text
            return attrs.evolve(event, arguments=arguments, metadata={self.provider: kept})
        return event


_TAKE: dict[str, Callable[[ChatDecoder, Any], None]] = {
    "content": ChatDecoder._content,
    "refusal": ChatDecoder._refusal,
    "tool_calls": ChatDecoder._tool_calls,
    "function_call": lambda decoder, value: decoder._tool_calls([{"function": value}]),  # before there were tools
    "annotations": ChatDecoder._annotate,
    "images": ChatDecoder._images,
    "audio": ChatDecoder._audio,
}
