"""Sessions in Redis, for workers on several machines (extra `redis`).

Each session is a hash with its head, version and lease, lists of its messages and its journal, and a hash of its blobs,
all with the same hash tag, so that a cluster keeps them on one node. Every operation is a Lua script, which Redis runs
atomically. Durability depends on the server: with `appendonly yes` and `appendfsync
always` every acknowledged write is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar, final

import redis as driver  # pyright: ignore[reportMissingImports]  (where the extra is not installed)
import trio
from redis.backoff import NoBackoff  # pyright: ignore[reportMissingImports]
from redis.retry import Retry  # pyright: ignore[reportMissingImports]

from allm.data.errors import SessionError
from allm.http.jumping_clock import in_thread
from allm.session.stores.backend import LONGEST, Change, Record, page_of
from allm.session.stores.sql import BOUND
from allm.session.stores.sql_rows import older_layout

__all__ = ["RedisBackend"]

T = TypeVar("T")

_CONNECTIONS = 4
_PREFIX = "allm:session:"
_PASSING = (driver.ConnectionError, driver.TimeoutError, driver.BusyLoadingError, driver.ReadOnlyError, OSError)
"""Errors that may be over soon; a replica is read-only until it takes over."""
_OLDER = "OLDER"
# Every script begins with this; KEYS are those of `_keys`, the first argument is a token or "".
_COMMON = """
local main, journal, messages, blobs = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local token = redis.call('HGET', main, 'token')
local version = tonumber(redis.call('HGET', main, 'version') or '0')
local expires = tonumber(redis.call('HGET', main, 'expires') or '0')
local leased = token and expires > now
local refuse = function()
    local longest = now + tonumber(redis.call('HGET', main, 'lease') or '0')
    if leased and expires > longest then redis.call('HSET', main, 'expires', longest) end
end
local longest = LONGEST
local texts = function(list)
    local found = redis.call('LRANGE', list, 0, -1)
    for index = 1, #found do
        if #found[index] > longest then found[index] = string.sub(found[index], 1, longest) end
    end
    return found
end
local record = function(entries, known_version, known_head)
    local head = redis.call('HGET', main, 'head')
    local is_known = head and head == known_head and version == tonumber(known_version)
    if head and #head > longest then head = string.sub(head, 1, longest) end
    return {version, head, not is_known and texts(messages), redis.call('HKEYS', blobs), entries}
