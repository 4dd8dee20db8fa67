"""Unary calls, whose response comes in one piece: resolve their options, limit their time, and retry them.

The rules are those of streaming calls. One loop owns the retries; a call that makes several requests, such as embedding
a long list of texts, shares one retry budget and one time limit among them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError, AllmError, BudgetExceeded
from allm.data.problems import Problem, refuse, unknown_option
from allm.execution.failures import log_failure, name_model
from allm.execution.options import application_defaults, engine_options, in_effect
from allm.execution.retrying import Retries, adapter_raised, request_timed_out, seconds, timed_out
from allm.execution.services.service import RequestT, ResponseT, Service, UnaryOptions
from allm.http.trio_task import outside_trio
from allm.runtime import telemetry
from allm.runtime.adapters import AdapterOptions, UnaryAdapter
from allm.runtime.call_options import ExecutionOptions
from allm.runtime.costs import charged
from allm.runtime.engine import Engine
from allm.runtime.fitting import warn_of_shutdown
from allm.runtime.http_adapter import as_adapter
from allm.runtime.option_table import check_options, merged_options, values_for
from allm.runtime.silence import Limit

if TYPE_CHECKING:
    from allm.execution.services.charging import ServiceCharge

__all__ = ["UnaryCall", "ask", "resolve_unary", "typed"]


@define(eq=False)
class UnaryCall(Generic[RequestT, ResponseT]):
    """A call with every option resolved, but without its request.

    Attributes:
        model: The `model` option of the call, or None.
        fields: Fields of the request that were given as options of the call.
        body: The `options` of the call.
        default_body: The `options` of the engine, over those of the application.
    """

    service: Service[RequestT, ResponseT]
    engine: Engine
    adapter: UnaryAdapter[RequestT, ResponseT]
    model: str | None
    fields: Mapping[str, Any]
    body: Mapping[str, Any]
    default_body: Mapping[str, Any]
    adapter_options: AdapterOptions
    execution_options: ExecutionOptions
    _model: str | None = attrs.field(default=None, init=False)  # of the request
    _retries: Retries | None = attrs.field(default=None, init=False)
    _deadline: float = attrs.field(default=float("inf"), init=False)

    @property
    def error_type(self) -> type[AdapterError]:
        """The class of every failure of this call."""
        return self.service.error_type

    def request_for(self, given: Any) -> RequestT:
        """The request with every field resolved by the precedence rule, and checked.

        Raises:
            EngineError: `missing_model`.
            ValidationError: No provider could serve the request; with every problem.
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
        self._model = model
        return request

    def prepare(self, request: RequestT) -> Any:
        """The request as the adapter prepared it.

        Raises:
            ValidationError, EngineError, AdapterError: The adapter cannot handle the request.
        """
        warn_of_shutdown(as_adapter(self.adapter).provider, getattr(request, "model", None))
        return self.adapter.prepare(request, self.adapter_options)

    def charge(self, request: Any) -> ServiceCharge | None:
        """What a request is charged to, if it is made under a budget or by a tool.

        Raises:
            BudgetExceeded: It does not fit.
        """
        if (accounts := charged.get()) is None:
            return None
        from allm.execution.services.charging import ServiceCharge

        return ServiceCharge.of(accounts, self.adapter.provider, request)

    @contextmanager
    def running(self, **attributes: Any) -> Generator[telemetry.Span]:
        """Run the block within the time limit of the whole call, and with its telemetry span.

        Raises:
            AdapterError: `timeout`.
        """
        with self.started(**attributes) as span, telemetry.entered(span), self.within_limit():
            yield span

    @contextmanager
    def started(self, **attributes: Any) -> Generator[telemetry.Span]:
        """Run the block with the call's telemetry span, and start the clock of its time limit."""
        if not trio.lowlevel.in_trio_task():
            raise outside_trio()
        self._deadline = trio.current_time() + seconds(self.execution_options.request_timeout)
        if self.engine.is_group:
            attributes["group"] = getattr(self.engine, "kind", None)
        span = telemetry.start_span(self.service.span, {"provider": self.adapter.provider, **attributes})
        try:
            yield span
        except Exception as error:
            span.fail(error, outcome="failed")
            if isinstance(error, AdapterError):
                name_model(error, attributes.get("model"))
                log_failure(self.service.span, error, span)
            raise
        else:
            span.stop(outcome="completed")
        finally:
            span.stop(outcome="cancelled", cancelled=True)

    @contextmanager
    def within_limit(self) -> Generator[None]:
        """Run the block within what is left of the time limit of the whole call.

        Raises:
            AdapterError: `timeout`.
        """
        with trio.CancelScope(deadline=self._deadline) as scope:
            yield
        if scope.cancelled_caught:
            raise typed(
                request_timed_out(self.execution_options.request_timeout, self.adapter.provider), self.error_type
            )

    async def attempt(
        self,
        work: Callable[[], Awaitable[ResponseT]],
        span: telemetry.Span,
        *,
        prepared: Any = None,
        after: ExitStack | None = None,
        silence: Limit | None = None,
        charge: ServiceCharge | None = None,
        moves_on: Callable[[AllmError], bool] | None = None,
    ) -> ResponseT:
        """Run `work`, with retries as the call's budget allows. To be used inside `started`.

        Args:
            work: Makes one request; called again for each retry.
            span: The telemetry span of the call.
            prepared: What `work` sends, as the adapter prepared it; the engine's limiter is told its size and its key.
            after: Takes over the place at the engine's limiter; None: it is released when `work` has ended.
            silence: Given the limit of one request, for its `Silence` to put off with each piece.
            charge: What the request is charged to. With `after`, the caller says what it has cost in the end.
            moves_on: Of a member of a group: whether a failure ends its attempts at once, as another member is asked.
        """
        if self._retries is None:
            patience = getattr(self.engine.limiter, "patience", None)
            self._retries = Retries(self.execution_options.retry, self.adapter.provider, span, patience=patience)
        while True:
            seen = await self._retries.ready()
            try:
                response = await self._once(work, prepared, after, silence, charge)
            except BudgetExceeded:
                raise
            except AdapterError as raised:
                error = raised
            except Exception as raised:
                error = adapter_raised(self.adapter.provider, raised)
            else:
                self._retries.accepted()
                return response
            if not await self._retries.wait_to_retry(error, seen, deadline=self._deadline, moves_on=moves_on):
                raise typed(error, self.error_type) from error.__cause__

    def surrounding(self) -> AbstractAsyncContextManager[None]:
        """What has to be around the block in which an answer is read while it arrives."""
        return nullcontext()

    def begin_anew(self) -> None:
        """Give the next attempts a whole budget of retries: what came before has been achieved."""
        self._retries = None

    async def _once(
        self,
        work: Callable[[], Awaitable[ResponseT]],
        prepared: Any,
        after: ExitStack | None,
        silence: Limit | None,
        charge: ServiceCharge | None,
    ) -> ResponseT:
        limiter, limit = self.engine.limiter, self.execution_options.first_event_timeout
        with ExitStack() as stack:
            if limiter is not None:
                from allm.execution.places import in_place, place_of

                place = place_of(self.adapter.provider, self._model, prepared, self._deadline)
                await limiter.acquire_on_behalf_of(place)
                stack.callback(limiter.release_on_behalf_of, place)
                work = partial(in_place, place, work)
            with trio.move_on_after(seconds(limit)) as scope:
                if silence is not None:
                    silence(scope, seconds(limit))
                with nullcontext() if charge is None else charge.attempt():
                    response: Any = await work()
                if after is not None:
                    after.push(stack.pop_all())
                elif charge is not None:
                    charge.end(response)
                return response  # type: ignore[no-any-return]
            raise timed_out("no response within", limit, "first_event_timeout", self.adapter.provider)


