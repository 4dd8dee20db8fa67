"""Decoding an answer: the part of a decoder that is the same for every vendor.

`StreamDecoder` implements `WireDecoder` for services whose events are JSON objects, which all of
them are today: it parses, refuses what is not an object, finds error reports, counts on an end marker, and keeps ids,
the message and its events. A vendor's decoder is a subclass that says what each event means. How it works:

    begin(headers)
    decode(name, data)   -> [DONE]              -> on_done()
                         -> an error report     -> on_report(report), Failed(error_of(report))
                         -> any other object    -> on_event(name, event)
    decode_document(document)                   -> on_document(document), on_end()
    end(stray)           -> an error report     -> Failed(error_of(report))
                         -> otherwise           -> on_end()

    decode_run(run)      -> on_run(run), which takes the first of it; the event behind those is decoded by itself

A hook adds events with `start`, `add` and `complete`, and what it added is the outcome of the call. It may raise an
`AdapterError` at any point: nothing it has added before is lost.

Nearly all that comes is more of one block, in events of one name and one shape, several in a read. `on_run` may know
that shape (`shape_reader`) and take them at once; whatever it takes, `on_event` would decode to the same.

A character whose two halves come in two events is put together after the hooks, and only in an answer that
had such an event: a hook may see the halves, and what it adds of them is mended for it.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError
from allm.data.events import AdapterEvent, Failed, MessageCompleted, MessageStarted, RawChunk, UsageReported
from allm.data.json.text import JsonTextError, as_list, as_object, as_text, loads_pieces, loads_strict
from allm.data.json.whole import whole
from allm.data.logprobs import TokenLogprob
from allm.data.message_builder import MessageBuilder, Origin
from allm.data.response import FinishReason, Usage
from allm.http import held
from allm.http.answer_limits import DEFAULT_ANSWER_LIMITS, AnswerLimits
from allm.http.answer_size import WITH_OPEN_DATA, storable
from allm.http.error_body import is_cut_report, reported_error, stray_error, words_in
from allm.http.errors import malformed
from allm.http.finish_words import failure_of
from allm.http.split_text import SplitText
from allm.http.sse import Run

__all__ = ["StreamDecoder"]

_DONE = b"[DONE]"
_ERROR = "error"
_CLEAN = frozenset({"stop", "tool_calls"})
# Names of events that keep a connection open; what stands in them need not be JSON.
_IDLE = frozenset({"ping", "keepalive", "keep-alive", "heartbeat"})
_SNIPPET = 200  # characters of what came last that the message of a cut-off answer quotes


@define(eq=False)
class StreamDecoder(abc.ABC):
    """Decodes one answer. A subclass is one wire format; `on_event` is all it must have, see "Write an adapter".

    Attributes:
        content_field: The field of a plain JSON answer that holds its content.
        end_marker: What a complete stream ends with, for the message of the error when it does not.
        provider: The service's short name.
        origin: The service as the maker of opaque data, to mark what it makes; None: nothing is marked.
        done: The answer has ended.
        idle, raw_chunks, limits: See `WireDecoder`.
        headers: The HTTP headers of the response, their names in lower case, without secrets.
        request_id: The provider's id of the request, from the headers.
        id, model, service_tier: Of the answer, as far as they are known.
        logprobs: Of its tokens, if they come.
        notes: What the answer says about itself beyond its content; in `Response.metadata`, under the provider's name.
        begun: `MessageStarted` was added.
        message: The message so far.
        events: What has been added since the last call of a `decode` method returned.
    """

    content_field: ClassVar[str]
    end_marker: ClassVar[str]

    provider: str
    origin: Origin | None = attrs.field(default=None, kw_only=True)
    done: bool = attrs.field(default=False, init=False)
    idle: bool = attrs.field(default=False, init=False)
    raw_chunks: bool = attrs.field(default=False, init=False)
    limits: AnswerLimits = attrs.field(default=DEFAULT_ANSWER_LIMITS, init=False)
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], init=False)
    request_id: str | None = attrs.field(default=None, init=False)
    id: str | None = attrs.field(default=None, init=False)
    model: str | None = attrs.field(default=None, init=False)
    service_tier: str | None = attrs.field(default=None, init=False)
    logprobs: list[TokenLogprob] = attrs.field(factory=list[TokenLogprob], init=False)
    notes: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)
    begun: bool = attrs.field(default=False, init=False)
    message: MessageBuilder = attrs.field(factory=MessageBuilder, init=False)
    events: list[AdapterEvent] = attrs.field(factory=list[AdapterEvent], init=False)
    _split: SplitText | None = attrs.field(default=None, init=False)  # once half of a character has come
    _last: Any = attrs.field(default=None, init=False)  # the last event
    _unmeasured: int = attrs.field(factory=lambda: held.FIRST, init=False)  # bytes until the decoder is measured
    _stray: str = attrs.field(default="", init=False)  # text outside any SSE field

    # --- what a vendor says ---

    @abc.abstractmethod
    def on_event(self, name: str, event: dict[str, Any]) -> None:
        """One event of the stream that does not report an error.

        Args:
            name: Its SSE field `event`, "" without one.
            event: Its data.

        Raises:
            AdapterError: The answer fails.
        """

    def on_run(self, run: Run) -> int:  # noqa: ARG002
        """Take events that came together with `more`, from the first one on, as far as they are only more of one block.

        A fast way beside `on_event`, after the answer has begun. Returns how many were taken.
        """
        return 0

    def error_of(self, report: Any) -> AdapterError:
        """The error that an error report stands for; by default as its envelope and the status in it tell.

        Args:
            report: The JSON value: an object, or an array with one in it.
        """
        return reported_error(self.provider, report)

    def on_report(self, report: dict[str, Any]) -> None:  # noqa: B027  most formats report an error by itself
        """Add what the object that reports an error, or its document, holds of the answer. `Failed` follows."""

    def on_document(self, document: dict[str, Any]) -> None:
        """A plain JSON answer, which some gateways give to a streaming request; by default it is read as one event.

        One that holds no answer adds nothing, and is refused as malformed.
        """
        self.on_event("", document)

    def on_done(self) -> None:  # noqa: B027  most formats have no use for it
        """The event `[DONE]`. By default it means nothing: some gateways add it to streams of every format."""

    def on_end(self) -> None:
        """The body ended, and `done` is not set. By default the answer is cut off.

        Raises:
            AdapterError: `stream_truncated`.
        """
        raise self.cut_off(self.end_marker)

    def on_failure(self) -> None:  # noqa: B027  most decoders hold nothing back
        """The answer fails: add what has been held back, before `Failed` is added."""

    def on_cut(self) -> None:  # noqa: B027  most decoders hold nothing back
        """The answer is not read to its end: add what has been held back and is no content, such as usage."""

    # --- what a vendor's hooks call ---

    def serve(self, tier: Any) -> None:
        """Note the service tier that an event names, if it is a text; the newest counts."""
        self.service_tier = as_text(tier) or self.service_tier

    def start(self, *, id: Any = None, model: Any = None, last_word: bool = False) -> None:
        """Note the ids in an event, the first of each that is a text (or the last); once, add `MessageStarted`."""
        new_id, new_model = as_text(id), as_text(model)
        self.id = new_id if last_word and new_id else self.id or new_id
        self.model = new_model if last_word and new_model else self.model or new_model
        if not self.begun:
            self.begun = True
            self.events.append(
                MessageStarted(id=self.id, model=self.model, request_id=self.request_id, headers=dict(self.headers))
            )

    def add(self, event: AdapterEvent) -> None:
        """Add one event, and its content to the message.

        Raises:
            AdapterError: `answer_too_large`: it holds data that no conversation can keep.
        """
        if type(event) in WITH_OPEN_DATA:
            event = storable(event)
        if self.origin is not None:
            event = self.origin.mark(event)
        self.message.add(event)
        self.events.append(event)

    def more(self, kind: type[Any], block_id: str, texts: list[str]) -> None:
        """Add deltas of one block, of this type, and their content to the message; none of the texts is empty."""
        self.events += self.message.more(kind, block_id, texts)

    def report(self, usage: Usage) -> None:
        """Add what the answer has used so far. Its service tier, which decides the costs, is noted before."""
        self.events.append(UsageReported(usage, service_tier=self.service_tier))

    @staticmethod
    def has_grown(tokens: int, reported: int | None) -> bool:
        """Whether counts that come with every chunk are reported: each costs a sum over many prices, so others wait."""
        return reported is None or not reported <= tokens <= reported + reported // 2

    def keep_alive(self) -> None:
        """The event only keeps the connection open: it is no sign that the answer goes on."""
        self.idle = True

    def complete(self, finish: FinishReason, raw: str | None) -> None:
        """Add `MessageCompleted`: the answer has ended as the provider means it to.

        Args:
            finish: What the provider's word means. Between `stop` and `tool_calls` the content decides: with several
                services a forced call ends with "stop", and `tool_calls` may mean calls of the provider's own tools.
            raw: The provider's word, None if it did not say one; then an answer with calls ends with `tool_calls`.

        A word that means a failure (`error`) fails the answer.
        """
        self.start()
        if finish == "error":
            what = f"the service ended the answer with the finish reason {raw!r}, and did not say why"
            self.fail(AdapterError(what, reason=failure_of(raw), provider=self.provider), raw_finish_reason=raw)
            return
        called = self.message.has_tool_calls()
        if finish in _CLEAN or (raw is None and called):
            finish = "tool_calls" if called else "stop"
        self.done = True
        completed = MessageCompleted(
            self.message.message(),
            finish,
            raw_finish_reason=raw,
            id=self.id,
            model=self.model,
            service_tier=self.service_tier,
            logprobs=tuple(self.logprobs) or None,
            metadata={self.provider: self.notes} if self.notes else {},
        )
        self.events.append(completed)

    def fail(self, error: AdapterError, *, raw_finish_reason: str | None = None) -> None:
        """Add `Failed`: the answer has ended, and what was added before is kept."""
        self.done = True
        with suppress(AdapterError):  # of what was held back and cannot be kept: the answer fails already
            self.on_failure()
        error.request_id = error.request_id or self.request_id
        self.events.append(Failed(error, raw_finish_reason=raw_finish_reason))

    def cut_off(self, what: str) -> AdapterError:
        """The error of a stream that ended without `what`; it quotes what a gateway may have said of the reason."""
        text = f"the stream ended without {what}: the answer is cut off"
        if said := words_in(self._last) or self._stray.strip():
            text += f"; the server said {said[:_SNIPPET]!r}"
        return AdapterError(text, reason="stream_truncated", provider=self.provider)

    # --- the protocol ---

    def begin(self, headers: Mapping[str, str]) -> None:
        """The HTTP headers of the response have arrived; their names are in lower case."""
        self.headers = headers
        self.request_id = headers.get("x-request-id") or headers.get("request-id")

    def decode(self, name: str, data: bytes) -> list[AdapterEvent]:
        """The events of one server-sent event. Raises `AdapterError` if the answer fails and no event would be lost."""
        self.idle = False
        try:
            self._unmeasured -= len(data)
            if self._unmeasured < 0:
                self._unmeasured = held.check_held(self, self.message, self.limits)
            value = self._last = loads_strict(data)
            if self.raw_chunks:
                self._show(name, value)
            if type(value) is dict and not _reports_error(name, value):
                self.on_event(name, value)  # written out here, as it comes with every token
            else:
                self._unusual(name, value, data)
        except JsonTextError:
            return self._run(self._refused, name, data)
        except (AdapterError, RecursionError) as error:
            self._raised(error)
        events, self.events = self.events, []
        return events if self._split is None else self._split.mend(events)

    def decode_run(self, run: Run) -> tuple[int, list[AdapterEvent]]:
        """Decode the first of several events that came together: how many, and what they are as events."""
        unmeasured = self._unmeasured - len(run.lines)
        if not self.begun or self.raw_chunks or self._split is not None or unmeasured < 0 or run.name == _ERROR:
            return 0, []
        if taken := self.on_run(run):
            self.idle, self._last, self._unmeasured = False, None, unmeasured
        events, self.events = self.events, []
        return taken, events

    def decode_document(self, document: Any) -> list[AdapterEvent]:
        """The events of a plain JSON answer; an array holds its parts. Raises as `decode` does."""
        return self._run(self._document, document)

    def cut(self) -> list[AdapterEvent]:
        """What is still to come of an answer that is not read on: it was cancelled, or the network failed."""
        return [] if self.done else self._run(self.on_cut)

    def end(self, stray: str) -> list[AdapterEvent]:
        """The events at the end of a body without an end marker. Raises as `decode` does."""
        return self._run(self._end, stray)

    def _run(self, step: Callable[..., None], *args: Any) -> list[AdapterEvent]:
        """The events that a step adds."""
        try:
            step(*args)
        except (AdapterError, RecursionError) as error:
            self._raised(error)
        events, self.events = self.events, []
        return events if self._split is None else self._split.mend(events)

    def _raised(self, error: AdapterError | RecursionError) -> None:
        """Raise an error that a step has raised, unless that would lose events: then it is the last one of them."""
        if isinstance(error, RecursionError):  # the parser follows deeper than Python does
            error = AdapterError("an event of the answer nests too deep", reason="malformed_response")
        error.request_id = error.request_id or self.request_id
        if not self.events and not (self._split is not None and self._split.holds):
            raise error
        self.fail(error)

    def _show(self, name: str, value: Any) -> None:
        """Add an event as it came, under its name, its type, or as `chunk`."""
        self.events.append(RawChunk(name or as_text(as_object(value).get("type")) or "chunk", value))

    def _refused(self, name: str, data: bytes) -> None:
        """An event that the C codec does not accept: `[DONE]`, half of a character, NaN, or no JSON."""
        if name in _IDLE:
            self.keep_alive()
            return
        if data.strip() == _DONE:
            if self.raw_chunks:
                self.events.append(RawChunk(_DONE.decode()))
            if not self.done:
                self.on_done()
            return
        try:
            value = loads_pieces(data)
        except JsonTextError as error:
            raise malformed(self.provider, f"an event of the stream is not JSON ({error})", data) from error
        self._split = self._split or SplitText()
        if self.raw_chunks:
            self._show(name, value)
        self._unusual(name, value, data)

    def _unusual(self, name: str, value: Any, data: bytes) -> None:
        """An error report, or an array: Gemini puts an error into one, also where it speaks Chat Completions."""
        for event in as_list(value) or (value,):
            if not isinstance(event, dict) and name in _IDLE:
                self.keep_alive()
                return
            if not isinstance(event, dict):
                raise malformed(self.provider, "an event of the stream is not a JSON object", data)
            if _reports_error(name, event):
                self._report(whole(event))
            else:
                self.on_event(name, event)
            if self.done:
                return

    def _report(self, report: dict[str, Any]) -> None:
        self.on_report(report)
        self.fail(self.error_of(report))

    def _document(self, document: Any) -> None:
        if self.raw_chunks:
            self.events.append(RawChunk("document", document))
        for part in as_list(document) or (document,):
            if not isinstance(part, dict):
                what = f"the answer is not a JSON object: it has no {self.content_field}"
                raise malformed(self.provider, what, repr(document))
            if _reports_error("", part):
                self._report(part)
                return
            self.on_document(part)
            if self.done:
                return
        if not self.begun:
            raise malformed(self.provider, f"the answer has no {self.content_field}", repr(document))
        self.on_end()

    def _end(self, stray: str) -> None:
        self._stray = stray
        report = stray_error(stray) if stray else None
        if report is not None:
            self.fail(self.error_of(report))
        elif stray and is_cut_report(stray):
            what = f"the stream ended inside an error report: {stray[:200]!r}"
            self.fail(AdapterError(what, reason="stream_truncated", provider=self.provider))
        else:
            self.on_end()


def _reports_error(name: str, event: dict[str, Any]) -> bool:
    """Whether an event reports an error: by its name, its type (Anthropic, Responses), its object (vLLM) or a field."""
    return bool(name == _ERROR or event.get("error") or event.get("type") == _ERROR or event.get("object") == _ERROR)
