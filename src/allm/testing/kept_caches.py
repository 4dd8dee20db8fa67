"""Prompts that a server keeps under a name, as Gemini tells of them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

import attrs

from allm.data.json.text import as_object
from allm.testing.recorded import RecordedRequest
from allm.testing.replies import Reply

__all__ = ["KeptCaches"]

AN_HOUR = 3600
BYTES_PER_TOKEN = 4
COLLECTION = "cachedContents"


@attrs.define(eq=False)
class KeptCaches:
    """The caches of a server, by their names: each as it was asked for, with what Gemini adds."""

    kept: dict[str, dict[str, Any]] = attrs.field(factory=dict[str, dict[str, Any]])
    _made: int = 0

    def create(self, folder: str, request: RecordedRequest, tokens: int | None) -> Reply:
        """Keep a prompt.

        Args:
            folder: What its name begins with: on Vertex AI project and location.
            request: What is asked.
            tokens: How many it has; None: a fourth of the bytes of the request.
        """
        body = request.json()
        self._made += 1
        name = f"{folder}{COLLECTION}/cache-{self._made}"
        count = len(request.body) // BYTES_PER_TOKEN if tokens is None else tokens
        told = {"name": name, "createTime": _moment(time.time()), "usageMetadata": {"totalTokenCount": count}}
        self.kept[name] = {**body, **told, "expireTime": _end(body)}
        return Reply.json(_told(self.kept[name]))

    def list(self) -> Reply:
        """All caches, on one page."""
        return Reply.json({COLLECTION: [_told(cache) for cache in self.kept.values()]})

    def one(self, name: str, request: RecordedRequest) -> Reply:
        """Tell of a cache, change its end, or keep it no longer."""
        if name not in self.kept:
            return Reply.error("gemini", 404, message=f"CachedContent {name} was not found")
        if request.method == "DELETE":
            del self.kept[name]
            return Reply.json({})
        if request.method == "PATCH":
            self.kept[name]["expireTime"] = _end(request.json())
        return Reply.json(_told(self.kept[name]))


def _told(cache: dict[str, Any]) -> dict[str, Any]:
    """What is told of a cache: nothing of its contents."""
    names = ("name", "model", "displayName", "createTime", "expireTime", "usageMetadata")
    return {name: cache[name] for name in names if name in cache}


def _end(body: Any) -> str:
    asked = as_object(body)
    if isinstance(moment := asked.get("expireTime"), str):
        return moment
    seconds = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(asked.get("ttl")))
    return _moment(time.time() + (float(seconds[1]) if seconds else AN_HOUR))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
