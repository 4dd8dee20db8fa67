"""API keys: where they are found, and a type that never shows them.

Order: the `api_key=` of the call or the adapter, `with keys.override(openai=...)`, `keys.put`, the environment, then
files read with `keys.load_dotenv` (nothing reads a file unasked).
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from allm.data.errors import EngineError
from allm.data.secret import MASK as MASK, Secret as Secret
from allm.http.credential import KeySource, is_sendable

__all__ = ["MASK", "Secret", "clear", "load_dotenv", "override", "put", "resolve"]

_overrides: ContextVar[dict[str, Secret] | None] = ContextVar("allm_key_overrides", default=None)
_stored: dict[str, Secret] = {}
_from_files: dict[str, str] = {}


@contextmanager
def override(**keys: str) -> Generator[None]:
    """Use these keys, by provider name, in this context and the tasks started from it.

    with allm.keys.override(openai=tenant.key):
        await allm.generate(...)
    """
    merged = {**(_overrides.get() or {}), **{name: Secret(value) for name, value in keys.items()}}
    token = _overrides.set(merged)
    try:
        yield
    finally:
        _overrides.reset(token)


def put(provider: str, key: str) -> None:
    """Use this key for `provider` in the whole process."""
    _stored[provider] = Secret(key)


def clear() -> None:
    """Forget every key given with `put` or read with `load_dotenv`."""
    _stored.clear()
    _from_files.clear()


def load_dotenv(path: str | os.PathLike[str] = ".env") -> None:
    """Read keys from a `.env` file (extra `dotenv`). The process environment is left as it is and wins.

    Raises:
        FileNotFoundError: There is no such file.
    """
    try:
        from dotenv import dotenv_values
    except ImportError as error:
        raise ImportError("reading .env files needs python-dotenv: pip install 'allm-trio[dotenv]'") from error
    with Path(path).open(encoding="utf-8") as file:
        _from_files.update({name: value for name, value in dotenv_values(stream=file).items() if value})


def resolve(provider: str, explicit: Secret | KeySource | None, env_names: Sequence[str]) -> Secret | KeySource:
    """The key for `provider`, or the function that will give it; the function is not asked here.

    Args:
        provider: The name of its key in `override` and `put`.
        explicit: What the call or the adapter was given.
        env_names: Variables, the first that is set counts.

    Raises:
        EngineError: `missing_key`, naming the variable and every place that was looked in; `invalid_key` for a key
            that an HTTP header cannot carry.
    """
    if isinstance(explicit, KeySource):
        return explicit
    found = explicit or (_overrides.get() or {}).get(provider) or _stored.get(provider)
    source = "the key given"
    for name in () if found else env_names:
        value = os.environ.get(name) or _from_files.get(name)
        if value and value.strip():
            found, source = Secret(value.strip()), name
            break
    if found is None or not found.reveal().strip():
        names = " or ".join(env_names) or "(no variable)"
        raise EngineError(
            f"no API key for {provider}: set the environment variable {names}, or pass api_key=. Looked in: the call, "
            f"the adapter, keys.override({provider}=...), keys.put({provider!r}, ...), the environment, and files read "
            "with keys.load_dotenv()",
            reason="missing_key",
        )
    if not is_sendable(found.reveal()):
        raise EngineError(
            f"the API key for {provider} from {source} has a line break, a space around it or a character outside "
            "ASCII, which an HTTP header cannot carry: check how it was copied",
            reason="invalid_key",
        )
    return found
