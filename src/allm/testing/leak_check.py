"""Check that a block of code leaves nothing behind."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self, final

import attrs
import trio

from allm.testing.leaks import SETTLING, AsyncGenerators, Holdings, after_settling, tasks_left
from allm.testing.steps import Lineage, instrumented

__all__ = ["LeakCheck", "no_leaks"]


@final
@attrs.define(eq=False)
class LeakCheck:
    """The context manager that `no_leaks` returns; use it once."""

    _before: Holdings = attrs.field(init=False)
    _lineage: Lineage = attrs.field(init=False)
    _generators: AsyncGenerators = attrs.field(init=False)
    _watching: ExitStack = attrs.field(init=False)

    def __enter__(self) -> Self:
        """Note what is held now; outside of Trio."""
        if trio.lowlevel.in_trio_run():
            raise RuntimeError(
                "inside Trio, `no_leaks()` is used as `async with`: what ends needs a moment in which other tasks run"
            )
        self._before = Holdings.now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Compare."""
        if error is not None:
            return
        self._before = self._before.with_new_pools()
        if left := self._before.left():
            for pause in SETTLING:
                time.sleep(pause)
                if not (left := self._before.left()):
                    return
            _fail(left)

    async def __aenter__(self) -> Self:
        """Note what is held now, and watch the tasks that are started."""
        if not trio.lowlevel.in_trio_run():
            raise RuntimeError(
                "no_leaks watches the tasks of Trio, and this code runs without it: with anyio's plugin for pytest, "
                'let the fixture anyio_backend return "trio"; outside of any event loop, use a plain `with no_leaks():`'
            )
        await trio.lowlevel.checkpoint()
        self._before = Holdings.now()
        self._lineage = Lineage()
        self._generators = AsyncGenerators(self._lineage)
        self._watching = ExitStack()
        self._watching.enter_context(instrumented(self._lineage))
        self._watching.enter_context(self._generators.watched())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Compare."""
        left: list[str] = []
        with self._watching:
            if error is None:
                self._before = self._before.with_new_pools()
                left = await after_settling(self._left)  # noqa: ASYNC102 - shielded, and bounded, itself
        if left:
            _fail(left)

    def _left(self) -> list[str]:
        return [*tasks_left(self._lineage), *self._before.left(self._lineage), *self._generators.left()]


def no_leaks() -> LeakCheck:
    """Check that a block leaves no task, open file, socket or connection, busy thread, token or async generator.

        async with no_leaks():  # inside Trio; `with no_leaks():` outside
            await my_workflow(engine)

    Connections may rest in the pool of an HTTP client. If the block raises, its exception is what you see, and nothing
    is compared. There is also a pytest fixture of this name.

    Raises:
        AssertionError: At the end of the block: what is left.
    """
    return LeakCheck()


def _fail(left: list[str]) -> None:
    raise AssertionError("the block left behind:\n" + "\n".join(f"  - {one}" for one in left))
