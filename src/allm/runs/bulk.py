"""`bulk` opens a run of many inputs; `run_shard` runs one of many parts of it, in a worker of any engine."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sized
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar, overload

import trio

from allm.data.attrs_classes import frozen
from allm.data.errors import OptionError
from allm.data.request import JsonSchema
from allm.data.response import Response
from allm.data.types.hints import is_type
from allm.execution.generate import generate
from allm.execution.options import application_defaults, engine_for_chat
from allm.execution.stream.block import StreamBlock, nursery_boundary
from allm.http.transport import CLEANUP_SECONDS
from allm.runs.asking import Asker, OneByOne, is_of_library
from allm.runs.attempts import with_retries
from allm.runs.delivery import Delivery
from allm.runs.fingerprint import Fingerprints
from allm.runs.intake import AHEAD, Intake, Window
from allm.runs.jobs import Jobs, Spending
from allm.runs.journal import Journal, RunTotals, in_turn, open_journal
from allm.runs.lookup import LookUp
from allm.runs.run import EXAMPLE, BulkRun, Parts
from allm.runs.saving import Saver
from allm.runtime.engine import Engine
from allm.runtime.option_table import check_options, seal

__all__ = ["ShardReport", "bulk", "run_shard"]

T = TypeVar("T")


@overload
def bulk(
    engine: Engine,
    requests: Iterable[Any] | AsyncIterable[Any],
    *,
    call: Callable[..., Awaitable[T]],
    limit: int = 64,
    journal: str | os.PathLike[str] | None = None,
    run: str = "run",
    key: Callable[[int, Any], Any] | None = None,
    ordered: bool = False,
    budget: float | None = None,
    attempts: int = 4,
    max_failures: int | None = None,
    retry: Literal["retryable", "all"] = "retryable",
    changed: Literal["error", "rerun"] = "error",
    replay: bool = True,
    dedupe: bool = False,
    on_progress: Callable[[BulkRun[Any]], Any] | None = None,
    **options: Any,
) -> StreamBlock[BulkRun[T]]: ...
@overload
def bulk(
    engine: Engine,
    requests: Iterable[Any] | AsyncIterable[Any],
    *,
    call: None = None,
    limit: int = 64,
    journal: str | os.PathLike[str] | None = None,
    run: str = "run",
    key: Callable[[int, Any], Any] | None = None,
    ordered: bool = False,
    budget: float | None = None,
    attempts: int = 4,
    max_failures: int | None = None,
    retry: Literal["retryable", "all"] = "retryable",
    changed: Literal["error", "rerun"] = "error",
    replay: bool = True,
    dedupe: bool = False,
    on_progress: Callable[[BulkRun[Any]], Any] | None = None,
    **options: Any,
) -> StreamBlock[BulkRun[Response]]: ...
def bulk(
    engine: Engine,
    requests: Iterable[Any] | AsyncIterable[Any],
    *,
    call: Callable[..., Awaitable[Any]] | None = None,
    limit: int = 64,
    journal: str | os.PathLike[str] | None = None,
    run: str = "run",
    key: Callable[[int, Any], Any] | None = None,
    ordered: bool = False,
    budget: float | None = None,
    attempts: int = 4,
    max_failures: int | None = None,
    retry: Literal["retryable", "all"] = "retryable",
    changed: Literal["error", "rerun"] = "error",
    replay: bool = True,
    dedupe: bool = False,
    on_progress: Callable[[BulkRun[Any]], Any] | None = None,
    **options: Any,
) -> StreamBlock[BulkRun[Any]]:
    """Ask many inputs, `limit` of them at once, with bounded memory, and keep the answers in a journal.

        async with allm.bulk(engine, texts, journal="run.sqlite") as run:
            async for item in run:
                print(item.key, item.response.output_text if item.error is None else item.error)

    An item is saved before it is delivered. The same call with the same journal goes on where an earlier one ended, in
    whatever way: what the journal has is delivered again (`item.replayed`), and failures that may pass are asked again.
    The failure of an input is `item.error` and ends nothing. A run that ends before its inputs raises `BulkError` from
    the iteration, after all that is finished was delivered, so that a short run never looks complete.

    Args:
        engine: The adapter, the model and the defaults of the calls.
        requests: An iterable or async iterable of what `call` takes, read as needed: at most 4 x `limit` are in memory.
        call: Asks for one input: `allm.generate` (the default), `allm.chat`, `allm.embed`, or an async function of
            `(engine, request)`.
        limit: Most calls at once.
        journal: A path of a SQLite file, or the URL of a PostgreSQL database; None keeps nothing.
        run: The name of the run in the journal.
        key: Names an input, from its index and the input; it has to be the same when the run is resumed. None: its
            index, as text.
        ordered: Deliver in the order of the inputs instead of as they finish.
        budget: US dollars for the run with all its earlier parts: nothing more is sent when the next answer may exceed
            it.
        attempts: How often an input is asked. A refusal because of the provider's load does not count.
        max_failures: More failures than this end the run.
        retry: Which failures in the journal are asked again: "retryable", or "all".
        changed: What to do when an input, the model or an option is not what it was: "error", or "rerun" to ask again.
        replay: Whether to deliver what the journal has.
        dedupe: Ask inputs that are the same once, and give all of them the answer.
        on_progress: Called with the run when items have ended, at most once for each item that is read. May be async.
        options: Options of `call`.

    Raises:
        OptionError, ValidationError, EngineError: An argument or an option is invalid. Raised by this function.
    """
    return _block(
        engine,
        requests,
        call=call or generate,
        limit=limit,
        journal=journal,
        run=run,
        key=key,
        ordered=ordered,
        budget=budget,
        attempts=attempts,
        max_failures=max_failures,
        retry=retry,
        changed=changed,
        replay=replay,
        dedupe=dedupe,
        on_progress=on_progress,
        options=options,
    )


def _block(
    engine: Engine, requests: Iterable[Any] | AsyncIterable[Any], *, options: dict[str, Any], **settings: Any
) -> StreamBlock[BulkRun[Any]]:
    seal(options)
    plan = _Plan(engine=engine, requests=requests, options=options, **settings)
    plan.check()
    return StreamBlock(functools.partial(_opened, plan), EXAMPLE)


@frozen(kw_only=True, eq=False)
class _Plan:
    """The arguments of a run."""

    engine: Engine
    requests: Iterable[Any] | AsyncIterable[Any]
    call: Callable[..., Awaitable[Any]]
    limit: int
    journal: str | os.PathLike[str] | Journal | None
    run: str
    key: Callable[[int, Any], Any] | None
    ordered: bool
    budget: float | None
    attempts: int
    max_failures: int | None
    retry: Literal["retryable", "all"]
    changed: Literal["error", "rerun"]
    replay: bool
    dedupe: bool
    on_progress: Callable[[BulkRun[Any]], Any] | None
    options: Mapping[str, Any]
    first: int = 0
    is_shard: bool = False

    def check(self) -> None:
        """Refuse invalid arguments, before anything is opened."""
        if isinstance(self.requests, (str, bytes, Mapping)) or not isinstance(self.requests, Iterable | AsyncIterable):
            raise _invalid("requests", self.requests, "an iterable or async iterable of requests, such as a list")
        for name, least in (("limit", 1), ("attempts", 1), ("first", 0)):
            _check_count(name, getattr(self, name), least)
        if self.max_failures is not None:
            _check_count("max_failures", self.max_failures, 0)
        if self.budget is not None and not (
            isinstance(self.budget, (int, float)) and not isinstance(self.budget, bool) and self.budget > 0
        ):
            raise _invalid("budget", self.budget, "US dollars, more than 0")
        if self.retry not in ("retryable", "all"):
            raise _invalid("retry", self.retry, "'retryable' or 'all'").advised(
                "; how a call is retried is Engine(retry=...), and attempts="
            )
        if self.changed not in ("error", "rerun"):
            raise _invalid("changed", self.changed, "'error' or 'rerun'")
        if not callable(self.call):
            raise _invalid("call", self.call, "an async function of (engine, request)")
        if not isinstance(self.run, str) or not self.run or "\0" in self.run:
            raise _invalid("run", self.run, "the name of the run, a text that is not empty")
        if self._is_chat:
            check_options(self.options)
            engine_for_chat(self.engine)

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

    def _asker(self) -> Asker:
        return OneByOne(with_retries(self.engine, self.attempts), self.call, self.options, self.limit)

    def opened(self, journal: Journal | None, run: BulkRun[Any], limiter: trio.CapacityLimiter) -> Parts:
        """Make the parts of a run; blocks."""
        spending = Spending.after(self.budget, RunTotals() if journal is None else journal.totals())
        asker = self._asker()
        jobs = Jobs(asker.limit, spending, run._stop)
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
        window = Window(4 * asker.limit, min(asker.limit, AHEAD))
        return Parts(
            asker=asker,
            journal=journal,
            limiter=limiter,
            on_progress=self.on_progress,
            max_failures=self.max_failures,
            replays=self.replay,
            is_shard=self.is_shard,
            spending=spending,
            delivery=Delivery(self.ordered, self.first),
            window=window,
            intake=Intake(self.requests, self.key, self.first, window, look_up),
            look_up=look_up,
            jobs=jobs,
            saver=None if journal is None else Saver(journal, limiter, run._saved, run._stop),
        )


def _check_count(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise _invalid(name, value, f"a whole number, {least} or more")


def _invalid(name: str, value: Any, expected: str) -> OptionError:
    return OptionError(f"{name} is {value!r:.80}; expected {expected}", reason="invalid_value", option=name)


@asynccontextmanager
async def _opened(plan: _Plan) -> AsyncGenerator[BulkRun[Any]]:
    limiter = trio.CapacityLimiter(1)
    journal = await in_turn(limiter, plan.open_journal)
    parts: Parts | None = None
    try:
        async with nursery_boundary() as nursery:
            run = BulkRun[Any](
                len(plan.requests) if isinstance(plan.requests, Sized) else None,
                lambda work: nursery.start_soon(work, name="allm bulk"),
            )
            run._parts = parts = await in_turn(limiter, lambda: plan.opened(journal, run, limiter))
            try:
                yield run
            finally:
                run._close()
                if hasattr(journal, "patience"):
                    journal.patience = CLEANUP_SECONDS
                nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(CLEANUP_SECONDS, shield=True):
            if parts is not None and parts.look_up.seen is not None:
                await in_turn(limiter, parts.look_up.seen.close)
            if journal is not None and journal is not plan.journal:
                await in_turn(limiter, journal.close)


@frozen(kw_only=True)
class ShardReport:
    """What `run_shard` did.

    Attributes:
        done: Inputs that have ended.
        failed, replayed: How many of them failed, and how many the journal had.
        spent: US dollars that all workers of the run have spent.
    """

    done: int
    failed: int
    replayed: int
    spent: float


async def run_shard(
    engine: Engine,
    requests: Iterable[Any] | AsyncIterable[Any],
    *,
    journal: str | os.PathLike[str],
    run: str,
    first: int = 0,
    call: Callable[..., Awaitable[Any]] = generate,
    limit: int = 64,
    key: Callable[[int, Any], Any] | None = None,
    budget: float | None = None,
    attempts: int = 4,
    max_failures: int | None = None,
    retry: Literal["retryable", "all"] = "retryable",
    changed: Literal["error", "rerun"] = "error",
    on_progress: Callable[[BulkRun[Any]], Any] | None = None,
    **options: Any,
) -> ShardReport:
    """Run a part of a run to its end, in one of several workers: the answers are in the journal.

    A shard may be run more than once, also by two workers at a time: the journal has one row for each key, and what it
    has is not asked again. A worker that is killed loses the answers that were under way.

    Args:
        engine: As for `bulk`, as all arguments that are not listed here.
        requests: The inputs of this part.
        journal: The URL of a PostgreSQL database, which all workers share.
        run: The name of the run, the same for all its parts.
        first: The index of the first of these inputs among those of the whole run.

    Raises:
        BulkError: The shard ended before its inputs; run it again to go on.
        OptionError, ValidationError, EngineError: An argument or an option is invalid.
    """
    block = _block(
        engine,
        requests,
        call=call,
        limit=limit,
        journal=journal,
        run=run,
        key=key,
        ordered=False,
        budget=budget,
        attempts=attempts,
        max_failures=max_failures,
        retry=retry,
        changed=changed,
        replay=False,
        dedupe=False,
        on_progress=on_progress,
        options=options,
        first=first,
        is_shard=True,
    )
    async with block as opened:
        async for _ in opened:
            pass
        return ShardReport(done=opened.done, failed=opened.failed, replayed=opened.replayed, spent=opened.spent)
