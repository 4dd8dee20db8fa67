"""Items of tools that run at the service, as calls with what was asked and what came of it.

https://platform.openai.com/docs/guides/tools. Most are one item, which has its result. Those of a shell and of a tool
search are two, which have the same `call_id`. An item goes back as it came. A call of a computer, and one that waits
for approval, has its other item from the caller: `answer_item`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from allm.adapters import as_object, as_objects, as_text, parse_arguments
from allm.data.content import HostedCall, HostedStatus
from allm.providers.openai.shared_encode import CUSTOM_CALL, IMAGE_CALL

__all__ = ["STARTED", "answer_item", "hosted_call", "kind_of"]

_STATUSES: frozenset[Any] = frozenset(get_args(HostedStatus))
_Read = Callable[[Mapping[str, Any]], tuple[dict[str, Any] | None, Any]]


def _search(item: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Any]:
    action = as_object(item.get("action"))
    raw = as_text(item.get("arguments"))
    if not action and raw is not None:  # xAI's search of X: which of its tools, and what that was given
        given = parse_arguments(raw)
        return {"name": item.get("name"), **({"arguments": raw} if given is None else given)}, None
    sources = action.get("sources")
    asked = {name: value for name, value in action.items() if name != "sources" and value is not None}
    return asked or None, None if sources is None else {"sources": sources}


def _files(item: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Any]:
    results = item.get("results")
    return {"queries": item.get("queries")}, None if results is None else {"results": results}


def _code(item: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Any]:
    outputs = item.get("outputs")
    logs = [text for output in as_objects(outputs) if (text := as_text(output.get("logs"))) is not None]
    images = [url for output in as_objects(outputs) if (url := as_text(output.get("url"))) is not None]
    found: dict[str, Any] = {"container_id": item.get("container_id")}
    if outputs is not None:
        found |= {"stdout": "".join(logs), "images": images}
    return {"code": item.get("code")}, {name: value for name, value in found.items() if value is not None} or None


def _mcp(item: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Any]:
    raw = as_text(item.get("arguments")) or ""
    given = parse_arguments(raw)
    asked = {"server": item.get("server_label"), "name": item.get("name"), "arguments": raw if given is None else given}
    if item.get("error") is not None:
        return asked, {"error": item["error"]}
    return asked, None if item.get("output") is None else {"content": item["output"]}


def _listing(item: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Any]:
    names = [tool.get("name") for tool in as_objects(item.get("tools"))]
    output: dict[str, Any] = {"tools": names}
    return {"server": item.get("server_label")}, {"error": item["error"]} if item.get("error") else output


def _computer(item: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Any]:
    kept = ("action", "actions", "pending_safety_checks")
    return {name: item[name] for name in kept if item.get(name) is not None}, None


def _shell(item: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Any]:
    if item.get("output") is not None:
        return None, {"output": item["output"]}
    return as_object(item.get("action")) or None, None


def _tools(item: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Any]:
    if item.get("tools") is not None:
        return None, {"tools": [tool.get("name") for tool in as_objects(item["tools"])]}
    given = item.get("arguments")
    return (as_object(given) or parse_arguments(given if isinstance(given, str) else "")), None


def _custom(item: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Any]:
    raw = as_text(item.get("input")) or ""
    given = parse_arguments(raw)
    return {"input": raw} if given is None else given, None


def _image(item: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Any]:
    prompt = as_text(item.get("revised_prompt"))
    return None if prompt is None else {"prompt": prompt}, {"error": item["error"]} if item.get("error") else None


_TYPES: dict[str, tuple[str, _Read]] = {
    "web_search_call": ("web_search", _search),
    "x_search_call": ("x_search", _search),
    "file_search_call": ("file_search", _files),
    "code_interpreter_call": ("code_execution", _code),
    "mcp_call": ("mcp", _mcp),
    "mcp_approval_request": ("mcp", _mcp),
    "mcp_list_tools": ("mcp_list_tools", _listing),
    "computer_call": ("computer", _computer),
    "shell_call": ("shell", _shell),
    "shell_call_output": ("shell", _shell),
    "tool_search_call": ("tool_search", _tools),
    "tool_search_output": ("tool_search", _tools),
    CUSTOM_CALL: ("", _custom),
    IMAGE_CALL: ("image_generation", _image),
}
STARTED = frozenset(_TYPES) - {IMAGE_CALL, CUSTOM_CALL}
"""Types of items that are announced as soon as they begin; an image is a part of its own, and a custom tool may be the
caller's."""
_FOR_CALLER = frozenset({"mcp_approval_request", "computer_call"})
_BEGUN = frozenset({"shell_call", "tool_search_call"})
_PAIRED = _BEGUN | {"computer_call"}


def kind_of(item_type: str, item: Mapping[str, Any]) -> str:
    """The kind of the tool of an item."""
    name = as_text(item.get("name")) or "unknown"
    own = "x_search" if name.startswith("x_") else name
    return _TYPES[item_type][0] or own


def hosted_call(provider: str, call_id: str, item: Mapping[str, Any]) -> HostedCall | None:
    """An item as a call; None if it is of no tool that is known.

    Args:
        call_id: For one whose call and result are not two items.
    """
    kind = str(item.get("type"))
    if kind not in _TYPES:
        return None
    asked, output = _TYPES[kind][1](item)
    sent: Any = item.get("status")
    status: HostedStatus = sent if sent in _STATUSES else "completed"
    if kind in _FOR_CALLER:
        status = "requires_action"
    elif kind in _BEGUN:
        status = "in_progress"
    elif isinstance(output, dict) and "error" in output:
        status = "failed"
    paired = kind in _PAIRED or kind.endswith("_output")
    own = as_text(item.get("call_id")) if paired else None
    return HostedCall(own or call_id, kind_of(kind, item), status, asked, output, item, provider=provider)


def answer_item(answer: HostedCall) -> dict[str, Any]:
    """The item of what the caller has answered; see `allm.hosted.approve` and `screenshot`."""
    given = as_object(answer.output)
    if answer.kind != "computer":
        said = {name: given[name] for name in ("reason",) if given.get(name) is not None}
        return {
            "type": "mcp_approval_response",
            "approval_request_id": answer.id,
            "approve": given.get("approved") is True,
            **said,
        }
    screen = {name: given[name] for name in ("image_url", "file_id") if name in given}
    checks = given.get("acknowledged_safety_checks")
    return {
        "type": "computer_call_output",
        "call_id": answer.id,
        "output": {"type": "computer_screenshot", **screen},
        **({"acknowledged_safety_checks": checks} if checks else {}),
    }
