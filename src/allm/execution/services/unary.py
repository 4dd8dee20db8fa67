"""Calls that answer in one piece: who answers, with what options, within what limits, and how often it is tried.

The same rules as for the calls that stream, in the same words. One loop owns the retries; what makes several requests
for one call, such as a long list of texts, shares one budget of retries and one time limit among them.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Generic, TypedDict, TypeVar

import attrs
import trio

from allm.data.errors import AdapterError, EngineError
from allm.data.problems import unknown_option
from allm.execution.options import application_defaults, engine_options
from allm.runtime import telemetry
from allm.runtime.adapters import AdapterOptions, UnaryAdapter
from allm.runtime.call_options import ExecutionOptions, check_options
from allm.runtime.engine import Engine
from allm.runtime.keys import Secret
from allm.runtime.retry import RetryPolicy

__all__ = ["UnaryCall", "UnaryOptions", "resolve_unary"]

logger: logging.Logger = logging.getLogger("allm")

_SPANS = {"embedding": "embed"}
"""Spans are named after the function that is called."""

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class UnaryOptions(TypedDict, total=False):
    """Options of every call that answers in one piece. Times are seconds.

    model: Else the request's, else the engine's for this service (`image_model`, ...).
    options: Goes into the provider's request body as it is.
    api_key: For this call; wins over every other place.
    request_id: An id of yours, for tracing.
    request_timeout: Limit of the whole call, retries included; none by default.
    first_event_timeout: Longest wait for the answer to one request (300).
    retry: What happens when a request fails; None never retries.
    """

    model: str | None
    options: Mapping[str, Any]
    api_key: str | None
    request_id: str | None
    request_timeout: float | None
    first_event_timeout: float | None
    retry: RetryPolicy | None


@attrs.define(eq=False)
class UnaryCall(Generic[RequestT, ResponseT]):
    """A call with everything decided but the request.

    Attributes:
        service: `image`, `embed`, `moderation`, `speech` or `transcription`.
        model: The model asked for by the call or the engine, None where neither names one.
        body: The `options` of the call over those of the application.
    """

    service: str
    engine: Engine
    adapter: UnaryAdapter[RequestT, ResponseT]
    model: str | None
    body: Mapping[str, Any]
    adapter_options: AdapterOptions
    controls: ExecutionOptions
    error_type: type[AdapterError]
    _failures: int = attrs.field(default=0, init=False)
    _resume: float = attrs.field(default=float("-inf"), init=False)  # when the latest pause of the call is over
    _deadline: float = attrs.field(default=float("inf"), init=False)

    @contextmanager
    def running(self, **attributes: Any) -> Generator[telemetry.Span]:
        """The time limit of the whole call, and its telemetry.

        Raises:
            AdapterError: `timeout`.
        """
        with self.started(**attributes) as span, self.within_limit():
            yield span

    @contextmanager
    def started(self, **attributes: Any) -> Generator[telemetry.Span]:
        """The call's telemetry, and the moment from which its time limit counts."""
        limit = self.controls.request_timeout
        self._deadline = trio.current_time() + (float("inf") if limit is None else limit)
        span = telemetry.start_span(
            _SPANS.get(self.service, self.service), provider=self.adapter.provider, **attributes
        )
        try:
            yield span
        except Exception as error:
            span.fail(error)
            raise
        else:
            span.stop()
        finally:
            span.stop(outcome="cancelled")

    @contextmanager
    def within_limit(self) -> Generator[None]:
        """What is left of the time limit of the whole call.

        Raises:
            AdapterError: `timeout`.
        """
        with trio.CancelScope(deadline=self._deadline) as scope:
            yield
        if scope.cancelled_caught:
            message = f"the call took longer than {self.controls.request_timeout} s (request_timeout)"
            raise self.error_type(message, reason="timeout", provider=self.adapter.provider)

    async def send(self, prepared: Any, span: telemetry.Span) -> ResponseT:
        """Make one request, as often as the call's budget allows. Inside `running`.

        Raises:
            AdapterError: Of the type of this service.
        """
        return await self.attempt(lambda: self.adapter.send(prepared), span)

    async def attempt(
        self, work: Callable[[], Awaitable[ResponseT]], span: telemetry.Span, *, after: ExitStack | None = None
    ) -> ResponseT:
        """`send` for whatever else may be tried again as a whole.

        Args:
            after: Gives the place at the engine's limiter back; None: that is done when `work` has ended.
        """
        while True:
            if trio.current_time() < self._resume:
                await trio.sleep_until(self._resume)
            error, seen = None, self._failures
            try:
                return await self._once(work, after)
            except AdapterError as raised:
                error = raised
            except Exception as raised:
                error = AdapterError(
                    f"the {self.adapter.provider} adapter raised {type(raised).__name__}: {raised}",
                    provider=self.adapter.provider,
                )
                error.__cause__ = raised
            await trio.sleep(self._pause(error, span, seen))

    async def _once(self, work: Callable[[], Awaitable[ResponseT]], after: ExitStack | None) -> ResponseT:
        limiter, limit = self.engine.limiter, self.controls.first_event_timeout
        with ExitStack() as place:
            if limiter is not None:
                borrower = object()  # not the task, which may have another call open
                await limiter.acquire_on_behalf_of(borrower)
                place.callback(limiter.release_on_behalf_of, borrower)
            with trio.move_on_after(float("inf") if limit is None else limit):
                answer = await work()
                if after is not None:
                    after.push(place.pop_all())
                return answer
            message = f"no answer within {limit} s (first_event_timeout)"
            raise AdapterError(message, reason="timeout", provider=self.adapter.provider)

    def _pause(self, error: AdapterError, span: telemetry.Span, seen: int) -> float:
        """Seconds until the next try, which the budget of the whole call is charged for.

        A request that was under way when another one failed has met the same trouble, such as a rate limit: it waits
        with the other and is not charged. So is the budget one of troubles, however many requests run at once.

        Args:
            seen: How many failures there had been when the request was sent.
        """
        charged = self._failures == seen
        self._failures += charged
        policy, now = self.controls.retry, trio.current_time()
        delay = policy.delay(error, self._failures if charged else 1) if policy is not None else None
        if delay is not None and not charged:
            delay = max(delay, self._resume - now)
        # With the caller's own scopes; one that has been cancelled, or is about to be, ends the sleep instead.
        if delay is None or now < min(self._deadline, trio.current_effective_deadline()) <= now + delay:
            raise typed(error, self.error_type) from error.__cause__
        self._resume = max(self._resume, now + delay)
        telemetry.emit(
            "adapter.retry", span, provider=self.adapter.provider, attempt=self._failures, delay=delay, error=error
        )
        logger.debug("request %d failed (%s); trying again in %.2f s", self._failures, error, delay)
        return delay


