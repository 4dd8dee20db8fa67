"""The commands `allm sessions` and `allm logs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from allm.cli.exit_codes import exit_code_of
from allm.cli.options import AddsOption
from allm.cli.terminal import Terminal

if TYPE_CHECKING:
    from allm.cli.sessions import Part

__all__ = ["logs", "sessions"]

_place: AddsOption = click.option(
    "--session", "place", metavar="FILE|URL", help="Where `allm chat --session` keeps conversations; else the log."
)


@click.group(invoke_without_command=True)
@click.pass_context
def sessions(context: click.Context) -> None:
    """Conversations that were kept. Without a command: the list.

    A conversation is named by its id, the beginning of its id, or `last`.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_)


@sessions.command(name="list")
@click.argument("words", nargs=-1)
@click.option("-q", "--query", "queries", multiple=True, metavar="WORD", help="Only with this word; may be repeated.")
@click.option("-n", "--count", type=click.IntRange(min=1), default=20, show_default=True, help="Most conversations.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document in each line.")
@_place
@click.pass_context
def list_(
    context: click.Context,
    *,
    words: tuple[str, ...] = (),
    queries: tuple[str, ...] = (),
    count: int = 20,
    as_json: bool = False,
    place: str | None = None,
) -> None:
    """List conversations, the newest first. WORDS are words that their texts have to have."""
    from allm.cli.sessions import Sessions

    terminal: Terminal = context.obj
    kept = Sessions(terminal, place)
    context.exit(exit_code_of(terminal, lambda: kept.list(limit=count, words=(*words, *queries), as_json=as_json)))


@sessions.command()
@click.argument("name", metavar="[ID]", default="last")
@click.option("-r", "--response", is_flag=True, help="Only the last response.")
@click.option("-x", "--extract", is_flag=True, help="Only the first code block of the last response.")
@_place
@click.pass_context
def show(context: click.Context, *, name: str, response: bool, extract: bool, place: str | None) -> None:
    """Print a conversation; without ID the last one."""
    from allm.cli.sessions import Sessions

    part: Part = "code" if extract else "response" if response else "all"
    context.exit(exit_code_of(context.obj, lambda: Sessions(context.obj, place).show(name, part)))


@sessions.command()
@click.argument("name", metavar="[ID]", default="last")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="File to write.")
@click.option("--format", "form", type=click.Choice(["json", "markdown"]), help="By default, what FILE's name says.")
@_place
@click.pass_context
def export(context: click.Context, *, name: str, output: Path | None, form: str | None, place: str | None) -> None:
    """Write a conversation as JSON, which `allm chat --session FILE.json` continues, or as Markdown."""
    from allm.cli.sessions import Sessions

    terminal: Terminal = context.obj
    target = None if output is None or str(output) == "-" else output
    chosen = form or ("markdown" if target is not None and target.suffix.lower() in {".md", ".markdown"} else "json")
    context.exit(exit_code_of(terminal, lambda: Sessions(terminal, place).export(name, form=chosen, output=target)))


@sessions.command()
@click.argument("names", metavar="ID...", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@_place
@click.pass_context
def delete(context: click.Context, *, names: tuple[str, ...], yes: bool, place: str | None) -> None:
    """Delete conversations."""
    from allm.cli.sessions import Sessions

    context.exit(exit_code_of(context.obj, lambda: Sessions(context.obj, place).delete(names, sure=yes)))


@click.group(invoke_without_command=True)
@click.pass_context
def logs(context: click.Context) -> None:
    """Whether conversations are kept. Without a command: say so."""
    if context.invoked_subcommand is None:
        context.invoke(status)


@logs.command()
@click.pass_context
def status(context: click.Context) -> None:
    """Say whether conversations are kept, and where."""
    from allm.cli.log import log_file
    from allm.cli.settings import settings

    def say() -> int:
        path = log_file()
        size = f"{path.stat().st_size:,} bytes" if path.exists() else "not there yet"
        context.obj.stdout.write(f"{'on' if settings().log else 'off'}: {path} ({size})\n")
        return 0

    context.exit(exit_code_of(context.obj, say))


@logs.command()
@click.pass_context
def path(context: click.Context) -> None:
    """Print the name of the file."""
    from allm.cli.log import log_file

    context.obj.stdout.write(f"{log_file()}\n")


def _switch(name: str, text: str) -> None:
    @logs.command(name=name, help=text)
    @click.pass_context
    def switch(context: click.Context) -> None:
        from allm.cli.settings import change

        def store() -> int:
            change("log", name == "on")
            return 0

        context.exit(exit_code_of(context.obj, store))


_switch("on", "Keep conversations.")
_switch("off", "Keep no conversations any more. Those that are there stay: allm sessions delete removes them.")
