"""The Bedrock adapter: encode the request, sign it, and stream the answer of ConverseStream."""

from __future__ import annotations

import base64
import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, final
from urllib.parse import quote

import attrs

from allm.adapters import (
    MAX_EVENT_BYTES,
    AdapterOptions,
    Companion,
    Emit,
    FrameDecoder,
    HttpAdapter,
    HttpCall,
    OutputMode,
    Problem,
    ServerSentEvent,
    StreamAdapter,
    StreamCall,
    Vendor,
    WireDecoder,
    as_object,
    as_text,
    explains_settings,
    foundation_model,
    join_url,
    loads,
    malformed,
    refuse,
    shown,
    stream_events,
    without_body,
)
from allm.data.errors import AdapterError, EngineError
from allm.data.request import Request
from allm.providers.bedrock.decode import ConverseDecoder
from allm.providers.bedrock.encode import encode, output_modes
from allm.providers.bedrock.errors import classify, stream_error
from allm.providers.bedrock.names import PROVIDER, family_of, of_family
from allm.providers.bedrock.signing import Signer, has_botocore

if TYPE_CHECKING:
    from allm.adapters import CountCall

__all__ = ["Bedrock"]

_ADDRESS = "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"
BEDROCK = Vendor(
    name=PROVIDER,
    base_url_env=_ADDRESS,
    key_env=("AWS_BEARER_TOKEN_BEDROCK",),
    headers={"accept": "application/vnd.amazon.eventstream, application/json"},
    request_id_header=None,
    classify=classify,
)
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_NOT_COUNTED = re.compile(r"support counting tokens", re.IGNORECASE)
CallT = TypeVar("CallT", bound=HttpCall)
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")  # it becomes a part of the host


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class Bedrock(HttpAdapter, StreamAdapter):
    """Models on Amazon Bedrock: `ConverseStream`, with its binary frames.

    Args:
        api_key: A Bedrock API key: a text, or a function without arguments that returns one, sync or async. Else
            `keys.override(bedrock=...)`, `keys.put`, then AWS_BEARER_TOKEN_BEDROCK. Without a key, requests are signed
            with the credentials of AWS, which needs the extra `bedrock`.
        region: Such as `us-east-1`; else AWS_REGION, else AWS_DEFAULT_REGION.
        profile: The profile of `~/.aws/config` whose credentials sign; else AWS_PROFILE.
        base_url: Another address than the region's; else AWS_ENDPOINT_URL_BEDROCK_RUNTIME.
        headers: Sent with every request. One named `authorization` takes the place of key and signature.
        http_client: Your own client, never closed here; wins over the engine's.
        max_event_bytes: Largest frame accepted, in bytes.

    A request's `options` are fields of the request body under their wire names. `inferenceConfig`, `toolConfig` and
    `additionalModelRequestFields` are merged key by key over what the request says, such as
    `options={"additionalModelRequestFields": {"top_k": 40}}`, the tools of `toolConfig` are added to the request's
    own, and every other field replaces what was there (`guardrailConfig`, `performanceConfig`, ...).

    Thinking: `reasoning_effort` is a budget of tokens for Claude before 4.6 (2048, 8192, 24576, at most half of
    `max_tokens`, or a number of tokens), an effort for newer ones, for Nova 2 and for gpt-oss. `verbosity` has no
    counterpart.
    """

    region: str | None = None
    profile: str | None = None
    max_event_bytes: int = MAX_EVENT_BYTES

    @functools.cached_property
    def _signers(self) -> dict[str, Signer]:
        return {}

    @property
    def vendor(self) -> Vendor:
        """Bedrock in this adapter's region."""
        region = self._region()
        if region is not None and not _REGION.fullmatch(region):
            what = f"the region {region!r} is none of AWS; expected one such as us-east-1"
            raise EngineError(what, reason="invalid_base_url", provider=PROVIDER)
        base_url = None if region is None else f"https://bedrock-runtime.{region}.amazonaws.com"
        return attrs.evolve(BEDROCK, base_url=base_url, key_required=not has_botocore())

    @property
    def ignored_options(self) -> frozenset[str]:
        """OpenAI's `verbosity` and `prompt_cache_key` have no counterparts, and AWS has ids of its own for requests."""
        return frozenset({"prompt_cache_key", "verbosity", "request_id"})

    def output_modes(self, request: Request, _options: AdapterOptions) -> Sequence[OutputMode]:
        """By the model's name."""
        return output_modes(request)

    def hosts_tools(self, request: Request, _options: AdapterOptions) -> bool:
        """Amazon's own models do."""
        return family_of(request.model or "") == "amazon"

    def prepare(self, request: Request, options: AdapterOptions) -> StreamCall:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`: the region is not known.
            ValidationError: A model name, message, file, tool choice, format or option that cannot be sent; all at
                once.
        """
        origin = of_family(self.origin(self.find_base_url(options)), request.model)
        body, decoder = encode(request, options, origin), functools.partial(ConverseDecoder, origin=origin)
        call = self._call(request.model, "converse-stream", body, options, decoder)
        return attrs.evolve(call, new_splitter=FrameDecoder)

    def invoke(
        self,
        model: str | None,
        body: Mapping[str, Any],
        options: AdapterOptions,
        new_decoder: Callable[[], WireDecoder],
    ) -> StreamCall:
        """A call of InvokeModelWithResponseStream, for a body and an answer in the format of the model's maker.

        Args:
            model: As for `prepare`.
            body: Goes to the model.
            options: Options of the call.
            new_decoder: Makes what decodes the events that are in the frames; an error has the form of `stream_error`.

        Raises:
            EngineError, ValidationError: As `prepare`.
        """
        call = self._call(model, "invoke-with-response-stream", body, options, new_decoder)
        return attrs.evolve(call, new_splitter=functools.partial(FrameDecoder, unwrap=_chunk))

    @staticmethod
    def stream_error(report: Any) -> AdapterError:
        """The error of an exception in a stream, which is an event `error` of `FrameDecoder`."""
        return stream_error(report)

    def count(self, request: Request, counted: Mapping[str, Any], options: AdapterOptions) -> CountCall:
        """A call of CountTokens, which knows models and not the profiles that they are called through.

        Args:
            request: What is counted.
            counted: The same as the service takes it, under `converse` or `invokeModel`.
            options: Options of the call.

        Raises:
            EngineError, ValidationError: As `prepare`.
        """
        from allm.adapters import CountCall

        base_url = self.find_base_url(options)
        url = join_url(base_url, f"/model/{_model(foundation_model(request.model or ''))}/count-tokens")
        call = self._signed(lambda: self.call(url, {"input": counted}, options))
        elsewhere = self.origin(base_url).place is not None
        return CountCall(call, "inputTokens", request, elsewhere=elsewhere, not_counted=_is_not_counted)

    def companion(self, service: Companion) -> Any:
        """Counts of tokens and the list of models; it keeps no files, and its batches go through S3."""
        if service not in {"token_counter", "model_list"}:
            return None
        from allm.providers.bedrock import model_list, token_counter

        return token_counter.TokenCounter(self) if service == "token_counter" else model_list.ModelList(self)

    def get(self, url: str, options: AdapterOptions) -> HttpCall:
        """A call without a body, of the service that has the models.

        Raises:
            EngineError: As `prepare`.
        """
        return self._signed(lambda: without_body(self.call(url, b"", options)))

    def find_control_url(self, options: AdapterOptions) -> str:
        """The address of the service that has the models: the region's, where no other one is set.

        Raises:
            EngineError: `invalid_base_url`.
        """
        base_url, own = self.find_base_url(options), self.vendor.base_url
        return base_url if own is None or base_url != own else own.replace("//bedrock-runtime.", "//bedrock.")

    def _call(
        self,
        model: str | None,
        method: str,
        body: Mapping[str, Any],
        options: AdapterOptions,
        new_decoder: Callable[[], WireDecoder],
    ) -> StreamCall:
        url = join_url(self.find_base_url(options), f"/model/{_model(model or '')}/{method}")
        limit = self.max_event_bytes
        return self._signed(lambda: self.stream_call(url, body, options, new_decoder, max_event_bytes=limit))

    def _signed(self, make: Callable[[], CallT]) -> CallT:
        """The call that `make` makes, with a signature where it has no key."""
        try:
            call = make()
        except EngineError as error:
            if error.reason == "missing_key":
                error.advised("; or sign with the credentials of AWS: pip install 'allm-trio[bedrock]'")
            raise
        is_signed = call.credential is None and "authorization" not in call.headers
        return attrs.evolve(call, sign=self._signer()) if is_signed else call

    async def stream(self, prepared: StreamCall, emit: Emit) -> None:
        """Make the call and emit its events."""
        await stream_events(prepared, emit)

    def find_base_url(self, options: AdapterOptions) -> str:
        """Return the base URL: the call's, the adapter's, the environment variable's, else the region's.

        Raises:
            EngineError: `invalid_base_url`: there is none, and the region is not known or is none.
        """
        vendor = self.vendor
        if vendor.base_url is None and not (self.base_url or options.base_url or os.environ.get(_ADDRESS)):
            raise self._no_region()
        return super().find_base_url(options)

    def _region(self) -> str | None:
        return self.region or next((found for name in _REGIONS if (found := os.environ.get(name))), None)

    def _signer(self) -> Signer:
        region = self._region()
        if region is None:
            raise self._no_region()
        return self._signers.setdefault(region, Signer(region, self.profile))

    def _no_region(self) -> EngineError:
        what = "the region of Bedrock is not known; expected one such as us-east-1"
        error = EngineError(what, reason="invalid_base_url", provider=PROVIDER, variables=_REGIONS)
        return error.advised(": set the environment variable AWS_REGION, or pass region=")


def _is_not_counted(error: AdapterError) -> bool:
    return error.reason == "invalid_request" and _NOT_COUNTED.search(error.message) is not None


def _chunk(event: ServerSentEvent) -> ServerSentEvent:
    """The event of the model that is in one of the service: base64 in JSON."""
    if event.name != "chunk":
        return event
    try:
        return ServerSentEvent(
            "", base64.b64decode(as_text(as_object(loads(event.data)).get("bytes")) or "", validate=True)
        )
    except ValueError as error:
        raise malformed(PROVIDER, f"a chunk of the stream cannot be read ({error})", event.data) from error


def _model(name: str) -> str:
    """The model's id or ARN as a segment of a URL.

    Raises:
        ValidationError: A name that would reach outside its place in the URL.
    """
    if name.strip(".") == "" or not name.isprintable() or not name.isascii() or " " in name:
        expected = "amazon.nova-2-lite-v1:0, us.anthropic.claude-haiku-4-5-20251001-v1:0 or the ARN of a profile"
        sentence = f"is {shown(name)}, which cannot be part of a URL; expected an id such as {expected}"
        refuse([Problem(("model",), "invalid_format", sentence)])
    return quote(name, safe="")
