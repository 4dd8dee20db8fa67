"""`Service`: the description of one service beside chat; each is defined in the module of its functions.

Each service has an adapter and a model of its own in the engine, such as `image_adapter` and `image_model`. The rules
of a call are the same for all of them (`unary.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypedDict, TypeVar

from allm.data.attrs_classes import frozen
from allm.data.errors import AdapterError, EngineError
from allm.data.validation import validate
from allm.runtime.engine import Engine
from allm.runtime.retry import RetryPolicy

__all__ = ["RequestT", "ResponseT", "Service", "UnaryOptions", "own_options"]

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class UnaryOptions(TypedDict, total=False):
    """Options of every service call. Times are in seconds.

    Attributes:
        model: The model id; default: that of the request, then the engine's for this service (`image_model`, ...).
        options: Fields added to the provider's request body, over those of the request, the engine and the application.
        api_key: Key for this call; wins over every other source.
        headers: Sent with each request; each replaces the adapter's of the same name.
        base_url: Where to send the requests, in place of the adapter's address.
        request_id: Your own id, for tracing.
        request_timeout: Limit of the whole call, retries included; none by default.
        first_event_timeout: Longest wait for the response to one request (300).
        retry: The retry policy; None never retries.
    """

    model: str | None
    options: Mapping[str, Any]
    api_key: str | None
    headers: Mapping[str, str]
    base_url: str | None
    request_id: str | None
    request_timeout: float | None
    first_event_timeout: float | None
    retry: RetryPolicy | None


def own_options(options: type) -> frozenset[str]:
    """The names in a `TypedDict` of options beyond those of `UnaryOptions`."""
    return frozenset(options.__annotations__) - frozenset(UnaryOptions.__annotations__)


@frozen(kw_only=True, eq=False)
class Service(Generic[RequestT, ResponseT]):
    """One service of an engine.

    Attributes:
        name: The prefix of the engine's fields, such as `image` in `image_adapter` and `image_model`.
        noun: What the service makes, for messages.
        span: The name of its telemetry span.
        request_type: The class of its requests.
        check: Raises for a request that no provider could serve, with every problem.
        check_response: Raises for a response that does not match its request, which counts as a failure of the request.
            The last argument is the provider.
        facts: Attributes of the telemetry span, from the request and the response.
        priced: The response with its costs, where they are not reported; the first argument is the provider.
        error_type: The class of every failure.
        fields: Keyword arguments of the service's functions that are fields of the request.
        arguments: Their other keyword arguments, as suggestions for a misspelt name.
        method: The adapter's method, besides `prepare`, that makes the call.
    """

    name: str
    noun: str
    span: str
    request_type: type[RequestT]
    check: Callable[[RequestT], None] = validate
    check_response: Callable[[RequestT, ResponseT, str], None] = lambda _request, _response, _provider: None
    facts: Callable[[RequestT, ResponseT], dict[str, Any]] = lambda _request, _response: {}
    priced: Callable[[str, RequestT, ResponseT], ResponseT] = lambda _provider, _request, response: response
    error_type: type[AdapterError] = AdapterError
    fields: frozenset[str] = frozenset()
    arguments: frozenset[str] = frozenset()
    method: str = "send"

    def request_of(self, given: Any) -> RequestT:
        """The caller's argument as a request."""
        return given if isinstance(given, self.request_type) else self.request_type(given)  # type: ignore[call-arg]

    def adapter_of(self, engine: Engine) -> Any:
        """The engine's adapter for this service.

        Raises:
            EngineError: `missing_adapter`: there is none, or it is an adapter for another service.
        """
        field = f"{self.name}_adapter"
        adapter = getattr(engine, field)
        if callable(getattr(adapter, "prepare", None)) and callable(getattr(adapter, self.method, None)):
            return adapter
        problem = f"the engine has no adapter for {self.noun}"
        if adapter is not None:
            problem = (
                f"the engine's {field} is {type(adapter).__name__}, which does not support {self.noun}: expected an "
                f"adapter with prepare(request, options) and {self.method}(prepared)"
            )
        raise EngineError(
            f"{problem}: set Engine({field}=..., {self.name}_model=...), or use {self._with_services}",
            reason="missing_adapter",
        )

    def model_of(self, engine: Engine) -> str | None:
        """The engine's model for this service."""
        model: str | None = getattr(engine, f"{self.name}_model")
        return model

    def missing_model(self) -> EngineError:
        """The error for a call without a model."""
        return EngineError(
            f"no model for {self.noun} is given: pass model=, set Engine({self.name}_model=...), or use "
            f"{self._with_services}",
            reason="missing_model",
        )

    @property
    def _with_services(self) -> str:
        return f"engine.with_services({self.name}_model='provider:model')"
