"""The tools of a server as `Tool`s: names and schemas that providers take, and what the server says about each.

https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool-names: 1 to 128 letters, digits, `_`, `-`,
`.` and `/`. The vendors take fewer, and at most 64.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import trio

from allm.data.content import ToolCall
from allm.data.errors import EngineError
from allm.data.json.text import dumps
from allm.data.problems import shown
from allm.data.tool import RESERVED_NAMES, Tool, tool_problems
from allm.mcp.sdk import Sdk

__all__ = ["MAX_TOOLS", "RunTool", "as_tools", "list_tools", "may_change", "may_destroy"]

logger: logging.Logger = logging.getLogger("allm.mcp")

MAX_TOOLS = 20_000
"""More than any server has: the bound on a list that never ends."""

_MAX_PAGES = 1_000
_LONGEST = 64
_CHECKED_AT_ONCE = 50
"""Tools whose schemas are checked, for about 10 ms, before other tasks have a turn."""

RunTool = Callable[..., Awaitable[Any]]
"""`fn(name, arguments, context)` calls a tool by the server's own name."""


async def list_tools(client: Any, server: str) -> list[Any]:
    """All pages of a server's list.

    Raises:
        EngineError: `tools_not_loaded`: the list does not end.
        Exception: The server answered with an error.
    """
    if client.server_capabilities.tools is None and client.protocol_version < "2026":
        return []  # it says that it has none, and may not answer
    found: list[Any] = []
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(_MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if not cursor:
            return found
        if cursor in seen or len(found) > MAX_TOOLS:
            break
        seen.add(cursor)
    what = f"the MCP server {server!r} lists tools without end ({len(found):,} so far): tell who maintains it"
    raise EngineError(what, reason="tools_not_loaded")


async def as_tools(listed: Iterable[Any], server: str, run: RunTool, sdk: Sdk, asking: frozenset[str]) -> list[Tool]:
    """The tools that can be used; each of the others is left out with a warning.

    Args:
        asking: The names of tools that have asked the user something, and so take answers.
    """
    from allm.mcp.elicitation import with_answers

    taken: dict[str, str] = {}
    checked: dict[bytes, str | None] = {}
    tools: list[Tool] = []
    names = {tool.name for tool in listed}
    for index, tool in enumerate(listed):
        if index % _CHECKED_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
        if getattr(tool.execution, "task_support", None) == "required":  # of 2025-11-25 only
            _skip(tool, server, "it can only be run as a task, which is not supported")
            continue
        name = _safe_name(tool.name, names)
        if name in taken:
            _skip(tool, server, f"another one has the name {shown(taken[name])}")
            continue
        taken[name] = tool.name
        schema = dict(tool.input_schema)
        made = Tool(
            name,
            tool.description or tool.title or "",
            with_answers(schema) if tool.name in asking else schema,
            handler=functools.partial(run, tool.name),
            metadata={"mcp": _facts(tool, server)},
        )
        if (problem := _problem(made, schema, sdk, checked)) is not None:
            _skip(tool, server, problem)
            continue
        tools.append(made)
    return tools


def _skip(tool: Any, server: str, why: str) -> None:
    logger.warning("tool %s of MCP server %r is skipped: %s", shown(tool.name), server, why)


def _safe_name(name: str, names: set[str]) -> str:
    """The name as providers take it. Two names stay two: one that had to be changed has a mark where it is not free."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name) or "_"
    if safe in RESERVED_NAMES:
        safe += "_"
    if len(safe) > _LONGEST or (safe != name and safe in names):
        mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
        safe = f"{safe[: _LONGEST - 7]}_{mark}"
    return safe


def _problem(tool: Tool, schema: dict[str, Any], sdk: Sdk, checked: dict[bytes, str | None]) -> str | None:
    """Why no provider would take it, else None: one bad schema makes them refuse a request with all its tools."""
    if problems := tool_problems(tool):
        return "; ".join(f"{'.'.join(map(str, one.path))} {one.sentence}" for one in problems)
    try:
        key = dumps(schema)
        if key not in checked:
            checked[key] = _schema_problem(schema, sdk)
    except Exception as error:  # it is too deep
        return f"its schema is not valid: {error}"
    return checked[key]


def _schema_problem(schema: dict[str, Any], sdk: Sdk) -> str | None:
    validators = sdk.validators
    try:
        validators.validator_for(schema, default=validators.Draft202012Validator).check_schema(schema)
    except Exception as error:  # also of a schema that is too deep, or names an unknown dialect
        return f"its schema is not valid: {getattr(error, 'message', error)}"[:500]
    return None


def _facts(tool: Any, server: str) -> dict[str, Any]:
    given = {} if tool.annotations is None else tool.annotations.model_dump(by_alias=True, exclude_none=True)
    facts = {"server": server, "name": tool.name, "title": tool.title, "annotations": given}
    return {name: value for name, value in facts.items() if value not in (None, {})}


def _annotations(tool: Tool) -> dict[str, Any]:
    facts: Any = tool.metadata.get("mcp", {})
    found: dict[str, Any] = facts.get("annotations", {})
    return found


def may_change(tool: Tool, _call: ToolCall) -> bool:
    """Whether a tool of an MCP server may change something: it does not say that it only reads (`readOnlyHint`).

        toolset.approval(allm.mcp.may_change)

    Hints are the server's word: where you do not trust the server, ask for approval of all its tools.
    """
    return _annotations(tool).get("readOnlyHint") is not True


def may_destroy(tool: Tool, call: ToolCall) -> bool:
    """Whether it may also delete or overwrite: it does not say that it only adds either (`destructiveHint`)."""
    return may_change(tool, call) and _annotations(tool).get("destructiveHint") is not False
