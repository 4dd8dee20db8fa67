"""`allm trace`: a recording of telemetry as a page."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from allm.cli.answer_file import place_of
from allm.cli.terminal import Terminal
from allm.cli.trace.page import OPENING, page_of
from allm.cli.trace.spans import read
from allm.data.atomic_write import write_whole

__all__ = ["make_page"]


def make_page(terminal: Terminal, source: Path, output: str | None, *, force: bool, show: bool) -> int:
    """Write the page of a recording, and open it in the browser if asked to.

    Raises:
        click.BadParameter: The file is no recording, or the page cannot be written.
    """
    with source.open("rb") as lines:
        recordings, skipped = read(lines)
    if not recordings:
        raise click.BadParameter(
            f"{source} is not a recording of allm.telemetry.record: none of its lines is one of telemetry",
            param_hint="'RECORDING'",
        )
    wanted = str(source.with_suffix(".html")) if output is None else output
    place = place_of(wanted, force=force or _is_page(wanted))
    page = page_of(recordings, name=source.name, skipped=skipped)
    if place is None:
        terminal.stdout.stream.buffer.write(page)  # UTF-8, whatever the encoding of standard output
        return 0
    write_whole(place, page)
    spans = sum(len(recording.spans) for recording in recordings)
    note = f", {skipped} unreadable {'line' if skipped == 1 else 'lines'} skipped" if skipped else ""
    terminal.line(f"{place}: {spans} spans{note}")
    if show:
        webbrowser.open(place.resolve().as_uri())
    return 0


def _is_page(path: str) -> bool:
    """Whether a file was written here before, so that it can be written again."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(OPENING)) == OPENING
    except OSError:
        return False
