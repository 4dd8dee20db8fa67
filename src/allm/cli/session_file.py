"""`--session file.json`: a conversation that outlives its process."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import final

import attrs
import click

import allm

__all__ = ["SessionFile"]


@final
@attrs.frozen
class SessionFile:
    """A file that holds a `Thread` as `allm.to_json` writes it."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> SessionFile:
        """The file at `path`, or at what a link there points to: the link stays.

        Raises:
            click.BadParameter: Its folder does not exist.
        """
        path = path.resolve()
        if not path.parent.is_dir():
            raise click.BadParameter(f"there is no folder {path.parent}", param_hint="'--session'")
        return cls(path)

    def load(self) -> allm.Thread | None:
        """The conversation, or None if there is no file yet.

        Raises:
            click.BadParameter: The file holds something else.
        """
        try:
            return allm.from_json(self.path.read_bytes(), allm.Thread)
        except FileNotFoundError:
            return None
        except (OSError, allm.ValidationError) as error:
            raise click.BadParameter(f"{self.path} holds no conversation: {error}", param_hint="'--session'") from error

    def save(self, thread: allm.Thread) -> None:
        """Replace the file at once: whoever reads it finds the old conversation or the new one, never half of one.

        Raises:
            OSError: It cannot be written; the old one is still there.
        """
        text = allm.to_json(thread)
        # Readable by its owner only, unless the file that it replaces says otherwise.
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  (a descriptor)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileNotFoundError):
                shutil.copymode(self.path, name)
            os.replace(name, self.path)  # noqa: PTH105  (`name` is a text)
        except BaseException:
            os.unlink(name)  # noqa: PTH108  (same)
            raise
