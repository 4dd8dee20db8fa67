"""Error responses in every known envelope, and when to retry."""

from __future__ import annotations

import pytest

from allm.http.error_body import read_error_body, status_in, stray_error
from allm.http.retry_after import parse_retry_after
from allm.providers.anthropic import errors as anthropic
from allm.providers.openai import errors as openai


@pytest.mark.parametrize(
    "body",
    [
        {"object": "error", "message": {"detail": [{"loc": ["body"], "msg": "so it is"}]}, "type": "x"},
        {"errors": [{"code": 10000, "message": "so it is"}], "success": False},
        {"error": {"error": {"message": "so it is"}}},
        {"error": {"message": "", "detail": "so it is"}},
        {"detail": {"message": "so it is"}},
        {"error": ["so it is"]},
        {"error": {"message": None}, "msg": "so it is"},
    ],
)
def test_the_message_is_found(body):
    """In every place where services put it."""
    assert read_error_body(body).message == "so it is"


def test_a_very_deep_envelope_is_cut():
    """It comes from outside and may be nested without limit."""
    body = {}
    for _ in range(100):
        body = {"error": body}
    assert read_error_body(body).message


@pytest.mark.parametrize("module", [openai, anthropic])
@pytest.mark.parametrize(
    ("status", "body", "reason", "retryable"),
    [
        (
            402,
            {"error": {"message": "Insufficient Balance", "code": "invalid_request_error"}},
            "quota_exhausted",
            False,
        ),
        (402, "Payment required", "quota_exhausted", False),
        (498, {"error": {"message": "capacity exceeded", "type": "invalid_request_error"}}, "overloaded", True),
        (520, "<html>", "provider_unavailable", True),
        (524, "", "provider_unavailable", True),
        (501, "", "provider_unavailable", False),
        *(
            (400, {"object": "error", "message": text, "type": "BadRequestError", "code": 400}, reason, False)
            for text, reason in (
                ("This model's maximum context length is 4096 tokens. However, ...", "context_length_exceeded"),
                ("This model's maximum prompt length is 131072 but ...", "context_length_exceeded"),
                (
                    "The input (9 tokens) is longer than the model's context length (8 tokens).",
                    "context_length_exceeded",
                ),
                ("Input is too long for requested model.", "context_length_exceeded"),
                ("max_tokens is too large: this model supports at most 16384 completion tokens", "invalid_request"),
            )
        ),
    ],
)
def test_reasons_without_a_vendor_code(module, status, body, reason, retryable):
    """They follow from the status, and for a context overflow from the message."""
    error = module.classify("p", status, {}, body)
    assert (error.reason, error.retryable) == (reason, retryable)


@pytest.mark.parametrize("field", ["code", "status", "status_code"])
@pytest.mark.parametrize("module", [openai, anthropic])
def test_the_status_of_an_error_inside_a_stream(module, field):
    """It is read as a number or as text where the error type does not tell the reason."""
    for value in (503, "503"):
        error = module.stream_error("p", {"error": {"type": "later_error", "message": "m", field: value}})
        assert (error.reason, error.status, error.retryable) == ("provider_unavailable", 503, True)


@pytest.mark.parametrize("word", ["billing_not_active", "billing_hard_limit_reached"])
def test_an_exhausted_quota_is_not_retried(word):
    """Although OpenAI returns 429 for it."""
    error = openai.classify("openai", 429, {}, {"error": {"message": "m", "type": word, "code": word}})
    assert (error.reason, error.retryable) == ("quota_exhausted", False)


@pytest.mark.parametrize(
    ("stray", "found"),
    [
        ('{\n "error": {\n  "message": "m"\n }\n}', {"error": {"message": "m"}}),
        ('[{"error": {"code": 1}}]', [{"error": {"code": 1}}]),
        ('{"error": null}', None),
        ('{"error": {"mess', None),
        ('"error"', None),
        ("nonsense", None),
    ],
)
def test_stray_errors(stray, found):
    """Only complete JSON that is an error report counts as one."""
    assert stray_error(stray) == found


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "-1", "retry-after": "7"}, 7),
        ({"retry-after-ms": "0", "retry-after": "1"}, 1),
        ({"retry-after-ms": "0"}, 0),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        *(
            ({"retry-after": text}, None)
            for text in ("-1", "nan", "inf", "", "soon", "20s", "1e400", "2026-11-21T00:00Z")
        ),
    ],
)
def test_retry_after(headers, seconds):
    """It is read in every form, and nonsense is ignored."""
    assert parse_retry_after(headers) == seconds


@pytest.mark.parametrize("code", ["429", 429])
def test_a_status_in_the_body(code):
    """It may be a number or a string of digits; a number outside the range of statuses is ignored."""
    assert status_in(read_error_body({"error": {"code": code}})) == 429
    assert status_in(read_error_body({"error": {"code": str(code) * 5000}})) is None
