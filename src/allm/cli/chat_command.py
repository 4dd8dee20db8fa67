"""The command `allm chat` and its options."""

from __future__ import annotations

from pathlib import Path

import click

import allm
from allm.cli.exit_codes import exit_code_of
from allm.cli.options import base_url_option, body_option, model_option, system_option
from allm.cli.terminal import Terminal

__all__ = ["chat"]


@click.command()
@model_option
@system_option
@click.option(
    "--tools",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.PY",
    help="Offer the model the tools in this Python file; may be repeated.",
)
@click.option(
    "--session",
    metavar="FILE|URL",
    help="Keep the conversation in this file (JSON if it ends in .json, else SQLite) or database, and go on with it.",
)
@click.option("--id", "name", metavar="NAME", help="Which conversation of the database (chat).")
@click.option("--max-turns", type=click.IntRange(min=1), metavar="COUNT", help="Most model calls for one line (8).")
@body_option
@base_url_option
@click.pass_context
def chat(
    context: click.Context,
    *,
    model: str | None,
    system: str | None,
    tools: tuple[Path, ...],
    session: str | None,
    name: str | None,
    max_turns: int | None,
    options: tuple[str, ...],
    base_url: str | None,
) -> None:
    """Talk to a model, line by line, and let it use your tools.

    Ctrl-C stops a response, Ctrl-D ends the chat, /help lists the other commands. Lines can also be piped in. API keys
    come from the environment, such as OPENAI_API_KEY.
    """
    from allm.cli.chat import Chat
    from allm.cli.inputs import engine_of, options_of
    from allm.cli.stores import open_stored_session
    from allm.cli.tools_file import tools_of

    terminal: Terminal = context.obj

    def talk() -> int:
        engine = engine_of(model, base_url).with_tools(*tools_of(tools))
        call_options: allm.CallOptions = {"options": options_of(options)}
        if max_turns is not None:
            call_options["max_turns"] = max_turns
        stored = open_stored_session(session, name, terminal)
        return Chat(engine=engine, options=call_options, terminal=terminal, stored=stored, system=system).run()

    context.exit(exit_code_of(terminal, talk))
