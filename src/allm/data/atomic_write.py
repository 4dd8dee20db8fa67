"""Writing a file at once: whoever reads it finds what was there or what is there now, never half of it."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write `data` to `path`, in place of what is there, and return the path.

    A link stays, and what it points to is written; a device or a pipe is written to as it is. An existing file keeps
    its permissions.

    Raises:
        OSError: The file cannot be written; what was there still is.
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
        error.filename, error.filename2 = os.fspath(target), None  # the other name says nothing to anyone
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    return target
