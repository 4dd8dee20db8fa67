"""Responses API answers as events, streamed and plain JSON alike.

What the recordings show beyond the vendor's documents: `keepalive` events take a sequence number and mean nothing; an
error inside the stream is nested while the published schema is flat, and `response.failed` repeats it; usage comes with
the terminal event only; there is no `[DONE]`.

Output items are begun, filled by deltas, and done; which item an event is about, and what a finished one is,
`responses_items_decode` says. The deltas are what a consumer sees; `response.output_item.done` is the authority. It
replaces what the deltas had built, and only it has the finished `encrypted_content`. An item of which no such event
came (llama.cpp closes all of them at the end) is completed from the output of the terminal event; one that neither
mentions keeps what its deltas have built. So an item passes through these states, at most once through each:

    unknown -> open (`added`, or the first delta) -> done (`done`, or `finish`)
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, ClassVar

import attrs

from allm.adapters import Run, StreamDecoder, as_count, as_object, as_objects, as_text, finish_reason_of
from allm.data.content import HostedCall
from allm.data.errors import AdapterError
from allm.data.events import (
    AdapterEvent,
    CitationAdded,
    HostedCallStarted,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from allm.data.logprobs import TokenLogprob
from allm.data.response import FinishReason, Usage
from allm.providers.openai.answer_notes import KINDS, PLAIN_COUNTS, reported_costs, special_counts
from allm.providers.openai.errors import stream_error
from allm.providers.openai.hosted_items import STARTED, kind_of
from allm.providers.openai.logprobs import read_logprobs
from allm.providers.openai.responses_items_decode import (
    Item,
    Items,
    call_of,
    hosted_of,
    image_of,
    input_of,
    may_be_text,
    other_of,
    texts_of,
    thought_of,
)
from allm.providers.openai.shared_encode import CUSTOM_CALL
from allm.providers.openai.usual_events import read_argument_deltas, read_reasoning_deltas, read_text_deltas

__all__ = ["ResponsesDecoder", "responses_usage"]

Delta = TextDelta | ReasoningDelta | ToolCallDelta

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
    own = usage.keys() - PLAIN_COUNTS
    special = own or any(details.get(kind) for details in (inputs, outputs) for kind in KINDS)
    return Usage(
        input_tokens=as_count(usage.get("input_tokens")),
        output_tokens=as_count(usage.get("output_tokens")),
        cached_input_tokens=as_count(inputs.get("cached_tokens")),
        cache_write_input_tokens=as_count(inputs.get("cache_write_tokens")),
        reasoning_tokens=as_count(outputs.get("reasoning_tokens")),
        total_tokens=as_count(usage.get("total_tokens")),
        **(reported_costs(usage) if own else {}),
        extra=special_counts(usage, inputs, outputs) if special else {},
    )


@attrs.define(eq=False)
class ItemDecoder:
    """Decodes the items of one answer.

    Attributes:
        provider: Who may read the opaque data of the items.
        add: Takes each event.
        length_of: The length of a text block so far, by its id.
        custom_tools: Names of the tools with free text that the request has. A call of another one is of a tool that
            runs at the service (`x_search` of xAI), and not for the caller. None: each is for the caller.
        logprobs: Of the tokens of the messages that are done.
    """

    provider: str
    add: Callable[[AdapterEvent], None]
    length_of: Callable[[str], int]
    custom_tools: frozenset[str] | None = None
    logprobs: list[TokenLogprob] = attrs.field(factory=list[TokenLogprob], init=False)
    _searched: str | None = attrs.field(default=None, init=False)  # the newest search for tools, which may have no id
    _items: Items = attrs.field(factory=Items, init=False)

    def added(self, event: dict[str, Any]) -> None:
        """`response.output_item.added`."""
        item = as_object(event.get("item"))
        opened = self._items.new(str(item.get("type")), item, event)
        self._recognise(opened, item)
        if opened.is_call:
            self._start(opened, item)
        elif opened.kind in STARTED:
            self._start_hosted(opened, item)

    def part_added(self, event: dict[str, Any]) -> None:
        """`response.content_part.added`."""
        opened = self._items.find(event, {}) or self._items.newest("message")
        if opened is not None and may_be_text(as_object(event.get("part"))):
            opened.begin_text(event)

    def text(self, event: dict[str, Any]) -> None:
        """More text."""
        if text := as_text(event.get("delta")):
            self.add(TextDelta(self._items.for_delta("message", event).block(event), text))

    def annotation(self, event: dict[str, Any]) -> None:
        """`response.output_text.annotation.added`: it comes once more with the finished item."""
        opened = self._items.for_delta("message", event)
        if not opened.done:
            block = opened.block(event)
            found = opened.cited(block, self.provider).take([event.get("annotation")], self.length_of(block))
            for citation in found:
                self.add(CitationAdded(block, citation))

    def refusal(self, event: dict[str, Any]) -> None:
        """More of a refusal."""
        if text := as_text(event.get("delta")):
            self.add(TextDelta(self._items.for_delta("message", event).block(event), text, refusal=True))

    def reasoning(self, event: dict[str, Any]) -> None:
        """More thinking, or more of its summary."""
        if text := as_text(event.get("delta")):
            self.add(ReasoningDelta(self._items.for_delta("reasoning", event).id, text))

    def arguments(self, event: dict[str, Any]) -> None:
        """More arguments of a function."""
        self._more("function_call", event)

    def custom_input(self, event: dict[str, Any]) -> None:
        """More input of a custom tool."""
        self._more(CUSTOM_CALL, event)

    def done(self, event: dict[str, Any]) -> None:
        """`response.output_item.done`."""
        item = as_object(event.get("item"))
        self._complete(self._items.for_end(item, event), item)

    def run(self, kind: type[Delta], first: dict[str, Any], texts: list[str]) -> str | None:
        """Take deltas of the place that the first of them names; the id of their block, None if they have none."""
        if kind is TextDelta:
            return self._items.for_delta("message", first).block(first)
        if kind is ReasoningDelta:
            return self._items.for_delta("reasoning", first).id
        opened = self._items.find(first, {})
        if opened is None or opened.kind != "function_call" or not opened.started:
            return None
        opened.pieces.extend(texts)
        return opened.id

    def finish(self, output: Any) -> None:
        """The items as the terminal event has them; those that are done are left alone."""
        for place, item in enumerate(as_objects(output)):
            self._complete(self._items.for_output(item, place), item)

    def cite_the_rest(self) -> None:
        """The citations of the messages that no finished item had."""
        for opened, block, found in self._items.annotated():
            if not opened.done:
                for citation in found.close(self.length_of(block)):
                    self.add(CitationAdded(block, citation))

    def _start(self, opened: Item, item: dict[str, Any]) -> None:
        opened.started = True
        opened.name = as_text(item.get("name")) or ""
        self.add(ToolCallStarted(opened.id, opened.name))

    def _start_hosted(self, opened: Item, item: dict[str, Any]) -> None:
        opened.started = True
        self.add(HostedCallStarted(opened.id, HostedCall(opened.id, kind_of(opened.kind, item), "in_progress")))

    def _more(self, kind: str, event: dict[str, Any]) -> None:
        opened = self._items.for_delta(kind, event)
        if not opened.is_call:
            return
        if not opened.started:
            self._start(opened, {})
        if text := as_text(event.get("delta")):
            opened.pieces.add(text)
            self.add(ToolCallDelta(opened.id, text))

    def _complete(self, opened: Item, item: dict[str, Any]) -> None:
        if opened.done:
            return
        opened.done = True
        self._recognise(opened, item)
        if opened.kind == "message":
            for event in texts_of(self.provider, opened, item):
                self.add(event)
            for part in as_objects(item.get("content")):
                if logprobs := part.get("logprobs"):
                    self.logprobs += read_logprobs(logprobs)
        elif opened.kind == "reasoning":
            self.add(thought_of(self.provider, opened, item))
        elif opened.is_call:
            self._complete_call(opened, item)
        else:
            self._complete_other(opened, item)

    def _complete_other(self, opened: Item, item: dict[str, Any]) -> None:
        whole = image_of(self.provider, opened, item)
        if whole is None and (whole := hosted_of(self.provider, opened, item, self._searched)) is not None:
            if not opened.started:
                self._start_hosted(opened, item)
            self._searched = opened.id if opened.kind == "tool_search_call" else self._searched
        self.add(whole or other_of(self.provider, opened, item))

    def _recognise(self, opened: Item, item: dict[str, Any]) -> None:
        """Note that a call with free text is of a tool of the service, as its name is none of the request's."""
        name = as_text(item.get("name"))
        known = self.custom_tools is None or name is None or name in self.custom_tools
        if opened.kind == CUSTOM_CALL and not known and not opened.started:
            opened.is_call = False

    def _complete_call(self, opened: Item, item: dict[str, Any]) -> None:
        raw = input_of(opened, item) or opened.pieces.text()
        if not opened.started:  # it came whole: to a program it looks like any other
            self._start(opened, item)
            if raw:
                self.add(ToolCallDelta(opened.id, raw))
        self.add(call_of(self.provider, opened, item, raw))


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
        self._items = ItemDecoder(self.provider, self.add, self.message.length_of, self.custom_tools)

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

    def on_run(self, run: Run) -> int:
        """More text, or thinking, or arguments of one call."""
        usual = _USUAL.get(run.name)
        if usual is None:
            return 0
        kind, read, place_of = usual
        deltas = read(run.lines, run.size)
        if not deltas:
            return 0
        place, texts = place_of(deltas[0]), list[str]()
        for delta in deltas:
            if not delta.delta or place_of(delta) != place:
                break
            texts.append(delta.delta)
        block_id = self._items.run(kind, dict(zip(_PLACE, place, strict=False)), texts) if texts else None
        if block_id is None:
            return 0
        self.more(kind, block_id, texts)
        return len(texts)

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
        self._items.cite_the_rest()
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

