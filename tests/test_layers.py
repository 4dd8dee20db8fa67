"""The architecture, enforced by reading the imports: which layer may use which, and which module owns a library."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}
# What each part of the package may import from the others. Parts that are not listed may import everything.
LAYERS = {
    "allm.data": (),
    "allm.http": ("allm.data",),
    "allm.runtime": ("allm.data", "allm.http"),
    "allm.execution": ("allm.data", "allm.http", "allm.runtime"),
    "allm.telemetry": ("allm.data", "allm.runtime", "allm._version"),
    "allm.session": ("allm.data", "allm.http", "allm.runtime", "allm.execution"),
    "allm.runs": ("allm.data", "allm.http", "allm.runtime", "allm.execution"),
    "allm.render": ("allm.data",),
    "allm.bridge": ("allm.data", "allm.execution"),
    "allm.aio": ("allm", "allm.bridge", "allm.data", "allm.execution", "allm.runs", "allm.session"),
    "allm.blocking": ("allm", "allm.bridge", "allm.data", "allm.execution", "allm.runs", "allm.session"),
    "allm.web": ("allm.data", "allm.execution"),
    "allm.mcp": ("allm._version", "allm.data", "allm.http", "allm.runtime", "allm.execution"),
    "allm.adapters": ("allm.data", "allm.http", "allm.runtime"),
    "allm.providers": (
        "allm.data",
        "allm.runtime",
        "allm.adapters",
        "allm.fake",
        "allm.hosted",
        "allm.keys",
        "allm.models",
    ),
}
# What a vendor's package may use besides its own modules: the kit for adapter authors, and the public names.
PUBLIC = ("allm", "allm.adapters", "allm.fake", "allm.hosted", "allm.keys", "allm.models", "allm.providers")
OPENS_NURSERIES = ("allm.execution", "allm.testing", "allm.cli")
# Library: the only modules that may import it.
OWNERS = {
    "trio": (
        "allm.http",
        "allm.runtime",
        "allm.execution",
        "allm.session",
        "allm.runs",
        "allm.providers",
        "allm.testing",
        "allm.cli",
        "allm.bridge",
        "allm.aio",
        "allm.blocking",
        "allm.web",
        "allm.mcp",
    ),
    "opentelemetry": ("allm.telemetry.otel",),
    "httpx": ("allm.http.library",),
    "httpx2": ("allm.http.library",),
    "cattrs": ("allm.data.structuring", "allm.data.json"),
    "jiter": ("allm.data.json.growing",),
    "msgspec": ("allm.data.json.text", "allm.data.types"),
    "docstring_parser": ("allm.runtime.docstrings",),
    "click": ("allm.cli",),
    "rich": ("allm.cli",),
    "markdown_it": ("allm.cli.markdown_inline",),
    "prompt_toolkit": ("allm.cli.line_editor", "allm.cli.line_completion", "allm.cli.line_history"),
    "h11": ("allm.testing",),
    "mcp": ("allm.mcp.sdk",),
    "mcp_types": ("allm.mcp.sdk",),
    "anyio": ("allm.mcp.sdk",),
    "sqlite3": ("allm.session.stores.sqlite", "allm.runs.sqlite"),
    "psycopg": ("allm.session.stores.postgres", "allm.runs.postgres"),
    "redis": ("allm.session.stores.redis",),
}
# Optional packages, and required ones that are slow to import: `import allm` must not load them.
LATE = {
    "genai_prices",
    "httpx",
    "httpx2",
    "docstring_parser",
    "jiter",
    "click",
    "rich",
    "markdown_it",
    "prompt_toolkit",
    "h11",
    "mcp",
    "mcp_types",
    "dotenv",
    "opentelemetry",
    "psycopg",
    "redis",
    "sqlite3",
    "pytest",
    "allm.testing",
}
MOST_LINES = 400


def is_inside(module: str, *packages: str) -> bool:
    """Whether `module` is one of `packages` or lies in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@functools.cache
def contents(module: str) -> tuple[list[ast.AST], set[str]]:
    """The import statements of `module`, and the attributes and variables that it reads.

    The syntax trees of all modules together are a million objects, which would slow down all later tests.
    """
    nodes = list(ast.walk(ast.parse(MODULES[module].read_text("utf-8"))))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {node.id for node in nodes if isinstance(node, ast.Name)}
    return [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))], names


