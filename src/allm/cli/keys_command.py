"""The command `allm keys`: which API keys there are, and a file for them. No command shows a key."""

from __future__ import annotations

import os

import click

from allm.cli.exit_codes import exit_code_of
from allm.cli.terminal import Terminal

__all__ = ["keys"]


@click.group(invoke_without_command=True)
@click.pass_context
def keys(context: click.Context) -> None:
    """API keys: which there are, and where. Without a command: the list."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@keys.command(name="list")
@click.pass_context
def list_(context: click.Context) -> None:
    """List the providers that have a key, and where it is. The keys are not shown."""
    from pathlib import Path

    from allm.cli.key_files import key_variables, keys_file, names_in, providers
    from allm.cli.settings import settings

    terminal: Terminal = context.obj

    def show() -> int:
        places = [
            (f"{name}", set(names_in(path))) for name, path in [(".env", Path(".env")), (str(keys_file()), keys_file())]
        ]
        if not settings().dotenv:
            del places[0]
        count = 0
        for provider in providers():
            for variable in key_variables(provider):
                found = ["environment"] if os.environ.get(variable) else []
                found += [place for place, names in places if variable in names]
                if found:
                    count += 1
                    terminal.stdout.write(f"{provider:<12} {variable:<24} {', then '.join(found)}\n")
                    break
        if not count:
            terminal.line("No keys. To store one: allm keys set openai")
        return 0

    context.exit(exit_code_of(terminal, show))


@keys.command()
@click.pass_context
def path(context: click.Context) -> None:
    """Print the name of the file."""
    from allm.cli.key_files import keys_file

    context.obj.stdout.write(f"{keys_file()}\n")


@keys.command(name="set")
@click.argument("name")
@click.pass_context
def set_(context: click.Context, name: str) -> None:
    """Store a key. NAME is a provider, such as openai, or an environment variable, such as OPENAI_API_KEY.

    The key is read from the terminal, without showing it, or from a pipe.
    """
    from allm.cli.key_files import keys_file, save, variable_of

    terminal: Terminal = context.obj

    def store() -> int:
        variable = variable_of(name)
        if terminal.stdin.isatty():
            key = click.prompt(f"Key for {variable}", hide_input=True, err=True, default="", show_default=False)
        else:
            key = terminal.stdin.read()
        save(variable, key.strip())
        terminal.line(f"Stored {variable} in {keys_file()}")
        if os.environ.get(variable):
            terminal.line(f"Note: the environment has {variable} too, and counts first")
        return 0

    context.exit(exit_code_of(terminal, store))


@keys.command()
@click.argument("name")
@click.pass_context
def remove(context: click.Context, name: str) -> None:
    """Remove a stored key."""
    from allm.cli.key_files import keys_file, remove, variable_of

    terminal: Terminal = context.obj

    def forget() -> int:
        variable = variable_of(name)
        if remove(variable):
            terminal.line(f"Removed {variable}")
            return 0
        terminal.line(f"Error: {keys_file()} has no {variable}")
        return 1

    context.exit(exit_code_of(terminal, forget))
