"""Files that go to the model with the next message of a chat."""

from __future__ import annotations

from pathlib import Path
from typing import final

import attrs
import click

import allm
from allm.cli.inputs import images_of

__all__ = ["Attached"]


@final
@attrs.define(eq=False)
class Attached:
    """What `/file` has read for the next message.

    Attributes:
        names: The places, in the order given.
    """

    names: list[str] = attrs.field(factory=list[str], init=False)
    _texts: list[str] = attrs.field(factory=list[str], init=False)
    _images: list[allm.Image] = attrs.field(factory=list[allm.Image], init=False)

    def add(self, place: str) -> None:
        """Read a file or a URL.

        Raises:
            click.ClickException: It cannot be read or sent.
        """
        if place.startswith(("http://", "https://", "data:")):
            self._images += images_of([place], "/file")
        else:
            self._add_file(Path(place).expanduser())
        self.names.append(place)

    def _add_file(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise click.ClickException(f"cannot read {path}: {error.strerror}") from error
        try:
            self._texts.append(f"{path}\n```\n{data.decode()}\n```")
        except UnicodeDecodeError:
            self._images += images_of([str(path)], "/file")

    def message(self, text: str) -> str | allm.Message:
        """The message of the user: the files, then `text`."""
        if not self.names:
            return text
        return allm.user("\n\n".join([*self._texts, text]), *self._images)

    def clear(self) -> None:
        """Forget them: they were sent, or the user has changed their mind."""
        self.names.clear()
        self._texts.clear()
        self._images.clear()
