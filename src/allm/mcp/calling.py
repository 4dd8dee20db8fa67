"""One call of a tool: the task in which the SDK makes it, and what the handler that waits for it hears.

The SDK's part runs in a task of the connection. So the handler can leave at once when it is cancelled: the server is
told (`notifications/cancelled`) by the task that stays behind, which the connection owns.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.mcp.elicitation import Elicitation
from allm.mcp.sdk import Sdk

__all__ = ["Call", "current_call"]

_MOST_WAITING = 64
"""Reports of progress that may wait for a slow consumer; more are left out, as a later one says more."""

_MOST_ROUNDS = 20
"""Times that a server may ask in one call, or have us wait."""

_ROUND_PAUSE = 0.25
"""Seconds before a call is made again for a server that has no question, but needs more time; as in the SDK."""

_numbers = itertools.count(1)


@define(eq=False)
class Call:
    """A call that is being made.

    Attributes:
        name: The tool, as the server calls it.
        arguments: As the server gets them.
        answers: What the user has answered to the questions of this call, in their order.
        token: What reports of progress name the call by.
        asked: A question that there is no answer to; the call was cancelled for it.
        result: The SDK's result, if there is one.
        error: What the SDK raised.
        over: The task has ended. With neither result nor error nor question, the connection was lost.
    """

    name: str
    arguments: dict[str, Any]
    answers: list[Any]
    token: str = attrs.field(factory=lambda: f"allm-{next(_numbers)}", init=False)
    asked: Elicitation | None = attrs.field(default=None, init=False)
    result: Any = attrs.field(default=None, init=False)
    error: Exception | None = attrs.field(default=None, init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _send: trio.MemorySendChannel[dict[str, Any]] = attrs.field(init=False)
    progress: trio.MemoryReceiveChannel[dict[str, Any]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self.progress = trio.open_memory_channel[dict[str, Any]](_MOST_WAITING)

    async def run(self, client: Any, sdk: Sdk) -> None:
        """Make the call; in a task of the connection."""
        token = current_call.set(self)
        try:
            with self._send, self.scope:
                self.result = await self._rounds(client, sdk)
        except Exception as error:
            self.error = self.error or error
        finally:
            current_call.reset(token)

    async def _rounds(self, client: Any, sdk: Sdk) -> Any:
        """Make the call, again with answers as long as the server has questions.

        The SDK's client does this too, but asks the questions of a round in any order, and the answers have one.
        """
        responses: dict[str, Any] | None = None
        state, is_listed = None, False
        for _ in range(_MOST_ROUNDS):
            try:
                result = await client.session.call_tool(
                    self.name,
                    self.arguments,
                    input_responses=responses,
                    request_state=state,
                    meta={"progressToken": self.token},
                    allow_input_required=True,
                )
            except sdk.Error as error:
                if error.code != sdk.types.HEADER_MISMATCH or is_listed:
                    raise
                is_listed = True  # the schema says which arguments are in headers too, and has changed
                await client.list_tools()
                continue
            if not isinstance(result, sdk.types.InputRequiredResult):
                return result
            state, responses = result.request_state, None
            if result.input_requests:
                responses = {key: await _answered(client, sdk, key, it) for key, it in result.input_requests.items()}
            else:
                await trio.sleep(_ROUND_PAUSE)
        raise sdk.Error(sdk.types.INTERNAL_ERROR, f"it asked for input more than {_MOST_ROUNDS} times")

    def report(self, params: dict[str, Any]) -> None:
        """Hand on a report of progress, by the parameters of its notification."""
        told = {name: params[name] for name in ("progress", "total", "message") if params.get(name) is not None}
        with suppress(trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            self._send.send_nowait(told)

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


async def _answered(client: Any, sdk: Sdk, key: str, request: Any) -> Any:
    meta = request.params.meta if request.params else None
    context = sdk.client.ClientRequestContext(session=client.session, request_id=key, meta=meta)
    answer = await client.session.dispatch_input_request(context, request)
    if isinstance(answer, sdk.types.ErrorData):
        raise sdk.Error.from_error_data(answer)
    return answer


current_call: ContextVar[Call | None] = ContextVar("allm_mcp_call", default=None)
"""The call whose task this is, or was started by."""
