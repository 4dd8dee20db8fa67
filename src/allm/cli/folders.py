"""Folders of the command: settings, state, and files that can be fetched again.

`ALLM_HOME` moves all of them into one folder. Otherwise they are where the XDG base directory specification says
(https://specifications.freedesktop.org/basedir-spec/latest/), on Windows below `%LOCALAPPDATA%`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["config_folder", "made", "state_folder"]


def config_folder() -> Path:
    """Where the settings and the keys are."""
    return _folder("XDG_CONFIG_HOME", ".config")


def state_folder() -> Path:
    """Where the log and the history of lines are."""
    return _folder("XDG_STATE_HOME", ".local/state")


def made(folder: Path) -> Path:
    """The folder; if it does not exist, it is made, and only its owner can look into it.

    Raises:
        OSError: It cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _folder(variable: str, fallback: str) -> Path:
    if home := os.environ.get("ALLM_HOME"):
        return Path(home)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "allm"
    base = os.environ.get(variable, "")
    # A relative path is to be ignored, says the specification.
    return (Path(base) if os.path.isabs(base) else Path.home() / fallback) / "allm"  # noqa: PTH117  (a text)
