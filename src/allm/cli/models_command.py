"""The command `allm models`: the models that are known, the default, and short names for them."""

from __future__ import annotations

import click

from allm.cli.exit_codes import exit_code_of
from allm.cli.terminal import Terminal

__all__ = ["models"]


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """Models: which are known, the default, short names. Without a command: the list."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@models.command(name="list")
@click.argument("words", nargs=-1)
@click.option(
    "-q", "--query", "queries", multiple=True, metavar="WORD", help="Only models with this word; may be repeated."
)
@click.option("--provider", metavar="NAME", help="Only this provider's models.")
@click.option("--tools", "need_tools", is_flag=True, help="Only models that call tools.")
@click.option("--vision", "need_vision", is_flag=True, help="Only models that read images.")
@click.option("--keys", "need_key", is_flag=True, help="Only models of providers that have a key.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document for each line.")
@click.pass_context
def list_(
    context: click.Context,
    *,
    words: tuple[str, ...] = (),
    queries: tuple[str, ...] = (),
    provider: str | None = None,
    need_tools: bool = False,
    need_vision: bool = False,
    need_key: bool = False,
    as_json: bool = False,
) -> None:
    """List the models that are known, with their context and prices in US dollars for a million tokens.

    Any other model of a provider can be used too: the list is for costs and for what a model can do. WORDS are words
    that the name has to have.
    """
    from allm.cli.models_list import ModelList

    terminal: Terminal = context.obj
    shown = ModelList(
        terminal,
        words=(*words, *queries),
        provider=provider,
        need_tools=need_tools,
        need_vision=need_vision,
        need_key=need_key,
        as_json=as_json,
    )
    context.exit(exit_code_of(terminal, shown.run))


@models.command()
@click.argument("model", required=False)
@click.option("--unset", is_flag=True, help="Have no default any more.")
@click.pass_context
def default(context: click.Context, model: str | None, *, unset: bool) -> None:
    """Show the default model, or choose it: PROVIDER:ID or an alias."""
    from allm.cli.inputs import engine_of
    from allm.cli.settings import change, settings

    terminal: Terminal = context.obj

    def choose() -> int:
        if model is not None or unset:
            if model is not None:
                engine_of(model, None, "MODEL")  # a provider that there is not is an error
            change("model", model)
            return 0
        current = settings().model
        if current is None:
            terminal.line("No default. To choose one: allm models default PROVIDER:ID")
            return 1
        terminal.stdout.show(f"{current}\n")
        return 0

    context.exit(exit_code_of(terminal, choose))


@models.command()
@click.argument("name", required=False)
@click.argument("model", required=False)
@click.option("--remove", is_flag=True, help="Remove the alias NAME.")
@click.pass_context
def alias(context: click.Context, name: str | None, model: str | None, *, remove: bool) -> None:
    """Let NAME stand for MODEL in --model; without MODEL show what it stands for, without NAME all aliases."""
    from allm.cli.inputs import engine_of
    from allm.cli.settings import change, settings

    terminal: Terminal = context.obj

    def work() -> int:
        known = settings().aliases
        if name is None:
            for short, meant in known.items():
                terminal.stdout.show(f"{short} = {meant}\n")
            return 0
        if model is not None and not remove:
            if ":" in name:
                raise click.UsageError(f"{name!r} has a colon, as models have; expected a short name.")
            engine_of(model, None, "MODEL")
            change(name, known.get(model, model), table="aliases")
            return 0
        if name not in known:
            terminal.line(f"Error: there is no alias {name!r}; to make one: allm models alias {name} PROVIDER:ID")
            return 1
        if remove:
            change(name, None, table="aliases")
        else:
            terminal.stdout.show(f"{known[name]}\n")
        return 0

    context.exit(exit_code_of(terminal, work))
