"""The command `allm chat` and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

import allm
from allm.cli.exit_codes import exit_code_of
from allm.cli.options import base_url_option, body_option, log_options, model_option, system_option
from allm.cli.terminal import Terminal

__all__ = ["chat"]

Policy = Literal["ask", "auto"]


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
@click.option(
    "--approve",
    type=click.Choice(["ask", "auto"]),
    help="Ask before a tool runs, which is the default at a terminal, or let all of them run (auto).",
)
@click.option("--reasoning", metavar="EFFORT", help="Reasoning effort, in the provider's words: low, medium, high.")
@click.option("--show-reasoning", is_flag=True, help="Show the reasoning, on standard error.")
@click.option("--plain", is_flag=True, help="Show answers as they arrive, not rendered as Markdown.")
@click.option("--history/--no-history", default=True, help="Keep the lines that you enter, for the next chat.")
@log_options
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
    approve: Policy | None,
    reasoning: str | None,
    show_reasoning: bool,
    plain: bool,
    history: bool,
    last: bool,
    conversation: str | None,
    log: bool | None,
    options: tuple[str, ...],
    base_url: str | None,
) -> None:
    """Talk to a model, and let it use your tools.

    Ctrl-C stops a response, Ctrl-D ends the chat, /help lists the commands. Lines can also be piped in; then each is a
    turn, and tools run without a question. API keys come from the environment, such as OPENAI_API_KEY.
    """
    from allm.cli.chat import Chat
    from allm.cli.folders import state_folder
    from allm.cli.inputs import engine_of, options_of
    from allm.cli.log import begin, name_of
    from allm.cli.settings import settings
    from allm.cli.stores import open_stored_session
    from allm.cli.tools_file import tools_of

    terminal: Terminal = context.obj

    def talk() -> int:
        typed = terminal.stdin.isatty()
        if approve == "ask" and not typed:
            raise click.UsageError("--approve ask needs a terminal to ask at; here the input is a pipe or a file.")
        continued = name_of(conversation, last=last)
        if session is not None and (continued is not None or log):
            raise click.UsageError("--session names a conversation outside the log, --continue and --cid one in it.")
        kept = begin(context, terminal, name=continued, log=False if session else log, model=model, base_url=base_url)
        engine = engine_of(kept.model, kept.base_url).with_tools(*tools_of(tools))
        call_options: allm.CallOptions = {"options": options_of(options)}
        if max_turns is not None:
            call_options["max_turns"] = max_turns
        if reasoning is not None:
            call_options["reasoning_effort"] = reasoning
        if show_reasoning:
            call_options["reasoning_summary"] = "auto"  # some providers do not show their reasoning unless asked

        given_url = kept.base_url

        def new_engine(name: str) -> allm.Engine:
            first, second = (
                getattr(each.adapter, "provider", None) for each in (engine, engine_of(name, None, "/model"))
            )
            new = engine_of(
                name, given_url if first == second else None
            )  # the URL is for the provider it was given for
            kept.choose(name, given_url if first == second else None, given=True)
            return new

        known = settings()
        talking = Chat(
            engine=engine,
            engine_of=new_engine,
            options=call_options,
            terminal=terminal,
            stored=open_stored_session(session, name, terminal),
            system=system,
            instructions=known.system,
            approve=approve or ("ask" if typed else "auto"),
            history=state_folder() / "chat_history" if history and known.history else None,
            log=None if session else kept,
            plain=plain or not known.markdown,
            reasoning=show_reasoning,
        )
        return talking.run()

    context.exit(exit_code_of(terminal, talk))
