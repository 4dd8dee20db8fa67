"""What a person can do about a failed call, by its reason: the last part of `str(error)`."""

from __future__ import annotations

from typing import Any

__all__ = ["REMEDIES", "WAITING", "with_facts"]

REMEDIES: dict[str, str] = {
    "rate_limited": "wait and retry, or send fewer requests at once: Engine(limiter=trio.CapacityLimiter(n))",
    "quota_exhausted": "add credit or raise the limit in the provider's console, or use another key",
    "overloaded": "wait and retry, or use another model",
    "provider_unavailable": "wait and retry; the provider's status page may say more",
    "authentication_failed": "check the key: api_key=, or the provider's environment variable",
    "invalid_request": "change what the provider objects to: an option, a message, or the base_url",
    "not_found": "check the model's name, and the base_url",
    "context_length_exceeded": "send less: a shorter conversation, smaller tool results, or a model with more context",
    "content_filter": "the provider's safety rules stopped it: send something else",
    "timeout": "allow more time (request_timeout, first_event_timeout, stream_timeout), or retry",
    "network_error": "check the network, the base_url and the proxy settings (HTTPS_PROXY, NO_PROXY)",
    "stream_truncated": "the connection ended early: retry; the response keeps what had arrived",
    "unsupported_feature": "leave the feature out, or use another model",
}
"""One sentence for each reason of an `AdapterError` whose message does not say it."""

WAITING = frozenset({"overloaded", "provider_unavailable"})
"""Reasons whose sentence holds only for an error that may be gone later."""


def with_facts(text: str, error: Any, remedy: str | None) -> str:
    """The text, with the facts of an `AdapterError` that a provider's support asks for, and what can be done."""
    facts = [
        f"{name} {value}"
        for name, value in (
            ("provider", error.provider),
            ("model", error.model),
            ("status", error.status),
            ("reason", error.reason),
            ("request id", error.request_id),
            ("host", error.host),
        )
        if value is not None
    ]
    return f"{text} ({', '.join(facts)}){f'; {remedy}' if remedy else ''}"
