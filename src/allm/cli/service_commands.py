"""The options of `allm image` and `allm embed`."""

from __future__ import annotations

from pathlib import Path

import click

import allm
from allm.cli.exit_codes import exit_code_of
from allm.cli.options import base_url_option, body_option
from allm.cli.terminal import Terminal

__all__ = ["embed", "image"]


@click.command()
@click.argument("prompt", required=False)
@click.option(
    "-m",
    "--model",
    required=True,
    envvar="ALLM_IMAGE_MODEL",
    show_envvar=True,
    metavar="PROVIDER:ID",
    help="The model, such as openai:gpt-image-2.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File of the image; further ones are saved beside it as FILE-2, FILE-3, ...",
)
@click.option(
    "-n", "--n", "--number", "number", type=click.IntRange(min=1), metavar="COUNT", help="How many images (1)."
)
@click.option("--size", metavar="WxH", help="Size in pixels, such as 1024x1024, or auto.")
@click.option("--quality", metavar="WORD", help="In the provider's words: low, medium, high.")
@click.option("--edit", "originals", multiple=True, metavar="FILE", help="Start from this image; may be repeated.")
@click.option("--mask", metavar="FILE", help="Where the first image may change: its transparent parts.")
@click.option("--force", is_flag=True, help="Overwrite files.")
@body_option
@base_url_option
@click.pass_context
def image(
    context: click.Context,
    *,
    prompt: str | None,
    model: str,
    output: Path,
    number: int | None,
    size: str | None,
    quality: str | None,
    originals: tuple[str, ...],
    mask: str | None,
    force: bool,
    options: tuple[str, ...],
    base_url: str | None,
) -> None:
    """Generate an image, or edit one, and save it.

    PROMPT comes after what is piped in; "-" is standard input alone. API keys come from the environment, such as
    OPENAI_API_KEY.
    """
    from allm.cli.image import Drawing
    from allm.cli.inputs import images_of, options_of, service_of
    from allm.cli.question import prompt_of
    from allm.cli.standard_input import StandardInput

    terminal: Terminal = context.obj

    def draw() -> int:
        masks = images_of([mask] if mask is not None else [], "--mask")
        request = allm.image_request(
            prompt_of(prompt, StandardInput(terminal)),
            operation="edit" if originals else "generate",
            images=images_of(originals, "--edit"),
            mask=masks[0] if masks else None,
            n=number,
            size=size,
            quality=quality,
            options=options_of(options),
        )
        engine = service_of("image", model, base_url)
        return Drawing(engine=engine, request=request, output=output, force=force, terminal=terminal).run()

    context.exit(exit_code_of(terminal, draw))


@click.command()
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option(
    "-m",
    "--model",
    required=True,
    envvar="ALLM_EMBED_MODEL",
    show_envvar=True,
    metavar="PROVIDER:ID",
    help="The model, such as openai:text-embedding-3-small.",
)
@click.option("--file", metavar="FILE|-", help="Embed the lines of this file, or of standard input.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.JSONL",
    help="The output file; standard output if left out.",
)
@click.option("--dimensions", type=click.IntRange(min=1), metavar="COUNT", help="Length of the vectors.")
@click.option("--task", metavar="WORD", help="Purpose of the vectors: query, document, or a provider's own.")
@click.option("--batch-size", type=click.IntRange(min=1), metavar="COUNT", help="Most texts in one request.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@body_option
@base_url_option
@click.pass_context
def embed(
    context: click.Context,
    *,
    texts: tuple[str, ...],
    model: str,
    file: str | None,
    output: Path | None,
    dimensions: int | None,
    task: str | None,
    batch_size: int | None,
    force: bool,
    options: tuple[str, ...],
    base_url: str | None,
) -> None:
    """Print the embedding of each text as a line of JSON, in order.

    Ctrl-C keeps the lines that are written. API keys come from the environment, such as OPENAI_API_KEY.
    """
    from allm.cli.embed import Embedding, texts_of
    from allm.cli.inputs import options_of, service_of

    terminal: Terminal = context.obj

    def run() -> int:
        if output is not None and output.exists() and not force:
            raise click.UsageError(f"{output} already exists; --force overwrites it.")
        given, total = texts_of(texts, file, terminal.stdin)
        embedding = Embedding(
            engine=service_of("embedding", model, base_url),
            texts=given,
            request=allm.EmbeddingRequest((), dimensions=dimensions, task_type=task, options=options_of(options)),
            batch_size=batch_size,
            total=total,
            output=output,
            terminal=terminal,
        )
        return embedding.run()

    context.exit(exit_code_of(terminal, run))
