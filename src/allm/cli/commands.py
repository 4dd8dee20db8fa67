"""The commands and their options; each is implemented in a module of its own.

A command imports what it needs when it runs, so that `allm --help` loads neither the library nor Trio.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

import allm
from allm.cli.bulk_command import bulk
from allm.cli.chat_command import chat
from allm.cli.config_command import config
from allm.cli.doctor_command import doctor
from allm.cli.exit_codes import exit_code_of
from allm.cli.generate_command import generate
from allm.cli.keys_command import keys
from allm.cli.models_command import models
from allm.cli.models_pull import pull
from allm.cli.service_commands import embed, image
from allm.cli.sessions_command import logs, sessions
from allm.cli.terminal import Terminal

__all__ = ["command", "run"]


def run(arguments: Sequence[str] | None) -> int:
    """Parse the arguments, run the command they name, and return its exit code."""
    terminal = Terminal.of_process()

    def invoke() -> int:
        try:
            code: int | None = command.main(arguments, prog_name="allm", standalone_mode=False, obj=terminal)
        except click.Abort:  # click raises this for Ctrl-C during parsing
            raise KeyboardInterrupt from None
        except click.ClickException as error:
            error.show()
            return error.exit_code
        return code or 0

    return exit_code_of(terminal, invoke)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(allm.__version__, prog_name="allm", message="%(prog)s %(version)s")
def command() -> None:
    """Run language models from a terminal."""


@command.command()
@click.argument("cassette", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_context
def replay(context: click.Context, cassette: Path) -> None:
    """Show the responses in a cassette of allm.testing.record."""
    from allm.cli.replay import Replay
    from allm.testing import Cassette
    from allm.testing.tape import load

    try:
        recorded = Cassette(load(cassette))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'CASSETTE'") from error
    context.exit(exit_code_of(context.obj, Replay(context.obj, recorded).run))


@command.command()
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", metavar="FILE", help="The page; '-' is standard output. Default: beside the recording.")
@click.option("--force", is_flag=True, help="Overwrite a file that is not such a page.")
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
@click.pass_context
def trace(context: click.Context, recording: Path, *, output: str | None, force: bool, show: bool) -> None:
    """Make a page of a recording of allm.telemetry.record: what ran when, tokens, costs, retries, errors."""
    from allm.cli.trace.command import make_page

    terminal: Terminal = context.obj
    context.exit(exit_code_of(terminal, lambda: make_page(terminal, recording, output, force=force, show=show)))


@command.command()
@click.option("--fast", is_flag=True, help="Scripted responses without the delays of a real model.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["openai", "responses", "anthropic", "gemini", "all"]),
    default="openai",
    show_default=True,
    help="The wire format that the server speaks.",
)
@click.option("--scripted", is_flag=True, help="Without the real model, which is fetched if it is not there: 93 MB.")
@click.pass_context
def demo(context: click.Context, *, fast: bool, form: str, scripted: bool) -> None:
    """Stream from a real model on this machine, and scripted responses from a local server. No key."""
    from allm.cli.demo import Demo
    from allm.cli.demo_script import FORMATS

    terminal: Terminal = context.obj
    formats = tuple(FORMATS) if form == "all" else (form,)
    context.exit(exit_code_of(terminal, Demo(terminal, fast=fast, formats=formats, scripted=scripted).run))


command.add_command(chat)
command.add_command(generate)
command.add_command(embed)
command.add_command(bulk)
command.add_command(image)
command.add_command(models)
models.add_command(pull)
command.add_command(keys)
command.add_command(config)
command.add_command(sessions)
command.add_command(logs)
command.add_command(doctor)
