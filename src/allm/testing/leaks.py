"""What a block of code leaves behind: tasks, descriptors, threads, tokens, async generators."""

from __future__ import annotations

import inspect
import sys
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import attrs
import trio

from allm.testing.descriptors import (
    Descriptor,
    instances,
    new_descriptors,
    open_descriptors,
    pools_of_http_clients,
    resting,
    stuck,
)
from allm.testing.steps import Lineage, stack_of

__all__ = ["AsyncGenerators", "Holdings", "after_settling", "tasks_left"]

SETTLING = (*[0.0] * 50, *[0.001] * 100, *[0.01] * 90)
"""Real seconds between looks; one in all. A server in the same run and threads need a moment to notice an end."""

RUN_LONG = frozenset({"allm: close the HTTP clients", "allm: keep the local model", "allm: start the local model"})
"""The tasks that are meant to live as long as the run."""

IDLE_WORKER = "Trio thread "
"""How Trio names a thread of its cache that has nothing to do; it ends by itself."""

TRIO = str(Path(trio.__file__).parent)

Primitive: TypeAlias = trio.CapacityLimiter | trio.Semaphore | trio.Lock | trio.StrictFIFOLock
PRIMITIVES = (trio.CapacityLimiter, trio.Semaphore, trio.Lock, trio.StrictFIFOLock)


async def after_settling(find: Callable[[], list[str]]) -> list[str]:
    """What `find` still finds when everything that was ending has had time to end."""
    left = find()
    with trio.CancelScope(shield=True):  # bounded by SETTLING
        for pause in SETTLING:
            await trio.lowlevel.checkpoint()
            if not (left := find()):
                break
            # Blocks the run on purpose: a task that is ready keeps virtual time from passing, and threads and the
            # kernel go on.
            time.sleep(pause)  # noqa: ASYNC251
    return left


def tasks_left(lineage: Lineage) -> list[str]:
    """The tasks of a lineage that are alive, other than its root."""
    return sorted(
        f"task {task.name!r} is running, at {_place(task)}"
        for task in lineage.tasks - {lineage.root}
        if task.name not in RUN_LONG
    )


def _place(task: trio.lowlevel.Task) -> str:
    """The innermost line that is not Trio's own."""
    places = [f"{frame.filename}:{frame.lineno}" for frame in stack_of(task) if not frame.filename.startswith(TRIO)]
    return places[-1] if places else "its start"


class AsyncGenerators:
    """Notices async generators that the tasks of a lineage start and do not close.

    They are left to the garbage collector, which closes them in a task of its own, at some time.
    """

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._started: dict[int, tuple[weakref.ref[AsyncGenerator[Any, Any]], str]] = {}
        self._collected: list[str] = []

    @contextmanager
    def watched(self) -> Generator[None]:
        """Watch in this block, besides Trio, which has hooks of its own."""
        first, final = hooks = sys.get_asyncgen_hooks()

        def started(generator: AsyncGenerator[Any, Any]) -> None:
            if trio.lowlevel.in_trio_task() and trio.lowlevel.current_task() in self._lineage.tasks:
                self._started[id(generator)] = weakref.ref(generator), _name(generator)
            if first is not None:
                first(generator)

        def collected(generator: AsyncGenerator[Any, Any]) -> None:
            if (found := self._started.pop(id(generator), None)) is not None:
                self._collected.append(found[1])
            if final is not None:
                final(generator)

        sys.set_asyncgen_hooks(started, collected)
        try:
            yield
        finally:
            sys.set_asyncgen_hooks(*hooks)

    def left(self) -> list[str]:
        """Those that were not closed."""
        alive = [name for ref, name in self._started.values() if (it := ref()) is not None and _frame(it) is not None]
        return [f"async generator {name!r} was not closed: use contextlib.aclosing" for name in alive + self._collected]


def _name(generator: AsyncGenerator[Any, Any]) -> str:
    return str(getattr(generator, "__qualname__", generator))


def _frame(generator: AsyncGenerator[Any, Any]) -> FrameType | None:
    """Where it stands; None when it has ended."""
    frame: FrameType | None = getattr(generator, "ag_frame", None)  # of Cython's there is none
    return frame


def _holders(primitive: Primitive) -> list[Any]:
    """Who holds it; for a semaphore, which does not know, one None for each permit that is taken."""
    if isinstance(primitive, trio.CapacityLimiter):
        return list(primitive.statistics().borrowers)
    if isinstance(primitive, trio.Semaphore):
        return [None] * ((primitive.max_value or 0) - primitive.value)
    owner = primitive.statistics().owner
    return [] if owner is None else [owner]


@attrs.frozen(eq=False)
class Holdings:
    """What this process, and this run if there is one, held when it was made."""

    threads: frozenset[threading.Thread]
    descriptors: dict[tuple[int, int, int], Descriptor]
    pools: tuple[Any, ...]
    connections: tuple[Any, ...]
    at_rest: int
    primitives: tuple[tuple[Primitive, tuple[Any, ...]], ...]

    @classmethod
    def now(cls, known: Holdings | None = None) -> Holdings:
        """Look at everything; pools and locks are searched for unless those of `known` are taken over."""
        if known is None:
            pools, primitives = pools_of_http_clients(), instances(PRIMITIVES)
        else:
            pools, primitives = list(known.pools), [one for one, _ in known.primitives]
        return cls(
            threads=frozenset(threading.enumerate()),
            descriptors=open_descriptors(),
            pools=tuple(pools),
            connections=tuple(connection for pool in pools for connection in pool.connections),
            at_rest=resting(pools),
            primitives=tuple((one, tuple(_holders(one))) for one in primitives),
        )

    def with_new_pools(self) -> Holdings:
        """The same, when HTTP clients may have been made since."""
        return attrs.evolve(self, pools=tuple(pools_of_http_clients()))

    def left(self, lineage: Lineage | None = None) -> list[str]:
        """What is held now beyond that.

        Args:
            lineage: The tasks that count as holders of tokens and locks; None: these are not looked at.
        """
        threads = [
            f"thread {thread.name!r} is running"
            for thread in set(threading.enumerate()) - self.threads
            if not thread.name.startswith(IDLE_WORKER)
        ]
        held = [] if lineage is None else _held(self.primitives, lineage)
        return [*sorted(threads), *self._open(), *stuck(self.pools, self.connections), *held]

    def _open(self) -> list[str]:
        return new_descriptors(self.descriptors, open_descriptors(), at_rest=resting(self.pools) - self.at_rest)


def _held(before: Iterable[tuple[Primitive, tuple[Any, ...]]], lineage: Lineage) -> list[str]:
    found: list[str] = []
    for primitive, old in before:
        kind = type(primitive).__name__
        if isinstance(primitive, trio.Semaphore):
            if (more := len(_holders(primitive)) - len(old)) > 0:
                found.append(f"{more} more permits of a {kind} are taken than before")
            continue
        for holder in _holders(primitive):
            if holder not in old and _is_of(holder, lineage):
                name = holder.name if isinstance(holder, trio.lowlevel.Task) else repr(holder)
                found.append(
                    f"a token of a {kind} is borrowed by {name!r}"
                    if kind == "CapacityLimiter"
                    else f"a {kind} is held by {name!r}"
                )
    return found


def _is_of(holder: Any, lineage: Lineage) -> bool:
    """Whether a holder belongs to the lineage: any but tasks of others that are alive."""
    if not isinstance(holder, trio.lowlevel.Task):
        return True
    return holder in lineage.tasks or inspect.getcoroutinestate(holder.coro) == inspect.CORO_CLOSED
