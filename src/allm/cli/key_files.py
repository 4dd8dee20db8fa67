"""API keys in files: `keys.env` in the folder of settings, and `.env` in the current one.

Both are read in the format of `.env` files, by the names of environment variables. The environment counts first, then
`.env`, then `keys.env`. Only keys are taken from them.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

import click

from allm.cli.folders import config_folder, made
from allm.cli.settings import settings
from allm.data.atomic_write import write_whole
from allm.http import keys
from allm.runtime.registry import SERVICES, adapter_for, known_providers, service_adapter

__all__ = ["key_variables", "keys_file", "names_in", "providers", "remove", "save", "use_keys", "variable_of"]

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


def keys_file() -> Path:
    """The file of the keys, which may not exist."""
    return config_folder() / "keys.env"


def use_keys() -> None:
    """Let the calls of this process find the keys in the files.

    Raises:
        click.ClickException: A file cannot be read, or others can read the file of the keys.
    """
    files = [keys_file()]
    if settings().dotenv:
        files.append(Path(".env"))  # the later one counts
    for path in files:
        if path.is_file():
            if path == files[0]:
                _refuse_if_open(path)
            try:
                keys.load_dotenv(path)
            except (OSError, UnicodeDecodeError) as error:
                raise click.ClickException(f"cannot read keys from {path}: {error}") from error


def _refuse_if_open(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if sys.platform != "win32" and mode & 0o077:
        raise click.ClickException(f"others can read the keys in {path} (mode {mode:o}): chmod 600 {path}")


def key_variables(provider: str) -> tuple[str, ...]:
    """The environment variables of a provider's key; none if it has no key."""
    adapter: Any
    if provider in known_providers():
        adapter = adapter_for(provider)
    else:
        adapter = service_adapter(next(name for name, offered in SERVICES.items() if provider in offered), provider)
    row = getattr(adapter, "row", None) or getattr(adapter, "vendor", None)
    return tuple(getattr(row, "key_env", ()))


def providers() -> list[str]:
    """The names of all providers."""
    return sorted(known_providers().union(*SERVICES.values()))


def variable_of(name: str) -> str:
    """The variable that holds the key of the provider `name`, or `name` itself if it is a variable.

    Raises:
        click.ClickException: It is neither.
    """
    if name in providers():
        variables = key_variables(name)
        if not variables:
            raise click.ClickException(f"{name} has no key")
        return variables[0]
    if _VARIABLE.fullmatch(name):
        return name
    raise click.ClickException(
        f"{name!r} is no provider; expected one of {', '.join(p for p in providers() if key_variables(p))}, "
        "or the name of an environment variable such as OPENAI_API_KEY"
    )


def names_in(path: Path) -> list[str]:
    """The variables that a file sets."""
    from dotenv import dotenv_values

    if not path.is_file():
        return []
    return sorted(name for name, value in dotenv_values(path, interpolate=False).items() if value)


def save(variable: str, key: str) -> None:
    """Keep a key in a file that only its owner can read.

    Raises:
        click.ClickException: No HTTP header can carry the key, or the file cannot be written.
    """
    problem = keys.key_problem(key)
    if problem is not None:
        raise click.ClickException(f"the key {problem}")
    _rewrite(variable, key)


def remove(variable: str) -> bool:
    """Remove a key; False if it is not there."""
    if variable not in names_in(keys_file()):
        return False
    _rewrite(variable, None)
    return True


def _rewrite(variable: str, key: str | None) -> None:
    path = keys_file()
    try:
        before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        lines = [line for line in before if not re.match(rf"\s*(export\s+)?{variable}\s*=", line)]
        if key is not None:
            quoted = key.replace("\\", "\\\\").replace("'", "\\'")
            lines.append(f"{variable}='{quoted}'")
        made(path.parent)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        path.chmod(0o600)
        write_whole(path, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error
