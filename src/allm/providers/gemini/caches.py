"""Cached prompts (https://ai.google.dev/api/caching), kept for an hour unless it is said for how long."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, final
from urllib.parse import quote, unquote

import attrs

from allm.adapters import (
    AdapterOptions,
    CacheCreate,
    CacheDelete,
    CacheGet,
    CacheRequest,
    CacheUpdate,
    HttpCall,
    JsonResponse,
    Lifetime,
    Page,
    PageRequest,
    Problem,
    UnaryAdapter,
    as_count,
    as_object,
    as_objects,
    as_text,
    dumps,
    malformed,
    post_json,
    refuse,
    shown,
    with_query,
    without_body,
)
from allm.data.cache import Cache, CacheContents
from allm.providers.gemini.cache_encode import cache_body, contents_of, plain_model

if TYPE_CHECKING:
    from allm.providers.gemini.adapter import Gemini

__all__ = ["Caches"]

_MOST = 1000
_COLLECTION = "cachedContents"


@attrs.frozen
class _Call:
    call: HttpCall
    decode: Callable[[JsonResponse], Any] = attrs.field(repr=False)


@final
@attrs.frozen(eq=False)
class Caches(UnaryAdapter[CacheRequest, Any]):
    """The prompts that Google keeps."""

    adapter: Gemini

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def prepare(self, request: CacheRequest, options: AdapterOptions) -> _Call:
        """The call.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: What cannot be sent; a name that is none.
        """
        adapter = self.adapter
        origin = adapter.origin(adapter.find_base_url(options))

        def kept(answer: JsonResponse, contents: CacheContents | None = None) -> Cache:
            return self._cache(answer.document, origin.place, contents)

        def page(answer: JsonResponse) -> Page[Cache]:
            listed = as_objects(answer.document.get(_COLLECTION))
            caches = tuple(self._cache(item, origin.place) for item in listed)
            return Page(caches, as_text(answer.document.get("nextPageToken")) or None)

        match request:
            case CacheCreate():
                body = cache_body(request.request, options, origin)
                contents = contents_of(body)
                named = {"displayName": request.display_name} if request.display_name is not None else {}
                model = unquote(adapter.resource(request.request.model or ""))
                whole = {"model": model, **body, **_lifetime(request.lifetime), **named}
                call = adapter.call(self._at(None, options), whole, options)
                return _Call(call, lambda answer: kept(answer, contents))
            case CacheUpdate():
                call = adapter.call(self._at(request.name, options), _lifetime(request.lifetime), options)
                return _Call(attrs.evolve(call, method="PATCH"), kept)
            case CacheGet():
                return _Call(self._get(self._at(request.name, options), options), kept)
            case CacheDelete():
                call = self._get(self._at(request.name, options), options, "DELETE")
                return _Call(call, lambda _answer: None)
            case PageRequest():
                url = with_query(self._at(None, options), pageSize=_MOST, pageToken=request.cursor)
                return _Call(self._get(url, options), page)

    async def send(self, prepared: _Call) -> Any:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await post_json(prepared.call, prepared.decode)

    def _at(self, name: str | None, options: AdapterOptions) -> str:
        """The URL of a cache, or of all of them.

        Raises:
            ValidationError: A name that would reach outside its place in the URL.
        """
        path = _COLLECTION if name is None else name if "/" in name else f"{_COLLECTION}/{name}"
        segments = path.split("/")
        if any(segment in {"", ".", ".."} for segment in segments) or not path.isprintable():
            what = f"is {shown(name)}; expected the name of a cache, such as cachedContents/abc"
            refuse([Problem(("cache",), "invalid_format", what)])
        quoted = "/".join(quote(segment, safe="") for segment in segments)
        return self.adapter.url(
            f"/{self.adapter.folder}{quoted}" if segments[0] == _COLLECTION else f"/{quoted}", options
        )

    def _get(self, url: str, options: AdapterOptions, method: str = "GET") -> HttpCall:
        return without_body(self.adapter.call(url, b"", options), method)

    def _cache(self, document: Mapping[str, Any], place: str | None, contents: CacheContents | None = None) -> Cache:
        name, model = as_text(document.get("name")), as_text(document.get("model"))
        if not name or not model:
            raise malformed(self.provider, "expected a cache with a name and a model", dumps(document))
        return Cache(
            provider=self.provider,
            name=name,
            model=plain_model(model),
            endpoint=place,
            display_name=as_text(document.get("displayName")) or None,
            tokens=as_count(as_object(document.get("usageMetadata")).get("totalTokenCount")),
            created_at=_seconds(document.get("createTime")),
            expires_at=_seconds(document.get("expireTime")),
            contents=contents,
        )


def _lifetime(lifetime: Lifetime) -> dict[str, str]:
    if lifetime.expires_at is not None:
        moment = datetime.fromtimestamp(lifetime.expires_at, UTC)
        return {"expireTime": moment.isoformat().replace("+00:00", "Z")}
    return {} if lifetime.expires_in is None else {"ttl": f"{lifetime.expires_in:.9f}".rstrip("0").rstrip(".") + "s"}


def _seconds(moment: Any) -> float | None:
    try:
        return datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else None
    except ValueError:
        return None
