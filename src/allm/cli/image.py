"""`allm image`: generate or edit images and save them."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import final

import attrs
import click
import trio

import allm
from allm.cli.exit_codes import SUCCESS
from allm.cli.terminal import Terminal

__all__ = ["Drawing"]

_SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}


@final
@attrs.frozen(kw_only=True)
class Drawing:
    """One image call and its output files.

    Attributes:
        output: The file of the first image; further ones have a number before the suffix.
        force: Overwrite existing files.
    """

    engine: allm.Engine
    request: allm.ImageRequest
    output: Path
    force: bool
    terminal: Terminal

    def run(self) -> int:
        """Make the images, save them, and print their paths.

        Raises:
            click.UsageError: A file already exists; nothing was sent.
            AllmError: The call is invalid, or the provider failed.
            OSError: A file cannot be written.
        """
        places = [self._place(number) for number in range(self.request.n or 1)]
        in_the_way = [str(place) for place in places if place.exists()]
        if in_the_way and not self.force:
            raise click.UsageError(f"already exists: {', '.join(in_the_way)}; --force overwrites.")
        for folder in {Path(os.path.realpath(place)).parent: None for place in places}:
            if not folder.is_dir():
                raise click.UsageError(f"{folder} is not a folder.")
            if not os.access(folder, os.W_OK):
                raise click.UsageError(f"{folder} is not writable.")
        response = trio.run(partial(allm.generate_image, self.engine, self.request))
        for number, drawn in enumerate(response.images):
            self._keep(drawn, self._place(number) if number < len(places) else self._free_place(number))
        if response.text:
            self.terminal.line(response.text)
        return SUCCESS

    def _place(self, number: int) -> Path:
        return self.output if number == 0 else self.output.with_stem(f"{self.output.stem}-{number + 1}")

    def _free_place(self, number: int) -> Path:
        """A free path for an image beyond those that were asked for, whose path was not checked before the call."""
        while not self.force and self._place(number).exists():
            number += 1
        return self._place(number)

    def _keep(self, drawn: allm.Image, place: Path) -> None:
        if drawn.url is not None:
            self.terminal.stdout.show(f"{drawn.url}\n")
            self.terminal.line(
                "Note: the provider returned a URL, which is not fetched; it may expire in an hour or two"
            )
            return
        self.terminal.stdout.show(f"{drawn.save(place)}\n")
        mime_type = drawn.resolved_mime_type()
        if _SUFFIXES.get(mime_type, place.suffix) != place.suffix.lower().replace(".jpeg", ".jpg"):
            self.terminal.line(f"Note: {place} contains {mime_type}, which does not match its name")
