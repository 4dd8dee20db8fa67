"""`allm bulk`: ask the lines of a file, show how far it is, and write the answers."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast, final

import attrs
import click
import trio

import allm
from allm.cli.bulk_export import export
from allm.cli.exit_codes import FAILURE, INTERRUPTED, SUCCESS, TERMINATED
from allm.cli.shell_advice import describe
from allm.cli.terminal import Terminal
from allm.execution.nurseries import start_task
from allm.runs.journal import Journal

__all__ = ["Bulk", "dollars"]

_REFRESHES = 10  # of the progress bar, per second


@final
@attrs.define(eq=False, kw_only=True)
class Bulk:
    """One run and its output.

    Attributes:
        settings: The arguments of `allm.bulk`.
        total: The number of inputs, if known.
    """

    engine: allm.Engine
    requests: Any
    journal: Journal
    settings: dict[str, Any]
    total: int | None
    output: str
    full: bool
    terminal: Terminal
    _signals: list[int] = attrs.field(factory=list[int], init=False)
    _run: Any = attrs.field(default=None, init=False)
    _why: Exception | None = attrs.field(default=None, init=False)

    def run(self) -> int:
        """Ask, and write what the journal has then, whatever ended the run.

        Raises:
            OSError: The output cannot be written; the answers are in the journal.
            Exception: An input is invalid.
        """
        with suppress(KeyboardInterrupt), self._progress() as show:  # a second Ctrl-C, or one before the first input
            trio.run(self._main, show)
        written = export(self.journal, self.output, self.terminal, full=self.full)
        return self._report(written)

    async def _main(self, show: Callable[[], None]) -> None:
        if threading.current_thread() is not threading.main_thread():
            await self._ask(show)
            return
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                start_task(nursery, self._listen, signals, nursery.cancel_scope)
                await self._ask(show)
                nursery.cancel_scope.cancel()

    async def _listen(self, signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        async for number in signals:
            self._signals.append(number)
            if len(self._signals) > 1 or self._run is None:
                scope.cancel()
            else:
                self._run.stop()
                self.terminal.line("stopping: what is under way is finished; press Ctrl-C again to end at once")

    async def _ask(self, show: Callable[[], None]) -> None:
        try:
            async with allm.bulk(self.engine, self.requests, **self.settings) as self._run:
                async for _ in self._run:
                    show()
        except Exception as error:
            self._why = error

    @contextmanager
    def _progress(self) -> Generator[Callable[[], None]]:
        """A bar on standard error, if that is a terminal; gives the function that updates it."""
        if not self.terminal.stderr.isatty():
            yield lambda: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
        )
        console = Console(file=cast("TextIO", self.terminal.stderr))  # which has what rich needs
        with Progress(*columns, console=console, refresh_per_second=_REFRESHES, redirect_stdout=False) as progress:
            task = progress.add_task("", total=self.total, facts="")

            def show() -> None:
                run = self._run
                progress.update(task, completed=run.done, facts=_facts(run))

            yield show

    def _report(self, written: int) -> int:
        terminal, run = self.terminal, self._run
        if run is not None and run.done:
            terminal.line(f"{_counts(run)}; {_facts(run)}".rstrip("; "), dim=True)
        if self.output != "-":
            terminal.line(f"{written} lines in {self.output}", dim=True)
        if self._why is not None and not (self._signals and getattr(self._why, "reason", "") == "stopped"):
            if isinstance(self._why, click.ClickException):  # a line that is no input
                terminal.line("what was answered is kept: the same command with --resume goes on", dim=True)
            if not isinstance(self._why, allm.AllmError):
                raise self._why
            terminal.line(f"Error: {describe(self._why)}")
            return FAILURE
        if self._signals:
            terminal.line("stopped; the same command with --resume goes on")
            return TERMINATED if signal.SIGTERM in self._signals else INTERRUPTED
        return SUCCESS if run is not None and not run.failed else FAILURE


def _counts(run: Any) -> str:
    parts = [f"{run.done - run.failed} answered", f"{run.failed} failed" if run.failed else ""]
    if run.replayed:
        parts.append(f"{run.replayed} of them before")
    return ", ".join(part for part in parts if part)


def dollars(amount: float) -> str:
    """An amount with the digits that say something."""
    return f"${amount:.{2 if amount >= 1 else 4 if amount >= 0.01 else 6}f}"  # noqa: PLR2004  (a cent)


def _facts(run: Any) -> str:
    parts = [f"{run.failed} failed"] if run.failed else []
    if run.spent:
        parts.append(dollars(run.spent))
    if run.rate:
        parts.append(f"{run.rate:.1f}/s")
    return ", ".join(parts)
