"""API keys: where they are found, how they are sent, and a type that never shows them.

Order of precedence: the `api_key=` of the call or the adapter, `with keys.override(openai=...)`, `keys.put`, the
environment, then files read with `keys.load_dotenv` (no file is read unless the program asks for it).

A key given as a string is known in `prepare`. A function that returns the key (an expiring token, a secret store) is
called by the task that sends, just before it sends. Its result is reused for all calls of the adapter until the
provider returns 401; then the function is called once more. However many calls need a key at the same time, the
function runs once: the first call runs it, the others wait for the outcome. No background task is started for it, so
the call that runs it may be cancelled; then the next waiting call runs it instead.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn, final
from weakref import WeakKeyDictionary

import attrs
import trio

from allm.data.attrs_classes import define, frozen
from allm.data.errors import AdapterError, EngineError
from allm.data.user_functions import call_user
from allm.http.jumping_clock import in_thread

__all__ = [
    "BEARER",
    "MASK",
    "AccessToken",
    "Credential",
    "KeyFunction",
    "KeyHeader",
    "KeySource",
    "Secret",
    "clear",
    "copy_of",
    "key_problem",
    "load_dotenv",
    "override",
    "put",
    "resolve",
]

MASK = "***"
MIN_PREFIX = 12
"""Shortest beginning of a key that is masked on its own, in characters; the vendors' public prefixes are about as long,
so that anything shorter reveals nothing."""

_WORD = re.compile(r".{,7}|[A-Za-z]{,11}")
_WORDS = re.compile(r"[A-Za-z._-]{,11}")
"""Keys of local servers, such as `ollama`, `EMPTY`, `not-needed`. They are not secret, and may appear in any sentence,
for example in the name of a model."""
_CALLED_A_KEY = (
    r"((?i:\b(?:\w*key|token|bearer|authorization|credentials?|secret|password)\b)[^\w\n]{1,4}"
    r"(?i:(?:provided|given|is|was|value)\b[^\w\n]{1,4})?)"
)


@final
class Secret:
    """A key. `repr`, `str`, `format`, pickling and copying show `***`; only `reveal()` gives the value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the key itself, for the one header that carries it."""
        return self._value

    def redact(self, text: str) -> str:
        """Return `text` with the key masked, including a key that is cut off where a quotation ends.

        A key that is an ordinary word is masked only where the text calls it a key; one of several words only where it
        is not part of a longer word.
        """
        if _WORD.fullmatch(self._value) or _WORDS.fullmatch(self._value):
            if not self._value or self._value not in text:
                return text
            return _mention_of(self._value).sub(rf"\1{MASK}", text)
        shortest = min(len(self._value), MIN_PREFIX)
        if self._value[:shortest] in text:
            for length in range(len(self._value), shortest - 1, -1):  # longest first, so that no tail is left over
                text = text.replace(self._value[:length], MASK)
        return text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(Secret)  # the same for all, since a hash of the key could be used to test guesses

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Secret cannot be pickled or sent to another process; resolve the key again where it is needed"
        )

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _memo: Any) -> Secret:
        return self


@functools.lru_cache(maxsize=16)
def _mention_of(word: str) -> re.Pattern[str]:
    """Finds a key that is an ordinary word, behind what is kept."""
    before = _CALLED_A_KEY if _WORD.fullmatch(word) else r"((?<![\w-]))"
    return re.compile(rf"{before}{re.escape(word)}(?![\w-])")


KeyFunction = Callable[[], str | Awaitable[str]]
"""Returns the key. A function that waits for something has to be async: a sync one blocks every task of the program."""


def key_problem(key: str) -> str | None:
    """Return what is wrong with a key, as a predicate for an error message; None if it can be sent."""
    if not key.strip():
        return "is empty"
    if not (key.isascii() and key.isprintable() and key == key.strip()):
        what = (
            "a space or a line break around it" if key != key.strip() else "a line break or another control character"
        )
        what = what if key.isascii() else "a character outside ASCII"
        return f"has {what}, which an HTTP header cannot carry: check how it was copied"
    if key.lower().startswith("bearer "):
        return "begins with 'Bearer ', which is added where the provider wants it: pass the key alone"
    return None


@frozen
class KeyHeader:
    """The header that carries a key.

    Attributes:
        name: In lower case, such as `x-api-key`.
        prefix: Precedes the key, such as `"Bearer "`.
    """

    name: str
    prefix: str = ""


BEARER = KeyHeader("authorization", "Bearer ")


@final
@frozen(eq=False)
class AccessToken:
    """An access token of a cloud, as `api_key=` of an adapter: fetched by a library that blocks, so in a thread.

    Attributes:
        fetch: Returns a new token. It may be called in two threads at once, if the first caller was cancelled.
        header: Carries it, instead of the header that the vendor has for its own keys.
    """

    fetch: Callable[[], str] = attrs.field(repr=False)
    header: KeyHeader = BEARER

    async def __call__(self) -> str:
        """Fetch a token; a caller that is cancelled leaves the thread behind."""
        return await in_thread(self.fetch)


@final
@define(eq=False)
class KeySource:
    """A function that returns the key, called once for all calls that need it at the same time.

    If it raises `AdapterError`, the call fails with that error, so that the engine's retries can ask an unreachable
    source again. Any other exception becomes `authentication_failed`.
    """

    _function: KeyFunction = attrs.field(repr=False)
    _outcome: Secret | AdapterError | None = attrs.field(default=None, init=False, repr=False)
    _runs: int = attrs.field(default=0, init=False)  # how often the function has finished
    # A lock belongs to one Trio run, and an adapter may serve several.
    _locks: WeakKeyDictionary[trio.lowlevel.TrioToken, trio.Lock] = attrs.field(
        factory=WeakKeyDictionary[trio.lowlevel.TrioToken, trio.Lock], init=False, repr=False
    )

    @property
    def header(self) -> KeyHeader | None:
        """The header that carries the key, if the function has its own."""
        return self._function.header if isinstance(self._function, AccessToken) else None

    async def key(self, rejected: Secret | None = None) -> Secret:
        """Return the key, calling the function if there is none or it was rejected.

        Args:
            rejected: A key that the provider refused; a different one is wanted.

        Raises:
            AdapterError: `authentication_failed`: the function failed, or returned a key that cannot be sent.
        """
        outcome = self._outcome
        if isinstance(outcome, Secret) and outcome != rejected:
            return outcome
        runs_before = self._runs
        async with self._locks.setdefault(trio.lowlevel.current_trio_token(), trio.Lock()):
            outcome = self._outcome
            # If the function has run while this call waited, its outcome counts for this call too, even a failure.
            if self._runs == runs_before or outcome is None:
                outcome = await self._refresh()
        if isinstance(outcome, AdapterError):
            raise copy_of(outcome)
        return outcome

    async def _refresh(self) -> Secret | AdapterError:
        self._outcome = None  # a call that begins now waits for the new key
        outcome: Secret | AdapterError
        try:
            outcome = await self._call_function()
        except AdapterError as error:
            outcome = error
        self._outcome = outcome
        self._runs += 1  # not reached when cancelled: then the next waiting call runs the function
        return outcome

    async def _call_function(self) -> Secret:
        try:
            key = await self._returned()
        except AdapterError:
            raise
        except Exception as error:
            what = f"the function given as api_key raised {type(error).__name__}: {error}"
            raise AdapterError(what, reason="authentication_failed") from error
        if not isinstance(key, Secret):
            what = f"the function given as api_key returned {key.__name__}; expected str"
            raise AdapterError(what, reason="authentication_failed")
        problem = key_problem(key.reveal())
        if problem is not None:
            what = f"the function given as api_key returned a key that {problem}"
            raise AdapterError(what, reason="authentication_failed")
        return key

    async def _returned(self) -> Secret | type:
        """What the function returns, or of which type it is: the variables of a frame that raises hold no key."""
        function = self._function
        # A program's own function belongs to its thread or loop, see `call_user`.
        key: Any = await (function() if isinstance(function, AccessToken) else call_user(function))
        return Secret(key) if isinstance(key, str) else type(key)


def copy_of(error: AdapterError) -> AdapterError:
    """Copy the error for one call: each call adds its own facts to it, such as the request's id."""
    copy = AdapterError(**{name: getattr(error, name) for name in AdapterError.fields})
    copy.__cause__, copy.advice = error.__cause__, error.advice
    for note in getattr(error, "__notes__", ()):
        copy.add_note(note)
    return copy


