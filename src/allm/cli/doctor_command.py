"""The command `allm doctor`."""

from __future__ import annotations

import click

from allm.cli.exit_codes import exit_code_of

__all__ = ["doctor"]


@click.command()
@click.option("--online", is_flag=True, help="Also ask each provider with a key for its models, which costs nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document in each line.")
@click.pass_context
def doctor(context: click.Context, *, online: bool, as_json: bool) -> None:
    """Look at the installation, the settings, the keys and the network, and say what to do."""
    from allm.cli.doctor import Doctor

    context.exit(exit_code_of(context.obj, Doctor(terminal=context.obj, online=online, as_json=as_json).run))
