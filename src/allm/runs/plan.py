"""`Plan`: the arguments of a bulk run, checked, and the parts that are made of them."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal

import trio

from allm.data.attrs_classes import frozen
from allm.data.errors import AdapterError, OptionError
from allm.data.problems import unknown_option
from allm.data.request import JsonSchema
from allm.data.types.hints import is_type
from allm.execution.options import application_defaults, engine_for_chat
from allm.runs.asking import Asker, OneByOne, is_of_library
from allm.runs.attempts import with_retries
from allm.runs.delivery import Delivery
from allm.runs.fingerprint import Fingerprints
from allm.runs.intake import AHEAD, Intake, Window
from allm.runs.jobs import Jobs, Spending
from allm.runs.journal import Journal, RunTotals, open_journal
from allm.runs.lookup import LookUp
from allm.runs.run import BulkRun, Parts
from allm.runs.saving import Saver
from allm.runtime.budgets import Budget
from allm.runtime.engine import Engine
from allm.runtime.option_table import OPTIONS, check_options

__all__ = ["Plan"]

_A_DAY = 86_400


@frozen(kw_only=True, eq=False)
class Plan:
    """The arguments of a run."""

    engine: Engine
    requests: Iterable[Any] | AsyncIterable[Any]
    call: Callable[..., Awaitable[Any]]
    limit: int | None
    journal: str | os.PathLike[str] | Journal | None
    run: str
    key: Callable[[int, Any], Any] | None
    ordered: bool
    budget: float | Budget | None
    attempts: int
    max_failures: int | None
    retry: Literal["retryable", "all"]
    changed: Literal["error", "rerun"]
    replay: bool
    dedupe: bool
    within: float | None
    via: Literal["batch"] | None
    on_progress: Callable[[BulkRun[Any]], Any] | None
    options: Mapping[str, Any]
    first: int = 0
    is_shard: bool = False

    def check(self) -> None:
        """Refuse invalid arguments, before anything is opened."""
        if isinstance(self.requests, (str, bytes, Mapping)) or not isinstance(self.requests, Iterable | AsyncIterable):
            raise invalid("requests", self.requests, "an iterable or async iterable of requests, such as a list")
        self._check_numbers()
        if self.retry not in ("retryable", "all"):
            raise invalid("retry", self.retry, "'retryable' or 'all'").advised(
                "; how a call is retried is Engine(retry=...), and attempts="
            )
        if self.changed not in ("error", "rerun"):
            raise invalid("changed", self.changed, "'error' or 'rerun'")
        if self.via not in (None, "batch"):
            raise invalid("via", self.via, "'batch', or None")
        if not callable(self.call):
            raise invalid("call", self.call, "an async function of (engine, request)")
        if not isinstance(self.run, str) or not self.run or "\0" in self.run:
            raise invalid("run", self.run, "the name of the run, a text that is not empty")
        if self._is_chat:
            for name in self.options.keys() - OPTIONS.keys():
                raise unknown_option(name, OPTIONS.keys() | _SETTINGS)
            check_options(self.options)
            engine_for_chat(self.engine)
        if self.in_batches and self.journal is None:
            what = "batches need a journal, which keeps their ids"
            raise OptionError(what, reason="invalid_value", option="journal").advised(": pass journal='run.sqlite'")

    def _check_numbers(self) -> None:
        for name, least in (("limit", 1), ("attempts", 1), ("first", 0), ("max_failures", 0)):
            value = getattr(self, name)
            if value is None and name in {"limit", "max_failures"}:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise invalid(name, value, f"a whole number, {least} or more")
        for name, what in (
            ("budget", "US dollars, more than 0, or an allm.Budget"),
            ("within", "seconds, more than 0"),
        ):
            value = getattr(self, name)
            if value is None or (name == "budget" and isinstance(value, Budget)):
                continue
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
                raise invalid(name, value, what)

    @functools.cached_property
    def in_batches(self) -> bool:
        """Whether the inputs are asked through the provider's batches.

        Raises:
            OptionError, EngineError, AdapterError: They have to be, and cannot.
        """
        if self.via is None and (self.within is None or self.within < _A_DAY):
            return False
        if self._call_name != "generate":
            if self.via is None:
                return False
            what = "through batches, a model is asked for one response to each input"
            raise OptionError(what, reason="invalid_value", option="call").advised("; leave out call=, or via='batch'")
        from allm.execution.services.batches import batches_of

        try:
            batches_of(self.engine, self.options)
        except AdapterError as error:
            if self.via is None and error.reason == "unsupported_feature":
                return False
            raise
        return True

    @property
    def most(self) -> int:
        """Inputs that may be under way."""
        if self.limit is not None:
            return self.limit
        return 50_000 if self.in_batches else 64

    @property
    def _call_name(self) -> str:
        return getattr(self.call, "__name__", "") if is_of_library(self.call) else ""

    @property
    def _is_chat(self) -> bool:
        return self._call_name in {"generate", "chat"}

    def open_journal(self) -> Journal | None:
        """Open the journal; blocks."""
        if isinstance(self.journal, str | os.PathLike):
            return open_journal(self.journal, self.run)
        if self.journal is None and self.dedupe:
            from allm.runs.sqlite import SqliteJournal

            return SqliteJournal("", self.run)  # on disk, for as long as the run
        return self.journal

    def output_type(self) -> Any:
        """The type for structured output of all calls."""
        given = {**application_defaults(), **self.engine.params, **self.options}.get("response_format")
        return given if is_type(given) else given.output_type if isinstance(given, JsonSchema) else None

    def opened(self, journal: Journal | None, run: BulkRun[Any], limiter: trio.CapacityLimiter) -> Parts:
        """Make the parts of a run; blocks."""
        own, shared = (None, self.budget) if isinstance(self.budget, Budget) else (self.budget, None)
        spending = Spending.after(own, RunTotals() if journal is None else journal.totals())
        jobs = Jobs(self.most, spending, run._stop)
        if self.dedupe and (index := getattr(journal, "index_fingerprints", None)) is not None:
            index()
        seen = None
        if self.key is not None:
            from allm.runs.sqlite import KeysSeen

            seen = KeysSeen()
        look_up = LookUp(
            journal=journal,
            limiter=limiter,
            fingerprints=None if journal is None else Fingerprints(self.engine, self.options, self._call_name),
            seen=seen,
            changed=self.changed,
            retries_all=self.retry == "all",
            dedupe=self.dedupe,
            output_type=self.output_type(),
            replayed=run._replayed,
            copied=run._copied,
            ask=jobs.put,
        )
        window = Window(self.most if self.in_batches else 4 * self.most, min(self.most, AHEAD))
        saver = None if journal is None else Saver(journal, limiter, run._saved, run._stop)
        intake = Intake(self.requests, self.key, self.first, window, look_up)
        return Parts(
            asker=self._asker(journal, limiter, saver, shared, lambda: run._why is None and intake.has_ended),
            journal=journal,
            limiter=limiter,
            on_progress=self.on_progress,
            max_failures=self.max_failures,
            replays=self.replay,
            is_shard=self.is_shard,
            spending=spending,
            delivery=Delivery(self.ordered, self.first),
            window=window,
            intake=intake,
            look_up=look_up,
            jobs=jobs,
            saver=saver,
        )

    def _asker(
        self,
        journal: Journal | None,
        limiter: trio.CapacityLimiter,
        saver: Saver | None,
        budget: Budget | None,
        has_all: Callable[[], bool],
    ) -> Asker:
        engine, policy = with_retries(self.engine, self.attempts)
        one_by_one = OneByOne(engine, self.call, self.options, self.most, policy, budget)
        if not self.in_batches or journal is None or saver is None:
            return one_by_one
        from allm.runs.in_batches import InBatches

        return InBatches(
            engine=self.engine,
            options=self.options,
            journal=journal,
            limiter=limiter,
            name=self.run,
            limit=self.most,
            saved=saver.flushed,
            has_all=has_all,
            budget=budget,
            first=one_by_one,
        )


_SETTINGS = Plan.__annotations__.keys() - {"engine", "requests", "options", "first", "is_shard"}
"""Arguments of `bulk` that are no options of its calls."""


def invalid(name: str, value: Any, expected: str) -> OptionError:
    return OptionError(f"{name} is {value!r:.80}; expected {expected}", reason="invalid_value", option=name)
