"""Batches of xAI (https://docs.x.ai/docs/guides/batch-api): a batch by its name, to which requests are added.

It takes a request in the form of either API and answers in that of Chat Completions.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, final

import attrs

from allm.adapters import (
    AdapterOptions,
    BatchAnswer,
    BatchFind,
    BatchItem,
    BatchJob,
    BatchSubmit,
    HttpCall,
    Send,
    StreamCall,
    as_count,
    as_object,
    as_objects,
    as_text,
    batch_body,
    batch_segment,
    dumps,
    join_url,
    malformed,
    post_json,
    send_without_answer,
    with_query,
)
from allm.data.errors import AdapterError
from allm.providers.openai.batches import Lines, endpoint
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.responses_decode import ResponsesDecoder

__all__ = ["XaiBatches"]

_AT_ONCE = 100
_CHAT = "chat_get_completion"
_ERROR_STATUS = 400
_MOST_LISTED = 100


@final
@attrs.frozen(eq=False)
class XaiBatches(Lines):
    """The batches."""

    cancelling = ":cancel"
    listed = "batches"
    most_requests = 10_000
    most_bytes = 50_000_000

    def group(self, _call: StreamCall, /) -> str:
        """A batch may have any requests."""
        return ""

    def submit(self, batch: BatchSubmit, options: AdapterOptions) -> Send:
        """Make the batch, and add the requests to it, a hundred at a time."""
        url = join_url(self.base_url(options), "/batches")
        create = self.adapter.call(url, {"name": batch.name}, options)
        parts = [batch.items[start : start + _AT_ONCE] for start in range(0, len(batch.items), _AT_ONCE)]

        async def send() -> BatchJob:
            job = await post_json(create, self.job)
            to_requests = join_url(self.base_url(options), f"/batches/{batch_segment(job.id)}/requests")
            for part in parts:
                body = {"batch_requests": [_request(item) for item in part]}
                await send_without_answer(self.adapter.call(to_requests, body, options))
            return attrs.evolve(job, state="running", total=len(batch.items))

        return send

    def find(self, wanted: BatchFind, options: AdapterOptions) -> Send:
        """Look for its name; a batch that lacks requests is ended, and counts as not found."""
        look = super().find(wanted, options)

        async def send() -> BatchJob | None:
            job: BatchJob | None = await look()
            if job is not None and (job.total or 0) < wanted.count:
                await self.cancel(job.id, options)()
                return None
            return job

        return send

    def name_of(self, item: Mapping[str, Any]) -> str | None:
        """It has a field for it."""
        return as_text(item.get("name"))

    def answers(self, job: BatchJob, options: AdapterOptions) -> Send:
        """Read the pages of its answers."""
        first = self.at(f"/batches/{batch_segment(job.id)}/results", options, limit=_MOST_LISTED)

        async def send(each: Any) -> None:
            call, seen = first, set[str]()
            while True:
                page: dict[str, Any] = await post_json(call, lambda answer: answer.document)
                for item in as_objects(page.get("results")):
                    await each(self._answer(call, item))
                token = as_text(page.get("pagination_token"))
                if not token:
                    return
                if token in seen:
                    raise malformed(self.provider, f"the list goes in circles: {token!r} comes again", b"")
                seen.add(token)
                call = attrs.evolve(first, url=with_query(first.url, pagination_token=token))

        return send

    def _answer(self, call: HttpCall, item: Mapping[str, Any]) -> BatchAnswer:
        key, result = as_text(item.get("batch_request_id")) or "", as_object(item.get("batch_result"))
        response = as_object(result.get("response"))
        chat, other = as_object(response.get(_CHAT)), as_object(response.get("responses"))
        row, origin = self.adapter.row, self.adapter.origin(call.url.partition("/batches")[0])
        if chat:
            decoder: Any = functools.partial(ChatDecoder, row.name, row.sends_done, origin=origin)
            return BatchAnswer(key, chat, new_decoder=decoder)
        if other:
            return BatchAnswer(key, other, new_decoder=functools.partial(ResponsesDecoder, row.name, origin=origin))
        report = result.get("error") or item.get("error_message") or item.get("error")
        if report is None:
            what = f"{self.provider} has no answer to this request of the batch"
            return BatchAnswer(key, error=AdapterError(what, reason="unknown", provider=self.provider))
        status = as_count(as_object(report).get("code")) or 0
        return BatchAnswer(key, error=call.classify(max(status, _ERROR_STATUS), {}, {"error": report}))

    def read_job(self, item: Mapping[str, Any]) -> BatchJob:
        """The batch, as the service shows it."""
        if (id := as_text(item.get("batch_id"))) is None:
            raise malformed(self.provider, "expected a batch with an id", dumps(item))
        state = as_object(item.get("state"))
        total, pending = as_count(state.get("num_requests")) or 0, as_count(state.get("num_pending")) or 0
        return BatchJob(
            provider=self.provider,
            id=id,
            state="ended" if total and not pending else "running",
            total=total or None,
            done=max(0, total - pending),
        )


def _request(item: BatchItem) -> dict[str, Any]:
    form = "responses" if endpoint(item.call) == "/v1/responses" else _CHAT
    return {"batch_request_id": item.key, "batch_request": {form: batch_body(item.call)}}
