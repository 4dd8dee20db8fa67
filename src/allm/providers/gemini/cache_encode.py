"""A cached prompt (https://ai.google.dev/api/caching): the body that makes it, and that of a call that goes on from it.

Gemini refuses a system instruction, tools and their configuration beside a cache, so what the cache has of them is left
out, and anything else is refused here. Contents that the cache begins with are left out too, so that a conversation may
be given as a whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from allm.adapters import AdapterOptions, Origin, Problem, check_cache, dumps, refuse
from allm.data.cache import Cache, CacheContents
from allm.data.request import Request
from allm.providers.gemini.encode import encode

__all__ = ["body_beside", "cache_body", "contents_of", "plain_model"]

_FIXED = {"systemInstruction": "system", "tools": "tools", "toolConfig": "tool_choice"}
"""Fields of a body that are a cache's own, with their names in `CacheContents`."""
_SAY_NOTHING: tuple[Any, ...] = (None, [], {}, {"functionCallingConfig": {"mode": "AUTO"}})
"""Values of these fields that are what Gemini does without them."""
_WORDS = {"system": "system prompt", "tools": "tools", "tool_choice": "tool choice"}
_PATHS = {"system": "messages"}


def cache_body(request: Request, options: AdapterOptions, origin: Origin) -> dict[str, Any]:
    """The fields of a prompt that can be cached.

    Raises:
        ValidationError: As `encode`.
    """
    body = encode(request, options, origin, may_be_empty=True)
    return {name: value for name in ("contents", *_FIXED) if (value := body.get(name))}


def contents_of(body: Mapping[str, Any]) -> CacheContents:
    """What is to be known of a body that was cached."""
    contents = body.get("contents") or []
    digests = {field: _digest(body[name]) for name, field in _FIXED.items() if body.get(name) not in _SAY_NOTHING}
    return CacheContents(length=len(contents), messages=_digest(contents) if contents else None, **digests)


def body_beside(cache: Cache, request: Request, options: AdapterOptions, origin: Origin) -> dict[str, Any]:
    """The body of a call, without what the cache has.

    Raises:
        ValidationError: As `encode`; the cache is of another service or model, or has not what would be left out.
    """
    check_cache(cache, origin)
    model = request.model or ""
    if plain_model(model) != plain_model(cache.model):
        what = (
            f"{cache.name!r} was made for the model {cache.model!r}, and can only be used with it, not with {model!r}"
        )
        refuse([Problem(("cached_content",), "other_model", what)])
    body, known = encode(request, options, origin), cache.contents
    problems: list[Problem] = []
    for name, field in _FIXED.items():
        if (given := body.pop(name, None)) in _SAY_NOTHING:
            continue
        # Tools have to be given to be run. Of a cache that another program made, nobody can tell whether it has them.
        if (known is None and field != "tools") or (known is not None and getattr(known, field) != _digest(given)):
            word = _WORDS[field]
            held = "" if known is None else ", and it has another" if getattr(known, field) else ", and it has none"
            what = (
                f"Gemini takes no {word} beside the cache {cache.name!r}{held}; leave it out, or make a cache with it"
            )
            problems.append(Problem((_PATHS.get(field, field),), "cached", what))
    contents = body["contents"]
    if known is not None and known.length and _digest(contents[: known.length]) == known.messages:
        body["contents"] = contents = contents[known.length :]
    if not contents:
        what = f"nothing is left to send beside what {cache.name!r} has; add a message to answer"
        problems.append(Problem(("messages",), "empty", what))
    refuse(problems)
    return {**body, "cachedContent": cache.name}


def plain_model(name: str) -> str:
    """The name of a model without the collection that it is in."""
    head, found, model = name.rpartition("/models/")
    return model if found and head.startswith(("projects/", "publishers/")) else name.removeprefix("models/")


def _digest(value: Any) -> str:
    return hashlib.sha256(dumps(value)).hexdigest()[:32]
