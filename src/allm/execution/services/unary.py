"""Calls that answer in one piece: who answers, with what options, within what limits, and how often it is tried.

The same rules as for the calls that stream, in the same words. One loop owns the retries; what makes several requests
for one call, such as a long list of texts, shares one budget of retries and one time limit among them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Generic

import attrs
import trio

from allm.data.errors import AdapterError, EngineError
from allm.data.problems import Problem, refuse, unknown_option
from allm.execution.options import application_defaults, engine_options
from allm.execution.retrying import Retries, adapter_raised, request_timed_out, seconds, timed_out
from allm.execution.services.service import RequestT, ResponseT, Service, UnaryOptions
from allm.execution.stream.block import check_trio_task
from allm.runtime import telemetry
from allm.runtime.adapters import AdapterOptions, UnaryAdapter, as_adapter
from allm.runtime.advice import warn_of_shutdown
from allm.runtime.call_options import ExecutionOptions
from allm.runtime.engine import Engine
from allm.runtime.option_table import check_options, merged_options, values_for

__all__ = ["UnaryCall", "ask", "resolve_unary", "typed"]


@attrs.define(eq=False)
class UnaryCall(Generic[RequestT, ResponseT]):
    """A call with everything decided but the request.

    Attributes:
        model: The model that the call names, None where it names none.
        fields: The fields of the request that the call names.
        body: The `options` of the call.
        default_body: Those of the engine over those of the application.
    """

    service: Service[RequestT, ResponseT]
    engine: Engine
    adapter: UnaryAdapter[RequestT, ResponseT]
    model: str | None
    fields: Mapping[str, Any]
    body: Mapping[str, Any]
    default_body: Mapping[str, Any]
    adapter_options: AdapterOptions
    controls: ExecutionOptions
    _retries: Retries | None = attrs.field(default=None, init=False)
    _deadline: float = attrs.field(default=float("inf"), init=False)

    @property
    def error_type(self) -> type[AdapterError]:
        """The class of every failure of this call."""
        return self.service.error_type

    def request_for(self, given: Any) -> RequestT:
        """The request with every field decided by the one precedence rule, and checked.

        Raises:
            EngineError: `missing_model`.
            ValidationError: What no provider could do, with every problem.
        """
        of_engine = self.service.model_of(self.engine)
        model = next((model for model in (self.model, given.model, of_engine) if model is not None), None)
        body = {**self.default_body, **given.options, **self.body}
        request: RequestT = attrs.evolve(given, **self.fields, model=model, options=body)
        if model == "":
            refuse([Problem(("model",), "invalid_type", "is empty; expected the id of a model")])
        self.service.check(request)
        if model is None and as_adapter(self.adapter).requires_model:
            raise self.service.missing_model()
        return request

    def prepare(self, request: RequestT) -> Any:
        """The adapter's own prepared request.

        Raises:
            ValidationError, EngineError, AdapterError: What the adapter cannot do with it.
        """
        warn_of_shutdown(as_adapter(self.adapter).provider, getattr(request, "model", None))
        return self.adapter.prepare(request, self.adapter_options)

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
        check_trio_task()
        self._deadline = trio.current_time() + seconds(self.controls.request_timeout)
        span = telemetry.start_span(self.service.span, provider=self.adapter.provider, **attributes)
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
            raise typed(request_timed_out(self.controls.request_timeout, self.adapter.provider), self.error_type)

    async def attempt(
        self, work: Callable[[], Awaitable[ResponseT]], span: telemetry.Span, *, after: ExitStack | None = None
    ) -> ResponseT:
        """What `work` gives, tried as often as the call's budget allows. Inside `started`.

        Args:
            work: Makes one request, and may be called again.
            after: Gives the place at the engine's limiter back; None: that is done when `work` has ended.
        """
        if self._retries is None:
            self._retries = Retries(self.controls.retry, self.adapter.provider, span)
        while True:
            seen = await self._retries.ready()
            try:
                return await self._once(work, after)
            except AdapterError as raised:
                error = raised
            except Exception as raised:
                error = adapter_raised(self.adapter.provider, raised)
            if not await self._retries.again(error, seen, deadline=self._deadline):
                raise typed(error, self.error_type) from error.__cause__

    async def _once(self, work: Callable[[], Awaitable[ResponseT]], after: ExitStack | None) -> ResponseT:
        limiter, limit = self.engine.limiter, self.controls.first_event_timeout
        with ExitStack() as place:
            if limiter is not None:
                borrower = object()  # not the task, which may have another call open
                await limiter.acquire_on_behalf_of(borrower)
                place.callback(limiter.release_on_behalf_of, borrower)
            with trio.move_on_after(seconds(limit)):
                answer = await work()
                if after is not None:
                    after.push(place.pop_all())
                return answer
            raise timed_out("no answer within", limit, "first_event_timeout", self.adapter.provider)


def typed(error: AdapterError, wanted: type[AdapterError]) -> AdapterError:
    """`error` as an instance of `wanted`."""
    if isinstance(error, wanted):
        return error
    return wanted(**{name: getattr(error, name) for name in AdapterError.fields})


async def ask(call: UnaryCall[Any, ResponseT], request: Any, **attributes: Any) -> ResponseT:
    """Make a call of one request, and tell telemetry of it.

    Args:
        request: What `call.request_for` gave.
        attributes: What telemetry says when the call starts, besides the model.

    Raises:
        AdapterError: The provider failed, or could not be reached in time.
    """
    prepared = call.prepare(request)

    async def send() -> ResponseT:
        response = await call.adapter.send(prepared)
        call.service.check_response(request, response, call.adapter.provider)
        return response

    with call.running(model=request.model, **attributes) as span:
        response: Any = await call.attempt(send, span)
        span.stop(**call.service.facts(request, response))
    answered: ResponseT = attrs.evolve(response, metadata={**request.metadata, **response.metadata})
    return answered


def resolve_unary(
    service: Service[RequestT, ResponseT], engine: Engine, options: Mapping[str, Any]
) -> UnaryCall[RequestT, ResponseT]:
    """Decide who answers and how, by the one precedence rule.

    Args:
        options: Those of `UnaryOptions`, and fields of the service's request, where None says nothing.

    Raises:
        EngineError: `missing_adapter`: the engine has none for this service.
        OptionError, ValidationError: An option that cannot be.
    """
    if not isinstance(engine, Engine):
        raise EngineError(f"the first argument is {type(engine).__name__}; expected an Engine", reason="invalid_engine")
    fields = {name: value for name, value in options.items() if name in service.fields and value is not None}
    given = {name: value for name, value in options.items() if name not in service.fields}
    for name in given:
        if name not in UnaryOptions.__annotations__:
            raise unknown_option(name, {*UnaryOptions.__annotations__, *service.fields, *service.arguments})
    check_options(given)
    layers = _default_layers(engine)
    merged = merged_options([*layers, given])
    return UnaryCall(
        service=service,
        engine=engine,
        adapter=service.adapter_of(engine),
        model=given.get("model"),
        fields=fields,
        body=given.get("options", {}),
        default_body=merged_options(layers).get("options", {}),
        adapter_options=AdapterOptions(**values_for("adapter", merged), http_client=engine.http_client),
        controls=ExecutionOptions(**values_for("execution", merged)),
    )


def _default_layers(engine: Engine) -> list[dict[str, Any]]:
    """What the application and the engine say of these options; a later layer wins.

    Their `model` is left out, since it is a chat's: the engine names the model of a service apart. So are fields of the
    body that stand in the engine's `params` beside the options: they are sampling parameters of chats, such as `top_k`,
    which other services refuse.
    """
    names = UnaryOptions.__annotations__.keys() - {"model"}
    layers = [
        {name: value for name, value in layer.items() if name in names}
        for layer in (application_defaults(), engine_options(engine))
    ]
    for layer in layers:
        check_options(layer)
    return layers
