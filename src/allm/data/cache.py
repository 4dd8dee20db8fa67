"""A prompt that a provider keeps until it is told to forget it, or its time is over."""

from __future__ import annotations

from allm.data.attrs_classes import frozen

__all__ = ["Cache", "CacheContents"]


@frozen(kw_only=True)
class CacheContents:
    """What a cache was made of, as digests of what was sent: the same is not sent again beside it.

    Attributes:
        length: How many messages it has, in the provider's format and without the system prompt.
        messages, system, tools, tool_choice: A digest of each; None: it has none.
    """

    length: int
    messages: str | None = None
    system: str | None = None
    tools: str | None = None
    tool_choice: str | None = None


@frozen(kw_only=True)
class Cache:
    """A prompt that a provider keeps: only the provider that gave it, at the address that gave it, knows its name.

    Attributes:
        provider: Who keeps it, such as `gemini`.
        name: The provider's name of it, such as `cachedContents/...`.
        model: The model that it was made for, and no other.
        endpoint: The address where it was made, where that is not the vendor's own.
        display_name: What it was called when it was made.
        tokens: How many tokens it has, or None if the provider does not say.
        created_at: When it was made, in seconds since 1970 as `time.time()` counts them.
        expires_at: When the provider deletes it, as `created_at`.
        contents: What it was made of; None if another program made it.
    """

    provider: str
    name: str
    model: str
    endpoint: str | None = None
    display_name: str | None = None
    tokens: int | None = None
    created_at: float | None = None
    expires_at: float | None = None
    contents: CacheContents | None = None
