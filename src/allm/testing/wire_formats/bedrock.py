"""Amazon Bedrock's ConverseStream, in binary frames.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html. As recorded: a frame has
three headers, all strings; most events are padded with a field `p`; text and reasoning have no `contentBlockStart`; a
signature comes in a delta of its own; `metadata` with the usage follows `messageStop`.
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar, final
from zlib import crc32

import attrs

from allm.data.citation import Citation
from allm.data.response import Usage
from allm.data.script import HostedCallItem
from allm.testing.wire_formats.encoder import Block, Encoder, compact
from allm.testing.wire_formats.errors import REQUEST_ID, VendorError

__all__ = ["Bedrock", "frame"]

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "guardrail_intervened",
    "other": "something_else",
}
SYSTEM_TOOLS = {"web_search": "nova_grounding", "code_execution": "nova_code_interpreter"}
SIGNATURE = "c2NyaXB0ZWQgc2lnbmF0dXJl"
PADDING = "abcdefghijklmnopqrstuvwxyz"


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One frame of an event stream: https://smithy.io/2.0/aws/amazon-eventstream.html."""
    encoded = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    lengths = struct.pack(">II", len(encoded) + len(payload) + 16, len(encoded))
    rest = lengths + struct.pack(">I", crc32(lengths)) + encoded + payload
    return rest + struct.pack(">I", crc32(rest))


@final
@attrs.define(eq=False, kw_only=True)
class Bedrock(Encoder):
    """Writes one message."""

    default_model: ClassVar[str] = "amazon.nova-2-lite-v1:0"
    default_id: ClassVar[str] = "scripted"
    headers: ClassVar[dict[str, str]] = {
        "content-type": "application/vnd.amazon.eventstream",
        "x-amzn-requestid": REQUEST_ID,
    }
    _events: int = attrs.field(init=False, default=0)

    def _on_start(self) -> None:
        self._event("messageStart", role="assistant")

    def _on_open(self, block: Block) -> None:
        if block.kind == "tool_call":
            call_id = block.id if block.id is not None else f"tooluse_{block.number:022d}"
            start = {"toolUse": {"name": block.name, "toolUseId": call_id}}
            self._event("contentBlockStart", contentBlockIndex=block.index, start=start)

    def _on_delta(self, block: Block, text: str) -> None:
        match block.kind:
            case "text":
                self._delta(block, text=text)
            case "reasoning":
                self._delta(block, reasoningContent={"text": text})
            case _:
                self._delta(block, toolUse={"input": text})

    def _on_citation(self, block: Block, citation: Citation) -> None:
        self._delta(block, citation=_located(citation))

    def _on_close(self, block: Block) -> None:
        if block.kind == "reasoning":
            self._delta(block, reasoningContent={"signature": SIGNATURE})
        self._event("contentBlockStop", contentBlockIndex=block.index)

    def _on_hosted_call(self, item: HostedCallItem, call_id: str) -> None:
        name = SYSTEM_TOOLS.get(item.kind, item.kind)
        use = {"toolUseId": call_id, "name": name, "type": "server_tool_use"}
        place = self._place()
        self._event("contentBlockStart", contentBlockIndex=place, start={"toolUse": use})
        asked = {"toolUse": {"input": compact(dict(item.input))}}
        self._event("contentBlockDelta", contentBlockIndex=place, delta=asked)
        self._event("contentBlockStop", contentBlockIndex=place)
        place = self._place()
        status = "success" if item.status == "completed" else "error"
        result = {"toolUseId": call_id, "type": f"{name}_result", "status": status}
        self._event("contentBlockStart", contentBlockIndex=place, start={"toolResult": result})
        told = {"toolResult": [{"text": _told(item)}]}
        self._event("contentBlockDelta", contentBlockIndex=place, delta=told)
        self._event("contentBlockStop", contentBlockIndex=place)

    def _on_finish(self) -> None:
        self._event("messageStop", stopReason=STOP_REASONS[self.finish_reason])
        counts = {} if self.usage is None else {"usage": usage(self.usage)}
        self._event("metadata", metrics={"latencyMs": 500}, **counts)

    def _on_fail(self, error: VendorError) -> None:
        name = error.type[:1].lower() + error.type[1:]
        headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
        self.write(frame(headers, compact({"message": error.message}).encode()))

    def _on_raw(self, kind: str, payload: Any) -> None:
        self._event(kind, **(payload or {}))

    def malformed(self) -> None:
        """Write an event whose payload is not JSON."""
        headers = {":event-type": "contentBlockDelta", ":content-type": "application/json", ":message-type": "event"}
        self.write(frame(headers, b'{"this is not'))

    def _delta(self, block: Block, **delta: Any) -> None:
        self._event("contentBlockDelta", contentBlockIndex=block.index, delta=delta)

    def _event(self, kind: str, **fields: Any) -> None:
        self._events += 1
        payload = compact({**fields, "p": PADDING[: self._events * 7 % 26 + 1]})
        headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
        self.write(frame(headers, payload.encode()))


def _told(item: HostedCallItem) -> str:
    """A result as it is written: what a search found is hidden, what code printed is JSON."""
    if item.kind == "web_search":
        return "[HIDDEN]"
    output: dict[str, Any] = item.output if isinstance(item.output, dict) else {}
    printed = {"stdOut": output.get("stdout", ""), "stdErr": output.get("stderr", "")}
    return compact({**printed, "exitCode": output.get("return_code", 0), "isError": False})


_LOCATIONS = {"characters": "documentChar", "pages": "documentPage", "blocks": "searchResultLocation"}


def _located(citation: Citation) -> dict[str, Any]:
    """A citation as Converse writes it, without a place in the text; `data` is written as it is."""
    if citation.data:
        return dict(citation.data)
    told: dict[str, Any] = {"title": citation.title or "", "sourceContent": [{"text": citation.quote or ""}]}
    place = citation.source
    if place is None:
        return {**told, "location": {"web": {"url": citation.url}}}
    index = "searchResultIndex" if place.unit == "blocks" else "documentIndex"
    span = {"start": place.start, "end": place.end, index: place.index or 0}
    own = {"source": citation.url} if place.unit == "blocks" and citation.url else {}
    return {**told, **own, "location": {_LOCATIONS[place.unit]: span}}


def usage(usage: Usage) -> dict[str, Any]:
    """Bedrock's `inputTokens` leave out tokens read from the cache or written to it; the total has them."""
    read, written = usage.cached_input_tokens, usage.cache_write_input_tokens
    uncached = None if usage.input_tokens is None else usage.input_tokens - (read or 0) - (written or 0)
    counts = {
        "inputTokens": uncached,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": read,
        "cacheWriteInputTokens": written,
    }
    return {**{name: count for name, count in counts.items() if count is not None}, **usage.extra}