def early(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a syntax tree that are executed or type-checked at import: all but function bodies."""
    yield node
    for inner in ast.iter_child_nodes(node):
        if not isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from early(inner)


def imports(module: str, found: Iterable[ast.AST] | None = None) -> Iterator[str]:
    """Every module that `module` imports, anywhere in its source or only in the nodes `found`."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in contents(module)[0] if found is None else found:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base]).rstrip(".")
            # In `from allm.data import codec`, the name is a module too.
            yield from (f"{base}.{name.name}" if f"{base}.{name.name}" in MODULES else base for name in node.names)


def test_the_modules_are_found():
    """With an empty list, every other test here would pass."""
    assert {"allm", "allm.data.events", "allm.http.transport"} <= MODULES.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    """A layer imports only the layers below it."""
    for layer, below in LAYERS.items():
        if is_inside(module, layer):
            assert not [
                name for name in imports(module) if is_inside(name, "allm") and not is_inside(name, layer, *below)
            ]


def test_there_are_no_import_cycles():
    """Not even under TYPE_CHECKING: neither of two such modules could be read without the other.

    A package's `__init__` is left out, because it only re-exports names of its modules.
    """
    graph = {
        module: set(imports(module, early(ast.parse(path.read_text("utf-8"))))) & MODULES.keys()
        for module, path in MODULES.items()
        if path.name != "__init__.py"
    }
    # Repeatedly remove modules that import none of the others or are imported by none; only cycles remain.
    while True:
        imported = set().union(*graph.values())
        inside = {module for module, names in graph.items() if module in imported and names & graph.keys()}
        if len(inside) == len(graph):
            break
        graph = {module: names & inside for module, names in graph.items() if module in inside}

    assert not {module: sorted(names) for module, names in graph.items()}


def names_imported(module: str) -> Iterator[tuple[str, str]]:
    """Every `(module, name)` that `module` imports from our own package."""
    for node in contents(module)[0]:
        if isinstance(node, ast.ImportFrom) and is_inside(node.module or "", "allm"):
            yield from ((str(node.module), name.name) for name in node.names)
        elif isinstance(node, ast.Import):
            yield from ((name.name, "") for name in node.names if is_inside(name.name, "allm"))


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("allm.providers.")])
def test_vendors_use_the_kit_and_nothing_else(module):
    """Every name that a bundled provider imports is public, so that third-party packages can do the same."""
    package = ".".join(module.split(".")[:3])
    public = {name for kit in PUBLIC for name in importlib.import_module(kit).__all__}
    assert not [
        (source, name)
        for source, name in names_imported(module)
        if not is_inside(source, package)
        and not ((source == "allm.providers" or is_inside(source, "allm.data", *PUBLIC[1:-1])) and name in public)
    ]


@pytest.mark.parametrize("module", MODULES)
def test_each_dependency_has_one_owner(module):
    """A replaceable third-party library is imported only by its owner."""
    for library, owners in OWNERS.items():
        if not is_inside(module, *owners):
            assert not [name for name in imports(module) if is_inside(name, library)]


@pytest.mark.parametrize("module", [name for name in MODULES if name.endswith(("encode", "decode", "_wire"))])
def test_encoders_and_decoders_are_pure(module):
    """Mapping to and from a vendor's wire format does no I/O, so its tests need none."""
    assert not [name for name in imports(module) if is_inside(name, "trio", "allm.http.transport")]


@pytest.mark.parametrize("module", MODULES)
def test_only_execution_opens_nurseries(module):
    """Tasks start in the execution layer; the test tools and the command line are separate programs."""
    assert is_inside(module, *OPENS_NURSERIES) or "open_nursery" not in contents(module)[1]


@pytest.mark.parametrize("module", MODULES)
def test_test_clocks_wait_for_threads(module):
    """Threads are used through `http.jumping_clock`; the command line has the real clock."""
    if not is_inside(module, "allm.http.jumping_clock", "allm.runtime.tool_calls", "allm.cli"):
        assert "to_thread" not in contents(module)[1]


@pytest.mark.parametrize("module", MODULES)
def test_one_function_starts_tasks(module):
    """The one that Ctrl-C cannot interrupt; the conformance tests start theirs as users do."""
    if not is_inside(module, "allm.execution.nurseries", "allm.testing.conformance"):
        assert "start_soon" not in contents(module)[1]


ARCHITECTURE = (SOURCE.parent / "ARCHITECTURE.md").read_text("utf-8")


def test_the_architecture_names_existing_files_and_classes():
    """Every file and class that the page names exists, and the page stays short."""
    files = {path.relative_to(SOURCE.parent).as_posix() for path in SOURCE.parent.rglob("*.py")}
    named = set(re.findall(r"`([\w./]+\.py)`", ARCHITECTURE))
    assert len(named) > 20
    assert not {name for name in named if not any(file.endswith(f"/{name}") or file == name for file in files)}
    source = "\n".join(path.read_text("utf-8") for path in MODULES.values())
    classes = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", ARCHITECTURE)) - {"ExceptionGroup"}
    assert not {name for name in classes if not re.search(rf"\b(class {name}\b|{name} = )", source)}
    assert len(ARCHITECTURE.splitlines()) <= 150


