"""The settings that commands use where an option is left out: `config.toml` in the folder of settings."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import click

from allm.cli.folders import config_folder, made
from allm.data.atomic_write import write_whole

__all__ = ["NAMES", "Settings", "change", "parsed", "settings", "settings_file"]

Setting = str | bool


@attrs.frozen(kw_only=True)
class Settings:
    """The settings, each with its default.

    Attributes:
        model: The model of commands without `--model`, as `provider:id` or an alias.
        system: Instructions for the model, where `--system` is left out.
        log: Whether conversations are kept.
        history: Whether the lines that are typed in a chat are kept.
        markdown: Whether answers are rendered at a terminal.
        dotenv: Whether a file `.env` in the current folder is read for keys.
        aliases: Models by the short names that stand for them.
    """

    model: str | None = None
    system: str | None = None
    log: bool = True
    history: bool = True
    markdown: bool = True
    dotenv: bool = True
    aliases: Mapping[str, str] = attrs.field(factory=dict)


_TEXTS = frozenset({"model", "system"})
_SWITCHES = frozenset({"log", "history", "markdown", "dotenv"})
_WORDS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}
NAMES: tuple[str, ...] = tuple(sorted(_TEXTS | _SWITCHES))
"""The settings that `allm config set` can change."""


def settings_file() -> Path:
    """The file of the settings, which may not exist."""
    return config_folder() / "config.toml"


def settings() -> Settings:
    """Read the settings.

    Raises:
        click.ClickException: The file is not TOML, or has a setting that there is not.
    """
    path = settings_file()
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path} is not TOML: {error}. Mend it, or remove it.") from error
    except OSError as error:
        raise click.ClickException(f"cannot read {path}: {error.strerror}") from error
    for name, value in found.items():
        problem = _problem(name, value)
        if problem:
            raise click.ClickException(f"{path}: {problem}. Mend it with an editor, or: allm config unset {name}")
    return Settings(**found)


def _problem(name: str, value: Any) -> str | None:
    if name in _TEXTS:
        return None if isinstance(value, str) and value else f"{name} is {value!r}; expected a text"
    if name in _SWITCHES:
        return None if isinstance(value, bool) else f"{name} is {value!r}; expected true or false"
    if name == "aliases":
        texts = isinstance(value, dict) and all(isinstance(model, str) for model in value.values())
        return None if texts else 'aliases is not a table such as [aliases] fast = "openai:gpt-5.4-mini"'
    return f"there is no setting {name!r}{_meant(name)}"


def _meant(name: str) -> str:
    near = difflib.get_close_matches(name, NAMES, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(NAMES)}"


def parsed(name: str, text: str) -> Setting:
    """The value of a setting from its text.

    Raises:
        click.ClickException: There is no such setting, or no such value.
    """
    if name not in NAMES:
        raise click.ClickException(f"there is no setting {name!r}{_meant(name)}")
    if name in _TEXTS:
        if not text.strip():
            raise click.ClickException(f"{name} is empty; to remove it: allm config unset {name}")
        return text
    if text.lower() not in _WORDS:
        raise click.ClickException(f"{name} is {text!r}; expected on or off")
    return _WORDS[text.lower()]


def change(name: str, value: Setting | None, *, table: str | None = None) -> None:
    """Set `name` in the file, or remove it if the value is None; comments and order stay.

    Args:
        name: The name of the setting, or of the alias.
        value: The new value.
        table: The table that the name is in, if any.

    Raises:
        click.ClickException: The file is not TOML, or cannot be written.
    """
    import tomlkit

    path = settings_file()
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        document = tomlkit.parse(text)
        place: Any = document
        if table is not None:
            place = document.setdefault(table, tomlkit.table())
        if value is None:
            place.pop(name, None)
        else:
            place[name] = value
        made(path.parent)
        write_whole(path, tomlkit.dumps(document).encode())
    except ValueError as error:  # tomlkit's errors are
        raise click.ClickException(f"{path} is not TOML: {error}. Mend it, or remove it.") from error
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error
