"""A provider in Anthropic's format, whose batches end after some questions, and runs through them."""

from __future__ import annotations

import json
from collections import Counter

import attrs

import allm
from allm.providers import Anthropic
from allm.testing import BEFORE_HEAD, Cut, Reply


@attrs.define
class Batches:
    """A provider in Anthropic's format, which ends a batch when it has been asked for it some times.

    Attributes:
        polls: How often it says that a batch is running.
        loses: Answers of `create` that never arrive, though the batch is made.
        refuses: Statuses of the next answers of `create`, which makes nothing.
        errors: The type of the error with which a text is answered.
        cuts: How often the results break off in the middle.
        ends_on_cancel: A batch has ended just before it is cancelled, so that cancelling is refused.
        made: The requests of each batch, by its id.
        asked: How often each text is in a batch.
        direct: Texts that were asked without a batch.
    """

    polls: int = 2
    loses: int = 0
    refuses: list[int] = attrs.Factory(list)
    errors: dict[str, str] = attrs.Factory(lambda: {"bad": "invalid_request_error"})
    cuts: int = 0
    ends_on_cancel: bool = False
    made: dict[str, list[dict]] = attrs.Factory(dict)
    left: dict[str, int] = attrs.Factory(dict)
    cancelled: set[str] = attrs.Factory(set)
    asked: Counter = attrs.Factory(Counter)
    direct: Counter = attrs.Factory(Counter)
    gets: int = 0

    def __call__(self, request):
        """The reply to a request."""
        _, _, path = request.path.partition("?")[0].partition("/v1/messages")
        match path.split("/")[1:], request.method:
            case [], "POST":
                body = request.json()
                self.direct[text_of(body)] += 1
                return Reply.script("anthropic", [allm.fake.text(f"re: {text_of(body)}"), *USAGE])
            case ["batches"], "POST":
                return self.create(request.json()["requests"])
            case ["batches"], "GET":
                return Reply.json({"data": [self.shown(id) for id in reversed(self.made)]})
            case ["batches", id], "GET":
                self.gets += 1
                self.left[id] = max(0, self.left[id] - 1)
                return Reply.json(self.shown(id))
            case ["batches", id, "cancel"], "POST":
                if self.ends_on_cancel:
                    self.left[id] = 0
                    return Reply.json(failure("invalid_request_error"), status=400)
                self.cancelled.add(id)
                return Reply.json(self.shown(id))
            case ["batches", id, "results"], "GET":
                body = b"\n".join(json.dumps(self.result(id, one)).encode() for one in self.made[id])
                self.cuts, cut = max(0, self.cuts - 1), bool(self.cuts)
                return Reply(body=body, fault=Cut(len(body) // 2) if cut else None)

    def create(self, requests):
        if self.refuses:
            return Reply.json(failure("overloaded_error"), status=self.refuses.pop(0))
        id = f"b{len(self.made)}"
        self.made[id], self.left[id] = requests, self.polls + 1
        self.asked.update(text_of(one["params"]) for one in requests)
        if self.loses:
            self.loses -= 1
            return Reply(fault=Cut(BEFORE_HEAD))
        return Reply.json(self.shown(id))

    def shown(self, id):
        running = bool(self.left[id]) and id not in self.cancelled
        counts = {"processing" if running else "succeeded": len(self.made[id])}
        status = "in_progress" if running else "ended"
        return {"id": id, "processing_status": status, "request_counts": counts, "created_at": "2099-01-01T00:00:00Z"}

    def result(self, id, one):
        text = text_of(one["params"])
        if id in self.cancelled and self.left[id]:
            return {"custom_id": one["custom_id"], "result": {"type": "canceled"}}
        if text in self.errors:
            result = {"type": "errored", "error": failure(self.errors[text])}
            return {"custom_id": one["custom_id"], "result": result}
        message = {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "claude-haiku-4-5",
            "content": [{"type": "text", "text": f"re: {text}"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 1000, "output_tokens": 100, "service_tier": "batch"},
        }
        return {"custom_id": one["custom_id"], "result": {"type": "succeeded", "message": message}}


USAGE = [allm.fake.usage(input_tokens=1000, output_tokens=100)]


def failure(kind):
    """The body of an error."""
    return {"type": "error", "error": {"type": kind, "message": "no"}}


def text_of(body):
    """What the user says in a request."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def engine_at(server):
    """The engine for a provider at a server."""
    retry = allm.RetryPolicy(max_attempts=3, base_delay=1)
    return allm.Engine(adapter=Anthropic(api_key="k", base_url=server.base_url), model="claude-haiku-4-5", retry=retry)


def run_at(server, tmp_path, inputs, **settings):
    """A run through batches."""
    return allm.bulk(engine_at(server), inputs, via="batch", journal=tmp_path / "j.sqlite", **settings)