end
"""
# A hash with a document is from an earlier version; nothing but deleting it is possible.
_CHECKED = f"if redis.call('HEXISTS', main, 'document') == 1 then return '{_OLDER}' end\n"
_SCRIPTS = {
    "read": "return record({})",
    "blobs": """
        local found = {}
        for index = 2, #ARGV do
            local fits = redis.call('HSTRLEN', blobs, ARGV[index]) < longest
            found[index - 1] = fits and redis.call('HGET', blobs, ARGV[index]) or false
        end
        return found
    """,
    # Token, version, head, how many messages stay and how many come, these, how many blobs come, the name and the
    # content of each, the names of those that go.
    "write": """
        if version ~= tonumber(ARGV[2]) then return 0 end
        if ARGV[1] == '' then
            if leased or redis.call('LLEN', journal) > 0 then
                refuse()
                return 0
            end
            redis.call('HDEL', main, 'token', 'expires', 'lease')
        elseif token ~= ARGV[1] then return 0 end
        redis.call('HSET', main, 'version', version + 1, 'head', ARGV[3])
        local kept, comes = tonumber(ARGV[4]), tonumber(ARGV[5])
        if kept == 0 then redis.call('DEL', messages) else redis.call('LTRIM', messages, 0, kept - 1) end
        for index = 6, 5 + comes do redis.call('RPUSH', messages, ARGV[index]) end
        local at = 6 + comes
        local added = at + 2 * tonumber(ARGV[at])
        for index = at + 1, added, 2 do redis.call('HSET', blobs, ARGV[index], ARGV[index + 1]) end
        for index = added + 1, #ARGV do redis.call('HDEL', blobs, ARGV[index]) end
        redis.call('DEL', journal)
        return 1
    """,
    "delete": """
        if leased or (ARGV[2] ~= '' and version ~= tonumber(ARGV[2])) then
            refuse()
            return 0
        end
        redis.call('DEL', journal, messages, blobs)
        return redis.call('DEL', main)
    """,
    # Token, milliseconds, and the version and the head of the record whose messages are known, if any.
    "acquire": """
        if leased and token ~= ARGV[1] then
            refuse()
            return false
        end
        redis.call('HSET', main, 'version', version, 'token', ARGV[1])
        redis.call('HSET', main, 'expires', now + tonumber(ARGV[2]), 'lease', ARGV[2])
        return record(texts(journal), ARGV[3], ARGV[4])
    """,
    "renew": """
        if token ~= ARGV[1] then return 0 end
        redis.call('HSET', main, 'expires', now + tonumber(ARGV[2]), 'lease', ARGV[2])
        return 1
    """,
    "release": """
        if token ~= ARGV[1] then return 0 end
        redis.call('HDEL', main, 'token', 'expires', 'lease')
        if redis.call('HEXISTS', main, 'head') == 0 and redis.call('LLEN', journal) == 0 then
            redis.call('DEL', main, messages, blobs)
        end
        return 1
    """,
    # Token, version, how many entries there were, how many come, these, the name and the content of each blob.
    "append": """
        local found, after = redis.call('LLEN', journal), tonumber(ARGV[3])
        if token ~= ARGV[1] or version ~= tonumber(ARGV[2]) or found < after then return 0 end
        local last = 4 + tonumber(ARGV[4])
        for index = 5 + found - after, last do redis.call('RPUSH', journal, ARGV[index]) end
        for index = last + 1, #ARGV, 2 do redis.call('HSET', blobs, ARGV[index], ARGV[index + 1]) end
        return 1
    """,
    "forget": """
        if token ~= ARGV[1] then return 0 end
        redis.call('DEL', journal)
        return 1
    """,
}


@final
class RedisBackend:
    """A `StoreBackend` over redis-py, in worker threads."""

    def __init__(self, url: str) -> None:
        self._client: Any = driver.Redis.from_url(
            url,
            socket_timeout=BOUND,
            socket_connect_timeout=BOUND,
            # If the reply to a write is lost, a retry would find its own write and report a conflict.
            retry=Retry(NoBackoff(), 0),
        )
        common = _COMMON.replace("LONGEST", str(LONGEST))
        self._scripts = {
            name: self._client.register_script(common + (_CHECKED if name != "delete" else "") + text)
            for name, text in _SCRIPTS.items()
        }
        self._limiter = trio.CapacityLimiter(_CONNECTIONS)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await in_thread(work, abandon=False, limiter=self._limiter)
        except (driver.RedisError, OSError) as error:
            retryable = isinstance(error, _PASSING) and not isinstance(error, driver.AuthenticationError)
            if retryable:
                # What broke this connection has probably broken the idle ones too.
                self._client.connection_pool.disconnect(inuse_connections=False)
            raise SessionError(f"the Redis store failed: {error}", reason="unavailable", retryable=retryable) from error

    async def _script(self, name: str, key: str, token: str | None, *arguments: Any) -> Any:
        def work() -> Any:
            return self._scripts[name](keys=_keys(key), args=[token or "", *arguments])

        found = await self._run(work)
        if found == _OLDER.encode():
            raise older_layout("Redis")
        return found

    async def read(self, key: str, /) -> Record | None:
        """See `StoreBackend`."""
        record = _record(await self._script("read", key, None))
        return None if record.head is None else record

    async def blobs(self, key: str, names: Collection[str], /) -> Mapping[str, bytes]:
        """See `StoreBackend`."""
        found = await self._script("blobs", key, None, *names)
        return {name: blob for name, blob in zip(names, found, strict=True) if blob is not None}

    async def write(self, key: str, change: Change, /, *, version: int, token: str | None) -> bool:
        """See `StoreBackend`."""
        messages = (len(change.messages), *change.messages)
        blobs = (len(change.blobs), *_flat(change.blobs))
        arguments = (version, change.head, change.kept, *messages, *blobs, *change.dropped)
        return bool(await self._script("write", key, token, *arguments))

    async def delete(self, key: str, /, *, version: int | None) -> bool:
        """See `StoreBackend`."""
        return bool(await self._script("delete", key, None, "" if version is None else version))

    async def acquire(
        self, key: str, token: str, seconds: float, /, *, known: tuple[int, str] | None = None
    ) -> Record | None:
        """See `StoreBackend`."""
        found = await self._script("acquire", key, token, int(seconds * 1000), *(known or ()))
        return None if found is None else _record(found)

    async def renew(self, key: str, token: str, seconds: float, /) -> bool:
        """See `StoreBackend`."""
        return bool(await self._script("renew", key, token, int(seconds * 1000)))

    async def release(self, key: str, token: str, /) -> None:
        """See `StoreBackend`."""
        await self._script("release", key, token)

    async def append(
        self,
        key: str,
        token: str,
        entries: Sequence[str],
        blobs: Mapping[str, bytes],
        /,
        *,
        version: int,
        after: int,
    ) -> bool:
        """See `StoreBackend`."""
        arguments = (version, after, len(entries), *entries, *_flat(blobs))
        return bool(await self._script("append", key, token, *arguments))

    async def forget(self, key: str, token: str, /) -> bool:
        """See `StoreBackend`."""
        return bool(await self._script("forget", key, token))

    async def ids(self, prefix: str, limit: int, /, *, after: str | None, descending: bool) -> Sequence[str]:
        """See `StoreBackend`. Redis has no order of keys: each call goes through all of them."""

        def work() -> list[str]:
            keys = sorted({_text(key) for key in self._client.scan_iter(match=f"{_PREFIX}{{*}}", count=1000)})
            heads = self._client.pipeline(transaction=False)
            for key in keys:
                heads.hexists(key, "head")  # a session whose first turn has not ended has none
            written = [key for key, has_head in zip(keys, heads.execute(), strict=True) if has_head]
            ids = (key.removeprefix(f"{_PREFIX}{{").removesuffix("}") for key in written)
            return page_of(ids, prefix, limit, after=after, descending=descending)

        return await self._run(work)

    async def aclose(self) -> None:
        """Close the connections."""
        await in_thread(self._client.close, abandon=False, limiter=self._limiter)


def _keys(key: str) -> list[str]:
    main = f"{_PREFIX}{{{key}}}"
    return [main, f"{main}:journal", f"{main}:messages", f"{main}:blobs"]


def _flat(blobs: Mapping[str, bytes]) -> list[str | bytes]:
    return [item for pair in blobs.items() for item in pair]


def _record(found: Sequence[Any]) -> Record:
    version, head, messages, blobs, journal = found
    return Record(
        version=int(version),
        head=None if head is None else _text(head),
        messages=None if messages is None else tuple(map(_text, messages)),
        blobs=frozenset(map(_text, blobs)),
        journal=tuple(map(_text, journal)),
    )


def _text(stored: bytes) -> str:
    """Decode a text leniently; a damaged one is later rejected as invalid JSON."""
    return stored.decode("utf-8", "backslashreplace")
