"""Gemini `streamGenerateContent?alt=sse`. https://ai.google.dev/api/generate-content.

As recorded: lines end in CRLF; every chunk has `usageMetadata`, cumulative from the start of the response, without
`candidatesTokenCount` while it is zero; calls are sent whole, and with an id only from Gemini 3 on; thoughts are parts
with `thought: true`; the finish reason is in the last chunk, `STOP` for calls too. An error in mid-stream is Vertex's:
a bare JSON object of several lines without `data:`.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, final

import attrs

from allm.data.citation import Citation
from allm.data.image import Image
from allm.data.response import Usage
from allm.data.script import HostedCallItem
from allm.testing.wire_formats.encoder import Block, Encoder
from allm.testing.wire_formats.errors import VendorError, gemini_envelope

__all__ = ["Gemini"]

SIGNATURE = "c2NyaXB0ZWQgdGhvdWdodCBzaWduYXR1cmU="
FINISH_REASONS = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "other": "OTHER",
}


@final
@attrs.define(eq=False, kw_only=True)
class Gemini(Encoder):
    """Writes one candidate."""

    default_model: ClassVar[str] = "gemini-3.5-flash"
    default_id: ClassVar[str] = "scripted00000000000000A"
    headers: ClassVar[dict[str, str]] = {"content-type": "text/event-stream"}

    def _on_start(self) -> None:
        pass

    def _on_open(self, block: Block) -> None:
        pass

    def _on_delta(self, block: Block, text: str) -> None:
        match block.kind:
            case "text":
                self._chunk([{"text": text}])
            case "reasoning":
                self._chunk([{"text": text, "thought": True}])
            case _:
                pass  # calls are sent whole, when their block closes

    def _on_citation(self, block: Block, citation: Citation) -> None:
        pass  # all of them are in the last chunk

    def _on_close(self, block: Block) -> None:
        if block.kind != "tool_call":
            return
        call: dict[str, Any] = {"name": block.name, "args": arguments(block.text)}
        if block.id is not None:
            call["id"] = block.id
        part: dict[str, Any] = {"functionCall": call}
        if block.number == 0:
            part["thoughtSignature"] = SIGNATURE  # on the first call only
        self._chunk([part])

    def _on_finish(self) -> None:
        self._chunk([{"text": ""}], finish=FINISH_REASONS[self.finish_reason])

    def _on_fail(self, error: VendorError) -> None:
        self.write(json.dumps(gemini_envelope(error), ensure_ascii=False, indent=2) + "\n")

    def _on_hosted_call(self, item: HostedCallItem, call_id: str) -> None:
        if item.kind == "code_execution":
            self._chunk([{"executableCode": {"language": "PYTHON", **item.input}}])
            outcome = "OUTCOME_FAILED" if item.status == "failed" else "OUTCOME_OK"
            output = item.output.get("stdout") if isinstance(item.output, dict) else item.output
            self._chunk([{"codeExecutionResult": {"outcome": outcome, "output": output}}])
            return
        if item.status == "failed":
            raise ValueError(f"Gemini tells of code only that it failed, so it cannot send {item!r}")
        kind = "GOOGLE_SEARCH_WEB" if item.kind == "web_search" else item.kind.upper()
        self._chunk([{"toolCall": {"id": call_id, "toolType": kind, "args": dict(item.input)}}])
        self._chunk([{"toolResponse": {"id": call_id, "toolType": kind, "response": item.output}}])

    def _on_image(self, image: Image, number: int) -> None:  # noqa: ARG002  (they have no ids)
        self._chunk([{"inlineData": {"mimeType": image.resolved_mime_type(), "data": image.to_base64()}}])

    def _on_raw(self, kind: str, payload: Any) -> None:
        self._data({kind: payload})

    def _chunk(self, parts: list[dict[str, Any]], *, finish: str | None = None) -> None:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}}
        if finish is not None:
            candidate["finishReason"] = finish
            candidate |= self._grounding()
        chunk: dict[str, Any] = {"candidates": [{**candidate, "index": 0}]}
        if self.usage is not None:
            chunk["usageMetadata"] = self._counts(self.usage, final=finish is not None)
        self._data({**chunk, "modelVersion": self.model, "responseId": self.id})

    def _grounding(self) -> dict[str, Any]:
        """The citations, whose places count the bytes of all texts."""
        chunks: list[dict[str, Any]] = []
        numbers: dict[str, int] = {}
        supports: list[dict[str, Any]] = []
        before = 0
        for block in self.blocks:
            for citation in block.citations:
                chunk = {"web": {"uri": citation.url, "title": citation.title}}
                if citation.quote is not None:
                    chunk = {"retrievedContext": {**chunk["web"], "text": citation.quote}}
                number = numbers.setdefault(json.dumps(chunk), len(chunks))
                if number == len(chunks):
                    chunks.append(chunk)
                segment: dict[str, Any] = {}
                if citation.start is not None and citation.end is not None:
                    start, end = (before + len(block.text[:at].encode()) for at in (citation.start, citation.end))
                    segment = {"endIndex": end, "text": block.text[citation.start : citation.end]}
                    segment |= {"startIndex": start} if start else {}
                supports.append({"segment": segment, "groundingChunkIndices": [number]})
            before += len(block.text.encode()) if block.kind == "text" else 0
        if not supports:
            return {}
        return {"groundingMetadata": {"groundingChunks": chunks, "groundingSupports": supports}}

    def _counts(self, usage: Usage, *, final: bool) -> dict[str, Any]:
        """The final counts in the last chunk; before, the prompt's, and one generated token per piece so far."""
        output, thoughts, total = usage.output_tokens, usage.reasoning_tokens, usage.total_tokens
        if not final:
            thoughts = min(self.pieces["reasoning"], thoughts) if thoughts is not None else None
            output = min(self.pieces["text"] + (thoughts or 0), output) if output is not None else None
            total = (usage.input_tokens or 0) + (output or 0)
        counts = {
            "promptTokenCount": usage.input_tokens,
            "candidatesTokenCount": None if output is None else (output - (thoughts or 0)) or None,  # missing when zero
            "totalTokenCount": total,
            "cachedContentTokenCount": usage.cached_input_tokens,
            "thoughtsTokenCount": thoughts,
        }
        return {**{name: count for name, count in counts.items() if count is not None}, **usage.extra}

    def _data(self, value: Any) -> None:
        self.write("data: " + json.dumps(value, ensure_ascii=False, separators=(",", ": ")) + "\r\n\r\n")


def arguments(text: str) -> dict[str, Any]:
    """Parse the arguments, which Gemini sends as an object.

    Raises:
        ValueError: `text` is not a JSON object.
    """
    try:
        return dict(json.loads(text).items())
    except (ValueError, AttributeError):
        raise ValueError(f"Gemini sends arguments as a JSON object, so it cannot send {text!r}") from None
