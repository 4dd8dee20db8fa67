"""The engine: which adapters and models answer, and with which defaults. Immutable; a change makes a new engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack

import attrs

from allm.data.attrs_classes import frozen
from allm.data.constructors import explains_arguments
from allm.data.errors import EngineError
from allm.data.problems import mapping_field, shown, tuple_of
from allm.data.tool import Tool, expected_tool, merge_tools
from allm.data.toolset import Toolset
from allm.http.answer_limits import DEFAULT_ANSWER_LIMITS, AnswerLimits
from allm.http.client import HttpClient
from allm.http.library import check_client
from allm.runtime.adapters import (
    EmbeddingAdapter,
    ImageAdapter,
    SpeechAdapter,
    StreamAdapter,
    ToolExecutor,
    ToolResultEncoder,
    UnaryAdapter,
)
from allm.runtime.call_options import CallOptions, OnToolError
from allm.runtime.option_table import kept_options, seal
from allm.runtime.registry import SERVICES, adapter_for, service_adapter, split_model
from allm.runtime.retry import DEFAULT_RETRY, RetryPolicy

if TYPE_CHECKING:
    from allm.data.moderation import ModerationRequest, ModerationResponse
    from allm.data.rerank import RerankRequest, RerankResponse
    from allm.data.speech import Transcription, TranscriptionRequest
    from allm.runtime.limiter import Limiter

__all__ = ["Engine", "EngineFields", "no_engine"]


def _optional(*types: type) -> Callable[[Any, Any, Any], None]:
    required = _required(*types)

    def check(engine: Any, attribute: Any, value: Any) -> None:
        if value is not None:
            required(engine, attribute, value)

    return check


def _required(*types: type) -> Callable[[Any, Any, Any], None]:
    def check(_engine: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, types):
            expected = " or ".join(cls.__name__ for cls in types)
            raise EngineError(
                f"Engine({attribute.name}=...) is {type(value).__name__}; expected {expected}", reason="invalid_engine"
            )

    return check


def _is_instance(_engine: Any, attribute: Any, value: Any) -> None:
    """Refuse a class: it has its instances' methods, so a forgotten `()` would otherwise surface only at the call."""
    if isinstance(value, type):
        raise EngineError(
            f"Engine({attribute.name}=...) is the class {value.__name__}; expected an instance of it: "
            f"{value.__name__}(...)",
            reason="invalid_engine",
        )


def _is_adapter(engine: Any, attribute: Any, value: Any) -> None:
    _is_instance(engine, attribute, value)
    if isinstance(value, str):
        what = f"Engine({attribute.name}=...) is {shown(value)}; expected an adapter"
        raise EngineError(what, reason="invalid_engine").advised(
            ", such as allm.providers.OpenAI(); Engine.from_model('provider:model') makes one of a name"
        )


def _is_limiter(engine: Any, attribute: Any, value: Any) -> None:
    _is_instance(engine, attribute, value)
    methods = ("acquire_on_behalf_of", "release_on_behalf_of")
    if value is not None and not all(callable(getattr(value, name, None)) for name in methods):
        what = f"Engine(limiter=...) is {type(value).__name__}; expected trio.CapacityLimiter or allm.RateLimit"
        raise EngineError(what, reason="invalid_engine")


def _is_client(_engine: Any, _attribute: Any, value: Any) -> None:
    if value is not None:
        check_client(value)


def _are_tools(_engine: Any, _attribute: Any, value: Any) -> None:
    for tool in value:
        if not isinstance(tool, Tool | Toolset):
            what = f"Engine(tools=...) holds {type(tool).__name__}; expected {expected_tool(tool)}"
            raise EngineError(what, reason="invalid_engine")


def _tools(value: Iterable[Tool | Toolset]) -> tuple[Tool | Toolset, ...]:
    return tuple_of("tools", value)


def no_engine(what: str, value: Any) -> EngineError:
    """The error for an argument, called `what`, that should be an engine and is of another type."""
    error = EngineError(f"{what} is {type(value).__name__}; expected an Engine", reason="invalid_engine")
    makes = "Engine(adapter=..., model=...)" if hasattr(value, "prepare") else "Engine.from_model('provider:model')"
    return error.advised(f": {makes} makes one")


class EngineFields(TypedDict, total=False):
    """The fields of an `Engine` except its model."""

    adapter: StreamAdapter | None
    tools: Iterable[Tool | Toolset]
    params: dict[str, Any]
    context: dict[str, Any]
    retry: RetryPolicy | None
    answer_limits: AnswerLimits
    limiter: Limiter | None
    image_adapter: ImageAdapter | None
    image_model: str | None
    embedding_adapter: EmbeddingAdapter | None
    embedding_model: str | None
    moderation_adapter: UnaryAdapter[ModerationRequest, ModerationResponse] | None
    moderation_model: str | None
    rerank_adapter: UnaryAdapter[RerankRequest, RerankResponse] | None
    rerank_model: str | None
    speech_adapter: SpeechAdapter | None
    speech_model: str | None
    transcription_adapter: UnaryAdapter[TranscriptionRequest, Transcription] | None
    transcription_model: str | None
    tool_executor: ToolExecutor | None
    tool_result_encoder: ToolResultEncoder | None
    on_tool_error: OnToolError | None
    http_client: HttpClient | None