def typed(error: AdapterError, wanted: type[AdapterError]) -> AdapterError:
    """`error` as an instance of `wanted`."""
    if isinstance(error, wanted):
        return error
    return wanted(**{name: getattr(error, name) for name in AdapterError.fields})


def resolve_unary(
    engine: Engine,
    service: str,
    options: Mapping[str, Any],
    error_type: type[AdapterError] = AdapterError,
    also: Collection[str] = (),
    method: str = "send",
) -> UnaryCall[Any, Any]:
    """Decide who answers and how, by the one precedence rule.

    Args:
        options: Those of `UnaryOptions` only.
        also: The service's own arguments, to be suggested for a misspelt name.
        method: What an adapter of this service has, besides `prepare`.

    Raises:
        EngineError: `missing_adapter`: the engine has none for this service.
        OptionError, ValidationError: An option that cannot be.
    """
    if not isinstance(engine, Engine):
        raise EngineError(f"the first argument is {type(engine).__name__}; expected an Engine", reason="invalid_engine")
    _check_names(options, {*UnaryOptions.__annotations__, *also})
    merged = _merged(engine, options)
    adapter = getattr(engine, f"{service}_adapter")
    if not (callable(getattr(adapter, "prepare", None)) and callable(getattr(adapter, method, None))):
        what = f"{type(adapter).__name__}, which is none" if adapter is not None else "no adapter"
        raise EngineError(
            f"the engine has {what} for {service}: set Engine({service}_adapter=..., {service}_model=...), or use "
            f"engine.with_services({service}_model='provider:model')",
            reason="missing_adapter",
        )
    return UnaryCall(
        service=service,
        engine=engine,
        adapter=adapter,
        model=merged.pop("model"),
        body=merged.pop("options"),
        adapter_options=AdapterOptions(
            api_key=merged.pop("api_key"), request_id=merged.get("request_id"), http_client=engine.http_client
        ),
        controls=ExecutionOptions(**merged),
        error_type=error_type,
    )


def _merged(engine: Engine, options: Mapping[str, Any]) -> dict[str, Any]:
    """Every option's value; what engine and application say of a chat's model and body is not meant for it."""
    check_options(options)
    layers = (application_defaults(), engine_options(engine))
    general = {name: layer[name] for layer in layers for name in UnaryOptions.__annotations__ if name in layer}
    check_options(general)
    merged = {**general, "model": None, "options": {}, **options}
    key = merged.get("api_key")
    return {**merged, "api_key": Secret(key) if isinstance(key, str) else key}


def _check_names(options: Mapping[str, Any], known: Collection[str]) -> None:
    for name in options:
        if name not in UnaryOptions.__annotations__:
            raise unknown_option(name, known)
