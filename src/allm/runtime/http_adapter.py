"""What adapters have in common: `Adapter`, the defaults of the optional members, and `HttpAdapter`, the base over HTTP.

`as_adapter` adds the defaults to adapters that do not derive from `Adapter`. Over HTTP, key, address, headers and
client are found by one rule for all vendors: a setting of the call takes precedence over the adapter's, and that over
the vendor's.
"""

from __future__ import annotations

import functools
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import SplitResult

import attrs

from allm.data.attrs_classes import frozen
from allm.data.constructors import ClassDecorator, explains_arguments
from allm.data.errors import EngineError, ValidationError
from allm.data.message_builder import Origin
from allm.data.problems import Problem, shown
from allm.data.request import Request
from allm.http import keys
from allm.http.call import HttpCall, as_key, join_url, json_content, no_address, parts_of
from allm.http.error_body import classify_error
from allm.http.errors import Classify
from allm.http.headers import HeaderValue, is_header_value, lower_headers
from allm.http.keys import BEARER, Credential, KeyHeader, KeySource, Secret
from allm.http.library import check_client
from allm.http.private_url import PrivateUrl, as_url, without_user
from allm.http.response import Body, transport_override
from allm.http.sse import MAX_EVENT_BYTES
from allm.http.stream_call import StreamCall, WireDecoder
from allm.http.transport import checked_route
from allm.runtime.adapters import AdapterOptions, Companion, OutputMode, ToolMode

if TYPE_CHECKING:
    from allm.runtime.batches import BatchLimits

__all__ = ["Adapter", "HttpAdapter", "Vendor", "as_adapter", "explains_settings"]

explains_settings: ClassDecorator = explains_arguments(
    model="the model belongs to the engine: Engine(adapter={name}(...), model=...)",
    timeout="limits belong to the call: request_timeout=, or a cancel scope such as trio.move_on_after(30)",
    max_retries="retries belong to the engine: Engine(adapter={name}(...), retry=allm.RetryPolicy(...))",
    temperature="options belong to the call, or to the engine: Engine(...).with_params(temperature=...)",
    http_client="the client belongs to the engine: Engine(adapter={name}(...), http_client=...)",
    organization="pass headers={{'openai-organization': ...}}",
)
"""Decorates an adapter's class, so that a setting of another place is an error that names the place."""


class Adapter(ABC):
    """Defaults of the optional members of an adapter; a subclass overrides those that differ."""

    __slots__ = ()

    @property
    @abstractmethod
    def provider(self) -> str:
        """The provider's short name, as in `"openai:gpt-5.5"`."""

    @property
    def requires_model(self) -> bool:
        """Whether a request has to name its model."""
        return True

    @property
    def ignored_options(self) -> frozenset[str]:
        """The names of adapter options that have no counterpart here; a call with one is warned about."""
        return frozenset()

    def needs_structured_finalize(self, _request: Request, /) -> bool | None:
        """Whether the provider cannot take the request's tools and its schema in one call; None: ask the catalog.

        If True, `allm.chat` requests the schema in a final call without tools. An adapter that returns True or False
        handles structured output itself, so the catalog's `json_schema` entries are not checked for it.
        """
        return None

    def output_modes(self, _request: Request, _options: AdapterOptions, /) -> Sequence[OutputMode] | None:
        """The ways in which the model of a request can be held to its schema, the best first; None: ask the catalog.

        The request has its schema as a `JsonSchema`. `"native"` leaves it there, `"tool"` makes it the schema of a tool
        that has to be called, `"prompted"` adds it to the instructions.
        """
        return None

    def tool_modes(self, _request: Request, _options: AdapterOptions, /) -> Sequence[ToolMode] | None:
        """The ways in which the model of a request can be given tools, the best first; None: ask the catalog.

        With `("prompted",)` the request has no tools: the model is told of them, and of calls and results, as text.
        """
        return None

    def refused_parameters(self, _request: Request, _options: AdapterOptions, /) -> Iterable[Problem]:
        """The parameters of a request that the API refuses for every model, by their path, as in `("temperature",)`.

        One that is a default of the engine or the application is left out; any other is an error.
        """
        return ()

    def defers_tools(self, _request: Request, _options: AdapterOptions, /) -> bool:
        """Whether the API has a tool search, which finds the request's `deferred` tools; if not, they are refused."""
        return False

    def hosts_tools(self, _request: Request, _options: AdapterOptions, /) -> bool:
        """Whether the adapter knows tools of `allm.hosted`, which it then checks itself; if not, they are refused."""
        return False

    @property
    def most_logprobs(self) -> int:
        """How many of the likeliest tokens the provider gives log probabilities of; 0 for none, or not known."""
        return 0

    def batch_limits(self, _model: str | None, /) -> BatchLimits:
        """The most that one embedding request may hold."""
        from allm.runtime.batches import UNKNOWN_LIMITS

        return UNKNOWN_LIMITS

    def companion(self, _service: Companion, /) -> Any:
        """The `UnaryAdapter` of a service beside chat, with this adapter's key and address; None: there is none."""
        return None


