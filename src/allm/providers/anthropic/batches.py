"""Batches (https://platform.claude.com/docs/en/api/messages/batches): requests in the body, answers as lines.

A batch has no name here, so that one whose id was lost is found by when it began and by how many requests it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, final

import attrs

from allm.adapters import (
    AdapterOptions,
    BatchAdapter,
    BatchAnswer,
    BatchFind,
    BatchJob,
    BatchSubmit,
    HttpCall,
    JsonResponse,
    Send,
    as_count,
    as_object,
    as_objects,
    as_text,
    batch_body,
    batch_segment,
    dumps,
    malformed,
    post_json,
    read_json_lines,
    with_query,
    without_body,
)
from allm.data.errors import AdapterError
from allm.providers.anthropic import adapter as messages
from allm.providers.anthropic.errors import stream_error

if TYPE_CHECKING:
    from allm.providers.anthropic.adapter import Anthropic

__all__ = ["Batches"]

_MOST_LISTED = 100
_UNANSWERED = {
    "canceled": "the batch was cancelled before this request was answered",
    "expired": "the batch ended before this request was answered",
}


@final
@attrs.frozen(eq=False)
class Batches(BatchAdapter):
    """The batches that Anthropic has."""

    adapter: Anthropic
    most_requests = 100_000
    most_bytes = 100_000_000  # of 256 MB

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def submit(self, batch: BatchSubmit, options: AdapterOptions) -> Send:
        """Make the batch, with the beta headers that its requests would have had."""
        body = {"requests": [{"custom_id": item.key, "params": batch_body(item.call)} for item in batch.items]}
        named = (item.call.headers.get("anthropic-beta") for item in batch.items)
        betas = dict.fromkeys(beta for header in named if isinstance(header, str) for beta in header.split(","))
        sender = attrs.evolve(self.adapter, betas=betas) if betas else self.adapter
        call = sender.call(messages.address(self._base_url(options), "/messages/batches"), body, options)
        return lambda: post_json(call, self._job)

    def get(self, id: str, options: AdapterOptions) -> Send:
        """Ask how far it is."""
        call = self._at(f"/{batch_segment(id)}", options)
        return lambda: post_json(call, self._job)

    def cancel(self, id: str, options: AdapterOptions) -> Send:
        """End it; each request that was not answered says so when the batch has ended."""
        call = self._at(f"/{batch_segment(id)}/cancel", options, "POST")
        return lambda: post_json(call, self._job)

    def find(self, wanted: BatchFind, options: AdapterOptions) -> Send:
        """Look for it among the newest."""
        call = self._at("", options, limit=_MOST_LISTED)

        def like(answer: JsonResponse) -> BatchJob | None:
            for item in as_objects(answer.document.get("data")):
                began, job = _seconds(item.get("created_at")), self._read(item)
                is_like = began is not None and began >= wanted.since and job.total == wanted.count
                if is_like and job.id not in wanted.others:
                    return job
            return None

        return lambda: post_json(call, like)

    def answers(self, job: BatchJob, options: AdapterOptions) -> Send:
        """Read its lines. Their address is made here, since the key goes with it."""
        call = self._at(f"/{batch_segment(job.id)}/results", options)

        async def send(each: Any) -> None:
            await read_json_lines(call, lambda line: each(self._answer(line)))

        return send

    def _base_url(self, options: AdapterOptions) -> str:
        return self.adapter.find_base_url(options)

    def _at(self, path: str, options: AdapterOptions, method: str = "GET", **query: Any) -> HttpCall:
        url = with_query(messages.address(self._base_url(options), f"/messages/batches{path}"), **query)
        return without_body(self.adapter.call(url, b"", options), method)

    def _answer(self, line: Mapping[str, Any]) -> BatchAnswer:
        key, result = as_text(line.get("custom_id")) or "", as_object(line.get("result"))
        kind, message = as_text(result.get("type")) or "", result.get("message")
        if kind == "succeeded" and isinstance(message, dict):
            return BatchAnswer(key, message)
        if kind in _UNANSWERED:
            return BatchAnswer(key, error=AdapterError(_UNANSWERED[kind], reason="timeout", provider=self.provider))
        return BatchAnswer(key, error=stream_error(self.provider, result.get("error")))

    def _job(self, answer: JsonResponse) -> BatchJob:
        return self._read(answer.document)

    def _read(self, item: Mapping[str, Any]) -> BatchJob:
        if (id := as_text(item.get("id"))) is None:
            raise malformed(self.provider, "expected a batch with an id", dumps(item))
        counts = {name: as_count(count) or 0 for name, count in as_object(item.get("request_counts")).items()}
        total = sum(counts.values())
        return BatchJob(
            provider=self.provider,
            id=id,
            state="ended" if item.get("processing_status") == "ended" else "running",
            total=total or None,
            done=total - counts.get("processing", 0),
            expires_at=_seconds(item.get("expires_at")),
        )


def _seconds(moment: Any) -> float | None:
    try:
        return datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else None
    except ValueError:
        return None
