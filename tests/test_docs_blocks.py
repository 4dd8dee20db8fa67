"""The blocks of the documentation that are no Python name what there is: commands, options, files, extras."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from allm.cli.commands import command as allm_command

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# The kinds of blocks that something checks: Python and text in test_docs.py, `py` in tests/migrate, Sphinx its own.
KNOWN = {"python", "text", "py", "sh", "toml", "dockerfile", "html", "{toctree}", "{eval-rst}"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def blocks(kind: str) -> list[tuple[str, str]]:
    """The blocks of a kind, with the names of their pages."""
    return [
        (page.name, found[2]) for page in PAGES for found in BLOCK.finditer(page.read_text("utf-8")) if found[1] == kind
    ]


def lines(kind: str = "sh") -> list[list[str]]:
    """The commands in blocks of a shell, as words; those in a pipe are several."""
    written = [line for _, block in blocks(kind) for line in block.splitlines() if line.strip()]
    words = [shlex.split(line, comments=True) for line in written]
    commands = [part for line in words for part in " ".join(map(shlex.quote, line)).split(" '|' ")]
    return [shlex.split(command) for command in commands if command]


ALLM = [line for line in lines() if line[0] == "allm"]


def test_commands_are_found():
    """With an empty list, the tests below would pass."""
    assert len(ALLM) > 40


@pytest.mark.parametrize("line", ALLM, ids=" ".join)
def test_each_command_has_its_options(line):
    """Every subcommand and option of `allm` on a page exists, and takes as many values as it is given."""
    command, arguments = allm_command, line[1:]
    context = click.Context(command, info_name="allm", resilient_parsing=True)
    while isinstance(command, click.Group) and arguments and arguments[0][0] != "-":
        if arguments[0] not in command.commands:
            arguments = ["ask", *arguments]  # as `allm bulk` does
        name, command, arguments = command.resolve_command(context, arguments)
        context = click.Context(command, info_name=name, parent=context, resilient_parsing=True)
    command.make_parser(context).parse_args(list(arguments))


def test_kinds_of_blocks_are_known():
    """A new kind needs a test; a program of Python that does not run is only a program of another package."""
    kinds = {(page.parent.name, found[1]) for page in PAGES for found in BLOCK.finditer(page.read_text("utf-8"))}
    assert {kind for _, kind in kinds} == KNOWN
    assert {folder for folder, kind in kinds if kind == "py"} == {"migrate"}


def test_files_that_are_run_exist():
    """Scripts, examples and benchmarks that a page runs are in the repository."""
    named = {
        word
        for line in lines()
        for word in line
        if re.fullmatch(r"(examples|benchmarks|scripts|tests)/\S+|run\.py", word)
    }
    assert len(named) > 4
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_extras_that_are_installed_exist():
    """In commands, in the container's file and in the text."""
    text = "".join(page.read_text("utf-8") for page in PAGES)
    named = {
        extra for found in re.findall(r"(?:allm-trio|'\.|/src)\[([a-z0-9,]+)\]", text) for extra in found.split(",")
    }
    assert len(named) > 5
    assert named <= set(PROJECT["optional-dependencies"])


def test_toml_is_read():
    """What a page shows of a `pyproject.toml` can be parsed, and says something of a project."""
    for _, block in blocks("toml"):
        assert tomllib.loads(block)["project"]