def as_adapter(adapter: Any) -> Adapter:
    """Return the adapter with all optional members: wrapped to add them if it does not derive from `Adapter`."""
    return adapter if isinstance(adapter, Adapter) else _WithDefaults(adapter)


class _WithDefaults(Adapter):
    """Wraps an adapter that does not derive from `Adapter`; members that it lacks have their defaults."""

    __slots__ = ("_adapter",)

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    @property
    def provider(self) -> str:
        return str(getattr(self._adapter, "provider", "unknown"))

    @property
    def requires_model(self) -> bool:
        return bool(getattr(self._adapter, "requires_model", super().requires_model))

    @property
    def ignored_options(self) -> frozenset[str]:
        return frozenset(getattr(self._adapter, "ignored_options", super().ignored_options))

    def needs_structured_finalize(self, request: Request, /) -> bool | None:
        needs: Any = getattr(self._adapter, "needs_structured_finalize", super().needs_structured_finalize)
        return cast("bool | None", needs(request))

    def output_modes(self, request: Request, options: AdapterOptions, /) -> Sequence[OutputMode] | None:
        ask: Callable[..., Sequence[OutputMode] | None] = getattr(self._adapter, "output_modes", super().output_modes)
        return ask(request, options)

    def tool_modes(self, request: Request, options: AdapterOptions, /) -> Sequence[ToolMode] | None:
        ask: Callable[..., Sequence[ToolMode] | None] = getattr(self._adapter, "tool_modes", super().tool_modes)
        return ask(request, options)

    def refused_parameters(self, request: Request, options: AdapterOptions, /) -> Iterable[Problem]:
        ask: Callable[..., Iterable[Problem]] = getattr(self._adapter, "refused_parameters", super().refused_parameters)
        return ask(request, options)

    def defers_tools(self, request: Request, options: AdapterOptions, /) -> bool:
        return bool(getattr(self._adapter, "defers_tools", super().defers_tools)(request, options))

    def hosts_tools(self, request: Request, options: AdapterOptions, /) -> bool:
        return bool(getattr(self._adapter, "hosts_tools", super().hosts_tools)(request, options))

    @property
    def most_logprobs(self) -> int:
        return int(getattr(self._adapter, "most_logprobs", super().most_logprobs))

    def batch_limits(self, model: str | None, /) -> BatchLimits:
        return cast("BatchLimits", getattr(self._adapter, "batch_limits", super().batch_limits)(model))

    def companion(self, service: Companion, /) -> Any:
        return getattr(self._adapter, "companion", super().companion)(service)


# --- over HTTP -------------------------------------------------------------------------------------------------------

_VERSION = re.compile(r"/v\d\w*$")

JSON = "application/json"
STREAM_HEADERS = {
    "accept": "text/event-stream, application/json",
    "accept-encoding": "identity",  # compression would hold back the small pieces of a stream
}


