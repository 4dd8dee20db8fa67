"""One call of a tool: the task in which the SDK makes it, and what the handler that waits for it hears.

The SDK's part runs in a task of the connection. So the handler can leave at once when it is cancelled: the server is
told (`notifications/cancelled`) by the task that stays behind, which the connection owns.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.mcp.elicitation import Elicitation

__all__ = ["Call", "current_call"]

_MOST_WAITING = 64
"""Reports of progress that may wait for a slow consumer; more are left out, as a later one says more."""


@define(eq=False)
class Call:
    """A call that is being made.

    Attributes:
        name: The tool, as the server calls it.
        arguments: As the server gets them.
        answers: What the user has answered to the questions of this call, in their order.
        asked: A question that there is no answer to; the call was cancelled for it.
        result: The SDK's result, if there is one.
        error: What the SDK raised.
        over: The task has ended. With neither result nor error nor question, the connection was lost.
    """

    name: str
    arguments: dict[str, Any]
    answers: list[Any]
    asked: Elicitation | None = attrs.field(default=None, init=False)
    result: Any = attrs.field(default=None, init=False)
    error: Exception | None = attrs.field(default=None, init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _last: float = attrs.field(default=-math.inf, init=False)
    _send: trio.MemorySendChannel[dict[str, Any]] = attrs.field(init=False)
    progress: trio.MemoryReceiveChannel[dict[str, Any]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self.progress = trio.open_memory_channel[dict[str, Any]](_MOST_WAITING)

    async def run(self, client: Any) -> None:
        """Make the call; in a task of the connection."""
        token = current_call.set(self)
        try:
            with self._send, self.scope:
                self.result = await client.call_tool(self.name, self.arguments, progress_callback=self._report)
        except Exception as error:
            self.error = self.error or error
        finally:
            current_call.reset(token)

    async def _report(self, progress: float, total: float | None, message: str | None) -> None:
        # The SDK starts a task for each report, in any order; the protocol has them increase.
        await trio.lowlevel.checkpoint()
        if progress < self._last:
            return
        self._last = progress
        report = {"progress": progress, "total": total, "message": message}
        try:
            self._send.send_nowait({name: value for name, value in report.items() if value is not None})
        except (trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            return

    def ask(self, asked: Elicitation) -> Any:
        """The user's answer, if it is known; else cancel the call for the question, and return None."""
        if self.answers:
            return self.answers.pop(0)
        self.asked = self.asked or asked
        self.scope.cancel()
        return None

    def fail(self, error: Exception) -> None:
        """End the call with an error."""
        self.error = self.error or error
        self.scope.cancel()


current_call: ContextVar[Call | None] = ContextVar("allm_mcp_call", default=None)
"""The call whose task this is, or was started by."""