@final
@frozen
class Credential:
    """How a call authenticates: the header that carries its key, and the key or its source."""

    header: KeyHeader
    source: Secret | KeySource

    async def key(self, rejected: Secret | None = None) -> Secret:
        """Return the key to send.

        Args:
            rejected: A key that the provider refused. A key given as a string stays the same.

        Raises:
            AdapterError: As `KeySource.key`.
        """
        return self.source if isinstance(self.source, Secret) else await self.source.key(rejected)

    def in_header(self, key: Secret) -> dict[str, Secret]:
        """Return the header that carries `key`, as a mapping of one item."""
        return {self.header.name: Secret(self.header.prefix + key.reveal())}


_overrides: ContextVar[dict[str, Secret] | None] = ContextVar("allm_key_overrides", default=None)
_stored: dict[str, Secret] = {}
_from_files: dict[str, str] = {}


@contextmanager
def override(**keys: str) -> Generator[None]:
    """Use these keys, by provider name, in this context and in tasks started from it.

    Example::

        with allm.keys.override(openai=tenant.key):
            await allm.generate(...)
    """
    merged = {**(_overrides.get() or {}), **{name: Secret(value) for name, value in keys.items()}}
    keys.clear()  # an error that passes this frame shows its variables
    token = _overrides.set(merged)
    try:
        yield
    finally:
        _overrides.reset(token)


