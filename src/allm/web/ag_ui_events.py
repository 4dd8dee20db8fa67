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
from allm.data.content import ImagePart, ReasoningPart, TextPart, ToolCall
from allm.data.events import (
    AskUserRequested,
    ChatCompleted,
    Failed,
    ImageCompleted,
    MessageCompleted,
    MessagesAdded,
    MessageStarted,
    ReasoningCompleted,
    ReasoningDelta,
    StepCompleted,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
    ToolExecutionStarted,
    ToolHalted,
    ToolProgress,
    ToolResultEncoded,
    UsageReported,
)
from allm.data.json.text import dumps
from allm.data.message import Message
from allm.data.response import Usage
from allm.data.results import ChatResult
from allm.web.frames import Format
from allm.web.opaque import opaque_of
from allm.web.shown import NOT_ENDED, ErrorText, error_text, image_url, json_data, reason_of

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
    _is_text_open: bool = attrs.field(default=False, init=False)
    _texts: dict[str, list[str]] = attrs.field(factory=dict, init=False)  # deltas of each block of the message
    _text_opaque: dict[str, Any] = attrs.field(factory=dict, init=False)
    _reasonings: dict[str, list[str]] = attrs.field(factory=dict, init=False)  # those that are open
    _calls: dict[str, list[str]] = attrs.field(factory=dict, init=False)  # those that are open
    _shown_ids: dict[str, str] = attrs.field(factory=dict, init=False)  # of the calls of the message
    _used_ids: set[str] = attrs.field(init=False)
    _left: set[str] = attrs.field(factory=set[str], init=False)  # to the caller
    _answered: set[str] = attrs.field(factory=set[str], init=False)
    _added: int = attrs.field(default=0, init=False)
    _model: str | None = attrs.field(default=None, init=False)
    _usage: Usage | None = attrs.field(default=None, init=False)  # of the message in progress
    _total: Usage = attrs.field(factory=Usage, init=False)
    _failure: BaseException | None = attrs.field(default=None, init=False)
    _outcome: Chunk = attrs.field(factory=lambda: {"type": "cancelled"}, init=False)  # until something ends regularly

    def __attrs_post_init__(self) -> None:
        self._used_ids = set(self.known_calls)

    def feed(self, event: Any) -> Iterator[Chunk]:
        """See `Format`."""
        yield from self._begin()
        chunks = _CHUNKS.get(type(event))
        if chunks is not None:
            yield from chunks(self, event)

    def end(self, error: BaseException | None = None) -> Iterator[Chunk]:
        """See `Format`."""
        yield from self._begin()
        yield from self._close()
        failure = self._failure or error
        if failure is not None or self._outcome["type"] == "cancelled":
            for call_id in self._shown_ids:  # the client would take them for calls that it has to run
                if self._shown_ids[call_id] not in self._answered and call_id not in self._left:
                    yield from self._output(Message("tool", NOT_ENDED, tool_call_id=call_id, is_error=True))
        yield from self._end_step()
        self._count()
        counts = {name: count for name, ours in _COUNTS.items() if (count := getattr(self._total, ours)) is not None}
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
            self._texts.clear()
            self._shown_ids.clear()
            yield {"type": "STEP_STARTED", "stepName": f"step {self._step}"}

    def _end_step(self) -> Iterator[Chunk]:
        if self._in_step:
            self._in_step = False
            yield {"type": "STEP_FINISHED", "stepName": f"step {self._step}"}

    @property
    def _message_id(self) -> str:
        return f"{self.run_id}:{self._step}"

    def _started(self, event: MessageStarted) -> Iterator[Chunk]:
        yield from self._close()
        yield from self._end_step()
        self._model = event.model or self._model
        self._outcome = {"type": "cancelled"}
        yield from self._begin_step()

    def _completed(self, _event: MessageCompleted) -> Iterator[Chunk]:
        yield from self._close()
        self._count()
        self._outcome = {"type": "success"}

    def _step_completed(self, event: StepCompleted) -> Iterator[Chunk]:
        for message in event.step.tool_results:  # also of calls that a cut has ended
            if self._shown_ids.get(message.tool_call_id or "", "") in self._used_ids - self._answered:
                yield from self._output(message)
        self._left.update(call.id for call in event.step.manual_tool_calls)
        self._outcome = {"type": "cancelled" if event.step.cancelled else "success"}
        yield from self._end_step()

    def _chat_completed(self, event: ChatCompleted) -> Iterator[Chunk]:
        result = event.result
        self._failure = self._failure or result.error
        self._usage, self._total = None, result.usage
        if result.halted_reason == "cancelled":
            self._outcome = {"type": "cancelled"}
            return
        if result.pending_questions:  # the conversation goes on with it
            question = result.pending_questions[0]
            call_id = self._shown_ids.get(question.tool_call_id, question.tool_call_id)
            message = {"metadata": {"askUser": call_id}}
            yield from self._whole_text(f"{self.run_id}:question", "assistant", question.question, message)
        self._outcome = self._outcome_of(result)

    def _outcome_of(self, result: ChatResult) -> Chunk:
        interrupts = []
        for question in result.pending_questions[:1]:  # the next is asked when it is answered
            call_id = self._shown_ids.get(question.tool_call_id, question.tool_call_id)
            interrupt = {"id": call_id, "reason": "ask_user", "message": question.question, "toolCallId": call_id}
            hints = json_data(question.hints)
            interrupts.append({**interrupt, "metadata": hints} if isinstance(hints, dict) and hints else interrupt)
        pending = []
        for call in result.manual_tool_calls:
            call_id = self._shown_ids.get(call.id, call.id)
            if call.name in self.approve:
                interrupts.append({"id": call_id, "reason": "approval", "toolCallId": call_id})
            else:
                pending.append(call_id)
        if interrupts:
            return {"type": "interrupt", "interrupts": interrupts}
        return {"type": "success", "pendingToolCallIds": pending} if pending else {"type": "success"}

    def _failed(self, event: Failed) -> Iterator[Chunk]:
        self._failure = event.error  # told at the end, since nothing may follow it
        yield from self._close()

    def _reported(self, event: UsageReported) -> Iterator[Chunk]:
        self._usage = event.usage if self._usage is None else self._usage.merge(event.usage)
        return iter(())

    def _count(self) -> None:
        """Add the usage of the message that has ended."""
        if self._usage is not None:
            self._total += self._usage
            self._usage = None

    def _joined(self, event: MessagesAdded) -> Iterator[Chunk]:
        yield from self._close()
        for message in event.messages:
            if message.role == "user":  # what the server says to the model stays there
                self._added += 1
                yield from self._whole_text(f"{self.run_id}:user:{self._added}", "user", message.text)

    # --- text and reasoning ---------------------------------------------------------------------------------------

    def _delta(self, event: TextDelta) -> Iterator[Chunk]:
        yield from self._begin_step()
        self._texts.setdefault(event.id, []).append(event.delta)
        yield from self._more_text(event.delta)

    def _more_text(self, text: str) -> Iterator[Chunk]:
        if text:
            if not self._is_text_open:
                self._is_text_open = True
                yield {"type": "TEXT_MESSAGE_START", "messageId": self._message_id, "role": "assistant"}
            yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": self._message_id, "delta": text}

    def _text(self, event: TextCompleted) -> Iterator[Chunk]:
        yield from self._begin_step()
        seen = "".join(self._texts.setdefault(event.id, []))
        if event.text.startswith(seen):
            self._texts[event.id].append(event.text[len(seen) :])
            yield from self._more_text(event.text[len(seen) :])
        part = TextPart(event.text, refusal=event.refusal, metadata=event.metadata, made_at=event.made_at)
        self._text_opaque = opaque_of(part)

    def _whole_text(
        self, message_id: str, role: str, text: str, more: Mapping[str, Any] | None = None
    ) -> Iterator[Chunk]:
        yield {"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": role, **(more or {})}
        if text:
            yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": text}
        yield {"type": "TEXT_MESSAGE_END", "messageId": message_id}

    def _reasoning_delta(self, event: ReasoningDelta) -> Iterator[Chunk]:
        if event.delta:
            yield from self._begin_reasoning(event.id)
            self._reasonings[event.id].append(event.delta)
            message_id = f"{self._message_id}:{event.id}"
            yield {"type": "REASONING_MESSAGE_CONTENT", "messageId": message_id, "delta": event.delta}

    def _begin_reasoning(self, block: str) -> Iterator[Chunk]:
        if block not in self._reasonings:
            yield from self._begin_step()
            self._reasonings[block] = []
            message_id = f"{self._message_id}:{block}"
            yield {"type": "REASONING_START", "messageId": message_id}
            yield {"type": "REASONING_MESSAGE_START", "messageId": message_id, "role": "reasoning"}

    def _reasoning(self, event: ReasoningCompleted) -> Iterator[Chunk]:
        part = ReasoningPart(
            event.text,
            provider=event.provider,
            id=event.item_id,
            signature=event.signature,
            encrypted_content=event.encrypted_content,
            metadata=event.metadata,
            made_at=event.made_at,
        )
        opaque = opaque_of(part)
        if event.id not in self._reasonings and not (event.text or opaque):
            return
        yield from self._begin_reasoning(event.id)
        seen = "".join(self._reasonings[event.id])
        if event.text.startswith(seen):
            yield from self._reasoning_delta(ReasoningDelta(event.id, event.text[len(seen) :]))
        if opaque:
            yield _encrypted("message", f"{self._message_id}:{event.id}", opaque)
        yield from self._end_reasoning(event.id)

    def _end_reasoning(self, block: str) -> Iterator[Chunk]:
        del self._reasonings[block]
        message_id = f"{self._message_id}:{block}"
        yield {"type": "REASONING_MESSAGE_END", "messageId": message_id}
        yield {"type": "REASONING_END", "messageId": message_id}

    def _close(self) -> Iterator[Chunk]:
        """End what is open of the message."""
        for block in list(self._reasonings):
            yield from self._end_reasoning(block)
        if self._is_text_open:
            self._is_text_open = False
            if self._text_opaque and len(self._texts) == 1:  # the protocol has one place, for a message of one text
                yield _encrypted("message", self._message_id, self._text_opaque)
            yield {"type": "TEXT_MESSAGE_END", "messageId": self._message_id}
        self._text_opaque = {}
        for call_id in list(self._calls):
            del self._calls[call_id]
            yield {"type": "TOOL_CALL_END", "toolCallId": self._shown_ids[call_id]}

    def _image(self, event: ImageCompleted) -> Iterator[Chunk]:
        yield from self._begin_step()
        url, mime_type = image_url(event.part.image)
        yield {
            "type": "ACTIVITY_SNAPSHOT",  # its assistant messages have texts only
            "messageId": f"{self._message_id}:{event.id}",
            "activityType": "image",
            "content": {"url": url, "mimeType": mime_type},
        }

    # --- calls ----------------------------------------------------------------------------------------------------

    def _call_started(self, event: ToolCallStarted) -> Iterator[Chunk]:
        yield from self._begin_step()
        if event.id in self._shown_ids:  # twice in one message is one call
            return
        shown, count = event.id, 1
        while shown in self._used_ids:
            count += 1
            shown = f"{event.id}#{count}"
        self._used_ids.add(shown)
        self._shown_ids[event.id] = shown
        self._calls[event.id] = []
        parent = {"parentMessageId": self._message_id}
        yield {"type": "TOOL_CALL_START", "toolCallId": shown, "toolCallName": event.name, **parent}

    def _call_delta(self, event: ToolCallDelta) -> Iterator[Chunk]:
        if event.arguments_delta and event.id in self._calls:
            self._calls[event.id].append(event.arguments_delta)
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": self._shown_ids[event.id], "delta": event.arguments_delta}

    def _call_completed(self, event: ToolCallCompleted) -> Iterator[Chunk]:
        yield from self._call_started(ToolCallStarted(event.id, event.name))
        if event.id not in self._calls:
            return
        raw = event.raw_arguments
        if not raw:
            raw = dumps(dict(event.arguments or {})).decode()
        seen = "".join(self._calls[event.id])
        if raw.startswith(seen):
            yield from self._call_delta(ToolCallDelta(event.id, raw[len(seen) :]))
        call = ToolCall(
            event.id, event.name, event.arguments, event.raw_arguments, metadata=event.metadata, made_at=event.made_at
        )
        if opaque := opaque_of(call):
            yield _encrypted("tool-call", self._shown_ids[event.id], opaque)
        del self._calls[event.id]
        yield {"type": "TOOL_CALL_END", "toolCallId": self._shown_ids[event.id]}

    def _execution(self, _event: ToolExecutionStarted) -> Iterator[Chunk]:
        self._outcome = {"type": "cancelled"}  # it is a turn, whose step goes on
        return iter(())

    def _progress(self, event: ToolProgress) -> Iterator[Chunk]:
        call_id = self._shown_ids.get(event.tool_call.id, event.tool_call.id)
        yield {
            "type": "CUSTOM",
            "name": "tool_progress",
            "value": {"toolCallId": call_id, "payload": json_data(event.payload)},
        }

    def _result(self, event: ToolResultEncoded | ToolHalted | AskUserRequested) -> Iterator[Chunk]:
        yield from self._output(event.message)

    def _output(self, message: Message) -> Iterator[Chunk]:
        call_id = self._shown_ids.get(message.tool_call_id or "", message.tool_call_id or "")
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
    if not any(isinstance(part, ImagePart) for part in message.parts):
        return message.text
    content: list[Chunk] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, ImagePart):
            content.append({"type": "image", "source": _source(part)})
    return content


