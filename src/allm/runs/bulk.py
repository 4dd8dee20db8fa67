"""`bulk` opens a run of many inputs; `run_shard` runs one of many parts of it, in a worker of any engine."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Sized
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar, overload

import trio

from allm.data.attrs_classes import frozen
from allm.data.response import Response
from allm.execution.generate import generate
from allm.execution.nurseries import nursery_boundary, start_task
from allm.execution.stream.block import StreamBlock
from allm.http.transport import CLEANUP_SECONDS
from allm.runs.journal import in_turn
from allm.runs.plan import Plan
from allm.runs.run import EXAMPLE, BulkRun, Parts
from allm.runtime.budgets import Budget
from allm.runtime.engine import Engine
from allm.runtime.option_table import seal

__all__ = ["ShardReport", "bulk", "run_shard"]

T = TypeVar("T")


@overload
def bulk(
    engine: Engine,
    requests: Iterable[Any] | AsyncIterable[Any],
    *,
    call: Callable[..., Awaitable[T]],
    limit: int | None = None,
    journal: str | os.PathLike[str] | None = None,
    run: str = "run",
    key: Callable[[int, Any], Any] | None = None,
    ordered: bool = False,
    budget: float | Budget | None = None,
    attempts: int = 4,
    max_failures: int | None = None,
    retry: Literal["retryable", "all"] = "retryable",
    changed: Literal["error", "rerun"] = "error",
    replay: bool = True,
    dedupe: bool = False,
    within: float | None = None,
    via: Literal["batch"] | None = None,
    on_progress: Callable[[BulkRun[Any]], Any] | None = None,
    **options: Any,
) -> StreamBlock[BulkRun[T]]: ...
@overload
def bulk(
    engine: Engine,
    requests: Iterable[Any] | AsyncIterable[Any],
    *,
    call: None = None,
    limit: int | None = None,
    journal: str | os.PathLike[str] | None = None,
    run: str = "run",
    key: Callable[[int, Any], Any] | None = None,
    ordered: bool = False,
    budget: float | Budget | None = None,
    attempts: int = 4,
    max_failures: int | None = None,
    retry: Literal["retryable", "all"] = "retryable",
    changed: Literal["error", "rerun"] = "error",
    replay: bool = True,
    dedupe: bool = False,
    within: float | None = None,
    via: Literal["batch"] | None = None,
    on_progress: Callable[[BulkRun[Any]], Any] | None = None,
    **options: Any,
) -> StreamBlock[BulkRun[Response]]: ...
def bulk(
    engine: Engine,
    requests: Iterable[Any] | AsyncIterable[Any],
    *,
    call: Callable[..., Awaitable[Any]] | None = None,
    limit: int | None = None,
    journal: str | os.PathLike[str] | None = None,
    run: str = "run",
    key: Callable[[int, Any], Any] | None = None,
    ordered: bool = False,
    budget: float | Budget | None = None,
    attempts: int = 4,
    max_failures: int | None = None,
    retry: Literal["retryable", "all"] = "retryable",
    changed: Literal["error", "rerun"] = "error",
    replay: bool = True,
    dedupe: bool = False,
    within: float | None = None,
    via: Literal["batch"] | None = None,
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
        requests: An iterable or async iterable of what `call` takes, read as needed: at most 4 x `limit` are in
            memory, of batches `limit`.
        call: Asks for one input: `allm.generate` (the default), `allm.chat`, `allm.embed`, or an async function of
            `(engine, request)`.
        limit: Most calls at once (64), or most inputs in batches that have not ended (50,000).
        journal: A path of a SQLite file, or the URL of a PostgreSQL database; None keeps nothing.
        run: The name of the run in the journal.
        key: Names an input, from its index and the input; it has to be the same when the run is resumed. None: its
            index, as text.
        ordered: Deliver in the order of the inputs instead of as they finish.
        budget: US dollars for the run with all its earlier parts: nothing more is sent when the next answer may exceed
            it. Or an `allm.budget(...)`, which all calls are charged to.
        attempts: How often an input is asked. A refusal because of the provider's load does not count.
        max_failures: More failures than this end the run.
        retry: Which failures in the journal are asked again: "retryable", or "all".
        changed: What to do when an input, the model or an option is not what it was: "error", or "rerun" to ask again.
        replay: Whether to deliver what the journal has.
        dedupe: Ask inputs that are the same once, and give all of them the answer.
        within: Seconds in which all answers have to be there. From 86,400 on (a day) they are asked for through the
            provider's batches, for half the price, where it has any.
        via: "batch": through the provider's batches in any case. They need a `journal`, which keeps their ids.
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
        within=within,
        via=via,
        on_progress=on_progress,
        options=options,
    )


def _block(
    engine: Engine, requests: Iterable[Any] | AsyncIterable[Any], *, options: dict[str, Any], **settings: Any
) -> StreamBlock[BulkRun[Any]]:
    seal(options)
    plan = Plan(engine=engine, requests=requests, options=options, **settings)
    plan.check()
    return StreamBlock(functools.partial(_opened, plan), EXAMPLE)


@asynccontextmanager
async def _opened(plan: Plan) -> AsyncGenerator[BulkRun[Any]]:
    limiter = trio.CapacityLimiter(1)
    journal = await in_turn(limiter, plan.open_journal)
    parts: Parts | None = None
    try:
        async with nursery_boundary() as nursery:
            run = BulkRun[Any](
                len(plan.requests) if isinstance(plan.requests, Sized) else None,
                lambda work: start_task(nursery, work, name="allm bulk"),
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
    budget: float | Budget | None = None,
    attempts: int = 4,
    max_failures: int | None = None,
    retry: Literal["retryable", "all"] = "retryable",
    changed: Literal["error", "rerun"] = "error",
    on_progress: Callable[[BulkRun[Any]], Any] | None = None,
    **options: Any,
) -> ShardReport:
    """Run a part of a run to its end, in one of several workers: the answers are in the journal.

    A shard may be run more than once: the journal keeps one answer for each key, and an input whose answer is there
    when its turn comes is not asked. Two workers that run it at the same time may both ask, and pay for, the same
    inputs. A worker that is killed loses the answers that were under way.

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
        within=None,
        via=None,
        on_progress=on_progress,
        options=options,
        first=first,
        is_shard=True,
    )
    async with block as opened:
        async for _ in opened:
            pass
        return ShardReport(done=opened.done, failed=opened.failed, replayed=opened.replayed, spent=opened.spent)
