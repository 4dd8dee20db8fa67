"""Sessions in Redis, for workers on several machines (extra `redis`).

Each session is a hash and a list with the same hash tag, so that a cluster keeps them on one node. Every operation is
a Lua script, which Redis runs atomically. Durability depends on the server: with `appendonly yes` and `appendfsync
always` every acknowledged write is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, final

import redis as driver  # pyright: ignore[reportMissingImports]  (where the extra is not installed)
import trio
from redis.backoff import NoBackoff  # pyright: ignore[reportMissingImports]
from redis.retry import Retry  # pyright: ignore[reportMissingImports]

from allm.data.errors import SessionError
from allm.session.stores.backend import LONGEST, Record
from allm.session.stores.sql import BOUND

__all__ = ["RedisBackend"]

T = TypeVar("T")

_CONNECTIONS = 4
_PASSING = (driver.ConnectionError, driver.TimeoutError, driver.BusyLoadingError, driver.ReadOnlyError, OSError)
"""Errors that may be over soon; a replica is read-only until it takes over."""
# Every script begins with this; KEYS are the hash and the journal, the first argument is a token or "".
_COMMON = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local token = redis.call('HGET', KEYS[1], 'token')
local version = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
local expires = tonumber(redis.call('HGET', KEYS[1], 'expires') or '0')
local leased = token and expires > now
local refuse = function()
    local longest = now + tonumber(redis.call('HGET', KEYS[1], 'lease') or '0')
    if leased and expires > longest then redis.call('HSET', KEYS[1], 'expires', longest) end
end
local longest = LONGEST
local document = function()
    local text = redis.call('HGET', KEYS[1], 'document')
    return text and string.sub(text, 1, longest)
end
"""
_SCRIPTS = {
    "read": "return {version, document()}",
    "write": """
        if version ~= tonumber(ARGV[2]) then return 0 end
        if ARGV[1] == '' then
            if leased or redis.call('LLEN', KEYS[2]) > 0 then
                refuse()
                return 0
            end
            redis.call('HDEL', KEYS[1], 'token', 'expires', 'lease')
        elseif token ~= ARGV[1] then return 0 end
        redis.call('HSET', KEYS[1], 'version', version + 1, 'document', ARGV[3])
        redis.call('DEL', KEYS[2])
        return 1
    """,
    "delete": """
        if leased or (ARGV[2] ~= '' and version ~= tonumber(ARGV[2])) then
            refuse()
            return 0
        end
        redis.call('DEL', KEYS[2])
        return redis.call('DEL', KEYS[1])
    """,
    "acquire": """
        if leased and token ~= ARGV[1] then
            refuse()
            return false
        end
        redis.call('HSET', KEYS[1], 'version', version, 'token', ARGV[1])
        redis.call('HSET', KEYS[1], 'expires', now + tonumber(ARGV[2]), 'lease', ARGV[2])
        local journal = redis.call('LRANGE', KEYS[2], 0, -1)
        for index = 1, #journal do journal[index] = string.sub(journal[index], 1, longest) end
        return {version, document(), journal}
    """,
    "renew": """
        if token ~= ARGV[1] then return 0 end
        redis.call('HSET', KEYS[1], 'expires', now + tonumber(ARGV[2]), 'lease', ARGV[2])
        return 1
    """,
    "release": """
        if token ~= ARGV[1] then return 0 end
        redis.call('HDEL', KEYS[1], 'token', 'expires', 'lease')
        if redis.call('HEXISTS', KEYS[1], 'document') == 0 and redis.call('LLEN', KEYS[2]) == 0 then
            redis.call('DEL', KEYS[1])
        end
        return 1
    """,
    "append": """
        local found, after = redis.call('LLEN', KEYS[2]), tonumber(ARGV[3])
        if token ~= ARGV[1] or version ~= tonumber(ARGV[2]) or found < after then return 0 end
        for index = 4 + found - after, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[index]) end
        return 1
    """,
    "forget": """
        if token ~= ARGV[1] then return 0 end
        redis.call('DEL', KEYS[2])
        return 1
    """,
}


@final
class RedisBackend:
    """A `StoreBackend` over redis-py, in worker threads."""

    def __init__(self, url: str) -> None:
        self._client: Any = driver.Redis.from_url(
            url,
            decode_responses=True,
            encoding_errors="backslashreplace",  # a damaged text can be read, and is then rejected as invalid JSON
            socket_timeout=BOUND,
            socket_connect_timeout=BOUND,
            # If the reply to a write is lost, a retry would find its own write and report a conflict.
            retry=Retry(NoBackoff(), 0),
        )
        common = _COMMON.replace("LONGEST", str(LONGEST))
        self._scripts = {name: self._client.register_script(common + text) for name, text in _SCRIPTS.items()}
        self._limiter = trio.CapacityLimiter(_CONNECTIONS)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await trio.to_thread.run_sync(work, limiter=self._limiter)
        except (driver.RedisError, OSError) as error:
            retryable = isinstance(error, _PASSING) and not isinstance(error, driver.AuthenticationError)
            if retryable:
                # What broke this connection has probably broken the idle ones too.
                self._client.connection_pool.disconnect(inuse_connections=False)
            raise SessionError(f"the Redis store failed: {error}", reason="unavailable", retryable=retryable) from error

    async def _script(self, name: str, key: str, token: str | None, *arguments: Any) -> Any:
        def work() -> Any:
            return self._scripts[name](keys=_keys(key), args=[token or "", *arguments])

        return await self._run(work)

    async def read(self, key: str, /) -> Record | None:
        """See `StoreBackend`."""
        version, document = await self._script("read", key, None)
        return None if document is None else Record(version=int(version), document=document)

    async def write(self, key: str, document: str, /, *, version: int, token: str | None) -> bool:
        """See `StoreBackend`."""
        return bool(await self._script("write", key, token, version, document))

    async def delete(self, key: str, /, *, version: int | None) -> bool:
        """See `StoreBackend`."""
        return bool(await self._script("delete", key, None, "" if version is None else version))

    async def acquire(self, key: str, token: str, seconds: float, /) -> Record | None:
        """See `StoreBackend`."""
        found = await self._script("acquire", key, token, int(seconds * 1000))
        if found is None:
            return None
        version, document, journal = found
        return Record(version=int(version), document=document, journal=tuple(journal))

    async def renew(self, key: str, token: str, seconds: float, /) -> bool:
        """See `StoreBackend`."""
        return bool(await self._script("renew", key, token, int(seconds * 1000)))

    async def release(self, key: str, token: str, /) -> None:
        """See `StoreBackend`."""
        await self._script("release", key, token)

    async def append(self, key: str, token: str, entries: Sequence[str], /, *, version: int, after: int) -> bool:
        """See `StoreBackend`."""
        return bool(await self._script("append", key, token, version, after, *entries))

    async def forget(self, key: str, token: str, /) -> bool:
        """See `StoreBackend`."""
        return bool(await self._script("forget", key, token))

    async def aclose(self) -> None:
        """Close the connections."""
        await trio.to_thread.run_sync(self._client.close, limiter=self._limiter)


def _keys(key: str) -> list[str]:
    return [f"allm:session:{{{key}}}", f"allm:session:{{{key}}}:journal"]
