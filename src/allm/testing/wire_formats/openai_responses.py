"""OpenAI Responses, streamed. https://platform.openai.com/docs/api-reference/responses-streaming.

As recorded: `event:` repeats the type; `sequence_number` counts from 0 without a gap; each output item is added, filled
and done before the next; usage comes only in the terminal event, `response.completed` or `response.incomplete`; there
is no `[DONE]`. An error is sent twice: as a nested `error` event, unlike documented, and again in `response.failed`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, ClassVar, final

import attrs

from allm.data.citation import Citation
from allm.data.response import Usage
from allm.data.script import HostedCallItem
from allm.testing.wire_formats.encoder import Block, Encoder, compact
from allm.testing.wire_formats.errors import REQUEST_ID, VendorError
from allm.testing.wire_formats.openai_chat import call_id, known

__all__ = ["OpenAIResponses"]

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter", "other": "other"}


@final
@attrs.define(eq=False, kw_only=True)
class OpenAIResponses(Encoder):
    """Writes one response; text is a message item, reasoning a reasoning item, and a call a function_call item."""

    default_model: ClassVar[str] = "gpt-5.5-2026-04-23"
    default_id: ClassVar[str] = "resp_scripted00000000000000000000000000000000000000000"
    headers: ClassVar[dict[str, str]] = {
        "content-type": "text/event-stream; charset=utf-8",
        "x-request-id": REQUEST_ID,
    }
    _sequence: int = attrs.field(init=False, default=0)
    _output: list[dict[str, Any]] = attrs.field(init=False, factory=list[dict[str, Any]])

    def _on_start(self) -> None:
        self._event("response.created", response=self._response("in_progress", output=[]))
        self._event("response.in_progress", response=self._response("in_progress", output=[]))

    def _on_open(self, block: Block) -> None:
        added = {"output_index": block.index, "item": self._output_item(block, done=False)}
        self._event("response.output_item.added", **added)
        if block.kind == "text":
            self._event("response.content_part.added", **_part(block), part=_output_text(""))
        elif block.kind == "reasoning":
            self._event("response.reasoning_summary_part.added", **_part(block), part=_summary_text(""))

    def _on_delta(self, block: Block, text: str) -> None:
        match block.kind:
            case "text":
                self._event("response.output_text.delta", **_part(block), delta=text, logprobs=[])
            case "reasoning":
                self._event("response.reasoning_summary_text.delta", **_part(block), delta=text)
            case _:
                self._event("response.function_call_arguments.delta", **_part(block), delta=text)

    def _on_citation(self, block: Block, citation: Citation) -> None:
        place = {"annotation_index": len(block.citations) - 1, "annotation": annotation(citation)}
        self._event("response.output_text.annotation.added", **_part(block), **place)

    def _on_close(self, block: Block) -> None:
        match block.kind:
            case "text":
                self._event("response.output_text.done", **_part(block), text=block.text, logprobs=[])
                self._event(
                    "response.content_part.done", **_part(block), part=_output_text(block.text, block.citations)
                )
            case "reasoning":
                self._event("response.reasoning_summary_text.done", **_part(block), text=block.text)
                self._event("response.reasoning_summary_part.done", **_part(block), part=_summary_text(block.text))
            case _:
                self._event("response.function_call_arguments.done", **_part(block), arguments=block.text)
        item = self._output_item(block, done=True)
        self._output.append(item)
        self._event("response.output_item.done", output_index=block.index, item=item)

    def _on_hosted_call(self, item: HostedCallItem, call_id: str) -> None:
        place = self._place()
        if item.status == "requires_action":
            waiting = _waiting(item, call_id)
            self._event("response.output_item.added", output_index=place, item=waiting)
            self._output.append(waiting)
            self._event("response.output_item.done", output_index=place, item=waiting)
            return
        kind = "code_interpreter" if item.kind == "code_execution" else item.kind
        begun: dict[str, Any] = {"type": f"{kind}_call", "id": call_id, "status": "in_progress"}
        self._event("response.output_item.added", output_index=place, item=begun)
        output: dict[str, Any] = dict(item.output) if isinstance(item.output, dict) else {}
        done = {**begun, "status": "completed", **item.input, **output}
        if item.kind == "web_search":
            done = {**begun, "status": "completed", "action": {"type": "search", **item.input, **output}}
        elif item.kind == "code_execution":
            logs = [{"type": "logs", "logs": output.get("stdout", "")}]
            done = {**begun, "status": "completed", **item.input, "outputs": logs}
        self._output.append(done)
        self._event("response.output_item.done", output_index=place, item=done)

    def _on_finish(self) -> None:
        reason = INCOMPLETE.get(self.finish_reason)
        status = "completed" if reason is None else "incomplete"
        response = self._response(status, output=self._output)
        response["incomplete_details"] = None if reason is None else {"reason": reason}
        response["usage"] = None if self.usage is None else usage(self.usage)
        self._event(f"response.{status}", response=response)

    def _on_fail(self, error: VendorError) -> None:
        self.start_once()
        nested = {"type": error.type, "code": error.code, "message": error.message, "param": None}
        self._event("error", error=nested)
        response = self._response("failed", output=self._output)
        response["error"] = {"code": error.code, "message": error.message}
        self._event("response.failed", response=response)

    def _on_raw(self, kind: str, payload: Any) -> None:
        self._event(kind, **(payload or {}))

    def _output_item(self, block: Block, *, done: bool) -> dict[str, Any]:
        item: dict[str, Any] = {"id": _item_id(block)}
        status = "completed" if done else "in_progress"
        match block.kind:
            case "text":
                content = [_output_text(block.text, block.citations)] if done else []
                item |= {"type": "message", "status": status, "content": content, "phase": "final_answer"}
                item |= {"role": "assistant"}
            case "reasoning":
                item |= {"type": "reasoning", "encrypted_content": "gAAAAABqc2NyaXB0ZWQ=" if done else "gAAAAABq"}
                item |= {"summary": [_summary_text(block.text)] if done else []}
            case _:
                item |= {"type": "function_call", "status": status, "arguments": block.text}
                item |= {"call_id": call_id(block), "name": block.name}
        return item

    def _response(self, status: str, *, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "response",
            "created_at": 1760000000,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": self.model,
            "output": output,
            "parallel_tool_calls": True,
            "usage": None,
            "metadata": {},
        }

    def _event(self, kind: str, **fields: Any) -> None:
        data = {"type": kind, **fields, "sequence_number": self._sequence}
        self._sequence += 1
        self.write(f"event: {kind}\ndata: {compact(data)}\n\n")


def _waiting(item: HostedCallItem, call_id: str) -> dict[str, Any]:
    """The item of a call that the caller has to answer."""
    if item.kind == "computer":
        asked = {"pending_safety_checks": [], **item.input}
        return {"type": "computer_call", "id": f"cu_{call_id}", "call_id": call_id, "status": "completed", **asked}
    asked = {"server_label": item.input.get("server", "server"), "name": item.input.get("name", "tool")}
    arguments = json.dumps(item.input.get("arguments", {}))
    return {"type": "mcp_approval_request", "id": call_id, **asked, "arguments": arguments}


def _item_id(block: Block) -> str:
    prefix = {"text": "msg", "reasoning": "rs", "tool_call": "fc"}[block.kind]
    return f"{prefix}_{block.index:050d}"


def _part(block: Block) -> dict[str, Any]:
    """The fields that say which part a delta belongs to."""
    place: dict[str, Any] = {"item_id": _item_id(block), "output_index": block.index}
    if block.kind == "text":
        place["content_index"] = 0
    elif block.kind == "reasoning":
        place["summary_index"] = 0
    return place


def _output_text(text: str, citations: Iterable[Citation] = ()) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [*map(annotation, citations)], "logprobs": [], "text": text}


def annotation(citation: Citation) -> dict[str, Any]:
    """A citation as OpenAI writes it; `data` is written as it is."""
    if citation.data:
        return dict(citation.data)
    if citation.file_id is not None:
        return {
            "type": "file_citation",
            "file_id": citation.file_id,
            "filename": citation.title,
            "index": citation.end or 0,
        }
    places = {"start_index": citation.start or 0, "end_index": citation.end or 0}
    quote = {} if citation.quote is None else {"content": citation.quote}  # of OpenRouter
    return {"type": "url_citation", "url": citation.url, "title": citation.title, **places, **quote}


def _summary_text(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def usage(usage: Usage) -> dict[str, Any]:
    """The counts under the Responses API's names; unreported ones are left out."""
    top = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    inputs = {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": usage.cache_write_input_tokens}
    details = {
        "input_tokens_details": known(inputs),
        "output_tokens_details": known({"reasoning_tokens": usage.reasoning_tokens}),
    }
    return {**known(top), **{name: counts for name, counts in details.items() if counts}, **usage.extra}
