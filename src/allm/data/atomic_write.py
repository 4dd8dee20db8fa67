"""Atomic file replacement: readers see the old content or the new, never a mix."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: str | os.PathLike[str], data: bytes) -> Path:
    """Replace the content of `path` with `data`, atomically, and return the path.

    A symbolic link stays, and its target is replaced; a device or a pipe is written to directly. An existing file
    keeps its permissions.

    Raises:
        OSError: The file cannot be written; its old content is unchanged.
    """
    target = Path(path)
    place = Path(os.path.realpath(target))
    if place.exists() and not place.is_file():
        place.write_bytes(data)
        return target
    unfinished = place.with_name(f".{secrets.token_hex(8)}.unfinished")
    try:
        with unfinished.open("xb") as file:
            file.write(data)
        with suppress(FileNotFoundError):
            shutil.copymode(place, unfinished)
        unfinished.replace(place)
    except OSError as error:
        error.filename, error.filename2 = os.fspath(target), None  # hide the temporary file's name
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    return target
