"""A second set of recorded answers, where it is at hand, and what it expects in the words of the first one.

`ALLM_RECORDINGS` names its folder; else `../shared/recordings` is used. Its cases are sorted by topic (caching,
citations, ...), not by API, and most topics are not about chat: a case counts here if its URL is one of the four that
the adapters speak and its answer is a message or an error. What it expects of a message has fewer fields than
`wire_corpus` compares, and a few that nothing compares yet.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

RECORDINGS = Path(os.environ.get("ALLM_RECORDINGS") or Path(__file__).parents[2] / "shared" / "recordings")

USAGE = (
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_input_tokens",
    "reasoning_tokens",
    "total_tokens",
)

# The end of the URL's path. Amazon's Converse, Cohere's v2 and what counts tokens or moves files are other formats.
_APIS = {
    "/chat/completions": "openai_chat",
    "/responses": "openai_responses",
    "/messages": "anthropic_messages",
    ":rawPredict": "anthropic_messages",  # Claude on Vertex AI
    ":streamRawPredict": "anthropic_messages",
    ":generateContent": "gemini",
    ":streamGenerateContent": "gemini",
}

CHAT = frozenset({"chat", "error"})
"""The kinds of cases that count here."""

LEFT_ASIDE = {
    "topic": "where the case belongs",
    "kind": "decides whether the case is here at all",
    "stream": "the bodies are what they are; the decoders find out",
    "status": "is in the reply that is replayed",
    "citations": "have no type of their own: they are kept as they came, in the metadata of their part",
    "type": "of an error: its code, or its type where it has none, is compared",
    "grpc_status": "as the type",
    "code": "as the type",
    "message": "of an error: compared as its message",
    "retry-after": "compared as the wait of the error",
    "retry-after-ms": "as retry-after",
    "x-should-retry": "compared as whether the error may be tried again",
}
"""Keys of `expected.json` that no test compares under their own name, and why."""

# Every other word of these recordings is a clean end, which is "tool_calls" if the answer has calls.
_FINISH = {"max_tokens": "length"}
_REASONS = {400: "invalid_request", 401: "authentication_failed", 404: "not_found", 429: "rate_limited"}
_BAD_KEYS = {"structured/gemini_stream_error_400_content_type", "structured/xai_error_400_bad_key"}

WRONG = {
    "server_tools/gemini_url_context_stream": (
        {"server_tool_events": ["groundingMetadata"]},
        "urlContextMetadata is a field of the candidate, and no part: it is kept in the metadata of the response",
    ),
    "server_tools/openrouter_web_search": (
        {"reasoning": lambda body: "".join(_summaries(body["choices"][0]["message"]["reasoning_details"]))},
        "the body has three summaries in reasoning_details, beside `reasoning: null`",
    ),
    "files/mistral_chat_input_audio": (
        {"usage.input_tokens": 384},
        "prompt_tokens (9) leaves out the audio (375), which the total (585) has: input and output add up to the total",
    ),
}
"""Expectations that their own bodies contradict, what is right, and why. A function reads it from the body."""


def api_of(url):
    """The API that a URL belongs to, or None."""
    path = urlsplit(url).path
    return next((api for end, api in _APIS.items() if path.endswith(end)), None)


def name_of(folder):
    """The name of a case: its topic and its folder."""
    return f"{folder.parent.name}/{folder.name}"


def folders(api):
    """The folders of the cases of one API."""
    found = []
    for path in sorted(RECORDINGS.glob("*/*/expected.json")):
        request = json.loads((path.parent / "request.json").read_text(encoding="utf-8"))
        kind = json.loads(path.read_text(encoding="utf-8"))["kind"]
        if kind in CHAT and api_of(request["url"]) == api:
            found.append(path.parent)
    return found


def translated(folder, expected):
    """What a case expects, in the shape that `wire_corpus` compares."""
    right, _why = WRONG.get(name_of(folder), ({}, ""))
    wanted = {
        "outcome": "error_http" if expected["kind"] == "error" else "ok",
        "text": "",
        "reasoning": "",
        "tool_calls": [],
        "server_tool_events": [],
        "raw_finish_reason": None,
        "model": None,
        "response_id": None,
        "usage": dict.fromkeys(USAGE),
        "error": None,
        "finish_reason": "error",
        **{key: value for key, value in expected.items() if key not in LEFT_ASIDE},
    }
    if expected["kind"] == "error":
        wanted["error"] = _error(folder, expected)
    else:
        clean = "tool_calls" if expected["tool_calls"] else "stop"
        wanted["finish_reason"] = _FINISH.get(expected["raw_finish_reason"], clean)
    wanted["tool_calls"] = [{"raw_arguments": None, **call} for call in wanted["tool_calls"]]
    for path, value in right.items():
        *outer, last = path.split(".")
        holder = wanted[outer[0]] if outer else wanted
        holder[last] = value(json.loads((folder / "response.body").read_bytes())) if callable(value) else value
    return wanted


def _error(folder, expected):
    codes = (expected.get("grpc_status"), expected["code"], expected["type"])
    code = next((code for code in codes if code is not None), None)
    waits = [
        float(expected[name]) / divisor
        for name, divisor in (("retry-after", 1), ("retry-after-ms", 1000))
        if name in expected
    ]
    status = expected["status"]
    return {
        "reason": "authentication_failed" if name_of(folder) in _BAD_KEYS else _REASONS[status],
        "retryable": expected["x-should-retry"] == "true" if "x-should-retry" in expected else status == 429,
        "retry_after_s": max(waits, default=None),
        "provider_code": None if code is None else str(code),
        "message_contains": expected["message"],
    }


def _summaries(details):
    return [detail["summary"] for detail in details if "summary" in detail]
