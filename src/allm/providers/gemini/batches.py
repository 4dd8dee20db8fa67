"""Batches (https://ai.google.dev/api/batch-api): requests of one model in the body; the operation has the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final
from urllib.parse import unquote, urlsplit

import attrs

from allm.adapters import (
    AdapterOptions,
    BatchAdapter,
    BatchAnswer,
    BatchFind,
    BatchJob,
    BatchSubmit,
    FileContent,
    HttpCall,
    JsonResponse,
    Send,
    StreamCall,
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
from allm.providers.gemini.errors import stream_error

if TYPE_CHECKING:
    from allm.providers.gemini.adapter import Gemini

__all__ = ["Batches"]

_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
_FOLDER = "batches/"
_MOST_LISTED = 100


@final
@attrs.frozen(eq=False)
class Batches(BatchAdapter):
    """The batches that Google has."""

    adapter: Gemini
    most_requests = 10_000
    most_bytes = 15_000_000  # of 20 MB in the body

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def group(self, call: StreamCall, /) -> str:
        """The model, as the URL of a call names it."""
        return unquote(urlsplit(call.url).path.rpartition("/")[2].rpartition(":")[0])

    def submit(self, batch: BatchSubmit, options: AdapterOptions) -> Send:
        """Make the batch; which one it is, its name says."""
        model = self.group(batch.items[0].call)
        requests = [
            {"request": {**batch_body(item.call), "model": f"models/{model}"}, "metadata": {"key": item.key}}
            for item in batch.items
        ]
        body = {"batch": {"displayName": batch.name, "inputConfig": {"requests": {"requests": requests}}}}
        call = self.adapter.post(model, "batchGenerateContent", body, options)
        return lambda: post_json(call, self._job)

    def get(self, id: str, options: AdapterOptions) -> Send:
        """Ask how far it is."""
        call = self._at(id, options)
        return lambda: post_json(call, self._job)

    def cancel(self, id: str, options: AdapterOptions) -> Send:
        """End it; the answer to this is empty, so it is asked for after it."""
        call, again = without_body(self.adapter.call(self._url(id, options) + ":cancel", b"", options), "POST"), id

        async def send() -> BatchJob:
            await post_json(call, lambda _answer: None)
            job: BatchJob = await self.get(again, options)()
            return job

        return send

    def find(self, wanted: BatchFind, options: AdapterOptions) -> Send:
        """Look for its name among the newest."""
        url = with_query(self.adapter.url("/batches", options), pageSize=_MOST_LISTED)
        call = without_body(self.adapter.call(url, b"", options))

        def named(answer: JsonResponse) -> BatchJob | None:
            for item in as_objects(answer.document.get("operations")):
                if as_object(item.get("metadata")).get("displayName") == wanted.name:
                    return self._read(item)
            return None

        return lambda: post_json(call, named)

    def answers(self, job: BatchJob, options: AdapterOptions) -> Send:
        """Read them from the operation, or from the file that it names."""
        call = self._at(job.id, options)

        async def send(each: Any) -> None:
            document: dict[str, Any] = await post_json(call, lambda answer: answer.document)
            found = as_object(document.get("response")) or as_object(as_object(document.get("metadata")).get("output"))
            file = as_text(found.get("responsesFile"))
            if file is None:
                for item in as_objects(as_object(found.get("inlinedResponses")).get("inlinedResponses")):
                    await each(self._answer(as_text(as_object(item.get("metadata")).get("key")), item))
                return
            from allm.providers.gemini.files import Files

            content: Any = Files(self.adapter).prepare(FileContent(file), options)
            await read_json_lines(content.call, lambda line: each(self._answer(as_text(line.get("key")), line)))

        return send

    def _url(self, id: str, options: AdapterOptions) -> str:
        return self.adapter.url(f"/batches/{batch_segment(id.removeprefix(_FOLDER))}", options)

    def _at(self, id: str, options: AdapterOptions) -> HttpCall:
        return without_body(self.adapter.call(self._url(id, options), b"", options))

    def _answer(self, key: str | None, item: Mapping[str, Any]) -> BatchAnswer:
        response = item.get("response")
        if isinstance(response, dict):
            return BatchAnswer(key or "", response)
        if "error" not in item:
            what = f"{self.provider} has no answer to this request of the batch"
            return BatchAnswer(key or "", error=AdapterError(what, reason="unknown", provider=self.provider))
        report = as_object(item["error"])
        code = report.get("code")
        if isinstance(code, int) and code in _HTTP_OF_CODE:  # of gRPC
            report = {**report, "code": _HTTP_OF_CODE[code]}
        return BatchAnswer(key or "", error=stream_error(self.provider, {"error": report}))

    def _job(self, answer: JsonResponse) -> BatchJob:
        return self._read(answer.document)

    def _read(self, item: Mapping[str, Any]) -> BatchJob:
        if not (name := as_text(item.get("name"))):
            raise malformed(self.provider, "expected a batch with a name", dumps(item))
        known = as_object(item.get("metadata"))
        state = (as_text(known.get("state")) or "").rpartition("_")[2]
        stats = as_object(known.get("batchStats"))
        total, pending = _count(stats.get("requestCount")), _count(stats.get("pendingRequestCount")) or 0
        output = as_object(item.get("response")) or as_object(known.get("output"))
        failed = "error" in item or (state == "FAILED" and not output)
        return BatchJob(
            provider=self.provider,
            id=name,
            state="failed" if failed else "ended" if item.get("done") is True or state in _ENDED else "running",
            total=total,
            done=None if total is None else max(0, total - pending),
            problem=as_text(as_object(item.get("error")).get("message")),
        )


_HTTP_OF_CODE = {1: 499, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 13: 500, 14: 503, 16: 401}
"""https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto."""


def _count(value: Any) -> int | None:
    """A count, which is written as a text."""
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdigit()) else None
