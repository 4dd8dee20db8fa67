"""Hosted tools in Anthropic's words (https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.adapters import HostedForm, Problem, as_list, as_object, own_tools, wire_tools
from allm.data.request import Request
from allm.providers.anthropic.names import PROVIDER

__all__ = ["betas_of", "with_hosted"]

_PLACE = ("country", "region", "city", "timezone")
_LIMITS = ("max_uses", "allowed_domains", "blocked_domains")


def _kept(settings: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: settings[name] for name in names if name in settings}


def _search(settings: Mapping[str, Any]) -> dict[str, Any]:
    place = _kept(settings, _PLACE)
    located = {"user_location": {"type": "approximate", **place}} if place else {}
    return {
        "type": "web_search_20260318",
        "name": "web_search",
        "allowed_callers": ["direct"],  # else the model searches from code that it runs
        **_kept(settings, _LIMITS),
        **located,
    }


def _fetch(settings: Mapping[str, Any]) -> dict[str, Any]:
    cited = {"citations": {"enabled": settings["citations"]}} if "citations" in settings else {}
    kept = _kept(settings, (*_LIMITS, "max_content_tokens"))
    return {"type": "web_fetch_20250910", "name": "web_fetch", **kept, **cited}


def _code(_settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "code_execution_20260521", "name": "code_execution"}


def _mcp(settings: Mapping[str, Any]) -> dict[str, Any]:
    server: dict[str, Any] = {"type": "url", "url": settings["url"], "name": settings["name"]}
    if "authorization" in settings:
        server["authorization_token"] = settings["authorization"]
    if "allowed_tools" in settings:
        server["tool_configuration"] = {"enabled": True, "allowed_tools": settings["allowed_tools"]}
    return server


_FORMS = {
    "web_search": HostedForm(_search, frozenset({*_LIMITS, *_PLACE}), {"context_size": "use max_uses"}),
    "web_fetch": HostedForm(_fetch, frozenset({*_LIMITS, "max_content_tokens", "citations"})),
    "code_execution": HostedForm(
        _code,
        frozenset({"container"}),
        {"file_ids": 'send the files as parts of the message: {"type": "container_upload", "file_id": ...}'},
    ),
    "mcp": HostedForm(
        _mcp,
        frozenset({"url", "name", "authorization", "allowed_tools", "approval"}),
        {"headers": "use authorization"},
    ),
}


def with_hosted(request: Request, problems: list[Problem]) -> Request:
    """The request with its hosted tools in Anthropic's words, among its options."""
    made = wire_tools(request.tools, "Anthropic", PROVIDER, _FORMS, problems)
    options = dict(request.options)
    tools, servers = list[Any](), list[Any]()
    for index, tool in enumerate(request.tools):
        if tool.hosted and getattr(tool, "settings", {}).get("approval") == "always":
            sentence, advice = "is 'always', and Anthropic calls the tools at once", "; use allm.mcp.connect"
            problems.append(Problem(("tools", index, "approval"), "unsupported_option", sentence, advice=advice))
    for tool, wire in made:
        (servers if tool.kind == "mcp" else tools).append(wire)
        if "container" in tool.settings:
            options.setdefault("container", tool.settings["container"])
    if tools:
        options["tools"] = [*tools, *(options.get("tools") or ())]
    if servers:
        options["mcp_servers"] = [*servers, *(options.get("mcp_servers") or ())]
    return attrs.evolve(request, tools=own_tools(request.tools), options=options)


def betas_of(body: Mapping[str, Any]) -> list[str]:
    """The values of `anthropic-beta` that tools in a body need."""
    fetches = any(as_object(tool).get("type") == "web_fetch_20250910" for tool in as_list(body.get("tools")))
    betas = ["web-fetch-2025-09-10"] if fetches else []
    return [*betas, "mcp-client-2025-04-04"] if body.get("mcp_servers") else betas
