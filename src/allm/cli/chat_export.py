"""Take a conversation, or an answer, out of a chat: to a file or to the clipboard."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path

import click

import allm
from allm.cli.terminal import Terminal
from allm.cli.transcript import transcript

__all__ = ["copy", "save"]

_CLIPBOARDS = (
    ("WAYLAND_DISPLAY", ["wl-copy"]),
    ("DISPLAY", ["xclip", "-selection", "clipboard"]),
    ("DISPLAY", ["xsel", "--clipboard", "--input"]),
    (None, ["pbcopy"]),
    (None, ["clip.exe"]),
)


def save(session: allm.Session, argument: str) -> str:
    """Save the conversation in the file that `argument` names, and say so. `--force` in front of it overwrites.

    Raises:
        click.ClickException: The file exists, or cannot be written.
    """
    force = argument.startswith("--force ")
    path = Path(argument.removeprefix("--force ").strip()).expanduser()
    text = allm.to_json(session) if path.suffix.lower() == ".json" else transcript(session)
    try:
        # Readable by its owner only, as a session's file is.
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
        with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123  (a descriptor)
            file.write(text if text.endswith("\n") else f"{text}\n")
    except FileExistsError as error:
        raise click.ClickException(f"{path} already exists; /save --force {path} overwrites it") from error
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error
    return f"saved {len(session.thread.messages)} messages in {path}"


def copy(text: str, terminal: Terminal) -> str:
    """Copy `text` with the desktop's program, or else by asking the terminal, which works over ssh too.

    Raises:
        click.ClickException: There is neither.
    """
    for variable, command in _CLIPBOARDS:
        if (variable is None or os.environ.get(variable)) and shutil.which(command[0]):
            done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)  # noqa: S603
            if done.returncode == 0:
                return f"copied {len(text):,} characters"
    if not terminal.stderr.styled:
        raise click.ClickException("there is no clipboard here: /save FILE saves the conversation")
    # OSC 52: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
    terminal.stderr.control(f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\x07")
    return f"sent {len(text):,} characters to the terminal's clipboard, if it allows that"
