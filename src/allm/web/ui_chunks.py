"""The UI message stream of the AI SDK, as the npm package `ai` reads it (its versions 6 and 7).

The facts are those of the package's own schema (`uiMessageChunkSchema`) and of its reader:

- A text or a reasoning part is found by its id from its `-start` to its `-end`; a delta without a start is an error.
- A call is found by its id, in the newest step first; an output without its call is an error.
- `start-step` begins a part of the message that later calls are looked up in, so calls that were made before are
  completed before it.
- An unknown type of chunk is an error, except `data-...`, which is open to everybody.

What a provider wants back with a part travels in its `providerMetadata` under `allm`, so that a conversation that only
the page keeps can go on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar, Literal, final

import attrs

from allm.data.attrs_classes import define
from allm.data.citation import Citation
from allm.data.content import ToolCall
from allm.data.events import (
    AskUserRequested,
    ChatCompleted,
    CitationAdded,
    Failed,
    ImageCompleted,
    MessageCompleted,
    MessageStarted,
    ReasoningCompleted,
    ReasoningDelta,
    StepCompleted,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
    ToolExecutionCompleted,
    ToolExecutionStarted,
    ToolHalted,
    ToolProgress,
    ToolResultEncoded,
    UsageReported,
)
from allm.data.message import Message
from allm.data.results import PendingQuestion, UserAsked
from allm.web.completed import reasoning_part, text_part, tool_call
from allm.web.frames import Format
from allm.web.opaque import opaque_of
from allm.web.shown import (
    NO_URL,
    NOT_ENDED,
    ErrorText,
    UsageCount,
    arguments_of,
    error_text,
    json_data,
    media_url,
    result_data,
    result_text,
    usage_data,
)

__all__ = ["UiChunks"]

Chunk = dict[str, Any]

_FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "content_filter": "content-filter",
    "error": "error",
}


@define(eq=False)
class _Call:
    name: str
    state: Literal["streaming", "ready", "running", "left", "done"]
    pieces: list[str] = attrs.field(factory=list[str], init=False)  # of the arguments


@final
@define(eq=False)
class UiChunks(Format):
    """The format of `ui_stream`.

    Attributes:
        message_id: The id of the message; None leaves it to the page, which has one for it.
        metadata: The page gets it as the metadata of the message, with the usage at its end.
        approve: Names of the tools whose calls, where they are left to the caller, wait for an approval.
        error_text: Makes the text of an error.
    """

    headers: ClassVar[Mapping[str, str]] = {"x-vercel-ai-ui-message-stream": "v1"}
    last: ClassVar[bytes | None] = b"[DONE]"
    message_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    approve: Collection[str] = ()
    error_text: ErrorText = error_text
    _has_begun: bool = attrs.field(default=False, init=False)
    _step: int = attrs.field(default=0, init=False)
    _in_step: bool = attrs.field(default=False, init=False)
    _open: dict[tuple[str, str], list[str]] = attrs.field(factory=dict, init=False)  # parts, and their deltas
    _cited: dict[str, list[Citation]] = attrs.field(factory=dict, init=False)  # of texts that are not complete
    _sources: dict[str, None] = attrs.field(factory=dict, init=False)  # addresses that the page has
    _calls: dict[str, _Call] = attrs.field(factory=dict, init=False)  # of the step, and those that run again
    _usage: UsageCount = attrs.field(factory=UsageCount, init=False)
    _finish: str | None = attrs.field(default=None, init=False)
    _failure: BaseException | None = attrs.field(default=None, init=False)
    _is_cut: bool = attrs.field(default=False, init=False)

    def feed(self, event: Any) -> Iterator[Chunk]:
        """See `Format`."""
        yield from self._begin()
        chunks = _CHUNKS.get(type(event))
        if chunks is not None:
            yield from chunks(self, event)

    def end(self, error: BaseException | None = None) -> Iterator[Chunk]:
        """See `Format`."""
        yield from self._begin()
        failure = self._failure or error
        is_cut = self._finish is None or self._is_cut or failure is not None
        yield from self._close()
        for call_id, call in self._calls.items():
            if call.state in {"streaming", "running"} or (call.state == "ready" and is_cut):
                yield from self._output(Message("tool", NOT_ENDED, tool_call_id=call_id, is_error=True))
        yield from self._end_step()
        usage = usage_data(self._usage.end_message())
        metadata = {"messageMetadata": {"usage": usage}} if usage else {}
        if failure is not None:
            # The error comes last, since a page reads nothing that follows it.
            yield {"type": "finish", "finishReason": "error", **metadata}
            yield {"type": "error", "errorText": self.error_text(failure)}
        elif is_cut:
            if usage:
                yield {"type": "message-metadata", **metadata}
            yield {"type": "abort", "reason": "cancelled"}
        else:
            yield {"type": "finish", "finishReason": self._finish, **metadata}

    def _begin(self) -> Iterator[Chunk]:
        if not self._has_begun:
            self._has_begun = True
            start: Chunk = {"type": "start"}
            if self.message_id is not None:
                start["messageId"] = self.message_id
            if self.metadata is not None:
                start["messageMetadata"] = json_data(self.metadata)
            yield start

    # --- steps ----------------------------------------------------------------------------------------------------

    def _begin_step(self) -> Iterator[Chunk]:
        if not self._in_step:
            self._in_step = True
            self._step += 1
            self._calls.clear()
            yield {"type": "start-step"}

    def _end_step(self) -> Iterator[Chunk]:
        if self._in_step:
            self._in_step = False
            yield {"type": "finish-step"}

    def _started(self, _event: MessageStarted) -> Iterator[Chunk]:
        yield from self._close()
        yield from self._end_step()
        self._finish = None
        yield from self._begin_step()

    def _completed(self, event: MessageCompleted) -> Iterator[Chunk]:
        yield from self._close()
        self._usage.end_message()
        self._finish = _FINISH.get(event.finish_reason or "", "other")

    def _step_completed(self, event: StepCompleted) -> Iterator[Chunk]:
        step = event.step
        for message in step.tool_results:  # also of calls that a cut has ended
            call = self._calls.get(message.tool_call_id or "")
            if call is not None and call.state in {"streaming", "ready", "running"}:
                yield from self._output(message)
        for left in step.manual_tool_calls:
            self._calls[left.id] = _Call(left.name, "left")
            if left.name in self.approve:
                yield {"type": "tool-approval-request", "approvalId": left.id, "toolCallId": left.id}
        self._is_cut = step.cancelled
        self._finish = _FINISH.get(step.response.finish_reason or "", "other")
        yield from self._end_step()

    def _chat_completed(self, event: ChatCompleted) -> Iterator[Chunk]:
        result = event.result
        if isinstance(result.halt, UserAsked):  # the conversation goes on with it
            yield from self._question(result.halt.questions[0])
        self._is_cut = result.halted_reason == "cancelled"
        self._failure = self._failure or result.error
        self._usage.end_turn(result.usage)
        self._finish = self._finish or "other"

    def _failed(self, event: Failed) -> Iterator[Chunk]:
        self._failure = event.error
        yield from self._close()

    def _reported(self, event: UsageReported) -> Iterator[Chunk]:
        self._usage.report(event.usage)
        return iter(())

    # --- text and reasoning ---------------------------------------------------------------------------------------

    def _delta(self, event: TextDelta | ReasoningDelta) -> Iterator[Chunk]:
        if not event.delta:
            return
        kind = "text" if isinstance(event, TextDelta) else "reasoning"
        pieces = self._open.get((kind, event.id))
        if pieces is None:
            yield from self._begin_step()
            pieces = self._open[kind, event.id] = []
            yield {"type": f"{kind}-start", "id": self._part(event.id)}
        pieces.append(event.delta)
        yield {"type": f"{kind}-delta", "id": self._part(event.id), "delta": event.delta}

    def _text(self, event: TextCompleted) -> Iterator[Chunk]:
        part = text_part(event, self._cited.pop(event.id, ()))
        yield from self._part_completed("text", event.id, event.text, opaque_of(part))

    def _citation(self, event: CitationAdded) -> Iterator[Chunk]:
        """Once for each address, since the page lists them beside the text."""
        citation = event.citation
        self._cited.setdefault(event.id, []).append(citation)
        if citation.url and citation.url not in self._sources:
            yield from self._begin_step()
            self._sources[citation.url] = None
            titled = {} if citation.title is None else {"title": citation.title}
            yield {"type": "source-url", "sourceId": str(len(self._sources)), "url": citation.url, **titled}

    def _reasoning(self, event: ReasoningCompleted) -> Iterator[Chunk]:
        yield from self._part_completed("reasoning", event.id, event.text, opaque_of(reasoning_part(event)))

    def _part_completed(self, kind: str, block: str, text: str, opaque: Mapping[str, Any]) -> Iterator[Chunk]:
        pieces = self._open.get((kind, block))
        if pieces is None:  # its deltas are hidden, or there were none
            if not (text or opaque):
                return
            yield from self._begin_step()
            pieces = []
            yield {"type": f"{kind}-start", "id": self._part(block)}
        seen = "".join(pieces)
        if len(text) > len(seen) and text.startswith(seen):
            yield {"type": f"{kind}-delta", "id": self._part(block), "delta": text[len(seen) :]}
        self._open.pop((kind, block), None)
        yield {"type": f"{kind}-end", "id": self._part(block), **_metadata(opaque)}

    def _close(self) -> Iterator[Chunk]:
        """End the parts that are open, since the message ends before them."""
        for kind, block in list(self._open):
            del self._open[kind, block]
            yield {"type": f"{kind}-end", "id": self._part(block)}

    def _part(self, block: str) -> str:
        """An id that no other step has; those of our events are only unique in theirs."""
        return f"{self._step}:{block}"

    def _image(self, event: ImageCompleted) -> Iterator[Chunk]:
        yield from self._begin_step()
        url, mime_type = media_url(event.part.image)
        if url != NO_URL:
            yield {"type": "file", "url": url, "mediaType": mime_type}

    # --- calls ----------------------------------------------------------------------------------------------------

    def _call_started(self, event: ToolCallStarted) -> Iterator[Chunk]:
        yield from self._begin_step()
        self._calls[event.id] = _Call(event.name, "streaming")
        yield {"type": "tool-input-start", "toolCallId": event.id, "toolName": event.name}

    def _call_delta(self, event: ToolCallDelta) -> Iterator[Chunk]:
        call = self._calls.get(event.id)
        if event.arguments_delta and call is not None and call.state == "streaming":
            call.pieces.append(event.arguments_delta)
            yield {"type": "tool-input-delta", "toolCallId": event.id, "inputTextDelta": event.arguments_delta}

    def _call_completed(self, event: ToolCallCompleted) -> Iterator[Chunk]:
        yield from self._begin_step()
        yield from self._input(tool_call(event))

    def _input(self, call: ToolCall) -> Iterator[Chunk]:
        self._calls[call.id] = _Call(call.name, "ready")
        # What is no JSON object is shown as the text that it is; that this is an error is told by the result.
        chunk: Chunk = {"type": "tool-input-available", "toolCallId": call.id, "toolName": call.name}
        yield {**chunk, "input": arguments_of(call), **_metadata(opaque_of(call))}

    def _known(self, call: ToolCall) -> Iterator[Chunk]:
        """Tell of a call that was made in an earlier turn, and runs now."""
        self._finish = None  # the step goes on
        if call.id not in self._calls:
            yield from self._input(call)

    def _execution(self, event: ToolExecutionStarted) -> Iterator[Chunk]:
        yield from self._known(event.tool_call)
        self._calls[event.tool_call.id].state = "running"

    def _executed(self, event: ToolExecutionCompleted) -> Iterator[Chunk]:
        yield from self._known(event.tool_call)  # its result follows

    def _progress(self, event: ToolProgress) -> Iterator[Chunk]:
        data = {"toolCallId": event.tool_call.id, "payload": json_data(event.payload)}
        yield {"type": "data-tool-progress", "data": data, "transient": True}

    def _result(self, event: ToolResultEncoded | ToolHalted) -> Iterator[Chunk]:
        yield from self._known(event.tool_call)
        yield from self._output(event.message)

    def _output(self, message: Message) -> Iterator[Chunk]:
        call_id = message.tool_call_id or ""
        call = self._calls[call_id]
        if call.state == "streaming":
            yield from self._input(ToolCall(call_id, call.name, None, "".join(call.pieces)))
        self._calls[call_id].state = "done"
        if message.is_error:
            yield {"type": "tool-output-error", "toolCallId": call_id, "errorText": result_text(message)}
        else:
            yield {"type": "tool-output-available", "toolCallId": call_id, "output": result_data(message)}

    def _asked(self, event: AskUserRequested) -> Iterator[Chunk]:
        yield from self._known(event.tool_call)
        yield from self._output(event.message)
        data = {"toolCallId": event.tool_call.id, "question": event.question, "hints": json_data(event.hints)}
        yield {"type": "data-ask-user", "id": event.tool_call.id, "data": data}

    def _question(self, question: PendingQuestion) -> Iterator[Chunk]:
        part = f"question:{question.tool_call_id}"
        yield {"type": "text-start", "id": part}
        yield {"type": "text-delta", "id": part, "delta": question.question}
        yield {"type": "text-end", "id": part, **_metadata({"ask_user": question.tool_call_id})}


def _metadata(opaque: Mapping[str, Any]) -> Chunk:
    return {"providerMetadata": {"allm": dict(opaque)}} if opaque else {}


# Of other events the protocol has nothing to say.
_CHUNKS: dict[type, Callable[[UiChunks, Any], Iterator[Chunk]]] = {
    MessageStarted: UiChunks._started,
    TextDelta: UiChunks._delta,
    TextCompleted: UiChunks._text,
    CitationAdded: UiChunks._citation,
    ReasoningDelta: UiChunks._delta,
    ReasoningCompleted: UiChunks._reasoning,
    ToolCallStarted: UiChunks._call_started,
    ToolCallDelta: UiChunks._call_delta,
    ToolCallCompleted: UiChunks._call_completed,
    ImageCompleted: UiChunks._image,
    UsageReported: UiChunks._reported,
    MessageCompleted: UiChunks._completed,
    Failed: UiChunks._failed,
    ToolExecutionStarted: UiChunks._execution,
    ToolExecutionCompleted: UiChunks._executed,
    ToolProgress: UiChunks._progress,
    ToolResultEncoded: UiChunks._result,
    ToolHalted: UiChunks._result,
    AskUserRequested: UiChunks._asked,
    StepCompleted: UiChunks._step_completed,
    ChatCompleted: UiChunks._chat_completed,
}
