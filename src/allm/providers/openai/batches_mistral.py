"""Batches of Mistral (https://docs.mistral.ai/api/endpoint/batch): requests in the body, answers in that of the job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import attrs

from allm.adapters import (
    AdapterOptions,
    BatchJob,
    BatchSubmit,
    Send,
    as_count,
    as_objects,
    as_text,
    batch_body,
    batch_segment,
    dumps,
    join_url,
    malformed,
    post_json,
    read_json_lines,
)
from allm.providers.openai.batches import Lines, as_answer, endpoint

__all__ = ["MistralBatches"]

_RUNNING = frozenset({"QUEUED", "RUNNING", "CANCELLATION_REQUESTED"})
_MOST_LISTED = 100


@final
@attrs.frozen(eq=False)
class MistralBatches(Lines):
    """The batch jobs."""

    place = "/batch/jobs"
    newest: ClassVar[Mapping[str, Any]] = {"page_size": _MOST_LISTED}
    most_requests = 10_000
    most_bytes = 20_000_000

    def submit(self, batch: BatchSubmit, options: AdapterOptions) -> Send:
        """Make the job; which one it is, its metadata say."""
        bodies = [batch_body(item.call) for item in batch.items]
        body = {
            "endpoint": endpoint(batch.items[0].call),
            "model": bodies[0].get("model"),
            "requests": [
                {"custom_id": item.key, "body": {name: value for name, value in fields.items() if name != "model"}}
                for item, fields in zip(batch.items, bodies, strict=True)
            ],
            "metadata": {"allm": batch.name},
        }
        call = self.adapter.call(join_url(self.base_url(options), "/batch/jobs"), body, options)
        return lambda: post_json(call, self.job)

    def answers(self, job: BatchJob, options: AdapterOptions) -> Send:
        """Read its answers: they are in the job itself, or in files."""
        call = self.at(f"/batch/jobs/{batch_segment(job.id)}", options, inline="true")
        files = [self.file(id, options) for id in job.results]

        async def send(each: Any) -> None:
            listed = await post_json(call, lambda answer: answer.document.get("outputs"))
            if isinstance(listed, list):
                for line in as_objects(listed):
                    await each(as_answer(call, line))
                return
            for file in files:
                await read_json_lines(file, lambda line, file=file: each(as_answer(file, line)))  # type: ignore[misc]

        return send

    def read_job(self, item: Mapping[str, Any]) -> BatchJob:
        """The batch, as the service shows it."""
        if (id := as_text(item.get("id"))) is None:
            raise malformed(self.provider, "expected a batch with an id", dumps(item))
        running = item.get("status") in _RUNNING
        files = tuple(file for name in ("output_file", "error_file") if (file := as_text(item.get(name))))
        nothing = not files and not item.get("outputs")
        errors = [as_text(error.get("message")) for error in as_objects(item.get("errors"))]
        return BatchJob(
            provider=self.provider,
            id=id,
            state="running" if running else "failed" if item.get("status") == "FAILED" and nothing else "ended",
            total=as_count(item.get("total_requests")) or None,
            done=as_count(item.get("completed_requests")),
            problem="; ".join(text for text in errors[:3] if text) or None,
            results=files,
        )
