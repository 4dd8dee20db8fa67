"""What tells the services apart: one value each, beside the functions of the service.

A service answers in one piece, or in several that are asked for side by side, and is asked through the engine's adapter
and model for it: `image_adapter` and `image_model`. The rules of a call are the same for all of them (`unary.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypedDict, TypeVar

import attrs

from allm.data.errors import AdapterError, EngineError
from allm.runtime.engine import Engine
from allm.runtime.retry import RetryPolicy

__all__ = ["RequestT", "ResponseT", "Service", "UnaryOptions", "own_options"]

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class UnaryOptions(TypedDict, total=False):
    """Options of every call that answers in one piece. Times are seconds.

    model: Else the request's, else the engine's for this service (`image_model`, ...).
    options: Goes into the provider's request body as it is, over those of the request, the engine and the application.
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


def own_options(options: type) -> frozenset[str]:
    """The names that a `TypedDict` of options has beyond those of `UnaryOptions`."""
    return frozenset(options.__annotations__) - frozenset(UnaryOptions.__annotations__)


@attrs.frozen(kw_only=True, eq=False)
class Service(Generic[RequestT, ResponseT]):
    """One service of an engine.

    Attributes:
        name: As in the names of the engine's fields, `image_adapter` and `image_model`.
        noun: What the service gives, for messages.
        span: The name of its telemetry span.
        request_type: The class of its requests.
        check: Refuses a request that no provider could answer, with every problem.
        check_response: Refuses an answer that does not fit its request, which counts as a failure of that request. The
            last argument is the provider.
        facts: What the telemetry span says of an answer to a request.
        error_type: The class of every failure.
        fields: Keyword arguments of the functions that are fields of the request.
        arguments: Their other keyword arguments, which a misspelt name may have meant.
        method: The method that makes the call; an adapter of this service has it besides `prepare`.
    """

    name: str
    noun: str
    span: str
    request_type: type[RequestT]
    check: Callable[[RequestT], None]
    check_response: Callable[[RequestT, ResponseT, str], None] = lambda _request, _response, _provider: None
    facts: Callable[[RequestT, ResponseT], dict[str, Any]] = lambda _request, _response: {}
    error_type: type[AdapterError] = AdapterError
    fields: frozenset[str] = frozenset()
    arguments: frozenset[str] = frozenset()
    method: str = "send"

    def request_of(self, given: Any) -> RequestT:
        """What the caller gave, as a request."""
        return given if isinstance(given, self.request_type) else self.request_type(given)  # type: ignore[call-arg]

    def adapter_of(self, engine: Engine) -> Any:
        """The engine's adapter for this service.

        Raises:
            EngineError: `missing_adapter`: there is none, or it is the adapter of something else.
        """
        field = f"{self.name}_adapter"
        adapter = getattr(engine, field)
        if callable(getattr(adapter, "prepare", None)) and callable(getattr(adapter, self.method, None)):
            return adapter
        problem = f"the engine has no adapter for {self.noun}"
        if adapter is not None:
            problem = (
                f"the engine's {field} is {type(adapter).__name__}, which cannot do {self.noun}: expected an adapter "
                f"with prepare(request, options) and {self.method}(prepared)"
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
        """The error of a call for which nobody names a model."""
        return EngineError(
            f"no model for {self.noun} is given: pass model=, set Engine({self.name}_model=...), or use "
            f"{self._with_services}",
            reason="missing_model",
        )

    @property
    def _with_services(self) -> str:
        return f"engine.with_services({self.name}_model='provider:model')"
