"""`--tools file.py`: load the tools of a Python file."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click

import allm

__all__ = ["tools_of"]


Offered = allm.Tool | allm.Toolset


def tools_of(paths: Iterable[Path]) -> list[Offered]:
    """Every tool and set of tools at the top level of the files, and those in `TOOLS`, which may list functions too.

    A file can import modules from its folder, as if it were run as a script.

    Raises:
        click.BadParameter: A file fails, or has no tools, or an invalid one; the message says which.
    """
    tools: dict[str, Offered] = {}
    for path in paths:
        module = _load(path)
        found = list(_found(module, path))
        if not found:
            raise _broken(path, "it has no tools: put @allm.tool above a function, or list functions in TOOLS")
        for offered in found:
            for tool in _known(offered):
                _check(tool, path)
                if tools.setdefault(tool.name, offered) is not offered:
                    raise _broken(path, f"there are two tools called {tool.name!r}")
            if isinstance(offered, allm.Toolset):
                tools[f"set {id(offered)}"] = offered  # with a space, so that no tool has this name
    return list({id(offered): offered for offered in tools.values()}.values())


def _known(offered: Offered) -> Iterable[allm.Tool]:
    """The tools as far as they are known: those of a set may be loaded only when a call needs them."""
    return [offered] if isinstance(offered, allm.Tool) else offered.known() or ()


def _load(path: Path) -> ModuleType:
    module = ModuleType(f"allm tools {path.stem}")  # with a space, so that it cannot shadow an importable module
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and type hints look names up here
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), vars(module))  # noqa: S102  (the user's own file)
    except (Exception, SystemExit) as error:
        raise _broken(path, f"{_line(error, path)}{_words(error)}") from error
    return module


def _found(module: ModuleType, path: Path) -> Iterator[Offered]:
    names = vars(module)
    yield from [value for value in names.values() if isinstance(value, Offered)]
    listed: Any = names.get("TOOLS", ())
    if not isinstance(listed, (list, tuple)):
        raise _broken(path, f"TOOLS is of type {type(listed).__name__}; expected a list")
    for item in listed:
        value: Any = names.get(item) if isinstance(item, str) else item
        if not isinstance(value, Offered) and not callable(value):
            raise _broken(path, f"TOOLS lists {item!r}, which is neither a tool nor a function")
        try:
            yield value if isinstance(value, Offered) else allm.tool(value)
        except allm.ValidationError as error:
            raise _broken(path, error.message) from error


def _check(tool: allm.Tool, path: Path) -> None:
    try:
        allm.validate(tool)
    except allm.ValidationError as error:
        raise _broken(path, f"the tool {tool.name!r} cannot be used: {error.message}") from error


def _line(error: BaseException, path: Path) -> str:
    """The line of the file that raised `error`, if it was in the file."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: " if error.filename == str(path) else ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"line {lines[-1]}: " if lines else ""


def _words(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(f"{type(error).__name__}: {text}".split())


def _broken(path: Path, why: str) -> click.BadParameter:
    return click.BadParameter(f"{path}: {why}", param_hint="'--tools'")
