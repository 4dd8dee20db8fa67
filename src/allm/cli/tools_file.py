"""`--tools file.py`, `--functions CODE`: the tools in Python code of the user's."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import attrs
import click

import allm

__all__ = ["tools_of"]


Offered = allm.Tool | allm.Toolset


@attrs.frozen
class _Source:
    """Python code of the user's.

    Attributes:
        name: Of its file.
        all_functions: Every function in it is a tool.
    """

    name: str
    code: str | bytes
    folder: Path | None = None
    all_functions: bool = False

    def broken(self, why: str) -> click.BadParameter:
        """The error for code that cannot be used."""
        option = "'--functions'" if self.all_functions else "'--tools'"
        return click.BadParameter(f"{self.name}: {why}", param_hint=option)


def tools_of(paths: Iterable[Path], functions: Iterable[str] = ()) -> list[Offered]:
    """Every tool and set of tools at the top level of the files, and those in `TOOLS`, which may list functions too.

    A file can import modules from its folder, as if it were run as a script.

    Args:
        functions: Code, or names of files, of which every function is a tool.

    Raises:
        click.BadParameter: A file fails, or has no tools, or an invalid one; the message says which.
    """
    tools: dict[str, Offered] = {}
    for source in [*map(_file, paths), *map(_code, functions)]:
        found = list(_found(_load(source), source))
        if not found:
            raise source.broken("it has no tools: put @allm.tool above a function, or list functions in TOOLS")
        for offered in found:
            for tool in _known(offered):
                _check(tool, source)
                if tools.setdefault(tool.name, offered) is not offered:
                    raise source.broken(f"there are two tools called {tool.name!r}")
            if isinstance(offered, allm.Toolset):
                tools[f"set {id(offered)}"] = offered  # with a space, so that no tool has this name
    return list({id(offered): offered for offered in tools.values()}.values())


def _file(path: Path) -> _Source:
    return _Source(str(path), path.read_bytes(), path.resolve().parent)


def _code(given: str) -> _Source:
    with suppress(OSError, ValueError):  # code may be too long for a name
        path = Path(given)
        if path.is_file():
            return attrs.evolve(_file(path), all_functions=True)
    return _Source("the code", given, all_functions=True)


def _known(offered: Offered) -> Iterable[allm.Tool]:
    """The tools as far as they are known: those of a set may be loaded only when a call needs them."""
    return [offered] if isinstance(offered, allm.Tool) else offered.known() or ()


def _load(source: _Source) -> ModuleType:
    module = ModuleType(f"allm tools {source.name}")  # with a space, so that it cannot shadow an importable module
    module.__file__ = source.name
    sys.modules[module.__name__] = module  # dataclasses and type hints look names up here
    folder = str(source.folder)
    if source.folder is not None and folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        exec(compile(source.code, source.name, "exec"), vars(module))  # noqa: S102  (the user's own code)
    except (Exception, SystemExit) as error:
        raise source.broken(f"{_line(error, source)}{_words(error)}") from error
    return module


def _found(module: ModuleType, source: _Source) -> Iterator[Offered]:
    names = vars(module)
    yield from [value for value in names.values() if isinstance(value, Offered)]
    listed: Any = names.get("TOOLS", _functions(module) if source.all_functions else ())
    if not isinstance(listed, (list, tuple)):
        raise source.broken(f"TOOLS is of type {type(listed).__name__}; expected a list")
    for item in listed:
        value: Any = names.get(item) if isinstance(item, str) else item
        if not isinstance(value, Offered) and not callable(value):
            raise source.broken(f"TOOLS lists {item!r}, which is neither a tool nor a function")
        try:
            yield value if isinstance(value, Offered) else allm.tool(value)
        except allm.ValidationError as error:
            raise source.broken(error.message) from error


def _functions(module: ModuleType) -> tuple[Any, ...]:
    """The functions that the code defines, but for those whose names begin with `_`."""
    named = [value for name, value in vars(module).items() if not name.startswith("_")]
    return tuple(value for value in named if isinstance(value, FunctionType) and value.__globals__ is vars(module))


def _check(tool: allm.Tool, source: _Source) -> None:
    try:
        allm.validate(tool)
    except allm.ValidationError as error:
        raise source.broken(f"the tool {tool.name!r} cannot be used: {error.message}") from error


def _line(error: BaseException, source: _Source) -> str:
    """The line of the file that raised `error`, if it was in the file."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: " if error.filename == source.name else ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == source.name]
    return f"line {lines[-1]}: " if lines else ""


def _words(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(f"{type(error).__name__}: {text}".split())
