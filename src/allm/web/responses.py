"""The responses: one function for each format."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any
from uuid import uuid4

from allm.web.ag_ui_events import AgUiEvents
from allm.web.frames import Format
from allm.web.frameworks import response_class
from allm.web.plain import PlainEvents, PlainText
from allm.web.requests import AgUiRun
from allm.web.response import EventResponse, Source
from allm.web.shown import ErrorText, error_text as usual_error_text
from allm.web.ui_chunks import UiChunks

__all__ = ["ag_ui", "sse", "text", "ui_stream"]


def _response(events: Source, new_format: Callable[[], Format], **options: Any) -> EventResponse:
    return response_class()(events, new_format, **options)


def sse(
    events: Source,
    *,
    whole: bool = False,
    error_text: ErrorText = usual_error_text,
    keep_alive: float | None = 15,
    headers: Mapping[str, str] | None = None,
    last_event_id: str | None = None,
) -> EventResponse:
    """Server-sent events for a page without a library: each event as JSON, with its name as `type`.

    Args:
        events: A block or a stream of events, or of `(number, event)` pairs, which get `id:` lines.
        whole: Send all that an event has, as `allm.to_json` writes it, to a program of your own that reads it with
            `allm.from_json`. A page gets what it may show.
        error_text: Makes the text that a visitor reads from an error.
        keep_alive: Seconds of silence after which a comment is sent, so that no proxy closes the connection; None for
            never.
        headers: Further headers of the response.
        last_event_id: The id of the last event that the client has; None takes the header of the request.
    """
    new = partial(PlainEvents, whole=whole, error_text=error_text)
    return _response(events, new, keep_alive=keep_alive, headers=headers, last_event_id=last_event_id)


def text(events: Source, *, headers: Mapping[str, str] | None = None) -> EventResponse:
    """The visible text alone, as `text/plain`. A call that fails cuts the response off.

    Args:
        events: As for `sse`.
        headers: Further headers of the response.
    """
    return _response(events, PlainText, headers=headers)


def ui_stream(
    events: Source,
    *,
    message_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    approve: Collection[str] = (),
    error_text: ErrorText = usual_error_text,
    keep_alive: float | None = 15,
    headers: Mapping[str, str] | None = None,
    last_event_id: str | None = None,
) -> EventResponse:
    """The UI message stream of the AI SDK (npm `ai`, versions 6 and 7), which `useChat` reads.

    Args:
        events: As for `sse`. A page that comes back gets the message from its beginning, so give all events of the
            turn.
        message_id: The id of the message; None leaves it to the page.
        metadata: The metadata of the message, JSON data; the usage joins it at the end.
        approve: Names of manual tools whose calls the user approves; the calls of others are the page's to run.
        error_text, keep_alive, headers, last_event_id: As for `sse`.
    """
    new = partial(UiChunks, message_id=message_id, metadata=metadata, approve=approve, error_text=error_text)
    return _response(events, new, keep_alive=keep_alive, headers=headers, last_event_id=last_event_id)


def ag_ui(
    events: Source,
    run: AgUiRun | None = None,
    *,
    approve: Collection[str] = (),
    error_text: ErrorText = usual_error_text,
    keep_alive: float | None = 15,
    headers: Mapping[str, str] | None = None,
    last_event_id: str | None = None,
) -> EventResponse:
    """The events of the AG-UI protocol (npm `@ag-ui/client`, protocol 1.0).

    Args:
        events: As for `sse`.
        run: What the client has sent, from `read_ag_ui`; without it, the run gets a random id.
        approve: Names of manual tools whose calls the user approves, as interrupts; the calls of others are the
            client's to run.
        error_text, keep_alive, headers, last_event_id: As for `sse`.
    """
    new = partial(
        AgUiEvents,
        thread_id="thread" if run is None else run.thread_id,
        run_id=uuid4().hex if run is None else run.run_id,
        known_calls=[] if run is None else [call.id for message in run.thread.messages for call in message.tool_calls],
        approve=approve,
        error_text=error_text,
    )
    return _response(events, new, keep_alive=keep_alive, headers=headers, last_event_id=last_event_id)
