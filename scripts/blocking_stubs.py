"""Write the type stubs of `allm.blocking`: the signatures of `allm`, without `async`.

python scripts/blocking_stubs.py            # writes them
python scripts/blocking_stubs.py --check    # says whether they are up to date
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import allm
import allm.blocking
from allm import caches, files, session

FOLDER = Path(__file__).parents[1] / "src" / "allm" / "blocking"
BLOCKS = ("StreamBlock", "AbstractAsyncContextManager")
STREAMS = ("EventStream", "SessionStream")
HEAD = "# Made by scripts/blocking_stubs.py from the signatures of {original}.\n\n"


def stub(original: ModuleType, names: list[str], extra: list[str]) -> str:
    """The stub of a module with the functions `names` of `original`, and the lines `extra` before them."""
    imports: dict[str, set[str]] = {}
    texts: list[str] = []
    for name in names:
        path = Path(inspect.getsourcefile(inspect.unwrap(getattr(original, name))) or "")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        places = places_of(tree, module_of(path))
        for function in functions(tree, name):
            made = blocking(function)
            texts.append(ast.unparse(made))
            for used in sorted({node.id for node in ast.walk(made) if isinstance(node, ast.Name)}):
                if used in places and not hasattr(builtins, used):
                    imports.setdefault(places[used], set()).add(used)
    lines = [
        f"from {module} import {', '.join(sorted(used))}" if module else f"import {', '.join(sorted(used))}"
        for module, used in sorted(imports.items())
    ]
    return HEAD.format(original=original.__name__) + "\n".join([*extra, *lines, "", *texts]) + "\n"


def functions(tree: ast.Module, name: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The overloads of a function, or the function itself."""
    found = [
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    ]
    overloads = [node for node in found if any("overload" in ast.unparse(one) for one in node.decorator_list)]
    for node in overloads or found:
        node.decorator_list = [ast.Name("overload")] if overloads else []
        yield node


def blocking(function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.FunctionDef:
    """The same function, which returns what is awaited, or a block for `with`."""
    returns = function.returns
    if isinstance(returns, ast.Subscript) and ast.unparse(returns.value) in BLOCKS:
        stream = returns.slice
        if isinstance(stream, ast.Subscript) and ast.unparse(stream.value) in STREAMS:
            returns = ast.Subscript(ast.Name("EventsBlock"), stream.slice)
        else:
            returns = ast.parse("AbstractContextManager[Any]", mode="eval").body
    elif returns is not None and ast.unparse(returns) == "SessionStore":
        returns = ast.Name("Any")
    body: list[ast.stmt] = [ast.Expr(ast.Constant(...))]
    arguments = function.args
    arguments.kw_defaults = [
        ast.Constant(...) if isinstance(default, ast.Name) else default for default in arguments.kw_defaults
    ]
    made = ast.FunctionDef(function.name, arguments, body, function.decorator_list, returns)
    return ast.fix_missing_locations(made)


def places_of(tree: ast.Module, own: str) -> dict[str, str]:
    """Where the names of a module come from."""
    places = {
        target.id: own
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            places |= {alias.name: "" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            places |= {alias.asname or alias.name: node.module for alias in node.names}
        elif isinstance(node, ast.ClassDef):
            places[node.name] = own
    return places


def module_of(path: Path) -> str:
    """The dotted name of a module of the library."""
    parts = path.with_suffix("").parts
    return ".".join(parts[len(parts) - parts[::-1].index("allm") - 1 :])


def stubs() -> dict[Path, str]:
    """The stubs by their files."""
    common = ["from contextlib import AbstractContextManager", "from typing import Any, overload", ""]
    block = "from allm.blocking.blocks import EventsBlock"
    of_session = [common[0], "from typing import Any", "", block]
    main = [name for name in allm.blocking.__all__ if name not in {"caches", "files", "run", "session"}]
    own = [
        "from allm.blocking import caches as caches, files as files, session as session",
        block,
        "from allm.blocking.calls import run as run",
    ]
    return {
        FOLDER / "__init__.pyi": stub(allm, main, [*common, *own, f"__all__ = {allm.blocking.__all__!r}"]),
        FOLDER / "caches.pyi": stub(caches, allm.blocking.caches.__all__, []),
        FOLDER / "files.pyi": stub(files, allm.blocking.files.__all__, []),
        FOLDER / "session.pyi": stub(session, allm.blocking.session.__all__, of_session),
    }


def differ(one: str, other: str) -> bool:
    """Whether two programs differ in more than their layout and the order of imports."""
    return statements(one) != statements(other)


def statements(program: str) -> list[str]:
    """The statements of a program, sorted, with one name in each import, and each import once."""
    found: list[str] = []
    for node in ast.parse(program).body:
        if isinstance(node, ast.ImportFrom):
            found += [f"from {node.module} import {ast.unparse(alias)}" for alias in node.names]
        else:
            found.append(ast.unparse(node))
    imports = {line for line in found if line.startswith(("from ", "import "))}
    return sorted([*imports, *(line for line in found if line not in imports)])


def main() -> int:
    """Write the stubs, or check them."""
    if "--check" in sys.argv:
        return int(any(not path.exists() or differ(path.read_text("utf-8"), text) for path, text in stubs().items()))
    for path, text in stubs().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
