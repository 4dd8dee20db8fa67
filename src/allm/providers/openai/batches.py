"""Batches of OpenAI (https://platform.openai.com/docs/api-reference/batch) and of Groq, which copies it.

The requests are a file of lines; so are the answers, and the errors another one. Both have the answers in any order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

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
    StreamCall,
    Upload,
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
    read_json_lines,
    upload_form,
    with_query,
    without_body,
)
from allm.data.errors import AdapterError

if TYPE_CHECKING:
    from allm.providers.openai.adapter import OpenAI

__all__ = ["Batches", "Lines", "as_answer"]

_ENDED = frozenset({"completed", "expired", "cancelled"})
_ERROR_STATUS = 400
_MOST_LISTED = 100
_EXPIRED = "batch_expired"


@attrs.frozen(eq=False)
class Lines(BatchAdapter):
    """What these services have in common: batches with a name, and answers that say to which request they belong.

    Attributes:
        place, cancelling: Paths of the batches, and of the end of one.
        listed, newest: What a list has them in, and the query for the newest.
    """

    place: ClassVar[str] = "/batches"
    cancelling: ClassVar[str] = "/cancel"
    listed: ClassVar[str] = "data"
    newest: ClassVar[Mapping[str, Any]] = {"limit": _MOST_LISTED}
    adapter: OpenAI

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def base_url(self, options: AdapterOptions) -> str:
        """The address of the service."""
        return self.adapter.find_base_url(options, "responses")

    def at(self, path: str, options: AdapterOptions, method: str = "GET", **query: Any) -> HttpCall:
        """A call without a body."""
        url = with_query(join_url(self.base_url(options), path), **query)
        return without_body(self.adapter.call(url, b"", options), method)

    def file(self, id: str, options: AdapterOptions) -> HttpCall:
        """The call for the lines of a file."""
        return self.at(f"/files/{batch_segment(id)}/content", options)

    def group(self, call: StreamCall, /) -> str:
        """Endpoint and model: a batch has one of each."""
        return f"{endpoint(call)} {batch_body(call).get('model')}"

    def get(self, id: str, options: AdapterOptions) -> Send:
        """Ask how far it is."""
        call = self.at(f"{self.place}/{batch_segment(id)}", options)
        return lambda: post_json(call, self.job)

    def cancel(self, id: str, options: AdapterOptions) -> Send:
        """End it; answers that are there can be read when it has ended."""
        call = self.at(f"{self.place}/{batch_segment(id)}{self.cancelling}", options, "POST")
        return lambda: post_json(call, self.job)

    def find(self, wanted: BatchFind, options: AdapterOptions) -> Send:
        """Look for its name among the newest."""
        call = self.at(self.place, options, **self.newest)

        def named(answer: JsonResponse) -> BatchJob | None:
            listed = as_objects(answer.document.get(self.listed))
            return next((self.read_job(item) for item in listed if self.name_of(item) == wanted.name), None)

        return lambda: post_json(call, named)

    def name_of(self, item: Mapping[str, Any]) -> str | None:
        """The name that a batch was given, here in its metadata."""
        return as_text(as_object(item.get("metadata")).get("allm"))

    def job(self, answer: JsonResponse) -> BatchJob:
        """The batch that an answer shows."""
        return self.read_job(answer.document)

    @abstractmethod
    def read_job(self, item: Mapping[str, Any]) -> BatchJob:
        """The batch, as the service shows it."""
        ...


@final
@attrs.frozen(eq=False)
class Batches(Lines):
    """The batches of the service."""

    most_requests = 50_000
    most_bytes = 100_000_000  # of 200 MB

    def submit(self, batch: BatchSubmit, options: AdapterOptions) -> Send:
        """Upload the requests, then make the batch; which one it is, its metadata say."""
        url = endpoint(batch.items[0].call)
        lines = (
            dumps({"custom_id": item.key, "method": "POST", "url": url, "body": batch_body(item.call)})
            for item in batch.items
        )
        upload = Upload.of(b"\n".join(lines), f"{batch.name}.jsonl", purpose="batch")
        kind, form = upload_form({"purpose": "batch"}, upload)
        to_files = self.adapter.call(join_url(self.base_url(options), "/files"), form, options, kind)
        to_batches = join_url(self.base_url(options), "/batches")

        async def send() -> BatchJob:
            stored = await post_json(to_files, lambda answer: as_text(answer.document.get("id")))
            if stored is None:
                raise malformed(self.provider, "expected a file with an id", b"")
            body = {
                "input_file_id": stored,
                "endpoint": url,
                "completion_window": "24h",
                "metadata": {"allm": batch.name},
            }
            return await post_json(self.adapter.call(to_batches, body, options), self.job)

        return send

    def answers(self, job: BatchJob, options: AdapterOptions) -> Send:
        """Read its files: one with answers, one with errors."""
        calls = [self.file(id, options) for id in job.results]

        async def send(each: Any) -> None:
            for call in calls:
                await read_json_lines(call, lambda line, call=call: each(as_answer(call, line)))  # type: ignore[misc]

        return send

    def read_job(self, item: Mapping[str, Any]) -> BatchJob:
        """The batch, as the service shows it."""
        if (id := as_text(item.get("id"))) is None:
            raise malformed(self.provider, "expected a batch with an id", dumps(item))
        status, counts = item.get("status"), as_object(item.get("request_counts"))
        files = (as_text(item.get(name)) for name in ("output_file_id", "error_file_id"))
        return BatchJob(
            provider=self.provider,
            id=id,
            state="failed" if status == "failed" else "ended" if status in _ENDED else "running",
            total=as_count(counts.get("total")) or None,
            done=(as_count(counts.get("completed")) or 0) + (as_count(counts.get("failed")) or 0),
            expires_at=as_count(item.get("expires_at")),
            problem=_problem(item),
            results=tuple(file for file in files if file),
        )


def endpoint(call: StreamCall) -> str:
    """The path that a line of a batch names."""
    path = call.url.partition("?")[0]
    return "/v1/responses" if path.endswith("/responses") else "/v1/chat/completions"


def as_answer(call: HttpCall, line: Mapping[str, Any]) -> BatchAnswer:
    """The answer in a line of a file, which stands there with its status, or as an error of the batch."""
    key, response = as_text(line.get("custom_id")) or "", as_object(line.get("response"))
    status, body = as_count(response.get("status_code")), response.get("body")
    failure = as_object(line.get("error"))
    if isinstance(body, dict) and not failure and (status is None or status < _ERROR_STATUS):
        return BatchAnswer(key, body)
    if failure.get("code") == _EXPIRED:
        what = as_text(failure.get("message")) or "the batch ended before the request was answered"
        return BatchAnswer(key, error=AdapterError(what, reason="timeout", provider=call.provider))
    report = body if status is not None and status >= _ERROR_STATUS else {"error": line.get("error")}
    return BatchAnswer(key, error=call.classify(status or _ERROR_STATUS, {}, report))


def _problem(item: Mapping[str, Any]) -> str | None:
    errors = as_objects(as_object(item.get("errors")).get("data"))
    said = [as_text(error.get("message")) or as_text(error.get("code")) for error in errors]
    return "; ".join(text for text in said[:3] if text) or None
