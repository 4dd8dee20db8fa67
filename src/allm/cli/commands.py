"""The commands and their options; each is implemented in a module of its own.

A command imports what it needs when it runs, so that `allm --help` loads neither the library nor Trio.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

import allm
from allm.cli.exit_codes import exit_code_of
from allm.cli.options import base_url_option, body_option, model_option, system_option
from allm.cli.service_commands import embed, image
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
@click.option("--fast", is_flag=True, help="Without the delays of a real model.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["openai", "responses", "anthropic", "gemini", "all"]),
    default="openai",
    show_default=True,
    help="The wire format that the server speaks.",
)
@click.pass_context
def demo(context: click.Context, *, fast: bool, form: str) -> None:
    """Stream scripted responses from a local server. No key, no network."""
    from allm.cli.demo import Demo
    from allm.cli.demo_script import FORMATS

    terminal: Terminal = context.obj
    formats = tuple(FORMATS) if form == "all" else (form,)
    context.exit(exit_code_of(terminal, Demo(terminal, fast=fast, formats=formats).run))


@command.command()
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
    model: str,
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


@command.command()
@click.argument("prompt", required=False)
@model_option
@system_option
@click.option("--json", "as_json", is_flag=True, help="Print the whole response as one JSON document, at the end.")
@click.option(
    "--schema",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Ask for JSON that fits the JSON Schema in this file.",
)
@click.option("--image", "images", multiple=True, metavar="FILE|URL", help="Show the model an image; may be repeated.")
@click.option("--temperature", type=float, metavar="NUMBER", help="Sampling temperature.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="COUNT", help="Longest response, in tokens.")
@click.option("--reasoning", metavar="EFFORT", help="Reasoning effort, in the provider's words: low, medium, high.")
@click.option("--show-reasoning", is_flag=True, help="Print the reasoning on standard error.")
@body_option
@base_url_option
@click.pass_context
def generate(
    context: click.Context,
    *,
    prompt: str | None,
    model: str,
    system: str | None,
    as_json: bool,
    schema: Path | None,
    images: tuple[str, ...],
    temperature: float | None,
    max_tokens: int | None,
    reasoning: str | None,
    show_reasoning: bool,
    options: tuple[str, ...],
    base_url: str | None,
) -> None:
    """Call a model once, and print its response as it arrives.

    PROMPT is read from standard input when it is "-" or left out. API keys come from the environment, such as
    OPENAI_API_KEY.
    """
    from allm.cli.generate import Generation
    from allm.cli.inputs import engine_of, images_of, options_of, prompt_of, schema_of

    terminal: Terminal = context.obj

    def ask() -> int:
        instructions = [] if system is None else [allm.system(system)]
        engine = engine_of(model, base_url)
        pictures, body = images_of(images), options_of(options)
        response_format = None if schema is None else schema_of(schema)
        question = allm.user(prompt_of(prompt, terminal.stdin), *pictures)
        request = allm.request(
            [*instructions, question],
            temperature=temperature,
            max_tokens=max_tokens,
            response_format=response_format,
            options=body,
        )
        call_options: allm.CallOptions = {"reasoning_effort": reasoning}
        if show_reasoning:
            call_options["reasoning_summary"] = "auto"  # some providers do not show their reasoning unless asked
        generation = Generation(
            engine=engine,
            request=request,
            options=call_options,
            terminal=terminal,
            as_json=as_json,
            show_reasoning=show_reasoning,
        )
        return generation.run()

    context.exit(exit_code_of(terminal, ask))


command.add_command(embed)
command.add_command(image)
