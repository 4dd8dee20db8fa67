"""The Anthropic adapter: encode the request, and stream the answer of the Messages API."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, final

import attrs

from allm.adapters import (
    BEARER,
    MAX_EVENT_BYTES,
    AdapterOptions,
    Companion,
    Emit,
    HttpAdapter,
    KeyHeader,
    Origin,
    OutputMode,
    Problem,
    StreamAdapter,
    StreamCall,
    Vendor,
    VertexPlace,
    WireDecoder,
    explains_settings,
    join_url,
    parts_of,
    stream_events,
)
from allm.data.errors import AdapterError, EngineError
from allm.data.request import Request
from allm.providers.anthropic.decode import MessagesDecoder
from allm.providers.anthropic.encode import Settings, encode, sampling_problems
from allm.providers.anthropic.errors import classify
from allm.providers.anthropic.names import PROVIDER
from allm.providers.anthropic.structured import StructuredOutput, output_modes

if TYPE_CHECKING:
    from allm.adapters import CountCall

__all__ = ["Anthropic", "ClaudeHost", "address"]

ANTHROPIC = Vendor(
    name=PROVIDER,
    base_url="https://api.anthropic.com",
    base_url_env="ANTHROPIC_BASE_URL",
    key_env=("ANTHROPIC_API_KEY",),
    key_header=KeyHeader("x-api-key"),
    classify=functools.partial(classify, PROVIDER),
)
_BY_AUTH = {
    "x-api-key": ANTHROPIC,
    "bearer": attrs.evolve(ANTHROPIC, key_env=("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"), key_header=BEARER),
}
_VERTEX = attrs.evolve(ANTHROPIC, base_url=None, base_url_env=None, key_env=(), key_header=BEARER)
VERTEX_VERSION = "vertex-2023-10-16"
_BEDROCK_VERSION = "bedrock-2023-05-31"


class ClaudeHost(Protocol):
    """A service that passes Anthropic's format on to Claude, as `Bedrock` does."""

    def find_base_url(self, options: AdapterOptions, /) -> str:
        """Its address."""
        ...

    def invoke(
        self,
        model: str | None,
        body: Mapping[str, Any],
        options: AdapterOptions,
        new_decoder: Callable[[], WireDecoder],
        /,
    ) -> StreamCall:
        """The call that has this body and an answer in Anthropic's format."""
        ...

    def count(self, request: Request, counted: Mapping[str, Any], options: AdapterOptions, /) -> CountCall:
        """The call that counts the tokens of `request`; the body is inside `counted`, as base64."""
        ...

    def stream_error(self, report: Any, /) -> AdapterError:
        """The error of its own inside an answer."""
        ...


