"""Plain server-sent events: our own events under their own names, for a page without a library.

A page gets what it may show. What only the server needs stays there: headers, ids of requests, opaque data for the
provider, and conversations, which have the system prompt. `whole=True` sends everything, to a program of your own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import ValidationError
from allm.data.events import (
    AskUserRequested,
    ChatCompleted,
    CitationAdded,
    Failed,
    HostedCallCompleted,
    HostedCallStarted,
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
    ToolExecutionCompleted,
    ToolExecutionStarted,
    ToolHalted,
    ToolProgress,
    ToolResultEncoded,
    UsageReported,
)
from allm.data.json.codec import to_json
from allm.web.frames import Format, frame
from allm.web.shown import (
    ErrorText,
    arguments_of,
    error_text,
    json_data,
    media_url,
    reason_of,
    result_data,
    usage_data,
)

__all__ = ["PlainEvents", "PlainText"]


@final
@define(eq=False)
class PlainEvents(Format):
    """The format of `sse`.

    Attributes:
        whole: Send each event as `allm.to_json` writes it.
        error_text: Makes the text of an error.
    """

    whole: bool = False
    error_text: ErrorText = error_text
    _has_failed: bool = attrs.field(default=False, init=False)

    def feed(self, event: Any) -> Iterable[Any]:
        """See `Format`."""
        self._has_failed = self._has_failed or isinstance(event, Failed)
        if self.whole:
            return [_document(event)]  # a text
        shown = _SHOWN.get(type(event))
        if shown is None:
            return []
        chunk = {"type": type(event).__name__, **shown(event)}
        if isinstance(event, Failed):
            chunk["error"] = self.error_text(event.error)
        return [chunk]

    def end(self, error: BaseException | None = None) -> Iterable[dict[str, Any]]:
        """See `Format`. The last frame tells an `EventSource` to close, as it would connect again."""
        if error is not None and not self._has_failed:
            yield {"type": "Failed", "reason": reason_of(error), "error": self.error_text(error)}
        yield {"type": "End"}

    def write(self, chunk: Any, number: str | None = None) -> bytes:
        """See `Format`."""
        return frame(chunk.encode(), number) if isinstance(chunk, str) else super().write(chunk, number)


@final
@define(eq=False)
class PlainText(Format):
    """The format of `text`: the visible text alone, as `events.text()` has it."""

    media_type = "text/plain; charset=utf-8"
    is_sse = False
    _seen: set[str] = attrs.field(factory=set[str], init=False)
    _failure: Exception | None = attrs.field(default=None, init=False)

    def feed(self, event: Any) -> Iterable[str]:
        """See `Format`."""
        if isinstance(event, TextDelta):
            self._seen.add(event.id)
            return [event.delta]
        if isinstance(event, TextCompleted) and event.id not in self._seen:
            return [event.text]
        if isinstance(event, (StepCompleted, MessagesAdded)):
            self._seen.clear()
        elif isinstance(event, Failed):
            self._failure = event.error
        return []

    def end(self, error: BaseException | None = None) -> Iterable[str]:
        """See `Format`.

        Raises:
            AllmError: The call failed. A text has no place for that, so its response is cut off, as a client notices.
        """
        if error is None and self._failure is not None:
            raise self._failure
        return []

    def write(self, chunk: Any, number: str | None = None) -> bytes:  # noqa: ARG002
        """See `Format`."""
        return str(chunk).encode("utf-8", "replace")


_OF_TOOLS = ("result", "payload")


def _document(event: Any) -> str:
    """An event as `to_json` writes it; what a tool made of its own that JSON cannot hold is described."""
    try:
        return to_json(event)
    except ValidationError:
        described = {name: json_data(getattr(event, name)) for name in _OF_TOOLS if hasattr(event, name)}
        if not described:
            raise
        return to_json(attrs.evolve(event, **described))


def _started(event: MessageStarted) -> dict[str, Any]:
    return {"id": event.id, "model": event.model}


def _delta(event: TextDelta | ReasoningDelta) -> dict[str, Any]:
    return {"id": event.id, "delta": event.delta}


def _text(event: TextCompleted | ReasoningCompleted) -> dict[str, Any]:
    return {"id": event.id, "text": event.text}


def _citation(event: CitationAdded) -> dict[str, Any]:
    citation = event.citation
    return {"id": event.id, **{name: getattr(citation, name) for name in ("start", "end", "title", "url", "quote")}}


def _call(event: ToolCallStarted | ToolCallCompleted) -> dict[str, Any]:
    if isinstance(event, ToolCallStarted):
        return {"id": event.id, "name": event.name}
    arguments = event.raw_arguments if event.arguments is None else event.arguments
    return {"id": event.id, "name": event.name, "arguments": arguments}


def _call_delta(event: ToolCallDelta) -> dict[str, Any]:
    return {"id": event.id, "arguments_delta": event.arguments_delta}


def _hosted(event: HostedCallStarted | HostedCallCompleted) -> dict[str, Any]:
    """What a tool of the provider was asked; what came of it may be large, and what goes back is the provider's."""
    call = event.call
    asked = None if call.input is None else dict(call.input)
    return {"id": event.id, "kind": call.kind, "status": call.status, "input": asked}


