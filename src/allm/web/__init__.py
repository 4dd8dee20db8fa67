"""An event stream as a web response: for pages without a library, for the AI SDK, for AG-UI clients.

Example, an endpoint of Starlette or FastAPI::

    @app.post("/chat")
    async def chat(request: Request):
        asked = allm.web.read_ui(await request.body())
        return allm.web.ui_stream(allm.stream(engine, asked.thread))

Any ASGI server runs it, on Trio (with the blocks of `allm`) or on asyncio (with those of `allm.aio`). When the client
goes away, the call ends; a client that does not read stops the provider.
"""

from __future__ import annotations

from allm.web.frames import last_event_id as last_event_id
from allm.web.requests import (
    AgUiRun as AgUiRun,
    UiChat as UiChat,
    read_ag_ui as read_ag_ui,
    read_ui as read_ui,
)
from allm.web.response import EventResponse as EventResponse, Source as Source
from allm.web.responses import ag_ui as ag_ui, sse as sse, text as text, ui_stream as ui_stream
from allm.web.shown import ErrorText as ErrorText

__all__ = [
    "AgUiRun",
    "ErrorText",
    "EventResponse",
    "Source",
    "UiChat",
    "ag_ui",
    "last_event_id",
    "read_ag_ui",
    "read_ui",
    "sse",
    "text",
    "ui_stream",
]
