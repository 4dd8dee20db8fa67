"""Hosted tools in Gemini's words (https://ai.google.dev/api/caching#Tool)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.adapters import HostedForm, Problem, own_tools, wire_tools
from allm.data.request import Request

__all__ = ["with_hosted"]


def _files(settings: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"fileSearchStoreNames": settings["stores"]}
    if "max_results" in settings:
        fields["topK"] = settings["max_results"]
    if "filters" in settings:
        fields["metadataFilter"] = settings["filters"]
    return {"fileSearch": fields}


_DOMAINS = "name the site in the prompt, or use OpenAI, Anthropic or xAI"
_FORMS = {
    "web_search": HostedForm(
        lambda _: {"googleSearch": {}},
        advice={"allowed_domains": _DOMAINS, "blocked_domains": _DOMAINS},
    ),
    "web_fetch": HostedForm(lambda _: {"urlContext": {}}),
    "code_execution": HostedForm(
        lambda _: {"codeExecution": {}}, advice={"file_ids": "send the files as parts of the message"}
    ),
    "file_search": HostedForm(_files, frozenset({"stores", "max_results", "filters"})),
}


def with_hosted(request: Request, problems: list[Problem], *, is_new: bool) -> Request:
    """The request with its hosted tools in Gemini's words, among its options.

    Args:
        request: As it was made.
        problems: Takes what Gemini does not have.
        is_new: The model is Gemini 3 or newer, which takes them beside functions.
    """
    made = wire_tools(request.tools, "Gemini", "gemini", _FORMS, problems)
    own, options = own_tools(request.tools), dict(request.options)
    if own and made and not is_new:
        place = next(index for index, tool in enumerate(request.tools) if tool.hosted)
        sentence = "is a tool of Gemini's beside functions, which only Gemini 3 and newer take; leave one kind out"
        problems.append(Problem(("tools", place), "unsupported_capability", sentence))
    options["tools"] = [*(wire for _, wire in made), *(options.get("tools") or ())]
    if own and made and is_new:  # else the calls of both kinds cannot go back together
        config = options.get("toolConfig")
        given: dict[str, Any] = dict(config) if isinstance(config, Mapping) else {}
        options["toolConfig"] = {"includeServerSideToolInvocations": True, **given}
    return attrs.evolve(request, tools=own, options=options)
