"""The file that an answer is written to, which is looked at before anything is sent."""

from __future__ import annotations

import os
from pathlib import Path

import click

__all__ = ["place_of"]


def place_of(output: str | None, *, force: bool, option: str = "'--output'") -> Path | None:
    """The path of the file; None is standard output.

    Raises:
        click.BadParameter: It exists already, or cannot be written.
    """
    if output is None or output == "-":
        return None
    path = Path(output)
    place = Path(os.path.realpath(path))
    if place.is_dir():
        raise click.BadParameter(f"{path} is a folder", param_hint=option)
    if place.is_file() and not force:
        raise click.BadParameter(f"{path} already exists; --force overwrites it", param_hint=option)
    if not place.parent.is_dir():
        raise click.BadParameter(f"the folder {place.parent} does not exist", param_hint=option)
    if not os.access(place if place.exists() and not place.is_file() else place.parent, os.W_OK):
        raise click.BadParameter(f"{place.parent} is not writable", param_hint=option)
    return path
