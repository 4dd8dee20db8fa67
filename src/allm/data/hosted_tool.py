"""`HostedTool`: a tool that runs at the provider, and how the settings of one become a provider's own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs

from allm.data.attrs_classes import frozen
from allm.data.problems import Problem, nearest
from allm.data.tool import Tool

__all__ = ["HostedForm", "HostedTool", "own_tools", "wire_tools"]


@frozen
class HostedTool(Tool):
    """A tool that runs at the provider; the functions of `allm.hosted` make one.

    A model's use of it is a `HostedCall` in the answer, never a `ToolCall`.

    Attributes:
        kind: What it does: `web_search`, `web_fetch`, `code_execution`, `file_search`, `image_generation`, `mcp`,
            `computer`.
        settings: Those that were given, by the names of the arguments of its function.
        secrets: Settings that are neither shown nor serialised, such as a token.
        metadata: Fields in a provider's own words, under its name, which win: `{"anthropic": {"type":
            "web_search_20250305"}}`.
    """

    hosted: ClassVar[bool] = True
    kind: str = attrs.field(default="", kw_only=True)
    secrets: dict[str, Any] | None = attrs.field(default=None, kw_only=True, repr=False, hash=False)
    settings: dict[str, Any] = attrs.field(factory=dict[str, Any], kw_only=True, hash=False)


@frozen
class HostedForm:
    """What a provider has for a kind of hosted tool.

    Attributes:
        build: Makes its own words of the settings.
        takes: The settings that it has.
        advice: What to use in place of one that it lacks, by the name of the setting.
    """

    build: Callable[[Mapping[str, Any]], dict[str, Any]]
    takes: frozenset[str] = frozenset()
    advice: Mapping[str, str] = attrs.field(factory=dict[str, str])


def own_tools(tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """The tools that the caller runs."""
    return tuple(tool for tool in tools if not isinstance(tool, HostedTool))


def wire_tools(
    tools: tuple[Tool, ...], service: str, provider: str, forms: Mapping[str, HostedForm], problems: list[Problem]
) -> list[tuple[HostedTool, dict[str, Any]]]:
    """The hosted tools, each with the provider's own words for it.

    Args:
        tools: All tools of the request.
        service: The provider's name in sentences.
        provider: Its short name, under which tools have fields in its own words.
        forms: What it has, by kind.
        problems: Takes what it does not have.
    """
    made: list[tuple[HostedTool, dict[str, Any]]] = []
    for index, tool in enumerate(tools):
        if not isinstance(tool, HostedTool):
            continue
        form = forms.get(tool.kind)
        if form is None:
            has = f"it has {', '.join(sorted(map(_function, forms)))}" if forms else "it runs no tools"
            what = f"is {_function(tool.kind)}, which {service} does not have"
            sentence = f"{what}; {has}. Use a tool of your own for it"
            problems.append(Problem(("tools", index), "unsupported_tool", sentence))
            continue
        settings = {**tool.settings, **(tool.secrets or {})}
        for name in settings.keys() - form.takes:
            near = nearest(name, form.takes, 1)
            instead = form.advice.get(name) or (f"use {near[0]}" if near else "leave it out")
            sentence = f"is a setting that {_function(tool.kind)} of {service} does not have; {instead}"
            problems.append(Problem(("tools", index, name), "unsupported_option", sentence))
        raw = tool.metadata.get(provider)
        made.append((tool, {**form.build(settings), **(raw if isinstance(raw, Mapping) else {})}))
    return made


def _function(kind: str) -> str:
    """The name under which `allm.hosted` makes tools of a kind."""
    return "url_context" if kind == "web_fetch" else kind
