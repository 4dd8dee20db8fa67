"""The command `allm generate` and its options."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

import allm
from allm.cli.exit_codes import exit_code_of
from allm.cli.options import base_url_option, body_option, log_options, model_option, system_option
from allm.cli.terminal import Terminal

__all__ = ["generate"]


@click.command()
@click.argument("prompt", required=False)
@model_option
@system_option
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    metavar="FILE|DIR|URL|-",
    help="Send a file, the text files of a folder, or a page with the prompt; may be repeated.",
)
@click.option(
    "--sf",
    "--system-file",
    "system_files",
    multiple=True,
    metavar="FILE|URL|-",
    help="Instructions from a file, after those of --system; may be repeated.",
)
@click.option(
    "-a",
    "--attachment",
    "attachments",
    multiple=True,
    metavar="FILE|URL|-",
    help="Send an image, a document, audio or a video as it is; may be repeated.",
)
@click.option("--image", "images", multiple=True, metavar="FILE|URL", help="Send an image; may be repeated.")
@click.option(
    "-o",
    "--output",
    metavar="FILE|-",
    help="Write the answer to this file, all at once, when it is whole; - is standard output.",
)
@click.option("--force", is_flag=True, help="Overwrite the file.")
@click.option("-x", "--extract", is_flag=True, help="Print the first code block of the answer alone.")
@click.option("--xl", "--extract-last", "extract_last", is_flag=True, help="Print the last code block alone.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole response as one JSON document, at the end.")
@click.option(
    "--schema",
    metavar="FILE|JSON|FIELDS",
    help="Ask for JSON that fits a JSON Schema, or fields such as 'name, age int'.",
)
@click.option("--schema-multi", metavar="FILE|JSON|FIELDS", help="The same for a list of such objects, in `items`.")
@click.option(
    "--tools",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.PY",
    help="Let the model call the tools in this Python file; may be repeated.",
)
@click.option(
    "--functions",
    multiple=True,
    metavar="CODE|FILE.PY",
    help="Let the model call every function in this Python code; may be repeated.",
)
@click.option("--max-turns", type=click.IntRange(min=1), metavar="COUNT", help="Most model calls with tools (8).")
@click.option("--budget", type=click.FloatRange(min=0), metavar="DOLLARS", help="Most that all model calls may cost.")
@click.option(
    "--approve",
    type=click.Choice(["ask", "auto"]),
    default="auto",
    help="Ask at the terminal before a tool runs, or let all of them run (auto, the default).",
)
@click.option("--temperature", type=float, metavar="NUMBER", help="Sampling temperature.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="COUNT", help="Longest response, in tokens.")
@click.option("--reasoning", metavar="EFFORT", help="Reasoning effort, in the provider's words: low, medium, high.")
@click.option("--show-reasoning", is_flag=True, help="Print the reasoning on standard error.")
@click.option("--plain", is_flag=True, help="Show the answer as it arrives, not rendered as Markdown.")
@click.option("--no-stream", is_flag=True, help="Print the answer when it is whole.")
@click.option("-u", "--usage", is_flag=True, help="Print tokens and cost on standard error.")
@click.option("--verbose", is_flag=True, help="Print retries, times and ids on standard error.")
@log_options
@body_option
@base_url_option
@click.pass_context
def generate(
    context: click.Context,
    *,
    prompt: str | None,
    model: str | None,
    system: str | None,
    files: tuple[str, ...],
    system_files: tuple[str, ...],
    attachments: tuple[str, ...],
    images: tuple[str, ...],
    output: str | None,
    force: bool,
    extract: bool,
    extract_last: bool,
    as_json: bool,
    schema: str | None,
    schema_multi: str | None,
    tools: tuple[Path, ...],
    functions: tuple[str, ...],
    max_turns: int | None,
    budget: float | None,
    approve: str,
    temperature: float | None,
    max_tokens: int | None,
    reasoning: str | None,
    show_reasoning: bool,
    plain: bool,
    no_stream: bool,
    usage: bool,
    verbose: bool,
    last: bool,
    conversation: str | None,
    log: bool | None,
    options: tuple[str, ...],
    base_url: str | None,
) -> None:
    """Call a model once, and print its response as it arrives.

    What is piped in goes before PROMPT; "-" is standard input alone. API keys come from the environment, such as
    OPENAI_API_KEY.
    """
    from allm.cli.answer import Form
    from allm.cli.answer_file import place_of
    from allm.cli.asked_turn import keyboard_of
    from allm.cli.attachments import attachments_of
    from allm.cli.conversation import with_system
    from allm.cli.files import Files
    from allm.cli.generate import Generation
    from allm.cli.inputs import engine_of, images_of, options_of
    from allm.cli.log import begin, name_of
    from allm.cli.question import instructions_of, question_of
    from allm.cli.schema_input import schema_of
    from allm.cli.settings import settings
    from allm.cli.standard_input import StandardInput
    from allm.cli.tools_file import tools_of

    terminal: Terminal = context.obj

    def ask() -> int:
        _check_together(
            {"--json": as_json, "--extract": extract, "--extract-last": extract_last},
            {"--schema": schema is not None, "--schema-multi": schema_multi is not None},
        )
        stdin = StandardInput(terminal)
        instructions = instructions_of(system, system_files, Files(terminal, stdin))
        talk = begin(context, terminal, name=name_of(conversation, last=last), log=log, model=model, base_url=base_url)
        before = with_system(talk.session, instructions).thread.messages
        engine = engine_of(talk.model, talk.base_url).with_tools(*tools_of(tools, functions))
        body = options_of(options)
        wanted = schema if schema_multi is None else schema_multi
        response_format = None if wanted is None else schema_of(wanted, many=schema_multi is not None)
        form = Form(
            as_json=as_json,
            extract="first" if extract else "last" if extract_last else None,
            output=place_of(output, force=force),
            alone=output == "-",
            markdown=response_format is None and not plain and settings().markdown,
            stream=not no_stream,
            reasoning=show_reasoning,
            usage=usage,
            verbose=verbose,
        )
        attached = [*attachments_of(attachments, "-a", stdin), *images_of(images, "--image", stdin)]
        question = question_of(prompt, stdin, Files(terminal, stdin), files, attached)
        call_options: allm.CallOptions = {
            "temperature": temperature,
            "max_tokens": max_tokens,
            "response_format": response_format,
            "reasoning_effort": reasoning,
            "options": body,
        }
        if max_turns is not None:
            call_options["max_turns"] = max_turns
        if show_reasoning:
            call_options["reasoning_summary"] = "auto"  # some providers do not show their reasoning unless asked
        with keyboard_of(terminal) if approve == "ask" and engine.tools else nullcontext() as keyboard:
            generation = Generation(
                engine=engine,
                messages=(*before, question),
                options=call_options,
                terminal=terminal,
                form=form,
                keyboard=keyboard,
                conversation=talk,
            )
            with nullcontext() if budget is None else allm.budget(usd=budget):
                return generation.run()

    context.exit(exit_code_of(terminal, ask))


def _check_together(*groups: dict[str, bool]) -> None:
    """Refuse options of which only one can be followed."""
    for group in groups:
        given = [name for name, is_given in group.items() if is_given]
        if len(given) > 1:
            raise click.UsageError(f"{' and '.join(given)} cannot be used together.")