LISTS = {"allm", "allm.adapters"}
"""Modules that list names, one in a line, and hold no idea."""


@pytest.mark.parametrize("module", [name for name in MODULES if name not in LISTS])
def test_modules_stay_readable(module):
    """A module that outgrows the limit holds a second idea, which needs its own file."""
    assert len(MODULES[module].read_text("utf-8").splitlines()) <= MOST_LINES


def loaded_by(program: str) -> set[str]:
    """The modules that a program loads; those that Python itself starts with are left out."""
    # Modules loaded before do not count: under coverage, sqlite3 is already there.
    begin = (
        "import atexit, runpy, sys; there = set(sys.modules); "
        "atexit.register(lambda: print(*set(sys.modules) - there, file=sys.stderr)); "
    )
    result = subprocess.run([sys.executable, "-c", begin + program], capture_output=True, text=True, check=True)
    return set(result.stderr.split())


def ours(loaded: set[str]) -> set[str]:
    """The modules that are our own."""
    return {name for name in loaded if is_inside(name, "allm")}


def test_importing_allm_loads_nothing():
    """`import allm` takes a few milliseconds: a public name is imported when it is first used."""
    loaded = loaded_by("import allm; dir(allm)")

    assert ours(loaded) == {"allm", "allm._public_names", "allm._version"}
    assert not loaded & (OWNERS.keys() | {"attrs"})


def test_importing_every_name_of_allm_is_light():
    """All of `allm` and its sessions are without a provider, an optional package, HTTP library or database."""
    loaded = loaded_by("import allm, allm.session; [getattr(allm, name) for name in allm._public_names.PLACES]")

    assert "allm.execution.services.speech" in loaded
    assert not [name for name in loaded if name.startswith("allm.providers.")]
    assert "allm.adapters" not in loaded
    assert not LATE.intersection(loaded)


def test_help_of_the_command_loads_the_commands_only():
    """`allm --help` needs the options of the commands, not what they do."""
    loaded = loaded_by('sys.argv[:] = ["allm", "--help"]; runpy.run_module("allm", run_name="__main__")')
    parts = {name for name in ours(loaded) if not is_inside(name, "allm.cli")}

    assert "allm.cli.commands" in loaded
    assert len(ours(loaded) - parts) <= 16, loaded
    assert len(parts) <= 12, parts
    assert not loaded & (OWNERS.keys() - {"click"})


LONE_TOOLS = """
import trio, allm
tool = allm.Tool("look", "Look.", handler=lambda _arguments, _context: "seen")
async def main():
    assert await allm.Toolset(lambda: [tool]).load() == (tool,)
    assert await tool.run({}) == "seen"
trio.run(main)
"""


def test_tools_can_be_loaded_and_run_before_any_call():
    """In a process that has used nothing else of the library."""
    assert "allm.runtime.tool_loading" in loaded_by(LONE_TOOLS)


FIRST_CALL = """
import trio, allm
from allm.http.library import library
http = library()
chunk = 'data: {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}'
answer = chunk + "\\n\\ndata: [DONE]\\n\\n"
reply = lambda request: http.Response(200, headers={"content-type": "text/event-stream"}, text=answer)
async def main():
    async with http.AsyncClient(transport=http.MockTransport(reply)) as client:
        adapter = allm.providers.OpenAI(api_key="k", endpoint="chat_completions", http_client=client)
        response = await allm.generate(allm.Engine(adapter=adapter, model="m"), "hi")
        assert response.output_text == "hi"
trio.run(main)
"""


def test_a_first_call_loads_what_it_needs():
    """No structuring of types, no codec, no tools, no other service and no other endpoint than that of the call."""
    loaded = loaded_by(FIRST_CALL)

    assert len(ours(loaded)) <= 120, sorted(ours(loaded))
    assert not loaded & {"cattrs", "allm.data.json.codec", "allm.execution.chat", "allm.execution.services"}
    assert "allm.providers.openai.responses_decode" not in loaded
    assert not loaded & {"allm.data.speech", "allm.data.embedding", "allm.data.image_request", "allm.data.moderation"}
    assert not loaded & {"allm.data.types.subset", "pickle", "difflib"}
    # An error is read when there may be no file descriptor left to import anything with.
    assert {"allm.http.error_body", "allm.http.retry_after", "allm.providers.openai.errors"} <= loaded
    assert not loaded & (LATE - {"httpx", "httpx2", "genai_prices"})  # prices are asked for by installing them
