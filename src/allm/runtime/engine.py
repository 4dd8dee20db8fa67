"""The engine: who answers, with what defaults. An immutable value; changes make new engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import trio

from allm.data.attrs_fields import mapping_field, tuple_of
from allm.data.errors import EngineError
from allm.data.tool import Tool
from allm.http.transport import check_client
from allm.runtime.registry import SERVICES, adapter_for, service_adapter, split_model
from allm.runtime.retry import DEFAULT_RETRY, RetryPolicy

__all__ = ["Engine"]


def _optional(*types: type) -> Callable[[Any, Any, Any], None]:
    def check(_engine: Any, attribute: Any, value: Any) -> None:
        if value is not None and not isinstance(value, types):
            expected = " or ".join(cls.__name__ for cls in types)
            raise EngineError(
                f"Engine({attribute.name}=...) is {type(value).__name__}; expected {expected}", reason="invalid_engine"
            )

    return check


def _is_client(_engine: Any, _attribute: Any, value: Any) -> None:
    if value is not None:
        check_client(value)


def _are_tools(_engine: Any, _attribute: Any, value: Any) -> None:
    for tool in value:
        if not isinstance(tool, Tool):
            raise EngineError(f"Engine(tools=...) holds {type(tool).__name__}; expected Tool", reason="invalid_engine")


def _tools(value: Iterable[Tool]) -> tuple[Tool, ...]:
    return tuple_of("tools", value)


def merge_tools(first: Iterable[Tool], second: Iterable[Tool]) -> tuple[Tool, ...]:
    """`first` with those of `second` added; one of the same name is replaced in its place."""
    merged = {tool.name: tool for tool in first}
    merged.update({tool.name: tool for tool in second})
    return tuple(merged.values())


@attrs.frozen(kw_only=True, eq=False)
class Engine:
    """Everything a call needs besides its messages.

    Attributes:
        adapter: The chat provider (`allm.providers.OpenAI()`); without one a call raises `missing_adapter`.
        model: The provider's model id.
        tools: Offered with every call.
        params: Defaults of call options; names that are not options go into the provider's request body.
        context: Handed to tool handlers.
        retry: What happens when a call fails before its first event; None never retries.
        on_tool_error: As the call option; None: the application's, else "continue".
        limiter: Bounds how many calls of this engine are at the provider at once.
        image_adapter, image_model: Who makes images, with which model; the chat model is never used for it. The same
            for embed, moderation, speech and transcription.
        http_client: Your `httpx.AsyncClient` or `httpx2.AsyncClient`; never closed here.

    Raises:
        EngineError, ValidationError: A field of the wrong type.
    """

    adapter: Any = None
    model: str | None = attrs.field(default=None, validator=_optional(str))
    tools: tuple[Tool, ...] = attrs.field(default=(), converter=_tools, validator=_are_tools)
    params: dict[str, Any] = mapping_field()
    context: dict[str, Any] = mapping_field()
    retry: RetryPolicy | None = attrs.field(default=DEFAULT_RETRY, validator=_optional(RetryPolicy))
    limiter: trio.CapacityLimiter | None = attrs.field(default=None, validator=_optional(trio.CapacityLimiter))
    image_adapter: Any = None
    image_model: str | None = attrs.field(default=None, validator=_optional(str))
    embedding_adapter: Any = None
    embedding_model: str | None = attrs.field(default=None, validator=_optional(str))
    moderation_adapter: Any = None
    moderation_model: str | None = attrs.field(default=None, validator=_optional(str))
    speech_adapter: Any = None
    speech_model: str | None = attrs.field(default=None, validator=_optional(str))
    transcription_adapter: Any = None
    transcription_model: str | None = attrs.field(default=None, validator=_optional(str))
    tool_executor: Any = None
    tool_result_encoder: Any = None
    on_tool_error: Any = None
    http_client: Any = attrs.field(default=None, validator=_is_client)

    @classmethod
    def from_model(cls, model: str, **overrides: Any) -> Engine:
        """The engine of a model name: `Engine.from_model("openai:gpt-5")` or `"gpt-5@openai"`.

        The models of other services can be named in the same way:
        `Engine.from_model("anthropic:claude-sonnet-4-6", embedding_model="voyage:voyage-3.5")`.

        Raises:
            EngineError: `unknown_provider`.
        """
        provider, model_id = split_model(model)
        fields: dict[str, Any] = {"adapter": None, "model": model_id, **overrides}
        if fields["adapter"] is None:
            fields["adapter"] = adapter_for(provider)
        services = [name for name in SERVICES if f"{name}_model" in fields and f"{name}_adapter" not in fields]
        models = {f"{name}_model": fields.pop(f"{name}_model") for name in services}
        return cls(**fields).with_services(**models)

    def with_services(self, **models: str) -> Engine:
        """The same engine with models for images, embeddings and so on, each with its provider's adapter.

        engine.with_services(image_model="openai:gpt-image-1", embedding_model="voyage:voyage-3.5")

        Raises:
            EngineError: `unknown_provider`; `invalid_engine` for a service that there is not.
        """
        changes: dict[str, Any] = {}
        for name, model in models.items():
            service = name.removesuffix("_model")
            if service not in SERVICES or service == name:
                expected = ", ".join(f"{service}_model" for service in SERVICES)
                raise EngineError(
                    f"{name} is not the model of a service; expected one of: {expected}", reason="invalid_engine"
                )
            provider, changes[name] = split_model(model, service)
            changes[f"{service}_adapter"] = service_adapter(service, provider)
        return attrs.evolve(self, **changes)

    def with_model(self, model: str) -> Engine:
        """The same engine with another model id."""
        return attrs.evolve(self, model=model)

    def with_tools(self, *tools: Tool) -> Engine:
        """The same engine with more tools; one of the same name is replaced."""
        return attrs.evolve(self, tools=merge_tools(self.tools, tools))

    def with_params(self, params: Mapping[str, Any] | None = None, **more: Any) -> Engine:
        """The same engine with more params."""
        return attrs.evolve(self, params={**self.params, **(params or {}), **more})

    def with_context(self, context: Mapping[str, Any] | None = None, **more: Any) -> Engine:
        """The same engine with more context."""
        return attrs.evolve(self, context={**self.context, **(context or {}), **more})
