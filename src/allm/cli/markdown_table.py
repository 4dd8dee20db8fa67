"""A table of Markdown, laid out by rich once all of its rows are there."""

from __future__ import annotations

import io
import re
from typing import Literal

from allm.cli.markdown_flow import coded
from allm.cli.markdown_inline import runs

__all__ = ["is_delimiter", "table_text"]

_DELIMITER = re.compile(r"^\s*\|?(?:\s*:?-+:?\s*\|)*\s*:?-+:?\s*\|?\s*$")
_BAR = re.compile(r"(?<!\\)\|")
Side = Literal["left", "center", "right"]
_SIDES: dict[tuple[bool, bool], Side] = {(True, True): "center", (False, True): "right"}


def is_delimiter(source: str) -> bool:
    """Whether a line is the second one of a table: `|---|:-:|`."""
    return bool(_DELIMITER.match(source)) and "|" in source


def table_text(rows: list[str], width: int) -> str:
    """The lines of a table, with escape codes.

    Args:
        rows: The lines of its source.
        width: Columns of the terminal.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    head, sides, *body = [_cells(row) for row in rows]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    count = max(len(row) for row in [head, *body])
    for index in range(count):
        side = sides[index] if index < len(sides) else ""
        title = Text.from_ansi(coded(runs(_at(head, index), "1")))
        table.add_column(title, justify=_SIDES.get((side.startswith(":"), side.endswith(":")), "left"), overflow="fold")
    for row in body:
        table.add_row(*[Text.from_ansi(coded(runs(_at(row, index)))) for index in range(count)])
    written = io.StringIO()
    console = Console(file=written, width=width, force_terminal=True, color_system="standard", legacy_windows=False)
    console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in written.getvalue().splitlines())


def _at(cells: list[str], index: int) -> str:
    return cells[index] if index < len(cells) else ""


def _cells(row: str) -> list[str]:
    inner = row.strip().removeprefix("|")
    if inner.endswith("|") and not inner.endswith("\\|"):
        inner = inner[:-1]
    return [cell.strip().replace("\\|", "|") for cell in _BAR.split(inner)]
