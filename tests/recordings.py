"""A second set of recorded responses, if available, with its expectations in the format of the first one.

`ALLM_RECORDINGS` names its folder; the default is `../shared/recordings`. Its cases are sorted by topic (caching,
citations, ...), not by API: `check_of` says which check a case belongs to, by its URL and its kind. The expectations of
chat have fewer fields than `wire_corpus` compares.
"""

from __future__ import annotations

import functools
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

# The end of the URL's path. Counts of tokens and transfers of files are other calls.
_APIS = {
    "/chat/completions": "openai_chat",
    "/responses": "openai_responses",
    "/messages": "anthropic_messages",
    ":rawPredict": "anthropic_messages",  # Claude on Vertex AI
    ":streamRawPredict": "anthropic_messages",
    ":generateContent": "gemini",
    ":streamGenerateContent": "gemini",
    "/converse": "bedrock",
    "/converse-stream": "bedrock",
    "/invoke-with-response-stream": "anthropic_on_bedrock",
    "/v2/chat": "cohere",
}

CHAT = frozenset({"chat", "error"})
"""The kinds of cases that may be calls of a chat API."""

CHECKS = {
    "batch": "batches",
    "batch_results": "batches",
    "cached_content": "caches",
    "file": "files",
    "file_deleted": "files",
    "file_list": "files",
    "model_list": "models",
    "oauth_token": "tokens_of_clouds",
    "speech": "speech",
    "token_count": "counts",
    "transcription": "transcription",
    "upload_session": "files",
}
"""The check of each kind of case that is no call of a chat API: in `test_recorded_services`, those of batches in
`providers/test_batches`."""

_ERRORS = {"count": "counts", "/files": "files"}
"""The same for errors, by a part of the URL."""

LEFT_ASIDE = {
    "topic": "only sorts the cases",
    "kind": "decides whether the case is used",
    "stream": "the decoders recognize the form of the body",
    "status": "is in the reply that is replayed",
    "type": "of an error: its code, or else its type, is compared",
    "grpc_status": "as the type",
    "code": "as the type",
    "message": "of an error: compared as its message",
    "retry-after": "compared as the error's retry_after",
    "retry-after-ms": "as retry-after",
    "x-should-retry": "compared as whether the error is retryable",
    "x_amzn_errortype": "as the type",
    "frames": "the CRC of each frame is checked while it is decoded",
}
"""Keys of `expected.json` that no test compares under their own name, and why."""

# Every other finish reason in these recordings is a clean end, which is "tool_calls" if the response has calls.
_FINISH = {"max_tokens": "length"}
_REASONS = {
    400: "invalid_request",
    401: "authentication_failed",
    403: "authentication_failed",
    404: "not_found",
    429: "rate_limited",
}
_OTHER_REASONS = {
    "cloud/bedrock_error_400_context": "context_length_exceeded",
    "structured/gemini_stream_error_400_content_type": "authentication_failed",
    "structured/xai_error_400_bad_key": "authentication_failed",
}
"""What an error is about that its status does not tell."""
_UNITS = {"char": "characters", "page": "pages", "block": "blocks"}

WRONG = {
    "server_tools/gemini_url_context_stream": (
        {"server_tool_events": ["groundingMetadata"]},
        "urlContextMetadata is a field of the candidate, not a part: it is kept in the metadata of the response",
    ),
    "citations/perplexity_stream_shortened": (
        {"citations": lambda body: [_source(result) for result in body["search_results"]]},
        "every chunk has search_results, to which marks in the text refer",
    ),
    "server_tools/openrouter_web_search": (
        {"reasoning": lambda body: "".join(_summaries(body["choices"][0]["message"]["reasoning_details"]))},
        "the body has three summaries in reasoning_details, and `reasoning: null`",
    ),
    "files/mistral_chat_input_audio": (
        {"usage.input_tokens": 384},
        "prompt_tokens (9) excludes the audio (375), which the total (585) includes: input and output have to add up",
    ),
}
"""Expectations that contradict their own bodies, the correct value (a function reads it from the body), the reason."""


def api_of(url):
    """The API that a URL belongs to, or None."""
    path = urlsplit(url).path
    return next((api for end, api in _APIS.items() if path.endswith(end)), None)


def name_of(folder):
    """The name of a case: its topic and its folder."""
    return f"{folder.parent.name}/{folder.name}"


@functools.cache
def every_folder():
    """The folders of all cases."""
    return [path.parent for path in sorted(RECORDINGS.glob("*/*/source.txt"))]


@functools.cache
def check_of(folder):
    """The check that a case belongs to: the name of its chat API, or one of `CHECKS`; None: nothing reads it."""
    kind = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["kind"]
    url = json.loads((folder / "request.json").read_text(encoding="utf-8"))["url"]
    if kind not in CHAT:
        return CHECKS.get(kind)
    return api_of(url) or next((check for part, check in _ERRORS.items() if part in url), None)


def folders(check):
    """The folders of the cases of one check."""
    return [folder for folder in every_folder() if check_of(folder) == check]


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
    wanted["citations"] = [
        {name: citation.get(name) or None for name in ("url", "file_id", "quote")}
        | {"title": citation["title"] or citation["filename"], "source": _place(citation)}
        | {"start": citation["start"], "end": citation["end"]}
        for citation in wanted.get("citations", ())
    ]
    wanted["tool_calls"] = [{"raw_arguments": None, **call} for call in wanted["tool_calls"]]
    for path, value in right.items():
        *outer, last = path.split(".")
        holder = wanted[outer[0]] if outer else wanted
        holder[last] = value(_last(folder / "response.body")) if callable(value) else value
    return wanted


def _place(citation):
    if citation["source_unit"] is None:
        return None
    unit = _UNITS[citation["source_unit"]]
    return (unit, citation["source_start"], citation["source_end"], citation["source_index"])


def _error(folder, expected):
    codes = (expected.get("grpc_status"), expected["code"], expected["type"], _of_amazon(expected))
    code = next((code for code in codes if code is not None), None)
    waits = [
        float(expected[name]) / divisor
        for name, divisor in (("retry-after", 1), ("retry-after-ms", 1000))
        if name in expected
    ]
    status = expected["status"]
    return {
        "reason": _OTHER_REASONS.get(name_of(folder), _REASONS[status]),
        "retryable": expected["x-should-retry"] == "true" if "x-should-retry" in expected else status == 429,
        "retry_after_s": max(waits, default=None),
        "provider_code": None if code is None else str(code),
        "message_contains": expected["message"],
    }


def _of_amazon(expected):
    return expected["x_amzn_errortype"].partition(":")[0] if "x_amzn_errortype" in expected else None


def _last(path):
    """The body, or the last event of a stream that has JSON."""
    body = path.read_bytes()
    events = [line.removeprefix(b"data:") for line in body.splitlines() if line.startswith(b"data: {")]
    return json.loads(events[-1] if events else body)


def _source(result):
    place = {"start": None, "end": None, "source": None}
    return {"url": result["url"], "file_id": None, "quote": result["snippet"], "title": result["title"], **place}


def _summaries(details):
    return [detail["summary"] for detail in details if "summary" in detail]
