"""What a command asks: what is piped in, the files that were named, and the argument, in one message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

import allm
from allm.cli.files import Files
from allm.cli.standard_input import StandardInput

__all__ = ["instructions_of", "prompt_of", "question_of"]


def question_of(
    prompt: str | None, stdin: StandardInput, reader: Files, files: Iterable[str], attached: Sequence[allm.Media]
) -> allm.Message:
    """The message of the user: files, then what was piped in, then the prompt; attachments after the text.

    Raises:
        click.UsageError: There is none of them, or one cannot be read or sent.
        click.ClickException: A URL cannot be fetched.
    """
    for place in files:
        reader.add(place)
    sent = [*reader.attached, *attached]
    text = prompt_of(prompt, stdin, reader.texts, is_needed=not sent)
    parts = [allm.TextPart(text)] if text else []
    return allm.Message("user", [*parts, *allm.user(*sent).parts] if sent else text)


def instructions_of(system: str | None, files: Iterable[str], reader: Files) -> str | None:
    """The instructions of `--system`, then those in the files; None without any.

    Raises:
        click.UsageError: One is not text, or cannot be read.
        click.ClickException: A URL cannot be fetched.
    """
    _check_text("--system", system)
    texts = [text for text in (system, *[reader.text(place, "--sf") for place in files]) if text is not None]
    return "\n\n".join(text.strip("\n") for text in texts) if texts else None


def prompt_of(argument: str | None, stdin: StandardInput, texts: Sequence[str] = (), *, is_needed: bool = True) -> str:
    """The texts, what was piped in, and the argument, with a blank line between them.

    Args:
        argument: `-` is standard input.
        texts: Of files.
        is_needed: Whether there has to be any.

    Raises:
        click.UsageError: There is no prompt, or standard input is not text.
    """
    if argument == "-":
        argument = stdin.text("the prompt -")
    _check_text("PROMPT", argument)
    has_other = argument is not None or bool(texts) or not is_needed
    piped = stdin.piped() if has_other else stdin.text_or_none()
    if piped is None:
        raise click.UsageError("Missing argument 'PROMPT': give a text, pipe one in, or name a file with -f.")
    pieces = [text for text in (*texts, piped, argument or "") if text.strip()]
    if not pieces and is_needed:
        raise click.UsageError("The prompt is empty.")
    return "\n\n".join([*[text.rstrip("\n") for text in pieces[:-1]], *pieces[-1:]])


def _check_text(name: str, argument: str | None) -> None:
    """Refuse an argument that cannot be sent: bytes that are no text in the terminal's encoding are lone surrogates.

    Raises:
        click.UsageError: It is not text.
    """
    try:
        (argument or "").encode()
    except UnicodeEncodeError:
        raise click.UsageError(f"{name} is not valid text in the terminal's encoding.") from None
