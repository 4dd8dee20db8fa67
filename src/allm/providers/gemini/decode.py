"""Gemini answers as events: streamed chunks, an array of chunks, and plain JSON alike.

What the recordings show beyond the vendor's documents: there is no end marker, and the finish reason is not the end
either (usage may follow, and an error); `STOP` ends tool calls as well; calls have ids from Gemini 3 on only; counts
come with every chunk, are cumulative, and shrink at times; `content` may be `{}`, have no parts, or be missing; a
blocked prompt has no candidates at all; Vertex AI sends an error in mid-stream as a bare JSON object between events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from allm.adapters import Run, StreamDecoder, as_count, as_list, as_object, as_objects, as_text, finish_reason_of
from allm.data.errors import AdapterError, AdapterReason
from allm.data.events import ReasoningDelta, TextDelta
from allm.data.response import FinishReason, Usage
from allm.providers.gemini.citations import citations_of
from allm.providers.gemini.errors import stream_error
from allm.providers.gemini.logprobs import take_logprobs
from allm.providers.gemini.part_decode import PROVIDER, PartDecoder
from allm.providers.gemini.usual_events import read_chunks

__all__ = ["GeminiDecoder", "gemini_usage"]

_FINISH: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"), "content_filter"),
}
"""Gemini's own words (https://ai.google.dev/api/generate-content#FinishReason)."""
_CLEAN = frozenset({"stop", "tool_calls"})
_FAILURES: dict[str, AdapterReason] = {
    "MALFORMED_FUNCTION_CALL": "malformed_tool_call",
    "UNEXPECTED_TOOL_CALL": "malformed_tool_call",
    "TOO_MANY_TOOL_CALLS": "malformed_tool_call",
    "MALFORMED_RESPONSE": "malformed_response",
    "MISSING_THOUGHT_SIGNATURE": "invalid_request",
}
# Fields of a candidate that are not about the answer as a whole, or have a place of their own.
_USED = frozenset(
    {"content", "finishReason", "index", "groundingMetadata", "citationMetadata", "tokenCount", "logprobsResult"}
)
_CHUNK = frozenset({"candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId"})
_TIMES = frozenset({"createTime"})
_COUNTS = frozenset(
    {"promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount", "totalTokenCount"}
)

_PARTS = ("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
"""What the total is made of."""

# https://ai.google.dev/gemini-api/docs/pricing: sound in a prompt, and sound and images in an answer, have prices of
# their own. Images and films in a prompt cost what its text costs.
_PLACES = {
    ("promptTokensDetails", "AUDIO"): "input_audio_tokens",
    ("toolUsePromptTokensDetails", "AUDIO"): "input_audio_tokens",
    ("cacheTokensDetails", "AUDIO"): "cache_audio_read_tokens",
    ("candidatesTokensDetails", "AUDIO"): "output_audio_tokens",
    ("candidatesTokensDetails", "IMAGE"): "output_image_tokens",
}


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
        extra={**{key: value for key, value in counts.items() if key not in _COUNTS}, **_modality_counts(counts)},
    )


def _output(counts: Mapping[str, Any]) -> int:
    """Tokens of the answer so far."""
    answer, thoughts = counts.get("candidatesTokenCount"), counts.get("thoughtsTokenCount")
    if thoughts is None and type(answer) is int:
        return answer
    return (as_count(answer) or 0) + (as_count(thoughts) or 0)


def _modality_counts(counts: Mapping[str, Any]) -> dict[str, int]:
    """Tokens by what they stand for, under the names that they have in every `Usage.extra`.

    One is 0 only where the list that had it is empty: its value was reported before, and does not hold any more.
    """
    found: Counter[str] = Counter()
    for (place, modality), name in _PLACES.items():
        if counts.get(place) == []:
            found[name] += 0
        for entry in as_objects(counts.get(place)):
            if as_text(entry.get("modality")) == modality:
                found[name] += as_count(entry.get("tokenCount")) or 0
    return dict(found)


def _replaced(earlier: dict[str, Any], counts: dict[str, Any]) -> dict[str, Any]:
    """The counts of a chunk in place of those of an earlier one, which they are not part of.

    A chunk whose counts add up to its total says everything: what it leaves out is 0 or empty, as a report of usage
    would else keep the earlier value. Others, such as Vertex AI's with the kind of traffic alone, are added.
    """
    total = as_count(counts.get("totalTokenCount"))
    if total is None or total != sum(as_count(counts.get(name)) or 0 for name in _PARTS):
        return {**earlier, **counts}
    gone: dict[str, Any] = {}
    for name, value in earlier.items():
        if name not in counts:
            gone[name] = [] if isinstance(value, list) else value if as_count(value) is None else 0
    return {**gone, **counts}


