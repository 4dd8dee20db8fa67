"""The command `allm generate` and its options."""

from __future__ import annotations

from pathlib import Path

import click

import allm
from allm.cli.exit_codes import exit_code_of
from allm.cli.options import base_url_option, body_option, model_option, system_option
from allm.cli.terminal import Terminal

__all__ = ["generate"]


@click.command()
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
    model: str | None,
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
