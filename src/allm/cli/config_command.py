"""The command `allm config`: the settings that count where an option is left out."""

from __future__ import annotations

import attrs
import click

from allm.cli.exit_codes import exit_code_of
from allm.cli.terminal import Terminal

__all__ = ["config"]


@click.group(invoke_without_command=True)
@click.pass_context
def config(context: click.Context) -> None:
    """Settings, such as the model of commands without --model. Without a command: all of them."""
    if context.invoked_subcommand is None:
        context.invoke(show)


@config.command()
@click.pass_context
def show(context: click.Context) -> None:
    """Show the settings."""
    from allm.cli.settings import NAMES, Settings, settings

    terminal: Terminal = context.obj

    def list_() -> int:
        found = attrs.asdict(settings())
        usual = attrs.asdict(Settings())
        for name in NAMES:
            value = {True: "on", False: "off", None: "-"}.get(found[name], found[name])
            terminal.stdout.show(f"{name:<10} {value}{'' if found[name] != usual[name] else '  (default)'}\n")
        for alias, model in found["aliases"].items():
            terminal.stdout.show(f"alias      {alias} = {model}\n")
        return 0

    context.exit(exit_code_of(terminal, list_))


@config.command()
@click.pass_context
def path(context: click.Context) -> None:
    """Print the name of the file."""
    from allm.cli.settings import settings_file

    context.obj.stdout.write(f"{settings_file()}\n")


@config.command(name="set")
@click.argument("name")
@click.argument("value")
@click.pass_context
def set_(context: click.Context, name: str, value: str) -> None:
    """Change a setting: model, system, log, history, markdown or dotenv. Switches are on or off."""
    from allm.cli.settings import change, parsed

    def store() -> int:
        change(name, parsed(name, value))
        return 0

    context.exit(exit_code_of(context.obj, store))


@config.command()
@click.argument("name")
@click.pass_context
def unset(context: click.Context, name: str) -> None:
    """Remove a setting, so that its default counts again."""
    from allm.cli.settings import change

    def remove() -> int:
        change(name, None)
        return 0

    context.exit(exit_code_of(context.obj, remove))