def _image(event: ImageCompleted) -> dict[str, Any]:
    url, mime_type = media_url(event.part.image)
    return {"id": event.id, "url": url, "mime_type": mime_type}


def _usage(event: UsageReported) -> dict[str, Any]:
    return {"usage": usage_data(event.usage)}


def _message(event: MessageCompleted) -> dict[str, Any]:
    return {"finish_reason": event.finish_reason}


def _failed(event: Failed) -> dict[str, Any]:
    return {"reason": event.error.reason}


def _execution(event: ToolExecutionStarted | ToolExecutionCompleted) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": event.tool_call.id, "name": event.tool_call.name}
    return shown | ({"failed": event.error is not None} if isinstance(event, ToolExecutionCompleted) else {})


def _progress(event: ToolProgress) -> dict[str, Any]:
    return {"id": event.tool_call.id, "payload": json_data(event.payload)}


def _result(event: ToolResultEncoded) -> dict[str, Any]:
    return {"id": event.tool_call.id, "output": result_data(event.message), "is_error": event.message.is_error}


def _asked(event: AskUserRequested) -> dict[str, Any]:
    return {"id": event.tool_call.id, "question": event.question, "hints": json_data(event.hints)}


def _halted(event: ToolHalted) -> dict[str, Any]:
    return {"id": event.tool_call.id, "reason": event.reason, "output": result_data(event.message)}


def _step(event: StepCompleted) -> dict[str, Any]:
    return {"done": event.step.done}


def _added(event: MessagesAdded) -> dict[str, Any]:
    # Of a system message, a page learns nothing.
    return {"texts": [message.text for message in event.messages if message.role == "user"]}


def _chat(event: ChatCompleted) -> dict[str, Any]:
    result = event.result
    calls = [{"id": call.id, "name": call.name, "arguments": arguments_of(call)} for call in result.manual_tool_calls]
    return {
        "text": result.output_text,
        "halted_reason": result.halted_reason,
        "pending_question": result.pending_question,
        "manual_tool_calls": calls,
        "usage": usage_data(result.usage),
    }


# What a page gets of each event; of those that are not here, nothing.
_SHOWN: dict[type, Callable[[Any], dict[str, Any]]] = {
    MessageStarted: _started,
    TextDelta: _delta,
    TextCompleted: _text,
    CitationAdded: _citation,
    ReasoningDelta: _delta,
    ReasoningCompleted: _text,
    ToolCallStarted: _call,
    ToolCallDelta: _call_delta,
    ToolCallCompleted: _call,
    HostedCallStarted: _hosted,
    HostedCallCompleted: _hosted,
    ImageCompleted: _image,
    UsageReported: _usage,
    MessageCompleted: _message,
    Failed: _failed,
    ToolExecutionStarted: _execution,
    ToolExecutionCompleted: _execution,
    ToolProgress: _progress,
    ToolResultEncoded: _result,
    AskUserRequested: _asked,
    ToolHalted: _halted,
    StepCompleted: _step,
    MessagesAdded: _added,
    ChatCompleted: _chat,
}