def _source(part: ImagePart) -> Chunk:
    if (url := part.image.url) is not None:
        mime_type = {} if part.image.mime_type is None else {"mimeType": part.image.mime_type}
        return {"type": "url", "value": url, **mime_type}
    return {"type": "data", "value": part.image.to_base64(), "mimeType": part.image.resolved_mime_type()}


def _encrypted(subtype: str, entity_id: str, opaque: Mapping[str, Any]) -> Chunk:
    value = dumps(dict(opaque)).decode()
    return {
        "type": "REASONING_ENCRYPTED_VALUE",
        "subtype": subtype,
        "entityId": entity_id,
        "encryptedValue": value,
    }


# Of other events the protocol has nothing to say.
_CHUNKS: dict[type, Callable[[AgUiEvents, Any], Iterator[Chunk]]] = {
    MessageStarted: AgUiEvents._started,
    TextDelta: AgUiEvents._delta,
    TextCompleted: AgUiEvents._text,
    ReasoningDelta: AgUiEvents._reasoning_delta,
    ReasoningCompleted: AgUiEvents._reasoning,
    ToolCallStarted: AgUiEvents._call_started,
    ToolCallDelta: AgUiEvents._call_delta,
    ToolCallCompleted: AgUiEvents._call_completed,
    ImageCompleted: AgUiEvents._image,
    UsageReported: AgUiEvents._reported,
    MessageCompleted: AgUiEvents._completed,
    Failed: AgUiEvents._failed,
    ToolExecutionStarted: AgUiEvents._execution,
    ToolProgress: AgUiEvents._progress,
    ToolResultEncoded: AgUiEvents._result,
    ToolHalted: AgUiEvents._result,
    AskUserRequested: AgUiEvents._result,
    StepCompleted: AgUiEvents._step_completed,
    MessagesAdded: AgUiEvents._joined,
    ChatCompleted: AgUiEvents._chat_completed,
}
