"""`open_store`: a session store from its URL; the driver of a database is imported when a store needs it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from allm.data.problems import nearest
from allm.session.stores.backend import StoreBackend
from allm.session.stores.memory import MemoryBackend
from allm.session.stores.store import SessionStore

__all__ = ["open_store"]


def open_store(url: str) -> SessionStore:
    """Make a store from its URL. Connections are opened on first use.

    - `sqlite:///chat.db`, `sqlite:////var/lib/chat.db`: a file, relative or absolute, for processes on one machine
    - `postgresql://user@host/database`: PostgreSQL (extra `postgres`), for several machines
    - `redis://host:6379/0`, `rediss://...`: Redis (extra `redis`), for several machines
    - `memory://`: this process, for tests

    Raises:
        ValueError: The URL has none of these forms.
        ImportError: The extra is not installed.
    """
    if not isinstance(url, str):
        raise ValueError(f"the URL is {type(url).__name__}; expected a text such as 'sqlite:///chat.db'")  # noqa: TRY004
    scheme = urlsplit(url).scheme
    opener = _OPENERS.get(scheme)
    if opener is None:
        known = ", ".join(sorted(_OPENERS))
        if not scheme:
            names_no_file = "@" in url or url == "sqlite"
            like = "sqlite:///chat.db" if names_no_file else f"{url}://" if url in _OPENERS else f"sqlite:///{url}"
            raise ValueError(f"the URL of the store has no scheme; expected one of: {known}, as in {like!r}")
        near = nearest(scheme, _OPENERS)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of: {known}"
        raise ValueError(f"no store has the scheme {scheme!r}; {hint}")
    return SessionStore(opener(url))


def _open_sqlite(url: str) -> StoreBackend:
    from allm.session.stores.sqlite import sqlite_backend

    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.netloc or not path:
        raise ValueError(f"{url!r} names no file; expected sqlite:///relative.db or sqlite:////absolute.db")
    return sqlite_backend(path)


def _open_postgres(url: str) -> StoreBackend:
    try:
        from allm.session.stores.postgres import postgres_backend
    except ModuleNotFoundError as error:
        raise _missing("postgres", error) from error
    return postgres_backend(url)


def _open_redis(url: str) -> StoreBackend:
    try:
        from allm.session.stores.redis import RedisBackend
    except ModuleNotFoundError as error:
        raise _missing("redis", error) from error
    return RedisBackend(url)


def _missing(extra: str, error: ModuleNotFoundError) -> ImportError:
    return ImportError(f"this store needs the extra {extra!r}: pip install 'allm-trio[{extra}]' ({error})")


_OPENERS: dict[str, Callable[[str], StoreBackend]] = {
    "memory": lambda _: MemoryBackend(),
    "sqlite": _open_sqlite,
    "postgresql": _open_postgres,
    "postgres": _open_postgres,
    "redis": _open_redis,
    "rediss": _open_redis,
}
