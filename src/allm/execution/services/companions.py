"""Services that the chat adapter's provider has beside chat, at the same address: counts, lists, files, caches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from allm.data.attrs_classes import frozen
from allm.data.errors import AdapterError
from allm.execution.options import ModelCall, check_adapter
from allm.execution.services.service import RequestT, ResponseT, Service
from allm.execution.services.unary import UnaryCall
from allm.http.errors import malformed
from allm.runtime.adapters import Companion
from allm.runtime.engine import Engine
from allm.runtime.http_adapter import as_adapter
from allm.runtime.pages import Page

__all__ = ["CompanionService", "all_pages", "beside", "deleted"]

T = TypeVar("T")


@frozen(kw_only=True, eq=False)
class CompanionService(Service[RequestT, ResponseT]):
    """A service of the engine's chat adapter; its name is the `Companion`."""

    def adapter_of(self, engine: Engine) -> Any:
        """The adapter for this service.

        Raises:
            EngineError: `missing_adapter`, `missing_stream_adapter`.
            AdapterError: `unsupported_feature`: the provider has no such service.
        """
        chat = as_adapter(check_adapter(engine))
        if (found := chat.companion(cast("Companion", self.name))) is None:
            raise AdapterError(
                f"{chat.provider} has no {self.noun}", reason="unsupported_feature", provider=chat.provider
            )
        return found

    def model_of(self, engine: Engine) -> str | None:  # noqa: ARG002  (of another service)
        """None: no model is asked."""
        return None


def beside(service: Service[RequestT, ResponseT], call: ModelCall, adapter: Any) -> UnaryCall[RequestT, ResponseT]:
    """A call with the options of one that a model would answer."""
    return UnaryCall(
        service=service,
        engine=call.engine,
        adapter=adapter,
        model=None,
        fields={},
        body={},
        default_body={},
        adapter_options=call.adapter_options,
        execution_options=call.execution_options,
    )


async def deleted(call: UnaryCall[Any, Any], request: Any) -> None:
    """Delete what the provider keeps; that an attempt does not find what a former one may have deleted is no error.

    Raises:
        AdapterError: The provider failed; `not_found`.
    """
    prepared = call.prepare(request)
    unanswered = False

    async def send() -> None:
        nonlocal unanswered
        try:
            await call.adapter.send(prepared)
        except AdapterError as error:
            if unanswered and error.reason == "not_found":  # an earlier attempt deleted it, and the answer got lost
                return
            unanswered = unanswered or error.status is None
            raise

    with call.running(operation="delete") as span:
        await call.attempt(send, span, prepared=prepared)


async def all_pages(call: UnaryCall[Any, Page[T]], request: Callable[[str | None], Any]) -> tuple[T, ...]:
    """Every item of a list that comes in pages; the pages share the call's retries and time limit.

    Args:
        call: The resolved call.
        request: Makes the request for the page at a cursor.

    Raises:
        AdapterError: The provider failed, or sends a page again.
    """
    prepared = call.prepare(request(None))
    items, seen = list[T](), set[str]()
    with call.running() as span:
        while True:
            page = await call.attempt(partial(call.adapter.send, prepared), span, prepared=prepared)
            items += page.items
            if page.next is None:
                return tuple(items)
            if page.next in seen:
                raise malformed(call.adapter.provider, f"the list goes in circles: {page.next!r} comes again", b"")
            seen.add(page.next)
            prepared = call.prepare(request(page.next))
