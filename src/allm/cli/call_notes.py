"""`--verbose`: what happens beside the answer, as lines on standard error: retries, times, ids."""

from __future__ import annotations

import time
from typing import Any, final

import attrs

import allm
from allm.cli.terminal import Terminal

__all__ = ["CallNotes"]

_CONTENT = (allm.TextDelta, allm.TextCompleted, allm.ReasoningDelta, allm.ToolCallStarted, allm.ToolCallCompleted)
_SHORT = 0.1  # seconds; what arrives in less was not streamed, and its speed says nothing


@final
@attrs.define(eq=False)
class CallNotes:
    """Notes on one command's calls, in a `with` block around them."""

    _terminal: Terminal
    _provider: str
    _step_started: float = attrs.field(factory=time.perf_counter, init=False)
    _first: float | None = attrs.field(default=None, init=False)  # seconds until the first content
    _detach: Any = attrs.field(default=None, init=False)

    def __enter__(self) -> CallNotes:
        self._detach = allm.telemetry.attach(self._retry, ["adapter.retry"])
        return self

    def __exit__(self, *_: object) -> None:
        self._detach()

    def event(self, event: allm.Event) -> None:
        """Take note of an event of the stream."""
        if isinstance(event, allm.StepCompleted):
            self.response(event.step.response)
        elif self._first is None and isinstance(event, _CONTENT):
            self._first = time.perf_counter() - self._step_started

    def response(self, response: allm.Response) -> None:
        """Show the facts of one model call that has ended."""
        now = time.perf_counter()
        took = now - self._step_started
        ids = {"request": response.request_id, "response": response.id}
        facts = [
            f"{self._provider} {response.model or ''}".strip(),
            *(f"{name} {id}" for name, id in ids.items() if id),
        ]
        if self._first is not None:
            facts.append(f"first token after {self._first:.2f} s")
        facts.append(f"{took:.2f} s in all")
        tokens = response.usage.output_tokens
        if tokens and self._first is not None and took - self._first > _SHORT:
            facts.append(f"{tokens / (took - self._first):.0f} tokens/s")
        self._terminal.line(", ".join(facts), dim=True)
        self._step_started, self._first = now, None

    def _retry(self, event: allm.telemetry.TelemetryEvent) -> None:
        error, attempt, delay = (event.attributes[name] for name in ("error", "attempt", "delay"))
        facts = f"{error.reason}, status {error.status}" if error.status else error.reason
        what = f"attempt {attempt} failed: {error.problem} ({facts}); trying again in {delay:.1f} s"
        self._terminal.line(what, dim=True)
