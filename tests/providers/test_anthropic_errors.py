"""Anthropic's error answers in the library's words."""

from __future__ import annotations

import pytest

from allm.providers.anthropic.errors import classify, stream_error

INVALID = "invalid_request_error"


def envelope(kind, message="What happened."):
    """Anthropic's."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "body", "reason", "retryable"),
    [
        (400, envelope(INVALID), "invalid_request", False),
        (400, envelope(INVALID, "prompt is too long: 9 tokens > 8 maximum"), "context_length_exceeded", False),
        (
            400,
            envelope(INVALID, "input length and `max_tokens` exceed context limit: 9 + 9 > 9"),
            "context_length_exceeded",
            False,
        ),
        (
            400,
            envelope("exceed_context_size_error", "the request exceeds the available context size"),
            "context_length_exceeded",
            False,
        ),
        (400, envelope(INVALID, "Your credit balance is too low to access the API."), "quota_exhausted", False),
        (400, envelope(INVALID, "You have reached your specified API usage limits."), "quota_exhausted", False),
        (400, envelope(INVALID, "Output blocked by content filtering policy"), "content_filter", False),
        (401, envelope("authentication_error"), "authentication_failed", False),
        (401, envelope("api_error"), "authentication_failed", False),  # Ollama calls every failure so
        (404, envelope("api_error"), "not_found", False),
        (402, envelope("billing_error"), "quota_exhausted", False),
        (403, envelope("permission_error"), "authentication_failed", False),
        (404, envelope("not_found_error"), "not_found", False),
        (409, envelope("conflict_error"), "provider_unavailable", True),
        (413, envelope("request_too_large"), "invalid_request", False),
        (422, {"detail": "no"}, "invalid_request", False),
        (429, envelope("rate_limit_error"), "rate_limited", True),
        (500, envelope("api_error"), "provider_unavailable", True),
        (500, envelope("overloaded_error"), "overloaded", True),
        (503, "upstream connect error", "provider_unavailable", True),
        (504, envelope("timeout_error"), "timeout", True),
        (529, envelope("overloaded_error"), "overloaded", True),
        (529, "", "overloaded", True),
        (400, envelope("a_new_error", "prompt is too long"), "context_length_exceeded", False),
        (401, envelope(INVALID, "prompt is too long, says the proxy"), "context_length_exceeded", False),
    ],
)
def test_http_errors(status, body, reason, retryable):
    """The type decides, then the message of a request that is wrong, then the status."""
    error = classify("anthropic", status, {}, body)

    assert (error.reason, error.retryable, error.status) == (reason, retryable, status)
    assert error.message
    if isinstance(body, dict) and "error" in body:
        assert (error.provider_code, error.request_id) == (body["error"]["type"], "req_1")


@pytest.mark.parametrize(
    ("body", "reason", "retryable"),
    [
        (envelope("overloaded_error"), "overloaded", True),
        (envelope("rate_limit_error"), "rate_limited", True),
        (envelope("api_error"), "provider_unavailable", True),
        (envelope("timeout_error"), "timeout", True),
        (envelope(INVALID), "invalid_request", False),
        (envelope(INVALID, "prompt is too long"), "context_length_exceeded", False),
        (envelope("a_new_error"), "unknown", False),
        ({"type": "error"}, "unknown", False),
        ({"type": "error", "error": "text"}, "unknown", False),
    ],
)
def test_errors_of_a_stream(body, reason, retryable):
    """There is no status; the type is all there is."""
    error = stream_error("anthropic", body)

    assert (error.reason, error.retryable, error.status) == (reason, retryable, None)
    assert error.message


@pytest.mark.parametrize(
    ("status", "kind", "code", "reason", "retryable"),
    [
        (404, "not_found_error", "file_expired", "not_found", False),
        (400, INVALID, "image_dimensions_too_large", "invalid_request", False),
        (400, INVALID, "linked_organization_spend_limit_reached", "quota_exhausted", False),
        (429, "rate_limit_error", "contract_spend_limit_reached", "quota_exhausted", False),
        (429, "rate_limit_error", "ramp_limit_exceeded", "rate_limited", True),
        (500, "api_error", "a_code_of_tomorrow", "provider_unavailable", True),
        (529, "overloaded_error", "another_one", "overloaded", True),
    ],
)
def test_error_codes(status, kind, code, reason, retryable):
    """`details.error_code` names the cause; one that is not known means what the type says."""
    body = envelope(kind)
    body["error"]["details"] = {"error_code": code}
    for error in (classify("anthropic", status, {}, body), stream_error("anthropic", body)):
        assert (error.reason, error.retryable, error.provider_code) == (reason, retryable, code)


@pytest.mark.parametrize("details", [None, {}, {"error_code": None}, {"error_code": 7}, "x"])
def test_without_a_code_there_is_the_type(details):
    """`details` was null for years."""
    body = envelope("overloaded_error")
    body["error"]["details"] = details
    assert stream_error("anthropic", body).provider_code == "overloaded_error"