def put(provider: str, key: str) -> None:
    """Use this key for `provider` in the whole process."""
    _stored[provider] = Secret(key)


def clear() -> None:
    """Forget all keys given with `put` or read with `load_dotenv`."""
    _stored.clear()
    _from_files.clear()


def load_dotenv(path: str | os.PathLike[str] = ".env") -> None:
    """Read keys from a `.env` file (extra `dotenv`). The process environment is not changed and takes precedence.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    try:
        from dotenv import dotenv_values
    except ImportError as error:
        raise ImportError("reading .env files needs python-dotenv: pip install 'allm-trio[dotenv]'") from error
    with Path(path).open(encoding="utf-8") as file:
        _from_files.update({name: value for name, value in dotenv_values(stream=file).items() if value})


def resolve(provider: str, explicit: Secret | KeySource | None, env_names: Sequence[str]) -> Secret | KeySource:
    """Find the key for `provider`, or the function that will return it; the function is not called here.

    Args:
        provider: The name of its key in `override` and `put`.
        explicit: The key given to the call or the adapter.
        env_names: Environment variables; the first that is set is used.

    Raises:
        EngineError: `missing_key`, naming the variables and every place that was searched; `invalid_key` for a key
            that an HTTP header cannot carry.
    """
    if isinstance(explicit, KeySource):
        return explicit
    found = explicit or (_overrides.get() or {}).get(provider) or _stored.get(provider)
    source = "that was given"
    if not found:
        found, source = _from_environment(env_names)
    if found is None or not found.reveal().strip():
        by_variable = f"set the environment variable {' or '.join(env_names)}, or " if env_names else ""
        variables = ", the environment, and files read with keys.load_dotenv()" if env_names else ""
        raise EngineError(
            f"no API key for {provider}", reason="missing_key", provider=provider, variables=env_names
        ).advised(
            f": {by_variable}pass api_key=. Looked in: the call, the adapter, "
            f"keys.override({provider}=...), keys.put({provider!r}, ...){variables}"
        )
    problem = key_problem(found.reveal())
    if problem is not None:
        raise EngineError(f"the API key for {provider} {source} {problem}", reason="invalid_key")
    return found


def _from_environment(names: Sequence[str]) -> tuple[Secret | None, str]:
    """The first variable that is set, and its name."""
    for name in names:
        value = os.environ.get(name) or _from_files.get(name)
        if value and value.strip():
            return Secret(value.strip()), f"from {name}"
    return None, ""
