"""Gemini answers as events: streamed chunks, an array of chunks, and plain JSON alike.

What the recordings show beyond the vendor's documents: there is no end marker, and the finish reason is not the end
either (usage may follow, and an error); `STOP` ends tool calls as well; calls have ids from Gemini 3 on only; counts
are cumulative and shrink at times; `content` may be `{}`, have no parts, or be missing; a blocked prompt has no
candidates at all; Vertex AI sends an error in mid-stream as a bare JSON object between the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.data.errors import AdapterError, AdapterReason
from allm.data.events import AdapterEvent, Failed, MessageCompleted, MessageStarted, RawChunk, UsageReported
from allm.data.json.text import JsonTextError, loads
from allm.data.json.wire import as_count, as_list, as_object, as_text
from allm.data.response import FinishReason, Usage
from allm.http.error_body import stray_error
from allm.http.errors import malformed, request_id_of
from allm.providers.gemini.errors import stream_error
from allm.providers.gemini.part_decode import PROVIDER, PartDecoder

__all__ = ["GeminiDecoder", "gemini_usage"]

# https://ai.google.dev/api/generate-content#FinishReason; MODEL_ARMOR is Vertex AI's.
_FINISH: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
_FAILURES: dict[str, AdapterReason] = {
    "MALFORMED_FUNCTION_CALL": "malformed_tool_call",
    "UNEXPECTED_TOOL_CALL": "malformed_tool_call",
    "TOO_MANY_TOOL_CALLS": "malformed_tool_call",
    "MALFORMED_RESPONSE": "malformed_response",
    "MISSING_THOUGHT_SIGNATURE": "invalid_request",
}
# Fields of a candidate that are not about the answer as a whole, or have a place of their own.
_USED = frozenset({"content", "finishReason", "index", "groundingMetadata", "citationMetadata", "tokenCount"})
_CHUNK = frozenset({"candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId"})
_COUNTS = frozenset(
    {"promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount", "totalTokenCount"}
)


def gemini_usage(counts: dict[str, Any]) -> Usage:
    """`usageMetadata`; counts that are not there stay None.

    Thoughts are no part of `candidatesTokenCount`, and what a server-side tool fed to the model is no part of
    `promptTokenCount`; the total has both.
    """
    prompt, tool = as_count(counts.get("promptTokenCount")), as_count(counts.get("toolUsePromptTokenCount"))
    candidates, thoughts = as_count(counts.get("candidatesTokenCount")), as_count(counts.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=None if prompt is None else prompt + (tool or 0),
        output_tokens=None if candidates is None and thoughts is None else (candidates or 0) + (thoughts or 0),
        cached_input_tokens=as_count(counts.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        total_tokens=as_count(counts.get("totalTokenCount")),
        extra={key: value for key, value in counts.items() if key not in _COUNTS},
    )


@attrs.define(eq=False)
class GeminiDecoder:
    """One answer. States: not begun, begun (the first chunk of any content), done (an error, or the body's end).

    Attributes:
        taken: Ids of the calls that the conversation has already; no new call gets one of them.
    """

    provider: str = PROVIDER
    taken: frozenset[str] = frozenset()
    done: bool = attrs.field(default=False, init=False)
    _parts: PartDecoder = attrs.field(init=False)
    _begun: bool = attrs.field(default=False, init=False)
    _request_id: str | None = attrs.field(default=None, init=False)
    _id: str | None = attrs.field(default=None, init=False)
    _model: str | None = attrs.field(default=None, init=False)
    _finish: str | None = attrs.field(default=None, init=False)
    _blocked: str | None = attrs.field(default=None, init=False)
    _counts: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)
    _grounding: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)
    _notes: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)

    def __attrs_post_init__(self) -> None:
        self._parts = PartDecoder(self.taken)

    def begin(self, headers: Mapping[str, str]) -> None:
        """The answer's HTTP headers are there."""
        self._request_id = request_id_of(headers)

    def decode(self, name: str, data: bytes) -> list[AdapterEvent]:  # noqa: ARG002  events have no names here
        """One server-sent event."""
        try:
            value = loads(data)
        except JsonTextError as error:
            if data.strip() == b"[DONE]":  # some gateways end every stream so; the body's end follows
                return []
            raise malformed(self.provider, f"an event of the stream is not JSON ({error})", data) from error
        return self._take(value)

    def decode_document(self, document: Any) -> list[AdapterEvent]:
        """A plain JSON answer, or the array of chunks that comes where `alt=sse` is ignored."""
        events = self._take(document)
        if self.done:
            return events
        if not self._begun:
            raise malformed(self.provider, "the answer has no candidates", repr(document))
        return events + self._complete()

    def end(self, stray: str) -> list[AdapterEvent]:
        """The body ended: the only end that a stream has."""
        error = stray_error(stray)
        if error is not None:
            return self._fail(stream_error(self.provider, error))
        begun = stray.strip()
        if begun[:1] in {"{", "["} and ('"error"' in begun or begun[-1] not in "}]"):
            what = f"the stream ended inside an error report: {stray[:200]!r}"
            return self._fail(AdapterError(what, reason="stream_truncated", provider=self.provider))
        return self._complete()

    def _take(self, value: Any) -> list[AdapterEvent]:
        for chunk in as_list(value) or [value]:
            if not isinstance(chunk, dict):
                return self._fail(malformed(self.provider, "a part of the answer is not a JSON object", repr(value)))
            if as_object(chunk).get("error"):
                return self._fail(stream_error(self.provider, chunk))
            before = len(self._parts.events)
            self._chunk(as_object(chunk))
            if len(self._parts.events) == before:
                self._parts.events.append(RawChunk("chunk", chunk))
        return self._flush()

    def _flush(self) -> list[AdapterEvent]:
        events, self._parts.events = self._parts.events, []
        return events

    def _fail(self, error: AdapterError, *, raw_finish_reason: str | None = None) -> list[AdapterEvent]:
        self.done = True
        self._parts.close(clean=False)
        return [*self._flush(), Failed(error, raw_finish_reason=raw_finish_reason)]

    def _chunk(self, chunk: dict[str, Any]) -> None:
        self._id = self._id or as_text(chunk.get("responseId"))
        self._model = self._model or as_text(chunk.get("modelVersion"))
        if not self._begun and not _CHUNK.isdisjoint(chunk):
            self._begun = True
            self._parts.events.append(MessageStarted(id=self._id, model=self._model, request_id=self._request_id))
        for candidate in as_list(chunk.get("candidates")):
            if not as_object(candidate).get("index"):
                self._candidate(as_object(candidate))
                break
        feedback = as_object(chunk.get("promptFeedback"))
        if feedback.get("blockReason"):
            self._blocked = str(feedback["blockReason"])
            self._notes["promptFeedback"] = feedback
        counts = {**self._counts, **as_object(chunk.get("usageMetadata"))}
        if counts != self._counts:
            self._counts = counts
            self._parts.events.append(UsageReported(gemini_usage(counts)))

    def _candidate(self, candidate: dict[str, Any]) -> None:
        for part in as_list(as_object(candidate.get("content")).get("parts")):
            self._parts.decode(as_object(part))
        self._finish = as_text(candidate.get("finishReason")) or self._finish
        self._grounding.update(as_object(candidate.get("groundingMetadata")))
        self._cite(as_object(candidate.get("citationMetadata")))
        self._notes.update((key, value) for key, value in candidate.items() if key not in _USED)

    def _cite(self, metadata: dict[str, Any]) -> None:
        """Keep the citations of one chunk; each chunk has its own, while other fields repeat what was there."""
        for key, value in metadata.items():
            self._notes.setdefault("citationMetadata", {}).setdefault(key, []).extend(as_list(value))

    def _complete(self) -> list[AdapterEvent]:
        raw = self._finish or self._blocked
        if raw is None:
            what = "the stream ended without a finish reason: the answer is cut off"
            return self._fail(AdapterError(what, reason="stream_truncated", provider=self.provider))
        failure = _FAILURES.get(raw)
        if failure is not None:
            message = as_text(self._notes.get("finishMessage")) or f"Gemini ended the answer with {raw}"
            error = AdapterError(message, reason=failure, provider=self.provider, retryable=False, provider_code=raw)
            return self._fail(error, raw_finish_reason=raw)
        self.done = True
        finish: FinishReason = _FINISH.get(raw, "other") if self._finish else "content_filter"
        self._parts.close(clean=finish == "stop")
        if self._grounding:
            self._parts.provider_part({"groundingMetadata": self._grounding})
        if finish == "stop" and self._parts.assembly.has_tool_calls():
            finish = "tool_calls"
        completed = MessageCompleted(
            self._parts.assembly.message(),
            finish,
            raw_finish_reason=raw,
            id=self._id,
            model=self._model,
            metadata={PROVIDER: self._notes} if self._notes else {},
        )
        return [*self._flush(), completed]