@explains_arguments(
    api_key="the key belongs to the adapter, such as OpenAI(api_key=...), or to the call: api_key=",
    base_url="the address belongs to the adapter, such as OpenAI(base_url=...)",
    temperature="defaults of options go into params: Engine(...).with_params(temperature=...)",
    system="system instructions are a message: [allm.system(text), allm.user(text)]",
    provider="the provider is an adapter, such as adapter=allm.providers.OpenAI(); Engine.from_model('openai:...') too",
)
@frozen(kw_only=True, eq=False)
class Engine:
    """Everything a call needs besides its messages.

    Attributes:
        adapter: The chat provider, such as `allm.providers.OpenAI()`; without one, chat calls raise `missing_adapter`.
        model: The provider's model id.
        tools: Offered to the model with every call.
        params: Defaults of call options. Other names go into the body of chat requests; put fields for the bodies of
            all services under `options`.
        context: Passed to tool handlers.
        retry: How calls that fail before their first content are retried; None never retries.
        answer_limits: How much one answer may hold.
        on_tool_error: Default of the call option; None: the application's default, else "continue".
        tool_executor: Runs each tool call in place of the library, see `allm.ToolExecutor`.
        tool_result_encoder: Makes of a tool's result what the model reads, see `allm.ToolResultEncoder`.
        limiter: A `trio.CapacityLimiter` bounds how many calls run at the provider at once, an `allm.RateLimit` how
            many begin in a minute. Anything else with their methods is one too: see `allm.Limiter`.
        image_adapter, image_model: The provider and model for images; the chat model is never used for them. The same
            pairs exist for embeddings, moderation, reranking, speech and transcription.
        is_group: Whether it stands for several: `allm.fallback`, `allm.hedge`.
        http_client: Your `httpx.AsyncClient` or `httpx2.AsyncClient`; the engine never closes it.

    Raises:
        EngineError, ValidationError: A field has the wrong type.
    """

    is_group: ClassVar[bool] = False
    adapter: StreamAdapter | None = attrs.field(default=None, validator=_is_adapter)
    model: str | None = attrs.field(default=None, validator=_optional(str))
    tools: tuple[Tool | Toolset, ...] = attrs.field(default=(), converter=_tools, validator=_are_tools)
    params: dict[str, Any] = mapping_field()
    context: dict[str, Any] = mapping_field()
    retry: RetryPolicy | None = attrs.field(default=DEFAULT_RETRY, validator=_optional(RetryPolicy))
    answer_limits: AnswerLimits = attrs.field(default=DEFAULT_ANSWER_LIMITS, validator=_required(AnswerLimits))
    limiter: Limiter | None = attrs.field(default=None, validator=_is_limiter)
    image_adapter: ImageAdapter | None = attrs.field(default=None, validator=_is_adapter)
    image_model: str | None = attrs.field(default=None, validator=_optional(str))
    embedding_adapter: EmbeddingAdapter | None = attrs.field(default=None, validator=_is_adapter)
    embedding_model: str | None = attrs.field(default=None, validator=_optional(str))
    moderation_adapter: UnaryAdapter[ModerationRequest, ModerationResponse] | None = attrs.field(
        default=None, validator=_is_adapter
    )
    moderation_model: str | None = attrs.field(default=None, validator=_optional(str))
    rerank_adapter: UnaryAdapter[RerankRequest, RerankResponse] | None = attrs.field(
        default=None, validator=_is_adapter
    )
    rerank_model: str | None = attrs.field(default=None, validator=_optional(str))
    speech_adapter: SpeechAdapter | None = attrs.field(default=None, validator=_is_adapter)
    speech_model: str | None = attrs.field(default=None, validator=_optional(str))
    transcription_adapter: UnaryAdapter[TranscriptionRequest, Transcription] | None = attrs.field(
        default=None, validator=_is_adapter
    )
    transcription_model: str | None = attrs.field(default=None, validator=_optional(str))
    tool_executor: ToolExecutor | None = attrs.field(default=None, validator=_is_instance)
    tool_result_encoder: ToolResultEncoder | None = attrs.field(default=None, validator=_is_instance)
    on_tool_error: OnToolError | None = None
    http_client: HttpClient | None = attrs.field(default=None, validator=_is_client)

    def __attrs_post_init__(self) -> None:
        seal(self.params)

    @classmethod
    def from_model(cls, model: str, **overrides: Unpack[EngineFields]) -> Engine:
        """Make an engine from a model name: `Engine.from_model("openai:gpt-5.4")` or `"gpt-5.4@openai"`.

        Models of other services are named in the same way:
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
        """Return a copy with models for images, embeddings and so on, each with its provider's adapter.

            engine.with_services(image_model="openai:gpt-image-2", embedding_model="voyage:voyage-3.5")

        Raises:
            EngineError: `unknown_provider`; `invalid_engine` for an unknown service.
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
        """Return a copy with another model id."""
        return attrs.evolve(self, model=model)

    def with_tools(self, *tools: Tool | Toolset) -> Engine:
        """Return a copy with more tools and sets of tools; a tool replaces the one of the same name."""
        return attrs.evolve(self, tools=merge_tools(self.tools, tools))

    def with_params(self, body: Mapping[str, Any] | None = None, /, **options: Unpack[CallOptions]) -> Engine:
        """Return a copy with more params.

            engine.with_params({"top_k": 40}, temperature=0)

        Args:
            body: Fields of the provider's request body; the name of a call option sets that option.
            options: Call options: see `CallOptions`.

        Raises:
            OptionError, ValidationError: An unknown option (the message suggests the nearest name) or an invalid value.
        """
        seal(options)
        return attrs.evolve(self, params={**self.params, **(body or {}), **kept_options(options)})

    def with_context(self, context: Mapping[str, Any] | None = None, **more: Any) -> Engine:
        """Return a copy with more context."""
        return attrs.evolve(self, context={**self.context, **(context or {}), **more})