def typed(error: AdapterError, wanted: type[AdapterError]) -> AdapterError:
    """`error` as an instance of `wanted`."""
    if isinstance(error, wanted):
        return error
    made = wanted(**{name: getattr(error, name) for name in AdapterError.fields})
    made.advice = error.advice
    return made


async def ask(call: UnaryCall[Any, ResponseT], request: Any, **attributes: Any) -> ResponseT:
    """Make a call with one request.

    Args:
        call: The resolved call.
        request: The result of `call.request_for`.
        attributes: Attributes of the telemetry span, besides the model.

    Raises:
        AdapterError: The provider failed, or could not be reached in time.
    """
    prepared = call.prepare(request)
    charge = call.charge(request)

    async def send() -> ResponseT:
        response = await call.adapter.send(prepared)
        call.service.check_response(request, response, call.adapter.provider)
        return response

    with call.running(model=request.model, **attributes) as span:
        response: Any = await call.attempt(send, span, prepared=prepared, charge=charge)
        if telemetry.handlers:
            span.attributes.update(call.service.facts(request, response))
    complete: ResponseT = attrs.evolve(response, metadata={**request.metadata, **response.metadata})
    return complete


def resolve_unary(
    service: Service[RequestT, ResponseT], engine: Engine, options: Mapping[str, Any]
) -> UnaryCall[RequestT, ResponseT]:
    """Resolve the adapter and the options of a call, by the precedence rule.

    Args:
        service: The service that is called.
        engine: The engine with its adapter.
        options: `UnaryOptions` and fields of the service's request; a field that is None counts as not given.

    Raises:
        EngineError: `missing_adapter`: the engine has none for this service.
        OptionError, ValidationError: An unknown option, or an invalid value.
    """
    engine = in_effect(engine)
    fields = {name: value for name, value in options.items() if name in service.fields and value is not None}
    given = {name: value for name, value in options.items() if name not in service.fields}
    for name in given:
        if name not in UnaryOptions.__annotations__:
            raise unknown_option(name, {*UnaryOptions.__annotations__, *service.fields, *service.arguments})
    check_options(given)
    if engine.is_group and getattr(engine, f"{service.name}_adapter", engine) is None:
        from allm.execution.group.services import resolve_members

        return resolve_members(service, engine, options)  # type: ignore[arg-type]
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
        execution_options=ExecutionOptions(**values_for("execution", merged)),
    )


def _default_layers(engine: Engine) -> list[dict[str, Any]]:
    """The layers of the application's and the engine's defaults for unary options; a later layer wins.

    Their `model` is left out, since it is the chat model; the engine has a separate model for each service. Body fields
    in the engine's `params` are left out too: they are sampling parameters for chat, such as `top_k`, which other
    services reject.
    """
    names = UnaryOptions.__annotations__.keys() - {"model"}
    layers = [
        {name: value for name, value in layer.items() if name in names}
        for layer in (application_defaults(), engine_options(engine))
    ]
    for layer in layers:
        check_options(layer)
    return layers
