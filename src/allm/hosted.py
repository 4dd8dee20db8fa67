"""Tools that run at the provider: values for `tools=`, beside tools of your own.

Example::

    await allm.generate(engine, "What is new in Trio?", tools=[allm.hosted.web_search(max_uses=3)])

What a provider lacks, a tool or a setting of it, is a `ValidationError` before anything is sent. What the model did is
in `response.hosted_calls`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from allm.data.content import HostedStatus
from allm.data.errors import ValidationError
from allm.data.hosted_answers import approve, deny, screenshot
from allm.data.hosted_tool import HostedTool
from allm.data.problems import Problem, shown

__all__ = [
    "HostedStatus",
    "HostedTool",
    "approve",
    "code_execution",
    "computer",
    "deny",
    "file_search",
    "image_generation",
    "mcp",
    "screenshot",
    "url_context",
    "web_search",
]


def web_search(
    *,
    allowed_domains: Iterable[str] | None = None,
    blocked_domains: Iterable[str] | None = None,
    max_uses: int | None = None,
    context_size: Literal["low", "medium", "high"] | None = None,
    country: str | None = None,
    region: str | None = None,
    city: str | None = None,
    timezone: str | None = None,
    metadata: Mapping[str, Mapping[str, Any]] | None = None,
) -> HostedTool:
    """Search the web (OpenAI, Anthropic, Gemini, xAI, DeepSeek, OpenRouter).

    Args:
        allowed_domains: Search these only, such as `"trio.readthedocs.io"`.
        blocked_domains: Search everything but these; not with `allowed_domains`.
        max_uses: The most searches of one answer.
        context_size: How much of what was found the model reads (OpenAI).
        country: Where the user is: two letters, `"CH"`.
        region: Part of the country.
        city: Where the user is.
        timezone: The user's, `"Europe/Zurich"`.
        metadata: Fields in a provider's own words, under its name; they win.

    Raises:
        ValidationError: Both kinds of domains are given, or a setting has an impossible value.
    """
    if allowed_domains is not None and blocked_domains is not None:
        sentence = "is given, and so is allowed_domains; expected one of them"
        raise ValidationError([Problem(("blocked_domains",), "conflict", sentence)], reason="invalid_tool")
    return _tool(
        "web_search",
        metadata,
        allowed_domains=_texts("allowed_domains", allowed_domains),
        blocked_domains=_texts("blocked_domains", blocked_domains),
        max_uses=_count("max_uses", max_uses),
        context_size=context_size,
        country=country,
        region=region,
        city=city,
        timezone=timezone,
    )


def url_context(
    *,
    allowed_domains: Iterable[str] | None = None,
    blocked_domains: Iterable[str] | None = None,
    max_uses: int | None = None,
    max_content_tokens: int | None = None,
    citations: bool | None = None,
    metadata: Mapping[str, Mapping[str, Any]] | None = None,
) -> HostedTool:
    """Read web pages whose addresses are in the conversation (Gemini; Anthropic, which calls it web fetch).

    Args:
        allowed_domains: Read these only.
        blocked_domains: Read everything but these; not with `allowed_domains`.
        max_uses: The most pages of one answer.
        max_content_tokens: The most tokens of one page.
        citations: Whether the answer names the places that it relies on.
        metadata: Fields in a provider's own words, under its name; they win.

    Raises:
        ValidationError: Both kinds of domains are given, or a setting has an impossible value.
    """
    if allowed_domains is not None and blocked_domains is not None:
        sentence = "is given, and so is allowed_domains; expected one of them"
        raise ValidationError([Problem(("blocked_domains",), "conflict", sentence)], reason="invalid_tool")
    return _tool(
        "web_fetch",
        metadata,
        allowed_domains=_texts("allowed_domains", allowed_domains),
        blocked_domains=_texts("blocked_domains", blocked_domains),
        max_uses=_count("max_uses", max_uses),
        max_content_tokens=_count("max_content_tokens", max_content_tokens),
        citations=citations,
    )


def code_execution(
    *,
    container: str | None = None,
    file_ids: Iterable[str] | None = None,
    metadata: Mapping[str, Mapping[str, Any]] | None = None,
) -> HostedTool:
    """Run code in a sandbox of the provider (OpenAI, Anthropic, Gemini, xAI).

    Args:
        container: The id of a container of an earlier answer, to go on in it.
        file_ids: Files that the code can read (OpenAI).
        metadata: Fields in a provider's own words, under its name; they win.

    Raises:
        ValidationError: A setting has an impossible value.
    """
    return _tool("code_execution", metadata, container=container, file_ids=_texts("file_ids", file_ids))


def file_search(
    stores: str | Iterable[str],
    *,
    max_results: int | None = None,
    filters: Any = None,
    metadata: Mapping[str, Mapping[str, Any]] | None = None,
) -> HostedTool:
    """Search files that were put into a store of the provider (OpenAI, xAI: vector stores; Gemini).

    Args:
        stores: The ids or names of the stores.
        max_results: The most passages that the model reads.
        filters: Which files, in the provider's own form: a mapping (OpenAI), a text (Gemini).
        metadata: Fields in a provider's own words, under its name; they win.

    Raises:
        ValidationError: A setting has an impossible value.
    """
    names = _texts("stores", [stores] if isinstance(stores, str) else stores)
    return _tool("file_search", metadata, stores=names, max_results=_count("max_results", max_results), filters=filters)


def image_generation(
    *,
    model: str | None = None,
    size: str | None = None,
    quality: Literal["low", "medium", "high", "auto"] | None = None,
    output_format: Literal["png", "jpeg", "webp"] | None = None,
    background: Literal["transparent", "opaque", "auto"] | None = None,
    metadata: Mapping[str, Mapping[str, Any]] | None = None,
) -> HostedTool:
    """Draw images in an answer (OpenAI). Each is an `ImagePart` of the answer's message.

    Args:
        model: The model that draws.
        size: Width and height in pixels, `"1024x1024"`.
        quality: How much is spent on it.
        output_format: The type of the file.
        background: Of the image.
        metadata: Fields in a provider's own words, under its name; they win.
    """
    return _tool(
        "image_generation",
        metadata,
        model=model,
        size=size,
        quality=quality,
        output_format=output_format,
        background=background,
    )


def mcp(
    url: str,
    *,
    name: str,
    authorization: str | None = None,
    headers: Mapping[str, str] | None = None,
    allowed_tools: Iterable[str] | None = None,
    approval: Literal["always", "never"] | None = None,
    metadata: Mapping[str, Mapping[str, Any]] | None = None,
) -> HostedTool:
    """Let the provider call the tools of an MCP server that it can reach (OpenAI, Anthropic, xAI).

    For a server that only your program reaches, use `allm.mcp.connect`.

    Args:
        url: Its address.
        name: What the server is called in the answer.
        authorization: A token for it, never shown or serialised.
        headers: Sent to the server, and kept as the token is.
        allowed_tools: Which of its tools the model may call; all of them by default.
        approval: `"never"` calls them at once. `"always"` (OpenAI) ends the answer with a call in
            `pending_hosted_calls`, whose answer is `approve(call)` or `deny(call)`.
        metadata: Fields in a provider's own words, under its name; they win.

    Raises:
        ValidationError: A setting has an impossible value.
    """
    secrets = {"authorization": authorization, "headers": None if headers is None else dict(headers)}
    tool = _tool(
        "mcp",
        metadata,
        name=name,
        url=url,
        allowed_tools=_texts("allowed_tools", allowed_tools),
        approval=approval,
    )
    given = {key: value for key, value in secrets.items() if value is not None}
    return attrs.evolve(tool, secrets=given) if given else tool


def computer(
    *, width: int | None = None, height: int | None = None, metadata: Mapping[str, Mapping[str, Any]] | None = None
) -> HostedTool:
    """Let the model use a computer that you run (OpenAI): its calls are in `pending_hosted_calls`.

    The answer to each is `screenshot(call, image)`.

    Args:
        width: Of the screen in pixels.
        height: Of the screen in pixels.
        metadata: Fields in a provider's own words, under its name; they win.

    Raises:
        ValidationError: A setting has an impossible value.
    """
    return _tool("computer", metadata, width=_count("width", width), height=_count("height", height))


def _tool(kind: str, metadata: Mapping[str, Mapping[str, Any]] | None, /, **settings: Any) -> HostedTool:
    given = {name: value for name, value in settings.items() if value is not None}
    name = str(given.get("name", kind)) if kind == "mcp" else kind
    raw = {provider: dict(fields) for provider, fields in (metadata or {}).items()}
    return HostedTool(name, "", kind=kind, settings=given, metadata=raw)


def _texts(name: str, values: Iterable[str] | None) -> list[str] | None:
    if values is None:
        return None
    found = [values] if isinstance(values, str) else list(values)
    wrong = [
        Problem((name, i), "invalid_text", f"is {shown(v)}; expected a text") for i, v in enumerate(found) if not v
    ]
    if wrong or not found:
        raise ValidationError(wrong or [Problem((name,), "empty", "has nothing in it")], reason="invalid_tool")
    return found


def _count(name: str, value: int | None) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        sentence = f"is {shown(value)}; expected a whole number, 1 or more"
        raise ValidationError([Problem((name,), "must_be_positive", sentence)], reason="invalid_tool")
    return value
