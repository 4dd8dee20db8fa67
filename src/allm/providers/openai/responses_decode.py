"""Responses API answers as events, streamed and plain JSON alike.

What the recordings show beyond the vendor's documents: `keepalive` events take a sequence number and mean nothing; an
error inside the stream is nested while the published schema is flat, and `response.failed` repeats it; usage comes with
the terminal event only; there is no `[DONE]`. The items are in `responses_item_decode`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from allm.adapters import StreamDecoder, as_count, as_object, as_objects, as_text, finish_reason_of
from allm.data.errors import AdapterError
from allm.data.response import FinishReason, Usage
from allm.providers.openai.answer_notes import reported_costs, special_counts
from allm.providers.openai.errors import stream_error
from allm.providers.openai.responses_item_decode import ItemDecoder

__all__ = ["ResponsesDecoder", "responses_usage"]

_FAILED = frozenset({"failed", "cancelled"})
_ECHO = frozenset(
    {
        *("background", "frequency_penalty", "include", "instructions", "max_output_tokens", "max_tool_calls"),
        *("metadata", "parallel_tool_calls", "presence_penalty", "previous_response_id", "prompt", "prompt_cache_key"),
        *("prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier", "store", "stream"),
        *("temperature", "text", "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "truncation", "user"),
    }
)
"""Parameters of the request, which a response repeats."""
_USED = frozenset(
    {
        *("completed_at", "created_at", "error", "id", "incomplete_details", "model", "object", "output"),
        *("output_text", "service_tier", "status", "usage"),
    }
)
"""Fields that have a place of their own, or mean nothing."""


def responses_usage(usage: dict[str, Any]) -> Usage:
    """`usage` of a response; counts that are not there stay None."""
    inputs, outputs = as_object(usage.get("input_tokens_details")), as_object(usage.get("output_tokens_details"))
    return Usage(
        input_tokens=as_count(usage.get("input_tokens")),
        output_tokens=as_count(usage.get("output_tokens")),
        cached_input_tokens=as_count(inputs.get("cached_tokens")),
        cache_write_input_tokens=as_count(inputs.get("cache_write_tokens")),
        reasoning_tokens=as_count(outputs.get("reasoning_tokens")),
        total_tokens=as_count(usage.get("total_tokens")),
        **reported_costs(usage),
        extra=special_counts(usage, inputs, outputs),
    )


@attrs.define(eq=False)
class ResponsesDecoder(StreamDecoder):
    """One answer. It has begun with the first event that is not a failure, and ends with a terminal event.

    Attributes:
        custom_tools: Names of the tools with free text that the request has; None: not known.
    """

    content_field: ClassVar[str] = "output"
    end_marker: ClassVar[str] = "response.completed, response.incomplete or response.failed"

    provider: str = "openai"
    custom_tools: frozenset[str] | None = attrs.field(default=None, kw_only=True)
    _items: ItemDecoder = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._items = ItemDecoder(self.provider, self.add, self.custom_tools)

    def on_event(self, name: str, event: dict[str, Any]) -> None:
        """One event; its `type` says what it is, and so does its name."""
        kind = as_text(event.get("type")) or name
        if kind in _TERMINAL:
            self._terminal(as_object(event.get("response")), kind.removeprefix("response."))
            return
        if kind == "response.error":  # of servers that speak the format without all of it
            self.fail(self.error_of(event))
            return
        if not self.begun and kind.startswith("response."):
            response = as_object(event.get("response"))
            self.start(id=response.get("id"), model=response.get("model"))
        take = _TAKE.get(kind)
        if take is not None:
            take(self._items, event)
        elif kind == "keepalive":
            self.keep_alive()

    def on_document(self, document: dict[str, Any]) -> None:
        """A plain JSON answer: the object that a stream's terminal event holds."""
        if isinstance(document.get("output"), list):
            self._terminal(document, None)

    def on_report(self, report: dict[str, Any]) -> None:
        """A whole response that has an error beside its output."""
        self._failed_with(as_object(report.get("response")) or report)

    def error_of(self, report: Any) -> AdapterError:
        """An `error` event, nested or flat."""
        return stream_error(self.provider, report)

    def _terminal(self, response: dict[str, Any], name: str | None) -> None:
        status, error = as_text(response.get("status")) or name, response.get("error")
        if status in _FAILED or error:
            self._failed_with(response)
            report = {"error": error or {"message": f"the response ended with the status {status!r}"}}
            self.fail(self.error_of(report))
            return
        # The terminal event has the last word: with some gateways only its id can be referred to.
        self.start(id=response.get("id"), model=response.get("model"), last_word=True)
        self.notes.update(
            (name, value) for name, value in response.items() if value and name not in _ECHO and name not in _USED
        )
        self._items.finish(response.get("output"))
        self.events.extend(self.message.complete())
        self._usage(response)
        self.logprobs.extend(self._items.logprobs)
        self.complete(*_finish(status, response))

    def _failed_with(self, response: dict[str, Any]) -> None:
        """What a response that failed has of an answer."""
        if any(response.get(name) for name in ("id", "model", "output")):
            self.start(id=response.get("id"), model=response.get("model"))
            self._items.finish([item for item in as_objects(response.get("output")) if _is_whole(item)])
        if self.begun:
            self._usage(response)

    def _usage(self, response: dict[str, Any]) -> None:
        self.serve(response.get("service_tier"))
        usage = response.get("usage")
        if isinstance(usage, dict):
            self.report(responses_usage(as_object(usage)))


def _is_whole(item: dict[str, Any]) -> bool:
    """Whether an item of a failed response can be taken; a call that was cut stays as far as its deltas came."""
    return item.get("type") == "message" or item.get("status") in {"completed", None}


def _finish(status: str | None, response: dict[str, Any]) -> tuple[FinishReason, str | None]:
    """The finish reason, and the word for it."""
    reason = as_text(as_object(response.get("incomplete_details")).get("reason"))
    if status == "incomplete" or (status is None and reason):
        return finish_reason_of(reason), reason or status
    if status not in {"completed", None}:  # a response in the background that is queued or in progress
        return finish_reason_of(status), status
    return "stop", status


_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})

_TAKE: dict[str, Callable[[ItemDecoder, dict[str, Any]], None]] = {
    "response.output_item.added": ItemDecoder.added,
    "response.content_part.added": ItemDecoder.part_added,
    "response.output_text.delta": ItemDecoder.text,
    "response.refusal.delta": ItemDecoder.refusal,
    "response.reasoning_summary_text.delta": ItemDecoder.reasoning,
    "response.reasoning_text.delta": ItemDecoder.reasoning,
    "response.function_call_arguments.delta": ItemDecoder.arguments,
    "response.custom_tool_call_input.delta": ItemDecoder.custom_input,
    "response.output_item.done": ItemDecoder.done,
}
