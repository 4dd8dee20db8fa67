"""Parts of Gemini's own tools: code that ran, calls of tools with their answers, and what a search found.

https://ai.google.dev/gemini-api/docs/code-execution. A call and its result are two parts; with some models they have
ids, with others a result is that of the newest call without one. Searches of models before Gemini 3 are no parts: only
the grounding of the answer tells of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.adapters import UniqueIds, as_list, as_object, as_objects, as_text
from allm.data.content import HostedCall, HostedStatus
from allm.data.events import AdapterEvent, HostedCallCompleted, HostedCallStarted

__all__ = ["HOSTED", "HostedParts"]

_CALLS = ("executableCode", "toolCall")
_RESULTS = ("codeExecutionResult", "toolResponse")
HOSTED = frozenset({*_CALLS, *_RESULTS})
"""What a part has that is of a tool of Gemini's."""
_KINDS = {"GOOGLE_SEARCH_WEB": "web_search", "GOOGLE_SEARCH_IMAGE": "web_search", "URL_CONTEXT": "web_fetch"}
_PROVIDER = "gemini"


@attrs.define(eq=False)
class HostedParts:
    """The calls of one answer."""

    _ids: UniqueIds = attrs.field(factory=UniqueIds, init=False)
    _kinds: set[str] = attrs.field(factory=set[str], init=False)
    _open: dict[str, HostedCall] = attrs.field(factory=dict[str, HostedCall], init=False)  # by what names it

    def events(self, part: dict[str, Any]) -> list[AdapterEvent]:
        """The events of a part; none if it is not of a tool of Gemini's."""
        for field in _CALLS:
            if field in part:
                return [self._call(field, as_object(part[field]), part)]
        for field in _RESULTS:
            if field in part:
                return self._result(as_object(part[field]), part)
        return []

    def _call(self, field: str, fields: dict[str, Any], part: dict[str, Any]) -> AdapterEvent:
        sent = as_text(fields.get("id"))
        asked = {"code": fields.get("code")} if field == "executableCode" else as_object(fields.get("args"))
        call = HostedCall(
            self._ids.new(sent, "hosted"), _kind(fields), "in_progress", asked, data=part, provider=_PROVIDER
        )
        self._open[sent or _kind(fields)] = call
        self._kinds.add(call.kind)
        return HostedCallStarted(call.id, call)

    def _result(self, fields: dict[str, Any], part: dict[str, Any]) -> list[AdapterEvent]:
        sent, kind = as_text(fields.get("id")), _kind(fields)
        begun = self._open.pop(sent or kind, None) or self._open.pop(kind, None)
        events: list[AdapterEvent] = []
        if begun is None:
            begun = HostedCall(self._ids.new(sent, "hosted"), kind, "in_progress")
            events.append(HostedCallStarted(begun.id, begun))
        outcome = as_text(fields.get("outcome"))
        output = {"stdout": fields.get("output") or ""} if "codeExecutionResult" in part else fields.get("response")
        status: HostedStatus = "completed" if outcome in {None, "OUTCOME_OK"} else "failed"
        done = HostedCall(begun.id, begun.kind, status, None, output, part, provider=_PROVIDER)
        return [*events, HostedCallCompleted(begun.id, done)]

    def of_answer(self, grounding: Mapping[str, Any], urls: Any) -> list[AdapterEvent]:
        """What the answer says at its end of searches and of pages that were read; nothing of it goes back."""
        calls: list[HostedCall] = []
        queries, chunks = as_list(grounding.get("webSearchQueries")), as_objects(grounding.get("groundingChunks"))
        found = [chunk for each in chunks if (chunk := as_object(each.get("retrievedContext")))]
        if found and "file_search" not in self._kinds:  # Gemini 3 has parts for it
            calls.append(self._told("file_search", None, {"results": found}))
        if queries:
            webs = [as_object(chunk.get("web")) for chunk in chunks]
            sources = [{"url": web.get("uri"), "title": web.get("title")} for web in webs if web]
            calls.append(self._told("web_search", {"queries": queries}, {"sources": sources}))
        read = as_objects(as_object(urls).get("urlMetadata"))
        if read:
            sources = [{"url": page.get("retrievedUrl"), "status": page.get("urlRetrievalStatus")} for page in read]
            calls.append(self._told("web_fetch", None, {"sources": sources}))
        return [event(call.id, call) for call in calls for event in (HostedCallStarted, HostedCallCompleted)]

    def _told(self, kind: str, asked: dict[str, Any] | None, output: dict[str, Any]) -> HostedCall:
        return HostedCall(self._ids.new(None, "hosted"), kind, "completed", asked, output, provider=_PROVIDER)


def _kind(fields: Mapping[str, Any]) -> str:
    name = as_text(fields.get("toolType"))
    return "code_execution" if name is None else _KINDS.get(name, name.lower())