@attrs.define(eq=False)
class GeminiDecoder(StreamDecoder):
    """One answer. It has begun with the first chunk of any content; only the end of the body ends it.

    Attributes:
        taken: Ids of the calls that the conversation has already; no new call gets one of them.
    """

    content_field: ClassVar[str] = "candidates"
    end_marker: ClassVar[str] = "a finish reason"

    provider: str = PROVIDER
    taken: frozenset[str] = frozenset()
    _parts: PartDecoder = attrs.field(init=False)
    _finish: str | None = attrs.field(default=None, init=False)
    _blocked: str | None = attrs.field(default=None, init=False)
    _counts: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)
    _unreported: bool = attrs.field(default=False, init=False)  # the counts have changed since the last report
    _reported: int | None = attrs.field(default=None, init=False)  # tokens of the answer in the last report
    _grounding: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)

    def __attrs_post_init__(self) -> None:
        self._parts = PartDecoder(self.add, self.taken)

    def begin(self, headers: Mapping[str, str]) -> None:
        """The headers: the API names the service tier in them, and Vertex AI in the counts."""
        super().begin(headers)
        self.serve(headers.get("x-gemini-service-tier"))

    def on_event(self, name: str, event: dict[str, Any]) -> None:  # noqa: ARG002  chunks have no names
        """One chunk."""
        if self.begun or not _CHUNK.isdisjoint(event):
            self.start(id=event.get("responseId"), model=event.get("modelVersion"))
        for candidate in as_list(event.get("candidates")):
            if not as_count(as_object(candidate).get("index")):
                self._candidate(as_object(candidate))
                break
        feedback = as_object(event.get("promptFeedback"))
        if feedback:
            self.notes["promptFeedback"] = feedback
        if feedback.get("blockReason"):
            self._blocked = str(feedback["blockReason"])
        if own := event.keys() - _CHUNK - _TIMES:
            self.notes.update((name, event[name]) for name in own if event[name])
        if self._count(as_object(event.get("usageMetadata"))):
            self._report_counts()

    def on_run(self, run: Run) -> int:
        """More text, or more of a thought."""
        chunks = read_chunks(run.lines, run.size)
        if not chunks or self.id is None or self.model is None:
            return 0
        thought, texts = chunks[0].candidates[0].content.parts[0].thought, list[str]()
        for chunk in chunks:
            part = chunk.candidates[0].content.parts[0]
            if not part.text or part.thought != thought:
                break
            texts.append(part.text)
        block_id = self._parts.more("reasoning" if thought else "text", texts) if texts else None
        if block_id is None:
            return 0
        kind, added = ReasoningDelta if thought else TextDelta, 0
        for place, chunk in enumerate(chunks[: len(texts)], start=1):
            counts = chunk.usageMetadata
            if counts and self._count(counts):
                self.more(kind, block_id, texts[added:place])
                self._report_counts()
                added = place
        self.more(kind, block_id, texts[added:] if added else texts)
        return len(texts)

    def on_cut(self) -> None:
        """The counts that had no report of their own."""
        self._report_counts()

    def on_end(self) -> None:
        """The body ended: the only end that a stream has."""
        self._report_counts()
        raw = self._finish or self._blocked
        if raw is None:
            self.fail(self.cut_off(self.end_marker))
            return
        failure = _FAILURES.get(raw)
        if failure is not None:
            message = as_text(self.notes.get("finishMessage")) or f"Gemini ended the answer with {raw}"
            error = AdapterError(message, reason=failure, provider=self.provider, retryable=False, provider_code=raw)
            self.fail(error, raw_finish_reason=raw)
            return
        finish: FinishReason = (_FINISH.get(raw) or finish_reason_of(raw)) if self._finish else "content_filter"
        self._parts.close(clean=finish in _CLEAN)
        notes = as_object(self.notes.get("citationMetadata"))
        if self._grounding or notes:
            for cited in citations_of(self.message.texts(), self._grounding, notes):
                self.add(cited)
        if self._grounding:
            self._parts.provider_part({"groundingMetadata": self._grounding})
        if self._grounding or "urlContextMetadata" in self.notes:
            for event in self._parts.hosted().of_answer(self._grounding, self.notes.get("urlContextMetadata")):
                self.add(event)
        self.complete(finish, raw)

    def on_failure(self) -> None:
        """End the block that was being received, and leave a call incomplete."""
        self._report_counts()
        self._parts.close(clean=False)

    def on_report(self, report: dict[str, Any]) -> None:
        """A report that shares its chunk with a part of the answer."""
        if not _CHUNK.isdisjoint(report):
            self.on_event("", report)

    def error_of(self, report: Any) -> AdapterError:
        """The envelope that an error over HTTP has."""
        return stream_error(self.provider, report)

    def _count(self, counts: dict[str, Any]) -> bool:
        """Take the counts of a chunk; whether to report them now."""
        earlier = self._counts
        if counts == earlier:
            return False
        if counts.keys() != earlier.keys() and (counts := _replaced(earlier, counts)) == earlier:
            return False
        self._counts, self._unreported = counts, True
        return self.has_grown(_output(counts), self._reported)

    def _report_counts(self) -> None:
        """Report the counts as they are, unless that has been done."""
        if self._unreported:
            counts, self._unreported, self._reported = self._counts, False, _output(self._counts)
            self.serve(as_text(counts.get("serviceTier")) or as_text(counts.get("trafficType")))
            self.report(gemini_usage(counts))

    def _candidate(self, candidate: dict[str, Any]) -> None:
        for part in as_list(as_object(candidate.get("content")).get("parts")):
            self._parts.decode(as_object(part))
        self._finish = as_text(candidate.get("finishReason")) or self._finish
        self._grounding.update(as_object(candidate.get("groundingMetadata")))
        self._cite(as_object(candidate.get("citationMetadata")))
        if logprobs := as_object(candidate.get("logprobsResult")):
            take_logprobs(self.logprobs, logprobs)
        self.notes.update((key, value) for key, value in candidate.items() if key not in _USED)

    def _cite(self, metadata: dict[str, Any]) -> None:
        """Keep the citations of one chunk; each chunk has its own, while other fields repeat what was there."""
        for key, value in metadata.items():
            self.notes.setdefault("citationMetadata", {}).setdefault(key, []).extend(as_list(value))
