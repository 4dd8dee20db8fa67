"""The exceptions of the library.

    AllmError
    ├── ValidationError         invalid values: every problem at once, as (path, tag) pairs                [ValueError]
    ├── OptionError             an unknown option, or one of the wrong type                                [TypeError]
    ├── EngineError             the engine lacks an adapter, a model or a key for the call
    ├── AdapterError            the provider or the connection to it failed
    │   ├── ImageAdapterError
    │   └── EmbeddingAdapterError
    ├── StreamError             misuse of a stream
    ├── ToolError               a tool call failed
    ├── SessionError            the session's status or its store does not allow the operation
    │   └── SessionConflict     someone else saved a newer version
    ├── UnwrapError             `unwrap` of a response that did not end cleanly
    ├── BudgetExceeded          a call does not fit the budget that it is made under, or ran over it
    └── BulkError               a bulk run ended before its inputs did

An error with a value is defined beside that value: `EmbeddingAdapterError` in `data/embedding.py`,
`UnwrapError` in `data/response.py`, `SessionConflict` in `data/session.py`, `BulkError` in `data/bulk.py`.

Every error has a `reason` from a closed set (a `Literal` per class), a message that says what happened, what was
expected and what to do, and fields for the facts in the message. Errors are values: they compare by their fields, and
survive JSON as part of a response.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self, get_args

import attrs

from allm.data.attrs_classes import frozen
from allm.data.remedies import (
    REMEDIES,
    WAITING,
    AdapterReason as AdapterReason,
    BudgetReason as BudgetReason,
    EngineReason as EngineReason,
    OptionReason as OptionReason,
    SessionReason as SessionReason,
    StreamReason as StreamReason,
    ToolReason as ToolReason,
    with_facts,
)

__all__ = [
    "AdapterError",
    "AdapterReason",
    "AllmError",
    "BudgetExceeded",
    "BudgetReason",
    "EngineError",
    "ImageAdapterError",
    "OptionError",
    "Path",
    "Problem",
    "SessionError",
    "StreamError",
    "ToolError",
    "ValidationError",
]

Path = tuple[str | int, ...]

MOST_SHOWN = 20
"""Most problems in the message of an error, which has all of them in a field; a list may have 100,000 invalid items."""
RETRYABLE_REASONS = frozenset(
    {"rate_limited", "overloaded", "provider_unavailable", "timeout", "network_error", "stream_truncated"}
)


class AllmError(Exception):
    """Base class of the library's exceptions.

    Attributes:
        reason: The reason, from a closed set; stable, meant for `match`.
        message: What happened, what was expected, and what to do.
        advice: The end of the message, if it is for those who write Python: see `advised`.
    """

    advice: str = ""
    reasons: ClassVar[frozenset[str]] = frozenset()
    fields: ClassVar[tuple[str, ...]] = ("message", "reason")
    beside: ClassVar[frozenset[str]] = frozenset()  # fields left out of comparisons and the repr

    __module__ = "allm"  # where it is imported from, for tracebacks: `allm.AdapterError`

    def __init_subclass__(cls) -> None:
        if cls.__module__.startswith("allm."):
            cls.__module__ = "allm"

    def __init__(self, message: str, *, reason: str) -> None:
        if self.reasons and reason not in self.reasons:
            expected = ", ".join(sorted(self.reasons))
            raise ValueError(f"{type(self).__name__} has no reason {reason!r}; expected one of: {expected}")
        super().__init__(message)
        self.message: str = message
        self.reason = reason

    def advised(self, advice: str) -> Self:
        """Add to the end of the message what to do in Python, and return this error."""
        self.advice += advice
        self.message += advice
        super().__init__(self.message)  # sets `args`
        return self

    @property
    def problem(self) -> str:
        """The message without its advice, for programs whose users write no Python, such as a command."""
        return self.message.removesuffix(self.advice)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.fields if name not in self.beside)

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.reason, self.message))

    def __repr__(self) -> str:
        shown = (name for name in self.fields if name not in self.beside and getattr(self, name) is not None)
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the constructor, which takes other arguments than Python's own errors do, and those of users' classes
        # others again. The notes are copied, so that one that is added to a copy is not added here.
        state = dict(vars(self))
        if "__notes__" in state:
            state["__notes__"] = list(state["__notes__"])
        return _rebuild, (type(self), self.args), state


def _rebuild(cls: type[AllmError], args: tuple[Any, ...]) -> AllmError:
    return cls.__new__(cls, *args)


def render_path(path: Path) -> str:
    """`("messages", 2, "role")` as `messages[2].role`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "value"


