"""Cases for failures of the provider and the connection, and for timeouts: one clear error, no content lost."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Generator
from contextlib import contextmanager

import attrs
import trio

from allm import fake
from allm.data.errors import AdapterError
from allm.data.events import Failed
from allm.data.json.codec import to_json
from allm.execution.generate import generate
from allm.runtime import telemetry
from allm.runtime.retry import RetryPolicy
from allm.testing.conformance.checks import hides, holds, same
from allm.testing.conformance.response_cases import ResponseCases, read
from allm.testing.conformance.samples import STATUS, TEXT, failure, full_request, short_response
from allm.testing.conformance.setup import KEY, Script, case
from allm.testing.faults import BEFORE_HEAD, Cut, Garbage, GarbageHead, KeepAlive, Reset, Stall
from allm.testing.replies import Reply

__all__ = ["FailureCases"]

AT_ONCE = RetryPolicy(max_attempts=3, base_delay=0, jitter=0)
PARTIAL = "some text"
NO_RESPONSE = fake.delay(3600)
CUTS = 60  # places at which a response is cut, besides the ends of its events


class FailureCases(ResponseCases):
    """Cases for failing calls."""

    @case()
    async def test_errors_are_distinguished(self) -> None:
        """Each has its reason, status and provider, and is the only event."""
        for reason in self.error_reasons:
            async with self.playing((fake.error(failure(reason)),)) as stage:
                events, response = await read(stage)
            error = response.error
            if not isinstance(error, AdapterError):
                raise AssertionError(f"expected an AdapterError, got {response!r}")  # noqa: TRY004 - a case has failed
            same(error.reason, reason, f"the reason of {error!r}")
            same([type(event) for event in events], [Failed], f"the events of the error {reason}")
            if self.has("http"):
                same(error.status, STATUS[reason], f"the status of {error!r}")
                same(error.provider, stage.adapter.provider, f"the provider of {error!r}")

    @case()
    async def test_only_temporary_errors_are_retryable(self) -> None:
        """A limit or an outage is temporary; a wrong key or request is not."""
        passing = {"rate_limited", "overloaded", "provider_unavailable"}
        for reason in self.error_reasons:
            async with self.playing((fake.error(failure(reason)),)) as stage:
                response = await generate(stage.engine(), "hi")
            same(getattr(response.error, "retryable", None), reason in passing, f"retryable of {response.error!r}")

    @case()
    async def test_retry_after_is_honoured(self) -> None:
        """It is in the error, in seconds, and the retry is not earlier."""
        limited = (fake.error(failure("rate_limited", retry_after=7)),)
        async with self.playing(limited, limited, TEXT) as stage:
            response = await generate(stage.engine(), "hi")
            same(getattr(response.error, "retry_after", None), 7, f"retry_after of {response.error!r}")
            before = trio.current_time()
            response = await generate(stage.engine(retry=AT_ONCE), "hi")
            holds(trio.current_time() - before >= 7, "the retry came before the provider's time")  # noqa: PLR2004
            same(response.output_text, "one two three four five six", "the text after the retry")

    @case()
    async def test_failure_before_the_first_event_is_retried(self) -> None:
        """Each attempt sends the same prepared call; the adapter itself does not retry."""
        down = (fake.error(failure("provider_unavailable")),)
        async with self.playing(down, down, TEXT) as stage:
            response = await generate(stage.engine(retry=AT_ONCE), "hi")
            same(response.output_text, "one two three four five six", "the text after two failures")
            if stage.server is not None:
                same(len(stage.server.requests), 3, "requests for two failures and a response")
                bodies = {request.body for request in stage.server.requests}
                same(len(bodies), 1, "different bodies in the three attempts")

    @case("http")
    async def test_adapter_does_not_retry_by_itself(self) -> None:
        """An engine without a retry policy sends one request."""
        async with self.playing(*[(fake.error(failure("provider_unavailable")),)] * 3) as stage:
            await generate(stage.engine(retry=None), "hi")
            same(len(stage.http.requests), 1, "requests without a retry policy")

    @case("http")
    async def test_lost_connection_before_the_response_is_retried(self) -> None:
        """The connection was dropped or reset, or did not speak HTTP; nothing had arrived."""
        for fault in (Cut(BEFORE_HEAD), Cut(0), Reset(BEFORE_HEAD), Reset(0), GarbageHead()):
            broken = attrs.evolve(self.make_reply(TEXT), fault=fault)
            async with self.playing(broken, TEXT) as stage:
                response = await generate(stage.engine(retry=AT_ONCE), "hi")
                same(response.error, None, f"the error after a retry; the first attempt met {fault!r}")
                same(len(stage.http.requests), 2, f"requests when the first one met {fault!r}")

    @case("stream_errors")
    async def test_error_in_the_middle_keeps_the_text(self) -> None:
        """It is the last event, and is not retried, since the reader has seen content."""
        for reason in ("overloaded", "rate_limited"):
            broken = (fake.text(PARTIAL), fake.error(in_stream(reason)))
            async with self.playing(broken, TEXT) as stage:
                events, response = await read(stage, retry=AT_ONCE)
                same(response.finish_reason, "error", "the finish reason")
                same(response.output_text, PARTIAL, "the text before the failure")
                same(getattr(response.error, "reason", None), reason, f"the reason of {response.error!r}")
                same(type(events[-1]), Failed, "the last event")
                if stage.server is not None:
                    same(len(stage.server.requests), 1, "requests after a failure in the middle")

    @case("stream_errors", "http")
    async def test_error_inside_a_200_is_retried_before_content(self) -> None:
        """Also after the provider's start event, since no content was shown."""
        broken = (fake.error(in_stream("overloaded")),)
        async with self.playing(broken, broken, TEXT) as stage:
            events, _ = await read(stage)
            same(type(events[-1]), Failed, "the last event of a response that is an error")
            response = await generate(stage.engine(retry=AT_ONCE), "hi")
            same(response.error, None, f"the error of the second attempt, after {events}")
            same(len(stage.http.requests), 3, f"requests after {events}")

    @case("http")
    async def test_truncated_response_is_never_a_success(self) -> None:
        """Cut at any byte, cleanly or not, it is an error with the text so far, unless nothing is missing."""
        script = short_response(self.capabilities)
        reply = self.make_reply(script)
        places = {*reply.event_ends, *range(0, len(reply.body), max(1, len(reply.body) // CUTS))} - {len(reply.body)}
        async with self.playing(default=reply) as stage:
            whole = await generate(stage.engine(), "hi", tools=self.tools)
            for place in sorted(places):
                for clean in (True, False):
                    stage.http.default = attrs.evolve(reply, fault=Cut(place, clean=clean))
                    response = await generate(stage.engine(), "hi", tools=self.tools)
                    where = f"cut {'cleanly' if clean else 'off'} after {place} of {len(reply.body)} bytes"
                    if response.error is None:
                        same(
                            response.message,
                            whole.message,
                            f"a response {where} counts as complete, but has less content",
                        )
                        continue
                    reasons = {"stream_truncated"} if clean else {"stream_truncated", "network_error"}
                    holds(response.error.reason in reasons, f"a response {where} gave {response.error!r}")
                    holds(whole.output_text.startswith(response.output_text), f"a response {where}: {response!r}")

    @case("http")
    async def test_reset_connection_is_an_error(self) -> None:
        """A reset at the end of the body is not a success."""
        reply = self.make_reply((fake.text(PARTIAL), *TEXT))
        async with self.playing(attrs.evolve(reply, fault=Reset(len(reply.body) - 1))) as stage:
            response = await generate(stage.engine(), "hi")
        reason = getattr(response.error, "reason", None)
        holds(reason in {"network_error", "stream_truncated"}, f"a reset connection gave {response!r}")

    @case("http")
    async def test_invalid_event_is_a_malformed_response(self) -> None:
        """The text before it is kept."""
        script = (fake.text(PARTIAL), fake.error(AdapterError("", reason="malformed_response")))
        async with self.playing(script) as stage:
            response = await generate(stage.engine(), "hi")
        same(getattr(response.error, "reason", None), "malformed_response", f"the reason of {response.error!r}")
        same(response.output_text, PARTIAL, "the text before the failure")

    @case("http")
    async def test_html_page_is_a_malformed_response(self) -> None:
        """A proxy's login page may have status 200."""
        page = Reply(headers={"content-type": "text/html"}, body=b"<!doctype html><title>Sign in</title>")
        async with self.playing(page) as stage:
            response = await generate(stage.engine(), "hi")
        same(getattr(response.error, "reason", None), "malformed_response", f"the reason of {response.error!r}")

    @case()
    async def test_silence_before_the_response_is_a_timeout(self) -> None:
        """`first_event_timeout` limits the wait for the first event."""
        async with self.playing((NO_RESPONSE, *TEXT)) as stage:
            response = await generate(stage.engine(), "hi", first_event_timeout=60)
        same(getattr(response.error, "reason", None), "timeout", f"the reason of {response.error!r}")

    @case()
    async def test_silence_in_the_middle_is_a_timeout(self) -> None:
        """`stream_timeout` limits the wait; the text is kept, and the connection is closed."""
        async with self.playing((fake.text(PARTIAL), NO_RESPONSE, *TEXT)) as stage:
            response = await generate(stage.engine(), "hi", stream_timeout=60)
            same(getattr(response.error, "reason", None), "timeout", f"the reason of {response.error!r}")
            same(response.output_text, PARTIAL, "the text before the silence")
            if stage.server is not None:
                with trio.fail_after(5):
                    await stage.server.wait_outcomes()
                same(stage.server.requests[0].outcome, "client_closed", "the outcome of the silent request")

    @case("http", "server_sent_events")
    async def test_keep_alive_comments_do_not_extend_the_timeout(self) -> None:
        """Bytes without an event count as silence."""
        reply = self.make_reply(TEXT)
        fault = KeepAlive(reply.event_ends[len(reply.event_ends) // 2], interval=5)
        async with self.playing(attrs.evolve(reply, fault=fault)) as stage:
            response = await generate(stage.engine(), "hi", stream_timeout=60)
        same(getattr(response.error, "reason", None), "timeout", f"the reason of {response.error!r}")

    @case("http")
    async def test_unknown_events_are_ignored(self) -> None:
        """Providers add event types without a new version."""
        script = (fake.text("one "), fake.raw("brand_new_event", {"brand_new": {"x": [1]}}), fake.text("two"))
        async with self.playing(script) as stage:
            _, response = await read(stage)
        same((response.error, response.output_text), (None, "one two"), "the response around an unknown event")

    @case("http", "server_sent_events")
    async def test_comments_between_events_are_ignored(self) -> None:
        """Comments may come before, between and after the events."""
        reply = self.make_reply(TEXT)
        for place in (0, *reply.event_ends):
            noisy = attrs.evolve(reply, fault=Garbage(place, b": a comment\n\n"))
            async with self.playing(noisy) as stage:
                response = await generate(stage.engine(), "hi")
            same(response.output_text, "one two three four five six", f"the text around a comment at byte {place}")

    @case("http", "api_key")
    async def test_key_is_never_shown(self) -> None:
        """Events, errors, JSON, tracebacks, logs and telemetry do not have it, even if the provider echoes it."""
        echo = f"Incorrect API key provided: {KEY}."
        scripts: list[Script] = [TEXT, (fake.error(failure("authentication_failed", message=echo)),)]
        if self.has("stream_errors"):
            scripts += [(fake.text(PARTIAL), fake.error(in_stream("overloaded", message=echo)))]
        request = full_request(self.model, self.capabilities)
        async with self.playing(*scripts) as stage:
            for _ in scripts:
                with _everything_logged() as logged:
                    events, response = await read(stage, request)
                shown = [(f"event {event!r}"[:40], f"{event} {event!r}") for event in events]
                shown += [("the response", repr(response)), ("the response in JSON", to_json(response)), *logged]
                if response.error is not None:
                    shown.append(("the traceback", "".join(traceback.format_exception(response.error))))
                    holds("***" in repr(response.error), f"the provider's message is lost: {response.error!r}")
                hides(KEY, shown)

    @case("http")
    async def test_deadline_ends_a_call_to_a_silent_server(self) -> None:
        """A deadline around the call ends it and closes the connection."""
        reply = attrs.evolve(self.make_reply(TEXT), fault=Stall(BEFORE_HEAD))
        async with self.playing(reply) as stage:
            with trio.move_on_after(30) as scope:
                await generate(stage.engine(), "hi")
            holds(scope.cancelled_caught, "the call ended before its deadline, with a silent server")
            with trio.fail_after(5):
                await stage.http.wait_idle()


def in_stream(reason: str, *, message: str = "as scripted") -> AdapterError:
    """An error inside the stream, which has no HTTP status after a 200."""
    return AdapterError(message, reason=reason)  # type: ignore[arg-type]


@contextmanager
def _everything_logged() -> Generator[list[tuple[str, str]], None, None]:
    """Collect everything that goes to loggers, from DEBUG on, and to telemetry in this block."""
    shown: list[tuple[str, str]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append((f"the logger {record.name}", f"{record.getMessage()} {record.__dict__!r}"))

    root, handler = logging.getLogger(), Keep()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    detach = telemetry.attach(lambda event: shown.append(("telemetry", repr(event))))
    try:
        yield shown
    finally:
        detach()
        root.setLevel(level)
        root.removeHandler(handler)