_PLACE = ("type", "item_id", "output_index", "content_index")
"""What says which block a delta is for."""
_ITEM = attrgetter(*_PLACE[:3])
_USUAL: dict[str, tuple[type[Delta], Callable[[bytes, int], Any], Callable[[Any], tuple[Any, ...]]]] = {
    "response.output_text.delta": (TextDelta, read_text_deltas, attrgetter(*_PLACE)),
    "response.reasoning_summary_text.delta": (ReasoningDelta, read_reasoning_deltas, _ITEM),
    "response.reasoning_text.delta": (ReasoningDelta, read_reasoning_deltas, _ITEM),
    "response.function_call_arguments.delta": (ToolCallDelta, read_argument_deltas, _ITEM),
}
"""Names of events that come in runs: what they are, how they are read, and what of them is the same in a run."""

_TAKE: dict[str, Callable[[ItemDecoder, dict[str, Any]], None]] = {
    "response.output_item.added": ItemDecoder.added,
    "response.content_part.added": ItemDecoder.part_added,
    "response.output_text.delta": ItemDecoder.text,
    "response.output_text.annotation.added": ItemDecoder.annotation,
    "response.refusal.delta": ItemDecoder.refusal,
    "response.reasoning_summary_text.delta": ItemDecoder.reasoning,
    "response.reasoning_text.delta": ItemDecoder.reasoning,
    "response.function_call_arguments.delta": ItemDecoder.arguments,
    "response.custom_tool_call_input.delta": ItemDecoder.custom_input,
    "response.output_item.done": ItemDecoder.done,
}