@frozen(kw_only=True)
class Vendor:
    """What differs between vendors, as data.

    Attributes:
        name: The provider's short name, and the name of its key in `allm.keys`.
        base_url: The vendor's address; None: the user has to give it.
        base_url_env: Environment variable that takes precedence over `base_url`.
        key_env: Environment variables of the key; the first that is set is used.
        key_header: The header that carries the key.
        key_required: Refuse calls without a key; False for local servers.
        headers: Sent with every request.
        request_id_header: Carries the call option `request_id`; None: it is not sent.
        classify: Turns an error response into an `AdapterError`; None: by its HTTP status and the usual envelopes.
    """

    name: str
    base_url: str | None = None
    base_url_env: str | None = None
    key_env: tuple[str, ...] = ()
    key_header: KeyHeader = BEARER
    key_required: bool = True
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False, hash=False)
    request_id_header: str | None = "x-request-id"
    classify: Classify | None = attrs.field(default=None, repr=False)


@frozen(kw_only=True, eq=False)
class HttpAdapter(Adapter):
    """Base of adapters over HTTP. A subclass sets `vendor` and builds calls with `call` or `stream_call`.

    Args:
        api_key: The key, or a function without arguments that returns it, sync or async. The function is called just
            before the first request, and again when the provider returns 401. None: `keys.override`, `keys.put`, then
            the vendor's environment variables.
        base_url: Replaces the vendor's address; a query string in it is preserved.
        headers: Sent with every request. The vendor's key header, if given here, replaces the key.
        http_client: Your own client, which the adapter never closes; takes precedence over the engine's.

    Raises:
        EngineError: `invalid_key`: the key is neither a string nor a function.
    """

    api_key: keys.Secret | KeySource | None = attrs.field(default=None, converter=as_key)
    base_url: str | None = attrs.field(default=None, converter=as_url)
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    http_client: Any = attrs.field(default=None, repr=False)

    @property
    def vendor(self) -> Vendor:
        """The vendor's settings; a class attribute of this name is enough."""
        raise NotImplementedError(f"{type(self).__name__} has to set vendor = Vendor(name=..., ...)")

    @property
    def provider(self) -> str:
        """The vendor's name."""
        return self.vendor.name

    def call(
        self, url: str, body: Mapping[str, Any] | bytes | Body, options: AdapterOptions, content_type: str = JSON
    ) -> HttpCall:
        """A call for `open_call` or `post_json`.

        Args:
            url: The complete URL, as `url` returns it.
            body: A mapping to send as JSON, or bytes of `content_type`, in memory or as a `Body`.
            options: Options of the call.
            content_type: MIME type of the body.

        Raises:
            EngineError: `missing_key`, `invalid_key`; `invalid_engine`: headers that cannot be sent;
                `invalid_environment`: a variable about proxies or certificates.
            ValidationError: A body that has no JSON form; a `request_id` that no header can carry.
        """
        return HttpCall(**self._fields(url, body, options, {"content-type": content_type}))

    def stream_call(
        self,
        url: str,
        body: Mapping[str, Any] | bytes | Body,
        options: AdapterOptions,
        new_decoder: Callable[[], WireDecoder],
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> StreamCall:
        """A call for `stream_events`.

        Args:
            url, body, options: As for `call`; the body is JSON.
            new_decoder: Makes a fresh decoder for each attempt.
            max_event_bytes: Largest server-sent event accepted, in bytes.

        Raises:
            EngineError, ValidationError: As `call`.
        """
        return StreamCall(
            **self._fields(url, body, options, {"content-type": JSON, **STREAM_HEADERS}),
            new_decoder=new_decoder,
            max_event_bytes=max_event_bytes,
            raw_chunks=options.include_raw_chunks,
            answer_limits=options.answer_limits,
        )

    def url(self, path: str, options: AdapterOptions) -> str:
        """Return the URL for `path`, which begins with a slash.

        Raises:
            EngineError: `invalid_base_url`.
        """
        return join_url(self.find_base_url(options), path)

    def origin(self, base_url: str) -> Origin:
        """Return the service at `base_url` as an `Origin` of opaque data, which is sent back only to that address.

        Raises:
            EngineError: `invalid_base_url`.
        """
        vendor = self.vendor
        own = None if vendor.base_url is None else parts_of(vendor.base_url)
        return _origin_of(vendor.name, parts_of(base_url), own)

    def find_base_url(self, options: AdapterOptions) -> str:
        """Return the base URL: the call's, else the adapter's, else the environment variable's, else the vendor's.

        Raises:
            EngineError: `invalid_base_url`: none of them is set.
        """
        vendor = self.vendor
        if (given := self.base_url if options.base_url is None else options.base_url) is not None:
            return given
        found = (vendor.base_url_env and os.environ.get(vendor.base_url_env)) or vendor.base_url
        if found is None:
            raise no_address(vendor.name, vendor.base_url_env)
        return PrivateUrl(found)

    def classify_at(self, url: str) -> Classify:  # noqa: ARG002  not all servers are the vendor's own
        """What turns an error response of the server at `url` into an `AdapterError`; by default as the vendor says."""
        return self.vendor.classify or functools.partial(classify_error, self.vendor.name)

    def _fields(self, url: str, body: Any, options: AdapterOptions, headers: Mapping[str, str]) -> dict[str, Any]:
        vendor = self.vendor
        url, user = without_user(url) if "@" in url else (url, None)
        given = [lower_headers(headers) for headers in (self.headers, options.headers) if headers != {}]
        user_headers = {name: value for headers in given for name, value in headers.items()}
        if user is not None:
            user_headers["authorization"] = user  # as the HTTP library would, which tells its log of the URL
        sent = {**headers, **{name.lower(): value for name, value in vendor.headers.items()}}
        if vendor.request_id_header is not None and options.request_id is not None:
            sent[vendor.request_id_header] = _sendable("request_id", options.request_id)
        client = self.http_client or options.http_client
        if client is not None:
            check_client(client)
        elif transport_override.get() is None:
            client = checked_route(url)
        return {
            "provider": vendor.name,
            "url": url,
            "headers": {**sent, **user_headers},  # the user's come last, so that they can replace any of ours
            "body": body if isinstance(body, bytes | Body) else json_content(body),
            "classify": self.classify_at(url),
            "credential": self._credential(options, user_headers),
            "client": client,
        }

    def _credential(self, options: AdapterOptions, user_headers: Mapping[str, HeaderValue]) -> Credential | None:
        vendor = self.vendor
        own = user_headers.get(vendor.key_header.name)
        try:
            source = keys.resolve(vendor.name, options.api_key or self.api_key, vendor.key_env)
        except EngineError as error:
            if error.reason != "missing_key":
                raise
            # A user who sends `authorization` authenticates in some other way, for example to a gateway.
            if own is None and vendor.key_required and "authorization" not in user_headers:
                raise
            source = None
        if own is not None:  # sent as a credential, so that errors mask it like any other key
            prefix, space, key = (own.reveal() if isinstance(own, Secret) else own).rpartition(" ")
            return Credential(KeyHeader(vendor.key_header.name, prefix + space), keys.Secret(key))
        if source is None:
            return None
        header = source.header if isinstance(source, KeySource) else None
        return Credential(header or vendor.key_header, source)


def _sendable(name: str, value: str) -> str:
    if not is_header_value(value):
        what = f"is {shown(value)}; expected printable ASCII without spaces around it, as a header carries it"
        raise ValidationError([Problem((name,), "invalid_format", what)], reason="invalid_options")
    return value


@functools.lru_cache(maxsize=256)  # each call asks, for one of few addresses
def _origin_of(name: str, parts: SplitResult, own_parts: SplitResult | None) -> Origin:
    address, own = _address_of(parts), None if own_parts is None else _address_of(own_parts)
    return Origin(name, None if address == own else address, has_own=own is not None)


def _address_of(parts: SplitResult) -> str:
    """Host and path of an address, the same however it is written: with the version of the API at its end or not."""
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(":443" if parts.scheme == "https" else ":80")
    return host + _VERSION.sub("", parts.path.rstrip("/"))