def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def address(base_url: str, path: str) -> str:
    """The URL for a path that begins with a slash, without the version."""
    # Other vendors' base URLs have the version in them, so one that ends with it is understood as well.
    has_version = parts_of(base_url).path.rstrip("/").endswith("/v1")
    return join_url(base_url, path if has_version else f"/v1{path}")


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class Anthropic(HttpAdapter, StreamAdapter):
    """Anthropic's Claude models, and every service that speaks the Messages API at another `base_url`.

    Args:
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(anthropic=...)`, `keys.put`, then ANTHROPIC_API_KEY; with `auth="bearer"`
            ANTHROPIC_AUTH_TOKEN comes before it.
        base_url: Without the version segment, as the vendor's SDK takes it; else ANTHROPIC_BASE_URL, else Anthropic
            itself. A query is kept.
        api_version: Sent as anthropic-version. From `"2026-10-21"` on the API takes no sampling parameters, no document
            in an assistant's message and no citations in a user's.
        auth: The header that carries the key: `x-api-key`, or `authorization: Bearer`, which the vendor's newer SDKs
            and most gateways use.
        project, location: On Google's Vertex AI: the project, with `api_key=allm.keys.google()`, and the location, else
            `global`. Models have names as `claude-sonnet-4-5@20250929`.
        via: Another service that Claude is reached through, with its own address and key, such as
            `Bedrock(region="us-east-1")`: then `api_key`, `base_url`, `headers` and `http_client` are those of that.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
        betas: Sent as anthropic-beta, for fields in `options` that need them.
        prompt_cache: What the call option of this name is where a call does not give it: True, or for how long the API
            keeps the tools, the system prompt and the conversation for the next call (`"5m"`, `"1h"`). Writing costs
            more than reading saves unless the next call comes in that time. Your own `cache_control` marks count first;
            there are at most four in a request.
        structured_output: What `output_mode="auto"` means here: `"native"`, as a `"tool"` that has to be called, or
            `"auto"`, natively to Claude 4.5 and newer, as a tool to all others.
        max_event_bytes: Largest server-sent event accepted, in bytes.

    A request's `options` are fields of the request body under their wire names (`thinking`, `top_k`,
    `metadata`, ...) and replace what was there, but for two: `tools`, such as
    `[{"type": "web_search_20250305", "name": "web_search"}]`, are added to the request's own, and `output_config` is
    merged key by key.

    Thinking: `reasoning_effort` is an effort of Claude 4.6 and newer (`low`, `medium`, `high`, `xhigh`, `max`), which
    then think as they see fit, and a token budget for older ones (2048, 8192, 24576, 32000, at most half of
    `max_tokens`, or a number of tokens); `none` asks for the least thinking that the model can do. Newer models hide
    their thinking unless `reasoning_summary` is other than `none`. An effort that a model does not have is the next one
    upwards, else the highest that it has. `verbosity` and `prompt_cache_key` have no counterparts.

    Without `max_tokens` the model's own limit is sent, or 4096 where that is not known (logged once).

    Raises:
        EngineError: `invalid_engine`: both `via` and `project` are given.
    """

    api_version: str = "2023-06-01"
    auth: Literal["x-api-key", "bearer"] = attrs.field(default="x-api-key", validator=attrs.validators.in_(_BY_AUTH))
    project: str | None = None
    location: str = "global"
    via: ClaudeHost | None = None
    betas: tuple[str, ...] = attrs.field(default=(), converter=_names)
    prompt_cache: bool | Literal["5m", "1h"] = attrs.field(
        default=False, validator=attrs.validators.in_((False, True, "5m", "1h"))
    )
    structured_output: StructuredOutput = attrs.field(
        default="auto", validator=attrs.validators.in_(("auto", "native", "tool"))
    )
    max_event_bytes: int = MAX_EVENT_BYTES

    def __attrs_post_init__(self) -> None:
        if self.via is not None and self.project is not None:
            what = "two places are given where Claude is, another provider's and a project of Google's; expected one"
            raise EngineError(what, reason="invalid_engine").advised(": pass via= or project=")

    @functools.cached_property
    def vendor(self) -> Vendor:  # pyright: ignore[reportIncompatibleMethodOverride]  # a property that is asked once
        """Anthropic, with the headers of this adapter."""
        headers = {"anthropic-version": self.api_version} if self.project is None else {}
        if self.betas:
            headers["anthropic-beta"] = ",".join(self.betas)
        return attrs.evolve(_BY_AUTH[self.auth] if self.project is None else _VERTEX, headers=headers)

    @functools.cached_property
    def _place(self) -> VertexPlace | None:
        return None if self.project is None else VertexPlace(self.project, self.location)

    def find_base_url(self, options: AdapterOptions) -> str:
        """As every adapter does; on Vertex AI it is the location's.

        Raises:
            EngineError: `invalid_base_url`.
        """
        if self._place is None or not (self.base_url is None and options.base_url is None):
            return super().find_base_url(options)
        return self._place.base_url

    def output_modes(self, request: Request, options: AdapterOptions) -> Sequence[OutputMode]:
        """By the setting `structured_output` and the model's name."""
        return output_modes(request, options, self.structured_output)

    def refused_parameters(self, request: Request, _options: AdapterOptions) -> Iterable[Problem]:
        """Sampling parameters, which newer versions of the API do not take from any model."""
        return sampling_problems(request, self.api_version)

    def defers_tools(self, _request: Request, _options: AdapterOptions) -> bool:
        """Every version has a tool search; older models refuse it themselves."""
        return True

    def hosts_tools(self, _request: Request, _options: AdapterOptions) -> bool:
        """Which ones, the encoding knows."""
        return True

    @property
    def ignored_options(self) -> frozenset[str]:
        """OpenAI's `verbosity` and `prompt_cache_key` have no counterparts."""
        return frozenset({"prompt_cache_key", "verbosity"})

    def prepare(self, request: Request, options: AdapterOptions) -> StreamCall:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: Messages, images, a tool choice, format or option that cannot be sent; all at once.
        """
        base_url = (self if self.via is None else self.via).find_base_url(options)
        origin = self.origin(base_url)
        body, url, adapter = self.body(request, options, origin), None, self
        if any(tool.hosted for tool in request.tools):
            from allm.providers.anthropic.hosted_tools import betas_of

            adapter = attrs.evolve(self, betas=dict.fromkeys((*self.betas, *betas_of(body))))
        if self.via is not None:
            decoder = functools.partial(MessagesDecoder, self.provider, origin=origin, host_error=self.via.stream_error)
            return self.via.invoke(request.model, adapter.passed_on(body), options, decoder)
        if self._place is not None:  # the model is in the URL, and the version in the body
            url = self.vertex_url(base_url, body.pop("model"), "streamRawPredict")
            body.setdefault("anthropic_version", VERTEX_VERSION)
        return adapter.stream_call(
            address(base_url, "/messages") if url is None else url,
            body,
            options,
            functools.partial(MessagesDecoder, self.provider, origin=origin),
            max_event_bytes=self.max_event_bytes,
        )

    def passed_on(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A body as the service takes it that Claude is reached through: what is in the URL elsewhere is in it."""
        left = {name: value for name, value in body.items() if name not in {"model", "stream"}}
        own = {"anthropic_beta": list(self.betas)} if self.betas else {}
        return {"anthropic_version": _BEDROCK_VERSION, **own, **left}

    def vertex_url(self, base_url: str, model: str, method: str) -> str | None:
        """The URL of a method of a model on Vertex AI; None: the adapter is for another place.

        Raises:
            ValidationError: A model name that cannot be part of a URL.
        """
        place = self._place
        return None if place is None else join_url(base_url, f"/v1/{place.model('anthropic', model)}:{method}")

    def body(self, request: Request, options: AdapterOptions, origin: Origin) -> dict[str, Any]:
        """The body for `request`.

        Raises:
            ValidationError: As `prepare`.
        """
        asked = self.prompt_cache if options.prompt_cache is None else options.prompt_cache
        settings = Settings(api_version=self.api_version, prompt_cache=asked, origin=origin)
        return encode(request, options, settings)

    def companion(self, service: Companion) -> Any:
        """Counts of tokens, the list of models, files and batches; at another cloud, only counts."""
        if service != "token_counter" and (self.via is not None or self._place is not None):
            return None
        from allm.providers.anthropic import batches, files, model_list, token_counter

        if service in {"files", "batches"}:
            return files.Files(self) if service == "files" else batches.Batches(self)
        if service == "token_counter":
            return token_counter.TokenCounter(self)
        return model_list.ModelList(self) if service == "model_list" else None

    async def stream(self, prepared: StreamCall, emit: Emit) -> None:
        """Make the call and emit its events."""
        await stream_events(prepared, emit)
