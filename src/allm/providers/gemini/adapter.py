"""The Gemini adapters: how the API is reached, and the adapter that streams the answer of `streamGenerateContent`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, final
from urllib.parse import quote

import attrs

from allm.adapters import (
    BEARER,
    MAX_EVENT_BYTES,
    AdapterOptions,
    Companion,
    Emit,
    HttpAdapter,
    HttpCall,
    KeyHeader,
    Origin,
    Problem,
    StreamAdapter,
    StreamCall,
    Vendor,
    VertexPlace,
    explains_settings,
    join_url,
    parts_of,
    shown,
    stream_events,
)
from allm.data.content import ToolCall
from allm.data.errors import ValidationError
from allm.data.request import Request
from allm.providers.gemini.decode import GeminiDecoder
from allm.providers.gemini.encode import encode
from allm.providers.gemini.errors import classify

__all__ = ["Connection", "Gemini", "body_of", "resource_name"]

GEMINI = Vendor(
    name="gemini",
    base_url="https://generativelanguage.googleapis.com",
    base_url_env="GOOGLE_GEMINI_BASE_URL",
    key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    key_header=KeyHeader("x-goog-api-key"),
    classify=functools.partial(classify, "gemini"),
)
VERTEX = attrs.evolve(GEMINI, base_url=None, base_url_env=None, key_env=(), key_header=BEARER)
"""Takes no key of the Gemini API; what it signs goes back to it alone."""

# First segments of a model name that is a whole resource name already; the last two are Vertex AI's.
COLLECTIONS = frozenset({"models", "tunedModels", "publishers", "projects"})


def resource_name(model: str) -> str:
    """The part of the URL that names the model, quoted: `models/gemini-3.5-flash`, `tunedModels/mine`.

    Raises:
        ValidationError: A name that would reach outside its place in the URL.
    """
    segments = model.split("/")
    if segments[0] not in COLLECTIONS or len(segments) == 1:
        segments = ["models", model]
    if any(segment in {"", ".", ".."} for segment in segments) or not model.isprintable():
        expected = "gemini-3.5-flash, models/gemini-3.5-flash or tunedModels/my-model"
        sentence = f"is {shown(model)}, which cannot be part of a URL; expected a name such as {expected}"
        raise ValidationError([Problem(("model",), "invalid_format", sentence)], reason="invalid_request")
    return "/".join(quote(segment, safe="") for segment in segments)


def body_of(request: Request, options: AdapterOptions, origin: Origin) -> dict[str, Any]:
    """The body of a call, which may go on from a cache.

    Raises:
        ValidationError: With every problem found.
    """
    if options.cached_content is None:
        return encode(request, options, origin)
    from allm.providers.gemini.cache_encode import body_beside

    return body_beside(options.cached_content, request, options, origin)


@attrs.frozen(kw_only=True, eq=False)
class Connection(HttpAdapter):
    """What the adapters of this vendor have in common: address, key, headers.

    Args:
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(gemini=...)`, `keys.put`, then GEMINI_API_KEY, then GOOGLE_API_KEY. It travels in the header
            x-goog-api-key, never in the URL.
        base_url: Without the version segment, as the vendor's SDK takes it; else GOOGLE_GEMINI_BASE_URL, else Google
            itself. A query is kept.
        api_version: The version segment of the URL; None: v1beta, on Vertex AI v1.
        project, location: On Vertex AI: the project, with `api_key=allm.keys.google()`; the location, else `global`.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
    """

    api_version: str | None = None
    project: str | None = None
    location: str = "global"

    @property
    def vendor(self) -> Vendor:
        """Google's Gemini API, or Vertex AI."""
        return GEMINI if self.project is None else VERTEX

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

    def post(self, model: str, method: str, body: Mapping[str, Any], options: AdapterOptions) -> HttpCall:
        """A call that answers in one piece, such as `method="generateContent"`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: A model name that cannot be part of a URL.
        """
        return self.call(self.address(model, method, options), body, options)

    def address(self, model: str, method: str, options: AdapterOptions) -> str:
        """The URL of a method of a model.

        Raises:
            EngineError: `invalid_base_url`.
            ValidationError: A model name that cannot be part of a URL.
        """
        return self.url(f"/{self.resource(model)}:{method}", options)

    def resource(self, model: str) -> str:
        """The part of the URL that names the model, quoted: on Vertex AI with its place.

        Raises:
            ValidationError: A model name that cannot be part of a URL.
        """
        place = self._place
        is_name = place is None or model.partition("/")[0] in COLLECTIONS
        return resource_name(model) if is_name or place is None else place.model("google", model)

    @property
    def folder(self) -> str:
        """What the names of caches begin with, on Vertex AI project and location."""
        return "" if self._place is None else self._place.folder

    @property
    def version(self) -> str:
        """The version of the API, as it stands in URLs, on Vertex AI another one than elsewhere."""
        if self.api_version is None:
            return "v1beta" if self._place is None else "v1"
        return self.api_version.strip("/")

    def url(self, path: str, options: AdapterOptions) -> str:
        """The URL of a path that begins with a slash, without the version.

        Raises:
            EngineError: `invalid_base_url`.
        """
        base_url, version = self.find_base_url(options), self.version
        # Google's own examples of URLs have the version in them, so a base URL that ends with it is understood as well.
        if version and not parts_of(base_url).path.rstrip("/").endswith(f"/{version}"):
            path = f"/{version}{path}"
        return join_url(base_url, path)


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class Gemini(Connection, StreamAdapter):
    """Google's Gemini models: `streamGenerateContent` of the Gemini API.

    Args:
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(gemini=...)`, `keys.put`, then GEMINI_API_KEY, then GOOGLE_API_KEY. It travels in the header
            x-goog-api-key, never in the URL.
        base_url: Without the version segment, as the vendor's SDK takes it; else GOOGLE_GEMINI_BASE_URL, else Google
            itself. A query is kept.
        api_version: The version segment of the URL; None: v1beta, on Vertex AI v1.
        project, location: On Vertex AI: the project, with `api_key=allm.keys.google()`; the location, else `global`.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
        max_event_bytes: Largest server-sent event accepted, in bytes.

    A request's `options` are fields of the request body under their wire names. `generationConfig`, `thinkingConfig`
    inside it, `toolConfig` and `functionCallingConfig` inside it are merged key by key over what the request says, so
    that `options={"generationConfig": {"topK": 40}}` keeps its temperature; `tools`, such as
    `[{"googleSearch": {}}]`, are added to the request's own; every other field replaces what was there.

    Thinking: `reasoning_effort` is a level of Gemini 3 and newer (`minimal`, `low`, `medium`, `high`; `none` asks for
    the least), and a token budget for older models (`none` 0, `low` 1024, `medium` 8192, `high` 24576, as Google maps
    them itself, or a number of tokens). What a model does not have is the next level upwards, else its highest, and its
    least budget. Thoughts are shown with a `reasoning_summary` other than `none`. `verbosity` has no counterpart.
    """

    max_event_bytes: int = MAX_EVENT_BYTES

    @property
    def ignored_options(self) -> frozenset[str]:
        """OpenAI's `verbosity` and `prompt_cache_key` have no counterparts; prompts are cached unasked."""
        return frozenset({"prompt_cache_key", "verbosity"})

    @property
    def most_logprobs(self) -> int:
        """20, of the models that give any (https://ai.google.dev/api/generate-content#GenerationConfig)."""
        return 20

    def hosts_tools(self, _request: Request, _options: AdapterOptions) -> bool:
        """Which ones, the encoding knows."""
        return True

    def prepare(self, request: Request, options: AdapterOptions) -> StreamCall:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: A model name, tool, tool choice, tool result or image that cannot be sent; all of the
                problems in the messages at once.
        """
        origin = self.origin(self.find_base_url(options))
        url = self.address(request.model or "", "streamGenerateContent", options)
        # Every turn looks through its whole conversation, so a text must cost next to nothing.
        contents = [message.content for message in request.messages if type(message.content) is not str]
        taken = frozenset({part.id for content in contents for part in content if isinstance(part, ToolCall)})
        return self.stream_call(
            f"{url}{'&' if '?' in url else '?'}alt=sse",
            body_of(request, options, origin),
            options,
            functools.partial(GeminiDecoder, self.provider, taken, origin=origin),
            max_event_bytes=self.max_event_bytes,
        )

    def companion(self, service: Companion) -> Any:
        """Caches, token counts, the list of models, files and batches; Vertex AI has caches and counts only."""
        if service == "caches":
            from allm.providers.gemini import caches

            return caches.Caches(self)
        if self._place is not None and service != "token_counter":
            return None
        from allm.providers.gemini import batches, files, model_list, token_counter

        if service in {"files", "batches"}:
            return files.Files(self) if service == "files" else batches.Batches(self)
        if service == "token_counter":
            return token_counter.TokenCounter(self)
        return model_list.ModelList(self) if service == "model_list" else None

    async def stream(self, prepared: StreamCall, emit: Emit) -> None:
        """Make the call and emit its events."""
        await stream_events(prepared, emit)
