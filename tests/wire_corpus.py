"""Recorded provider responses, if available, and the comparison of a folded response with the expected one.

The recordings are not part of this project. `ALLM_WIRE_CORPUS` names their folder; else `../shared/wire` is used. A
second set, in other words, is in `recordings`. A case is a folder with `request.json`, `response.json`,
`response.body` and `expected.json`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs

import recordings
from allm import AdapterError, HostedCall, ProviderPart, ReasoningPart, TextPart, from_json, to_json
from recordings import USAGE

CORPUS = Path(os.environ.get("ALLM_WIRE_CORPUS") or Path(__file__).parents[2] / "shared" / "wire")


@attrs.frozen
class Case:
    """One recorded response."""

    folder: Path
    name: str

    @property
    def recorded(self):
        return json.loads((self.folder / "expected.json").read_text(encoding="utf-8"))

    @property
    def expected(self):
        expected = self.recorded
        return expected if "outcome" in expected else recordings.translated(self.folder, expected)

    @property
    def request_body(self):
        return json.loads((self.folder / "request.json").read_text(encoding="utf-8"))["body"]

    @property
    def url(self):
        return json.loads((self.folder / "request.json").read_text(encoding="utf-8"))["url"]


def cases(api):
    """Every case of one API, of both sets; none where neither is there."""
    first = (path.parent for path in sorted((CORPUS / api).glob("*/expected.json")))
    second = recordings.folders(api)
    return [Case(folder, f"{api}-{folder.name}") for folder in first] + [
        Case(folder, recordings.name_of(folder)) for folder in second
    ]


def opaque_kinds(message):
    """The kinds of opaque data that the message kept for replay, by their wire names."""
    kinds = set()
    for part in message.parts:
        if isinstance(part, ReasoningPart):
            if part.signature:
                kinds.add("thoughtSignature" if part.provider == "gemini" else "signature")
            if part.encrypted_content:
                kinds.add("redacted_thinking" if part.provider == "anthropic" else "encrypted_content")
        elif not isinstance(part, ProviderPart) and "thought_signature" in json.dumps(
            getattr(part, "metadata", {}), default=str
        ):
            kinds.add("thoughtSignature")
    return sorted(kinds)


def server_items(message):
    """Wire type names of the provider's own items in the message."""
    return sorted(
        {_type_of(part.data) for part in message.parts if isinstance(part, (HostedCall, ProviderPart)) and part.data}
    )


def _type_of(data):
    """The wire's name for an item: its type, else its only field, which Amazon's hosted calls have a type in."""
    field, inside = next(iter(data.items()))
    own = inside.get("type") if field == "toolUse" else None
    return str(data.get("type") or own or field)


def cited(message):
    """The citations, with their places in the joined text."""
    found, before = [], 0
    for part in message.parts:
        if isinstance(part, TextPart):
            for citation in part.citations:
                start, end = (None if at is None else before + at for at in (citation.start, citation.end))
                place = {"start": start, "end": end}
                source = citation.source and attrs.astuple(citation.source)
                names = ("url", "file_id", "quote", "title")
                found.append({name: getattr(citation, name) for name in names} | place | {"source": source})
            before += len(part.text)
    return found


def folded(response):
    """A response in the shape of `expected.json`, without the fields that do not concern chat."""
    error = None
    if response.error is not None:
        assert isinstance(response.error, AdapterError)
        error = error_of(response.error)
    return {
        "text": response.output_text,
        "refusal": response.refusal is not None,
        "citations": cited(response.message),
        "reasoning": response.reasoning_text,
        "reasoning_opaque": opaque_kinds(response.message),
        "tool_calls": [
            {"id": c.id, "name": c.name, "arguments": c.arguments, "raw_arguments": c.raw_arguments}
            for c in response.tool_calls
        ],
        "server_tool_events": server_items(response.message),
        "finish_reason": response.finish_reason,
        "raw_finish_reason": response.raw_finish_reason,
        "usage": {name: getattr(response.usage, name) for name in USAGE},
        "model": response.model,
        "response_id": response.id,
        "error": error,
    }


def error_of(error):
    """An error in the shape of `expected.json`."""
    return {
        "reason": error.reason,
        "retryable": error.retryable,
        "retry_after_s": error.retry_after,
        "provider_code": error.provider_code,
    }


def accepted(expected, name, found):
    """The fields of `found` that match neither the expected value under `name` nor an accepted alternative."""
    also_ok = expected.get("also_ok", {})
    return [
        f"{name}.{key}: {value!r}, expected {expected[name][key]!r}"
        for key, value in found.items()
        if value not in [expected[name][key], *also_ok.get(f"{name}.{key}", [])]
    ]


def differences(response, expected):
    """The parts of `response` that match neither the expected value nor an accepted alternative."""
    found = folded(response)
    also_ok = expected.get("also_ok", {})
    problems = []

    def compare(path, actual, wanted):
        accepted = [wanted, *also_ok.get(path, [])]
        if actual in accepted:
            return
        if path in {"reasoning_opaque", "server_tool_events"}:
            if any(set(actual) == set(option) for option in accepted):
                return
        elif isinstance(actual, dict) and isinstance(wanted, dict) and not path.endswith("arguments"):
            for key, value in wanted.items():
                if key != "message_contains":
                    compare(f"{path}.{key}", actual.get(key), value)
            return
        elif path == "citations" and all(citation["start"] is None for citation in wanted):
            # Perplexity's marks in the text, for which the expectation gives no place: the sources are the same.
            sources = [{(c["url"], c["file_id"], c["quote"]) for c in found} for found in (actual, wanted)]
            if sources[0] == sources[1]:
                return
        elif path == "tool_calls" and len(actual) == len(wanted):
            for index, (one, other) in enumerate(zip(actual, wanted, strict=True)):
                compare(f"{path}.{index}", one, other)
            return
        elif path.startswith("tool_calls.") and wanted is None:
            if path.endswith(".id") and actual and [c["id"] for c in found["tool_calls"]].count(actual) == 1:
                return
            if path.endswith(".raw_arguments"):
                index = int(path.split(".")[1])
                if json.loads(actual or "{}") == found["tool_calls"][index]["arguments"]:
                    return
        elif (path == "model" and wanted is None) or (
            path == "error.retry_after_s" and wanted is not None and actual == float(wanted)
        ):
            return
        problems.append(f"{path}: {actual!r}, expected {wanted!r}")

    for name in found:
        if name in expected:  # the second set says nothing of opaque data and refusals
            compare(name, found[name], expected[name])
    if expected["error"] and response.error is not None:
        part = expected["error"]["message_contains"]
        if part not in response.error.message:
            problems.append(f"error.message: {response.error.message!r}, expected to contain {part!r}")
    if from_json(to_json(response)) != response:
        problems.append("does not survive the round trip through JSON")
    return problems
