"""The closed set of reasons of each class of errors, for `match error.reason`."""

from __future__ import annotations

from typing import Literal

__all__ = [
    "AdapterReason",
    "EngineReason",
    "OptionReason",
    "SessionReason",
    "StreamReason",
    "ToolReason",
    "UnwrapReason",
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
