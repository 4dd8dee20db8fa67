"""Files that go to the model with the next message of a chat."""

from __future__ import annotations

from pathlib import Path
from typing import final

import attrs
import click

import allm
from allm.cli.attachments import attachments_of
from allm.cli.files import Files
from allm.cli.standard_input import StandardInput
from allm.cli.terminal import Terminal

__all__ = ["Attached"]


@final
@attrs.define(eq=False)
class Attached:
    """What `/file` has read for the next message.

    Attributes:
        names: The places, in the order given.
    """

    _terminal: Terminal
    names: list[str] = attrs.field(factory=list[str], init=False)
    _files: Files = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.clear()

    def add(self, place: str) -> None:
        """Read a file, a folder or a URL. It may take a while, and is called in a thread.

        Raises:
            click.ClickException: It cannot be read or sent.
        """
        if place == "-":
            raise click.BadParameter("standard input is where you type", param_hint="'/file'")
        if place.startswith("data:"):
            self._files.attached += attachments_of([place], "/file")
        else:
            self._files.add(place if "://" in place else str(Path(place).expanduser()), "/file")
        self.names.append(place)

    def join(self, other: Attached) -> None:
        """Add what another one has read."""
        self.names += other.names
        self._files.texts += other._files.texts
        self._files.attached += other._files.attached
        self._files.size += other._files.size

    def message(self, text: str) -> str | allm.Message:
        """The message of the user: the files, then `text`."""
        if not self.names:
            return text
        return allm.user("\n\n".join([*self._files.texts, text]), *self._files.attached)

    def clear(self) -> None:
        """Forget them: they were sent, or the user has changed their mind."""
        self.names.clear()
        self._files = Files(self._terminal, StandardInput(self._terminal))
