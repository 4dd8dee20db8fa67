"""Google's error answers, by what a caller can do about them."""

from __future__ import annotations

import pytest

from allm import AdapterError
from allm.providers.gemini.errors import classify, stream_error


def envelope(code, status, message="Sorry.", *details):
    """An error as Google writes it."""
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


def quota(quota_id="", metric="", value="10"):
    """The detail that names a quota."""
    violation = {"quotaId": quota_id, "quotaMetric": metric, "quotaValue": value}
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


def wait(delay):
    """The detail that says when to come back."""
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
EXHAUSTED = "RESOURCE_EXHAUSTED"
LONG = "The input token count (9) exceeds the maximum number of tokens allowed (8)."
ZERO = "* Quota exceeded for metric: x/free_tier_requests, limit: 0, model: gemini-9\nPlease retry in 2s."


@pytest.mark.parametrize(
    ("status", "body", "reason", "retryable", "code"),
    [
        (400, envelope(400, "INVALID_ARGUMENT"), "invalid_request", False, "INVALID_ARGUMENT"),
        (400, envelope(400, "INVALID_ARGUMENT", "Key?", KEY), "authentication_failed", False, "INVALID_ARGUMENT"),
        (400, envelope(400, "INVALID_ARGUMENT", LONG), "context_length_exceeded", False, "INVALID_ARGUMENT"),
        (400, envelope(400, "FAILED_PRECONDITION"), "invalid_request", False, "FAILED_PRECONDITION"),
        (401, envelope(401, "UNAUTHENTICATED"), "authentication_failed", False, "UNAUTHENTICATED"),
        (403, envelope(403, "PERMISSION_DENIED"), "authentication_failed", False, "PERMISSION_DENIED"),
        (404, envelope(404, "NOT_FOUND"), "not_found", False, "NOT_FOUND"),
        (429, envelope(429, EXHAUSTED), "rate_limited", True, EXHAUSTED),
        (429, envelope(429, EXHAUSTED, "Slow.", quota("RequestsPerMinutePerModel")), "rate_limited", True, EXHAUSTED),
        (429, envelope(429, EXHAUSTED, "Slow.", quota("RequestsPerDayPerModel")), "quota_exhausted", False, EXHAUSTED),
        (429, envelope(429, EXHAUSTED, "Slow.", quota(metric="a/per_day")), "quota_exhausted", False, EXHAUSTED),
        (429, envelope(429, EXHAUSTED, "Slow.", quota(value="0")), "quota_exhausted", False, EXHAUSTED),
        (429, envelope(429, EXHAUSTED, "Limit 'requests per day' is used up."), "quota_exhausted", False, EXHAUSTED),
        (429, envelope(429, EXHAUSTED, ZERO), "quota_exhausted", False, EXHAUSTED),
        (429, envelope(429, EXHAUSTED, "Slow.", {"violations": ["?"]}, "?"), "rate_limited", True, EXHAUSTED),
        (500, envelope(500, "INTERNAL"), "provider_unavailable", True, "INTERNAL"),
        (503, envelope(503, "UNAVAILABLE"), "provider_unavailable", True, "UNAVAILABLE"),
        (503, envelope(503, "UNAVAILABLE", "The model is overloaded."), "overloaded", True, "UNAVAILABLE"),
        (503, envelope(503, "UNAVAILABLE", "We see high demand."), "overloaded", True, "UNAVAILABLE"),
        (503, "upstream connect error", "provider_unavailable", True, None),
        (504, envelope(504, "DEADLINE_EXCEEDED"), "provider_unavailable", True, "DEADLINE_EXCEEDED"),
        (501, envelope(501, "UNIMPLEMENTED"), "provider_unavailable", False, "UNIMPLEMENTED"),
        (499, envelope(499, "CANCELLED"), "unknown", False, "CANCELLED"),
        (404, [envelope(404, "NOT_FOUND")], "not_found", False, "NOT_FOUND"),
        (400, {"error": {"code": 400, "message": "no status"}}, "invalid_request", False, "400"),
        (502, {"error": {"code": "502", "message": "a gateway's text"}}, "provider_unavailable", True, "502"),
    ],
)
def test_http_errors(status, body, reason, retryable, code):
    """The status decides, but where the body says more: a bad key, a context that is too long, a quota that is gone."""
    error = classify("gemini", status, {}, body)

    assert (error.reason, error.retryable, error.provider_code) == (reason, retryable, code)
    assert (error.status, error.provider, type(error)) == (status, "gemini", AdapterError)


@pytest.mark.parametrize(
    ("details", "seconds"),
    [
        ([wait("48s")], 48),
        ([quota(), wait("34.4s")], 34.4),
        ([wait("0s")], 0),
        ([wait("soon")], None),
        ([wait({"seconds": 3})], None),
        ([], None),
    ],
)
def test_the_wait_is_in_the_body(details, seconds):
    """`RetryInfo.retryDelay` is a protobuf duration."""
    assert classify("gemini", 429, {}, envelope(429, EXHAUSTED, "Slow.", *details)).retry_after == seconds


@pytest.mark.parametrize(
    ("body", "reason", "retryable", "status"),
    [
        (envelope(503, "UNAVAILABLE"), "provider_unavailable", True, 503),
        (envelope(200, "UNAVAILABLE"), "provider_unavailable", True, 503),
        (envelope("429", EXHAUSTED), "rate_limited", True, 429),
        (envelope(None, "INTERNAL"), "provider_unavailable", True, 500),
        (envelope(499, "CANCELLED"), "unknown", False, 499),
        ({"error": {"message": "Sorry."}}, "unknown", False, None),
        ({"error": "Sorry."}, "unknown", False, None),
    ],
)
def test_errors_inside_a_stream(body, reason, retryable, status):
    """The envelope has the status that HTTP did not, as a number or as a word."""
    error = stream_error("gemini", body)

    assert (error.reason, error.retryable, error.status, error.message) == (reason, retryable, status, "Sorry.")
