"""Hosted tools in the words of the Responses API and of those who speak it (https://platform.openai.com/docs/guides/tools).

Chat Completions has none, but for OpenRouter's search.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.adapters import HostedForm, Problem, own_tools, wire_tools
from allm.data.request import Request
from allm.providers.openai.presets import OPENAI_ITSELF, Preset

__all__ = ["with_hosted"]

_PLACE = ("country", "region", "city", "timezone")
_IMAGE = ("model", "size", "quality", "output_format", "background")


def _kept(settings: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: settings[name] for name in names if name in settings}


def _search(settings: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": "web_search"}
    if "allowed_domains" in settings:
        fields["filters"] = {"allowed_domains": settings["allowed_domains"]}
    if place := _kept(settings, _PLACE):
        fields["user_location"] = {"type": "approximate", **place}
    if "context_size" in settings:
        fields["search_context_size"] = settings["context_size"]
    return fields


def _search_of_xai(settings: Mapping[str, Any]) -> dict[str, Any]:
    names = {"allowed_domains": "allowed_domains", "blocked_domains": "excluded_domains"}
    filters = {wire: settings[name] for name, wire in names.items() if name in settings}
    return {"type": "web_search", **({"filters": filters} if filters else {})}


def _code(settings: Mapping[str, Any]) -> dict[str, Any]:
    container: Any = settings.get("container") or {"type": "auto", **_kept(settings, ("file_ids",))}
    return {"type": "code_interpreter", "container": container}


def _files(settings: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": "file_search", "vector_store_ids": settings["stores"]}
    if "max_results" in settings:
        fields["max_num_results"] = settings["max_results"]
    return {**fields, **_kept(settings, ("filters",))}


def _image(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "image_generation", **_kept(settings, _IMAGE)}


def _mcp(settings: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": "mcp", "server_label": settings["name"], "server_url": settings["url"]}
    if "approval" in settings:
        fields["require_approval"] = settings["approval"]
    return {**fields, **_kept(settings, ("authorization", "headers", "allowed_tools"))}


def _computer(settings: Mapping[str, Any]) -> dict[str, Any]:
    if not settings:
        return {"type": "computer"}
    names = {"width": "display_width", "height": "display_height"}
    size = {wire: settings[name] for name, wire in names.items() if name in settings}
    return {"type": "computer_use_preview", "environment": "browser", **size}


_BLOCKED = {"blocked_domains": "use allowed_domains"}
_USES = {"max_uses": 'use options={"max_tool_calls": n}, which counts the calls of all hosted tools'}
_SEARCH = HostedForm(_search, frozenset({"allowed_domains", "context_size", *_PLACE}), {**_BLOCKED, **_USES})
_FILE_SEARCH = HostedForm(_files, frozenset({"stores", "max_results", "filters"}))
_MCP_SETTINGS = frozenset({"url", "name", "authorization", "headers", "allowed_tools", "approval"})
_OPENAI = {
    "web_search": _SEARCH,
    "code_execution": HostedForm(_code, frozenset({"container", "file_ids"})),
    "file_search": _FILE_SEARCH,
    "image_generation": HostedForm(_image, frozenset(_IMAGE)),
    "mcp": HostedForm(_mcp, _MCP_SETTINGS),
    "computer": HostedForm(_computer, frozenset({"width", "height"})),
}
_XAI = {
    "web_search": HostedForm(_search_of_xai, frozenset({"allowed_domains", "blocked_domains"})),
    "code_execution": HostedForm(lambda _: {"type": "code_interpreter"}),
    "file_search": _FILE_SEARCH,
    "mcp": HostedForm(_mcp, _MCP_SETTINGS - {"approval"}),
}
_OF_RESPONSES = {
    "xai": _XAI,
    "deepseek": {"web_search": HostedForm(lambda _: {"type": "web_search"})},
    **dict.fromkeys(OPENAI_ITSELF, _OPENAI),
}


def _openrouter(settings: Mapping[str, Any]) -> dict[str, Any]:
    parameters = _kept(settings, ("max_uses",))
    return {"type": "openrouter:web_search", **({"parameters": parameters} if parameters else {})}


_OPENROUTER = {"web_search": HostedForm(_openrouter, frozenset({"max_uses"}))}
_INCLUDE = {
    "web_search": "web_search_call.action.sources",
    "file_search": "file_search_call.results",
    "code_execution": "code_interpreter_call.outputs",
}
"""What has to be asked for to come with the calls of a tool."""


def with_hosted(request: Request, preset: Preset, problems: list[Problem], *, responses: bool) -> Request:
    """The request with its hosted tools in the service's words, among its options."""
    name, service = preset.name, preset.name
    if name == "openrouter":
        forms = _OPENROUTER
    elif responses:
        forms = _OF_RESPONSES.get(name, {})
    else:
        forms, service = {}, f"{name} with Chat Completions"
    if not responses and name in _OF_RESPONSES:
        sentence, advice = "runs at the service, which only the Responses API has", '; use endpoint="responses"'
        problems += [
            Problem(("tools", index), "unsupported_tool", sentence, advice=advice)
            for index, tool in enumerate(request.tools)
            if tool.hosted
        ]
        return attrs.evolve(request, tools=own_tools(request.tools))
    made = wire_tools(request.tools, service, name, forms, problems)
    options = dict(request.options)
    options["tools"] = [*(wire for _, wire in made), *(options.get("tools") or ())]
    include = [_INCLUDE[tool.kind] for tool, _ in made if tool.kind in _INCLUDE]
    if include and responses and name in OPENAI_ITSELF:
        options["include"] = [*include, *(options.get("include") or ())]
    choice = next((wire["type"] for tool, wire in made if tool.name == request.tool_choice), None)
    changes: dict[str, Any] = {} if choice is None else {"tool_choice": {"type": choice}}
    return attrs.evolve(request, tools=own_tools(request.tools), options=options, **changes)