@frozen
class Problem:
    """One reason why a value is invalid.

    Attributes:
        path: The location, such as `("messages", 2, "role")`; empty for the value itself.
        tag: The kind of problem, as a stable word to match on.
        sentence: What was given and what was expected. If it begins with "is", its subject is the path.
        advice: The end of the sentence, if it is for those who write Python.
    """

    path: Path
    tag: str
    sentence: str
    advice: str = attrs.field(default="", kw_only=True)

    def under(self, *path: str | int) -> Problem:
        """The same problem with its path prefixed, for a value that contains this one at `path`."""
        return attrs.evolve(self, path=(*path, *self.path))

    def __str__(self) -> str:
        sentence = self.sentence + self.advice
        if sentence.startswith("is "):
            return f"{render_path(self.path)} {sentence}"
        return f"{render_path(self.path)}: {sentence}" if self.path else sentence


class ValidationError(AllmError, ValueError):
    """One or more values are invalid; nothing was sent.

    Attributes:
        errors: Every problem as `(path, tag)`: `(("messages", 2, "role"), "unknown")`. `reason` is `invalid_<value>`.
        sentences: What was given and what was expected, for each of `errors`; empty if only pairs were given.
    """

    fields: ClassVar[tuple[str, ...]] = ("errors", "reason", "message", "sentences")
    _problem: str | None = None  # where the advice is in the middle of the message

    def __init__(
        self,
        errors: Iterable[Problem | tuple[Path, str]],
        *,
        reason: str = "invalid_value",
        message: str | None = None,
        sentences: tuple[str, ...] = (),
    ) -> None:
        found = [given if isinstance(given, Problem) else Problem(tuple(given[0]), given[1], "") for given in errors]
        self.errors: tuple[tuple[Path, str], ...] = tuple((problem.path, problem.tag) for problem in found)
        if any(problem.sentence for problem in found):
            sentences = tuple(problem.sentence + problem.advice for problem in found)
        self.sentences: tuple[str, ...] = tuple(sentences)
        super().__init__(_listed(self.problems) if message is None else message, reason=reason)
        if message is None and any(problem.advice for problem in found):
            self._problem = _listed([attrs.evolve(problem, advice="") for problem in found])

    @property
    def problem(self) -> str:
        """See `AllmError`."""
        return self._problem or super().problem

    def __repr__(self) -> str:
        # Without the sentences, since they are in the message.
        return f"{type(self).__name__}(errors={self.errors!r}, reason={self.reason!r}, message={self.message!r})"

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every problem with its sentence, or with its tag if it has none."""
        sentences = itertools.chain(self.sentences, itertools.repeat(""))
        return tuple(
            Problem(path, tag, sentence or tag) for (path, tag), sentence in zip(self.errors, sentences, strict=False)
        )


def _listed(problems: Sequence[Problem]) -> str:
    shown = [str(problem) for problem in problems[:MOST_SHOWN]]
    if len(problems) > MOST_SHOWN:
        shown.append(f"and {len(problems) - MOST_SHOWN} more")
    return "; ".join(shown)


class OptionError(AllmError, TypeError):
    """A call option (`option`) does not exist, and the nearest name is suggested; or it has the wrong type."""

    reasons: ClassVar[frozenset[str]] = frozenset(get_args(OptionReason))
    fields: ClassVar[tuple[str, ...]] = ("message", "reason", "option")

    def __init__(self, message: str, *, reason: OptionReason = "unknown_option", option: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.option = option


class EngineError(AllmError):
    """The engine lacks something the call needs: an adapter, a model, a key. Nothing was sent.

    Attributes:
        provider: Whose key or address is missing, or None.
        variables: The environment variables that would give it; any one of them will do.
    """

    reasons: ClassVar[frozenset[str]] = frozenset(get_args(EngineReason))

    def __init__(
        self, message: str, *, reason: EngineReason, provider: str | None = None, variables: Iterable[str] = ()
    ) -> None:
        super().__init__(message, reason=reason)
        self.provider = provider
        self.variables: tuple[str, ...] = tuple(variables)


class AdapterError(AllmError):
    """The provider responded with an error or an invalid response, or could not be reached.

    Attributes:
        provider: The adapter's name (`"openai"`), or None.
        status: The HTTP status, or None.
        retry_after: Seconds that the provider asks to wait before a retry, or None.
        retryable: Whether the same request may succeed later. A call is retried only while no content has arrived.
        request_id: The provider's id of the request, for its support.
        provider_code: The provider's own error code, as text.
        headers: Headers of the HTTP response, as in `Response.headers`: which rate limit was hit, and when it ends.
        model: The model that was called, or None.
        host: The host that the request was sent to, or None.

    `str(error)` is the message, followed by these facts and by what can be done about the reason.
    """

    reasons: ClassVar[frozenset[str]] = frozenset(get_args(AdapterReason))
    fields: ClassVar[tuple[str, ...]] = (
        "message",
        "reason",
        "provider",
        "status",
        "retry_after",
        "retryable",
        "request_id",
        "provider_code",
        "headers",
        "model",
        "host",
    )
    beside: ClassVar[frozenset[str]] = frozenset({"headers", "model", "host"})

    def __init__(
        self,
        message: str,
        *,
        reason: AdapterReason = "unknown",
        provider: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
        request_id: str | None = None,
        provider_code: str | None = None,
        headers: Mapping[str, str] | None = None,
        model: str | None = None,
        host: str | None = None,
    ) -> None:
        super().__init__(message, reason=reason)
        self.provider = provider
        self.status = status
        self.retry_after = retry_after
        self.retryable: bool = reason in RETRYABLE_REASONS if retryable is None else retryable
        self.request_id = request_id
        self.provider_code = provider_code
        self.headers: dict[str, str] = dict(headers or {})
        self.model = model
        self.host = host

    def __str__(self) -> str:
        remedy = REMEDIES.get(self.reason) if self.retryable or self.reason not in WAITING else None
        return with_facts(self.message, self, remedy)


class ImageAdapterError(AdapterError):
    """An image call failed at the provider."""


class StreamError(AllmError):
    """A stream was used outside its `async with` block, or by two tasks at once."""

    reasons: ClassVar[frozenset[str]] = frozenset(get_args(StreamReason))

    def __init__(self, message: str, *, reason: StreamReason) -> None:
        super().__init__(message, reason=reason)


class ToolError(AllmError):
    """A call (`tool_call_id`) of a tool (`tool_name`) failed, as its handler says or in another way.

    `__cause__` is the handler's exception, which the model never sees.
    """

    reasons: ClassVar[frozenset[str]] = frozenset(get_args(ToolReason))
    fields: ClassVar[tuple[str, ...]] = ("message", "reason", "tool_name", "tool_call_id")

    def __init__(
        self,
        message: str,
        *,
        reason: ToolReason = "handler_raised",
        tool_name: str | None = None,
        tool_call_id: str | None = None,
    ) -> None:
        super().__init__(message, reason=reason)
        self.tool_name = tool_name
        self.tool_call_id = tool_call_id

    def __str__(self) -> str:
        cause = "" if self.__cause__ is None else f", {type(self.__cause__).__name__}"
        return self.message + (f" (tool {self.tool_name}, reason {self.reason}{cause})" if self.tool_name else "")


class SessionError(AllmError):
    """The session's status or its store does not allow the operation; the message says what to do instead.

    Attributes:
        session: The `Session` that could not be saved, with the user's message and everything that was said and done
            before the failure; None if nothing was to be saved.
        retryable: Whether the same operation may succeed later: the store is away, busy or locked.
    """

    reasons: ClassVar[frozenset[str]] = frozenset(get_args(SessionReason))
    fields: ClassVar[tuple[str, ...]] = ("message", "reason", "session", "retryable")
    beside: ClassVar[frozenset[str]] = frozenset({"session"})

    def __init__(
        self,
        message: str,
        *,
        reason: SessionReason,
        session: Any = None,  # a `Session`, whose module needs this one
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, reason=reason)
        self.session = session
        self.retryable: bool = reason == "unavailable" if retryable is None else retryable


class BudgetExceeded(AllmError):
    """A call does not fit the `allm.budget` that it is made under, and was not sent; or it ran over it and was cut.

    `reason` is the limit: `usd`, `tokens`, `calls`, or `no_price` for a model whose price is not known under a limit in
    US dollars.
    """

    reasons: ClassVar[frozenset[str]] = frozenset(get_args(BudgetReason))

    def __init__(self, message: str, *, reason: BudgetReason) -> None:
        super().__init__(message, reason=reason)
