"""What a server sends, before the SDK reads it.

The SDK validates a list of tools as a whole, so that one with a wrong schema would take all others with it: here it
loses those that the protocol does not allow. And it starts a task for each report of progress, which may come in any
order, and after the result: here they are seen in the server's order.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self, cast

from allm.data.attrs_classes import define
from allm.data.problems import shown
from allm.mcp.sdk import Sdk

__all__ = ["screened"]

logger: logging.Logger = logging.getLogger("allm.mcp")


@asynccontextmanager
async def screened(
    transport: AbstractAsyncContextManager[tuple[Any, Any]],
    name: str,
    sdk: Sdk,
    version: Callable[[], str | None],
    report: Callable[[dict[str, Any]], None],
) -> AsyncGenerator[tuple[Any, Any]]:
    """The same transport, without tools that are not valid.

    Args:
        name: The server's.
        version: The version of the protocol that was agreed on.
        report: Called with the parameters of each report of progress.
    """
    async with transport as (read, write):
        yield _Screened(read, name, sdk, version, report), write


@define(eq=False)
class _Screened:
    """A stream that the SDK reads (`mcp.client._transport.ReadStream`)."""

    _inner: Any
    _name: str
    _sdk: Sdk
    _version: Callable[[], str | None]
    _report: Callable[[dict[str, Any]], None]

    async def receive(self) -> Any:
        return self._seen(await self._inner.receive())

    async def aclose(self) -> None:
        await self._inner.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return self._seen(await self._inner.__anext__())

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._inner.__aexit__(*error)  # noqa: ASYNC102  (closes a memory stream, which waits for nothing)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # `last_context`, which some streams have

    def _seen(self, item: Any) -> Any:
        message = getattr(item, "message", None)
        if getattr(message, "method", None) == "notifications/progress":
            self._report(getattr(message, "params", None) or {})
        result = getattr(message, "result", None)
        if isinstance(result, dict) and isinstance(tools := cast("dict[str, Any]", result).get("tools"), list):
            self._screen(cast("dict[str, Any]", result), tools)
        return item

    def _screen(self, result: dict[str, Any], tools: list[Any]) -> None:
        if self._problem(result) is None:
            return
        good: list[Any] = []
        for index, tool in enumerate(tools):
            if (problem := self._problem({**result, "tools": [tool]})) is None:
                good.append(tool)
            else:
                name = tool.get("name") if isinstance(tool, dict) else None
                label = shown(name) if isinstance(name, str) else f"number {index + 1}"
                logger.warning("tool %s of MCP server %r is skipped: %s", label, self._name, problem)
        result["tools"] = good

    def _problem(self, result: dict[str, Any]) -> str | None:
        try:
            self._sdk.methods.validate_server_result("tools/list", self._version() or "2025-11-25", result)
            self._sdk.types.ListToolsResult.model_validate(result, by_name=False)
        except KeyError:
            return None
        except ValueError as error:  # pydantic's
            details: list[dict[str, Any]] = getattr(error, "errors", list)()
            first = details[0] if details else {"loc": (), "msg": str(error)}
            return f"{'.'.join(map(str, first['loc'][2:]))}: {first['msg']}".strip(": ")
        return None
