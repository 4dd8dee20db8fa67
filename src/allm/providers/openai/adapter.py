"""The OpenAI adapter: choose the endpoint and its URL, encode the request, and stream the answer."""

from __future__ import annotations

import functools
import re
from typing import Any, Literal, final

import attrs

from allm.adapters import (
    MAX_EVENT_BYTES,
    AdapterOptions,
    Companion,
    Emit,
    OutputMode,
    StreamAdapter,
    StreamCall,
    explains_settings,
    join_url,
    stream_events,
)
from allm.data.errors import EngineError
from allm.data.request import JsonSchema, Request
from allm.providers.openai import chat_encode
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.connection import Connection, is_openai, row_at, url_value
from allm.providers.openai.presets import ENDPOINTS, HOSTS, Endpoint

__all__ = ["OpenAI", "endpoint_for"]

_ENDPOINTS = ("auto", "chat_completions", "responses")
_PATHS = {"chat_completions": "/chat/completions", "responses": "/responses"}


def _is_endpoint(_adapter: Any, _attribute: Any, value: str) -> None:
    if value not in _ENDPOINTS:
        expected = ", ".join(map(repr, _ENDPOINTS))
        raise EngineError(f"endpoint is {value!r}; expected one of {expected}", reason="invalid_engine")


def endpoint_for(model: str) -> Endpoint:
    """The API that fits `model` at OpenAI itself."""
    for pattern, endpoint in ENDPOINTS:
        if re.match(pattern, model):
            return endpoint
    return "chat_completions"


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class OpenAI(Connection, StreamAdapter):
    """OpenAI, and every service that speaks its wire format.

    Args:
        preset: A known service: `azure`, `cerebras`, `cohere`, `deepseek`, `fireworks`, `groq`, `huggingface`,
            `llamacpp`, `lmstudio`, `mistral`, `moonshot`, `novita`, `nvidia`, `ollama`, `openrouter`, `perplexity`,
            `sambanova`, `together`, `vllm`, `xai`, `zai`; or a `Preset` of your own.
            `Engine.from_model("groq:...")` means `OpenAI(preset="groq")`.
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(openai=...)`, `keys.put`, then OPENAI_API_KEY; with a preset its name and variable.
        base_url: With the version segment, as the vendor's SDK takes it; else OPENAI_BASE_URL, or the preset's
            variable, else the service itself. A query is kept.
        endpoint: Which API to use. `auto` is what the preset says. At OpenAI itself it depends on the model: Responses
            for the o series, gpt-5 and newer, and what has no other API, Chat Completions for the rest. At any other
            `base_url` it is Chat Completions.
        organization, project: Sent as OpenAI-Organization and OpenAI-Project.
        resource, deployment, api_version: For Azure. The resource's name, else AZURE_OPENAI_ENDPOINT (the whole
            address) or AZURE_OPENAI_RESOURCE. The deployment, else the request's model, else AZURE_OPENAI_DEPLOYMENT. A
            dated version of the API, else OPENAI_API_VERSION; without one it is version 1, whose URLs have no date.
        headers: Sent with every request; an `authorization` or `api-key` here takes the place of the key.
        http_client: Your own client, never closed here; wins over the engine's.
        max_event_bytes: Largest server-sent event accepted, in bytes.

    A request's `options` are fields of the request body. They win over what is derived, field by field; `tools` and
    `include` are added to what is there, and `text`, `reasoning` and `stream_options` are merged key by key.

    Responses are stateless here: `store` is false, and reasoning goes back encrypted. Each tool is sent with `strict`,
    which is true where its schema fits the rules of strict mode or `Tool(metadata={"openai": {"strict": True}})` says
    so; Chat Completions gets `strict` from the metadata only.

    Raises:
        EngineError: `unknown_provider`: no such preset. `invalid_engine`: no such endpoint, or a part of Azure's URLs
            for another service.
    """

    endpoint: Endpoint | Literal["auto"] = attrs.field(default="auto", validator=_is_endpoint)
    max_event_bytes: int = MAX_EVENT_BYTES

    @property
    def ignored_options(self) -> frozenset[str]:
        """`prompt_cache_key`, where the service does not route by it."""
        return frozenset() if self.row.takes_cache_key else frozenset({"prompt_cache_key"})

    @property
    def most_logprobs(self) -> int:
        """How many of the likeliest tokens the service is known to give log probabilities of."""
        return self.row.most_logprobs

    def prepare(self, request: Request, options: AdapterOptions) -> StreamCall:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: A tool choice or images that cannot be sent; all problems at once.
        """
        request = self.with_deployment(request)
        endpoint = self.endpoint_of(request, options)
        base_url = self.find_base_url(options, endpoint, request.model)
        origin, row = self.origin(base_url), row_at(self.row, base_url)
        if endpoint == "responses":
            from allm.providers.openai import responses_encode
            from allm.providers.openai.responses_decode import ResponsesDecoder

            body = responses_encode.encode(request, options, row, origin)
            custom = responses_encode.custom_tools(body)
            decoder: Any = functools.partial(ResponsesDecoder, row.name, custom_tools=custom, origin=origin)
        else:
            # A service that sends nothing to replay at its own address cannot have made a part that names none.
            taken = origin if self.row.replays or not origin.has_own else attrs.evolve(origin, has_own=False)
            body = chat_encode.encode(request, options, row, taken)
            decoder = functools.partial(ChatDecoder, row.name, row.sends_done, origin=origin)
        return self.stream_call(
            join_url(_versionless(row.name, base_url) if endpoint == "responses" else base_url, _PATHS[endpoint]),
            body,
            options,
            decoder,
            max_event_bytes=self.max_event_bytes,
        )

    def with_deployment(self, request: Request) -> Request:
        """The request with the deployment as its model, where one is given (Azure)."""
        if not self.deployment and request.model is not None:
            return request
        return attrs.evolve(request, model=self.deployment or url_value(self.row, "deployment", {}))

    def companion(self, service: Companion) -> Any:
        """Counts of tokens, by OpenAI's endpoint where that is known; the list of models; files and batches, if any."""
        if service == "batches":
            return batches_of(self)
        from allm.providers.openai import files, model_list, token_counter

        if service == "files":
            return files.Files(self) if self.row.keeps_files else None
        if service == "token_counter":
            return token_counter.TokenCounter(self)
        return model_list.ModelList(self) if service == "model_list" else None

    def output_modes(self, request: Request, options: AdapterOptions) -> tuple[OutputMode, ...] | None:
        """OpenAI itself takes no union as the whole of a schema; anything else is as the catalog says."""
        wanted = request.response_format
        if not isinstance(wanted, JsonSchema) or "anyOf" not in wanted.schema:
            return None
        base_url = self.find_base_url(options, self.endpoint_of(request, options), request.model)
        return ("prompted",) if row_at(self.row, base_url).strict_subset else None

    def defers_tools(self, request: Request, options: AdapterOptions) -> bool:
        """The Responses API has a tool search; models that lack it refuse it themselves."""
        return self.endpoint_of(request, options) == "responses"

    def hosts_tools(self, _request: Request, _options: AdapterOptions) -> bool:
        """Which ones, the encoding knows."""
        return True

    def endpoint_of(self, request: Request, options: AdapterOptions) -> str:
        """The API that the request goes to."""
        if self.endpoint != "auto":
            return self.endpoint
        if self.row.name in HOSTS and any(tool.hosted for tool in request.tools):
            return "responses"
        if self.row.endpoint is not None:
            return self.row.endpoint
        at_openai = is_openai(self.find_base_url(options, "responses", request.model))
        return endpoint_for(request.model or "") if at_openai else "chat_completions"

    async def stream(self, prepared: StreamCall, emit: Emit) -> None:
        """Make the call and emit its events."""
        await stream_events(prepared, emit)


def batches_of(adapter: OpenAI) -> Any:
    """The batches of the service, if it has any."""
    match adapter.provider:
        case "openai" | "groq":
            from allm.providers.openai.batches import Batches

            return Batches(adapter)
        case "mistral":
            from allm.providers.openai.batches_mistral import MistralBatches

            return MistralBatches(adapter)
        case "xai":
            from allm.providers.openai.batches_xai import XaiBatches

            return XaiBatches(adapter)
        case _:
            return None


def _versionless(name: str, base_url: str) -> str:
    """The address under which a service has the Responses API: DeepSeek has it beside `/v1`, not below."""
    return base_url.rstrip("/").removesuffix("/v1") if name == "deepseek" else base_url
