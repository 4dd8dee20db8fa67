"""AG-UI, as the npm package `@ag-ui/client` reads it (protocol 1.0).

The facts are those of the package's own verifier and of the reducer that makes its messages:

- The first event is RUN_STARTED, the last RUN_FINISHED or RUN_ERROR; whatever was started is ended before RUN_FINISHED.
- An assistant message is one text and a list of calls: what a message of ours has of them goes there, in the order it
  comes. Its text may be ended and started again under the same id. Reasoning is a message of its own.
- The id of a call that the conversation has already means that call; so a second one with the same id gets another.
- A question to the user is an interrupt, which the next run resumes; a call left to the caller is pending.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, final

import attrs

from allm.data.attrs_classes import define
from allm.data.content import MediaPart, TextPart, media_of
from allm.data.events import (
    AskUserRequested,
    ChatCompleted,
    Failed,
    MessageCompleted,
    MessagesAdded,
    MessageStarted,
    StepCompleted,
    ToolExecutionCompleted,
    ToolExecutionStarted,
    ToolHalted,
    ToolProgress,
    ToolResultEncoded,
    UsageReported,
)
from allm.data.media import Media
from allm.data.message import Message
from allm.data.results import ChatResult
from allm.web.ag_ui_parts import PARTS, AgUiParts
from allm.web.frames import Format
from allm.web.shown import (
    NO_URL,
    NOT_ENDED,
    ErrorText,
    UsageCount,
    error_text,
    json_data,
    media_url,
    reason_of,
    without_url,
)

__all__ = ["AgUiEvents"]

Chunk = dict[str, Any]

_COUNTS = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "totalTokens": "total_tokens",
    "reasoningTokens": "reasoning_tokens",
    "cachedInputTokens": "cached_input_tokens",
    "cacheWriteInputTokens": "cache_write_input_tokens",
}


@final
@define(eq=False)
class AgUiEvents(Format):
    """The format of `ag_ui`.

    Attributes:
        thread_id, run_id: Those that the client has sent.
        known_calls: The ids of the calls in its conversation.
        approve: Names of the tools whose calls, where they are left to the caller, wait for an approval.
        error_text: Makes the text of an error.
    """

    thread_id: str
    run_id: str
    known_calls: Collection[str] = ()
    approve: Collection[str] = ()
    error_text: ErrorText = error_text
    _has_begun: bool = attrs.field(default=False, init=False)
    _step: int = attrs.field(default=0, init=False)
    _in_step: bool = attrs.field(default=False, init=False)
    _used_ids: set[str] = attrs.field(init=False)
    _parts: AgUiParts = attrs.field(init=False)  # of the newest message
    _left: set[str] = attrs.field(factory=set[str], init=False)  # to the caller
    _answered: set[str] = attrs.field(factory=set[str], init=False)
    _added: int = attrs.field(default=0, init=False)
    _model: str | None = attrs.field(default=None, init=False)
    _usage: UsageCount = attrs.field(factory=UsageCount, init=False)
    _failure: BaseException | None = attrs.field(default=None, init=False)
    _outcome: Chunk = attrs.field(factory=lambda: {"type": "cancelled"}, init=False)  # until something ends regularly

    def __attrs_post_init__(self) -> None:
        self._used_ids = set(self.known_calls)
        self._parts = AgUiParts(f"{self.run_id}:0", self._used_ids)

    def feed(self, event: Any) -> Iterator[Chunk]:
        """See `Format`."""
        yield from self._begin()
        chunks = _CHUNKS.get(type(event))
        if chunks is not None:
            yield from chunks(self, event)

    def end(self, error: BaseException | None = None) -> Iterator[Chunk]:
        """See `Format`."""
        yield from self._begin()
        yield from self._parts.close()
        failure = self._failure or error
        if failure is not None or self._outcome["type"] == "cancelled":
            for call_id in self._parts.shown_ids:  # the client would take them for calls that it has to run
                if self._parts.shown_ids[call_id] not in self._answered and call_id not in self._left:
                    yield from self._output(Message("tool", NOT_ENDED, tool_call_id=call_id, is_error=True))
        yield from self._end_step()
        total = self._usage.end_message()
        counts = {name: count for name, ours in _COUNTS.items() if (count := getattr(total, ours)) is not None}
        if counts and self._model is not None:
            counts["model"] = self._model
        usage = {"usage": [counts]} if counts else {}
        if failure is not None:
            yield {"type": "RUN_ERROR", "message": self.error_text(failure), "code": reason_of(failure), **usage}
        else:
            run = {"threadId": self.thread_id, "runId": self.run_id}
            yield {"type": "RUN_FINISHED", **run, "outcome": self._outcome, **usage}

    def _begin(self) -> Iterator[Chunk]:
        if not self._has_begun:
            self._has_begun = True
            yield {"type": "RUN_STARTED", "threadId": self.thread_id, "runId": self.run_id}

    # --- steps ----------------------------------------------------------------------------------------------------

    def _begin_step(self) -> Iterator[Chunk]:
        if not self._in_step:
            self._in_step = True
            self._step += 1
            self._parts = AgUiParts(f"{self.run_id}:{self._step}", self._used_ids)
            yield {"type": "STEP_STARTED", "stepName": f"step {self._step}"}

    def _end_step(self) -> Iterator[Chunk]:
        if self._in_step:
            self._in_step = False
            yield {"type": "STEP_FINISHED", "stepName": f"step {self._step}"}

    def _started(self, event: MessageStarted) -> Iterator[Chunk]:
        yield from self._parts.close()
        yield from self._end_step()
        self._model = event.model or self._model
        self._outcome = {"type": "cancelled"}
        yield from self._begin_step()

    def _completed(self, _event: MessageCompleted) -> Iterator[Chunk]:
        yield from self._parts.close()
        self._usage.end_message()
        self._outcome = {"type": "success"}

    def _step_completed(self, event: StepCompleted) -> Iterator[Chunk]:
        for message in event.step.tool_results:  # also of calls that a cut has ended
            if self._parts.shown_ids.get(message.tool_call_id or "", "") in self._used_ids - self._answered:
                yield from self._output(message)
        self._left.update(call.id for call in event.step.manual_tool_calls)
        self._outcome = {"type": "cancelled" if event.step.cancelled else "success"}
        yield from self._end_step()

    def _chat_completed(self, event: ChatCompleted) -> Iterator[Chunk]:
        result = event.result
        self._failure = self._failure or result.error
        self._usage.end_turn(result.usage)
        if result.halted_reason == "cancelled":
            self._outcome = {"type": "cancelled"}
            return
        if result.pending_questions:  # the conversation goes on with it
            question = result.pending_questions[0]
            call_id = self._parts.shown_ids.get(question.tool_call_id, question.tool_call_id)
            message = {"metadata": {"askUser": call_id}}
            yield from self._whole_text(f"{self.run_id}:question", "assistant", question.question, message)
        self._outcome = self._outcome_of(result)

    def _outcome_of(self, result: ChatResult) -> Chunk:
        interrupts = []
        for question in result.pending_questions[:1]:  # the next is asked when it is answered
            call_id = self._parts.shown_ids.get(question.tool_call_id, question.tool_call_id)
            interrupt = {"id": call_id, "reason": "ask_user", "message": question.question, "toolCallId": call_id}
            hints = json_data(question.hints)
            interrupts.append({**interrupt, "metadata": hints} if isinstance(hints, dict) and hints else interrupt)
        pending = []
        for call in result.manual_tool_calls:
            call_id = self._parts.shown_ids.get(call.id, call.id)
            if call.name in self.approve:
                interrupts.append({"id": call_id, "reason": "approval", "toolCallId": call_id})
            else:
                pending.append(call_id)
        if interrupts:
            return {"type": "interrupt", "interrupts": interrupts}
        return {"type": "success", "pendingToolCallIds": pending} if pending else {"type": "success"}

    def _failed(self, event: Failed) -> Iterator[Chunk]:
        self._failure = event.error  # told at the end, since nothing may follow it
        yield from self._parts.close()

    def _reported(self, event: UsageReported) -> Iterator[Chunk]:
        self._usage.report(event.usage)
        return iter(())

    def _joined(self, event: MessagesAdded) -> Iterator[Chunk]:
        yield from self._parts.close()
        for message in event.messages:
            if message.role == "user":  # what the server says to the model stays there
                self._added += 1
                yield from self._whole_text(f"{self.run_id}:user:{self._added}", "user", message.text)

    def _whole_text(
        self, message_id: str, role: str, text: str, more: Mapping[str, Any] | None = None
    ) -> Iterator[Chunk]:
        yield {"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": role, **(more or {})}
        if text:
            yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": text}
        yield {"type": "TEXT_MESSAGE_END", "messageId": message_id}

    def _part(self, event: Any) -> Iterator[Chunk]:
        yield from self._begin_step()
        yield from self._parts.feed(event)

    # --- calls ----------------------------------------------------------------------------------------------------

    def _execution(self, _event: ToolExecutionStarted | ToolExecutionCompleted) -> Iterator[Chunk]:
        self._outcome = {"type": "cancelled"}  # the step goes on
        return iter(())

    def _progress(self, event: ToolProgress) -> Iterator[Chunk]:
        call_id = self._parts.shown_ids.get(event.tool_call.id, event.tool_call.id)
        yield {
            "type": "CUSTOM",
            "name": "tool_progress",
            "value": {"toolCallId": call_id, "payload": json_data(event.payload)},
        }

    def _result(self, event: ToolResultEncoded | ToolHalted | AskUserRequested) -> Iterator[Chunk]:
        self._outcome = {"type": "cancelled"}  # as above
        yield from self._output(event.message)

    def _output(self, message: Message) -> Iterator[Chunk]:
        call_id = self._parts.shown_ids.get(message.tool_call_id or "", message.tool_call_id or "")
        self._answered.add(call_id)
        chunk: Chunk = {
            "type": "TOOL_CALL_RESULT",
            "messageId": f"{call_id}:result",
            "toolCallId": call_id,
            "content": _content(message),
            "role": "tool",
        }
        yield {**chunk, "metadata": {"isError": True}} if message.is_error else chunk


def _content(message: Message) -> str | list[Chunk]:
    if not any(isinstance(part, MediaPart) for part in message.parts):
        return message.text
    content: list[Chunk] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, MediaPart):
            content.append(_file(media_of(part)))
    return content


def _file(media: Media) -> Chunk:
    url, mime_type = media_url(media)
    if url == NO_URL:
        return {"type": "text", "text": without_url(media)}
    source = {"type": "url", "value": url, **({"mimeType": mime_type} if "/" in mime_type else {})}
    if url[:5] == "data:":
        source = {"type": "data", "value": url.rpartition(",")[2], "mimeType": mime_type}
    return {"type": media.word, "source": source}  # the words are those of the protocol


# Of other events the protocol has nothing to say.
_CHUNKS: dict[type, Callable[[AgUiEvents, Any], Iterator[Chunk]]] = {
    **dict.fromkeys(PARTS, AgUiEvents._part),
    MessageStarted: AgUiEvents._started,
    UsageReported: AgUiEvents._reported,
    MessageCompleted: AgUiEvents._completed,
    Failed: AgUiEvents._failed,
    ToolExecutionStarted: AgUiEvents._execution,
    ToolExecutionCompleted: AgUiEvents._execution,
    ToolProgress: AgUiEvents._progress,
    ToolResultEncoded: AgUiEvents._result,
    ToolHalted: AgUiEvents._result,
    AskUserRequested: AgUiEvents._result,
    StepCompleted: AgUiEvents._step_completed,
    MessagesAdded: AgUiEvents._joined,
    ChatCompleted: AgUiEvents._chat_completed,
}
