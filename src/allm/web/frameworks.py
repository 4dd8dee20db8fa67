"""Lets web frameworks that test for their own classes take our response; none of them is imported here."""

from __future__ import annotations

import sys
from typing import Any

from allm.web.response import EventResponse

__all__ = ["response_class"]

_made: list[type[EventResponse]] = []


def response_class() -> type[EventResponse]:
    """The class of responses; if Starlette is loaded, one that it and FastAPI know as theirs."""
    if (quart := sys.modules.get("quart.wrappers.response")) is not None:
        quart.ResponseBody.register(EventResponse)  # for `quart.Response(response)`
    starlette = sys.modules.get("starlette.responses")
    if starlette is None:
        return EventResponse
    if not _made:
        _made.append(_of_starlette(starlette.Response))
    return _made[0]


def _of_starlette(response: Any) -> type[EventResponse]:
    def init(self: Any, *args: Any, **options: Any) -> None:
        EventResponse.__init__(self, *args, **options)
        self.background = None  # FastAPI sets it, and adds headers and cookies
        self.raw_headers = EventResponse._raw_headers(self)

    async def call(self: Any, scope: Any, receive: Any, send: Any) -> None:
        await EventResponse.__call__(self, scope, receive, send)
        if self.background is not None:
            await self.background()

    def raw(self: Any) -> Any:
        return self.raw_headers

    members = {
        "__init__": init,
        "__call__": call,
        "headers": response.headers,
        "_raw_headers": raw,
        "__doc__": EventResponse.__doc__,
    }
    return type("EventResponse", (EventResponse, response), members)
