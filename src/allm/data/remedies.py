"""The reasons of errors, and what a person can do about a failed call by its reason: the last part of `str(error)`."""

from __future__ import annotations

from typing import Any, Literal

__all__ = [
    "REMEDIES",
    "WAITING",
    "AdapterReason",
    "BudgetReason",
    "EngineReason",
    "OptionReason",
    "SessionReason",
    "StreamReason",
    "ToolReason",
    "UnwrapReason",
    "with_facts",
]

AdapterReason = Literal[
    "rate_limited",
    "quota_exhausted",
    "overloaded",
    "provider_unavailable",
    "authentication_failed",
    "invalid_request",
    "not_found",
    "context_length_exceeded",
    "content_filter",
    "timeout",
    "network_error",
    "stream_truncated",
    "malformed_response",
    "malformed_tool_call",
    "answer_too_large",
    "unsupported_feature",
    "no_scripted_response",
    "unknown",
]
EngineReason = Literal[
    "missing_adapter",
    "missing_stream_adapter",
    "missing_model",
    "missing_key",
    "invalid_key",
    "invalid_base_url",
    "invalid_engine",
    "invalid_environment",
    "unknown_provider",
    "tools_not_loaded",
    "all_refused",
]
StreamReason = Literal["not_entered", "closed", "concurrent_iteration", "already_done"]
ToolReason = Literal[
    "unknown_tool", "no_handler", "invalid_arguments", "handler_raised", "timeout", "invalid_return", "encoding_failed"
]
SessionReason = Literal[
    "invalid_status",
    "unknown_tool_call",
    "already_answered",
    "invalid_input",
    "conflict",
    "not_found",
    "unreadable",
    "lease_lost",
    "not_approved",
    "interrupted",
    "unavailable",
]
OptionReason = Literal["unknown_option", "invalid_type", "invalid_value"]
UnwrapReason = Literal["non_stop_finish", "halted", "empty_response", "error"]
BudgetReason = Literal["usd", "tokens", "calls", "no_price"]

REMEDIES: dict[str, str] = {
    "rate_limited": "wait and retry, or send no more than is taken: Engine(limiter=allm.RateLimit())",
    "quota_exhausted": "add credit or raise the limit in the provider's console, or use another key",
    "overloaded": "wait and retry, or use another model",
    "provider_unavailable": "wait and retry; the provider's status page may say more",
    "authentication_failed": "check the key: api_key=, or the provider's environment variable",
    "invalid_request": "change what the provider objects to: an option, a message, or the base_url",
    "not_found": "check the name of the model, or the id that was asked for, and the base_url",
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
