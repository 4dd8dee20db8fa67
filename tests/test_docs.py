"""The examples in the documentation work: each runs and prints what the page says."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pytest
import trio
import trio.testing

import allm
from allm import fake
from allm.runtime import registry
from allm.testing import RecordedRequest, Reply, WireServer, deny_network, no_leaks, record
from allm.testing.fixtures import CHECKS, engines

ROOT = Path(__file__).parents[1]
# Pages with programs of other packages have tests of their own, in tests/migrate.
COMING_FROM = [
    page for page in sorted((ROOT / "docs/migrate").glob("*.md")) if "```py\n" not in page.read_text("utf-8")
]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *COMING_FROM]
# A Python block, and the text block directly after it, if any, with what it prints.
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)


# The first line of a block that needs another one.
GOES_ON = re.compile(
    r"\s*# goes on from the (first|second|third|fourth|fifth|sixth|seventh|eighth) block\n"
    r"|\s*# goes on from the block above\n"
)
ORDER = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"]


class Example(NamedTuple):
    """One block of a page, padded so that tracebacks have the line numbers of the page."""

    code: str
    printed: str | None


def examples(page: Path) -> Iterator[Example]:
    """The examples of a page, in order."""
    text = page.read_text("utf-8")
    for match in EXAMPLE.finditer(text):
        yield Example("\n" * text.count("\n", 0, match.start(1)) + match[1], match[2])


def needed_by(index: int, found: list[Example]) -> list[Example]:
    """The blocks that a reader has to run to run block `index`: it and those that it says it goes on from."""
    goes_on = GOES_ON.match(found[index].code)
    if goes_on is None:
        return [found[index]]
    before = index - 1 if goes_on[1] is None else ORDER.index(goes_on[1])
    return [*needed_by(before, found), found[index]]


def run(code: str, page: Path, names: dict[str, object]) -> None:
    """Run a block as its reader would, then the tests that it defines; the blocks of a page share their names."""
    before = set(names)
    exec(compile(code, str(page), "exec"), names)  # noqa: S102  # our own pages
    for name in sorted(names.keys() - before):
        if name.startswith("test_"):
            clock = trio.testing.MockClock(autojump_threshold=0)
            wanted = list(inspect.signature(names[name]).parameters)
            trio.run(run_test, names[name], wanted, clock, clock=clock if "autojump_clock" in wanted else None)


async def run_test(test: Callable[..., object], wanted: list[str], clock: trio.abc.Clock) -> None:
    """Run a test of a page with its fixtures."""
    async with AsyncExitStack() as stack:
        item: Any = types.SimpleNamespace(stash=pytest.Stash())
        fixtures: dict[str, object] = {"autojump_clock": clock, "tmp_path": Path.cwd()}
        for name in wanted:
            if name == "wire_server":
                fixtures[name] = await stack.enter_async_context(WireServer())
            elif name == "deny_network":
                fixtures[name] = stack.enter_context(deny_network())
            elif name == "fake_engine":
                fixtures[name] = engines(item)
            elif name == "cassette":
                fixtures[name] = stack.enter_context(record("recorded.json"))  # as with --allm-record
        if "no_leaks" in wanted:
            fixtures["no_leaks"] = await stack.enter_async_context(no_leaks())  # around the test only
        result = test(*(fixtures[name] for name in wanted))
        if inspect.isawaitable(result):
            await result
        for check in item.stash.get(CHECKS, ()):
            check()


EXTRAS = {"mcp": "mcp_types"}
"""Pages whose examples need an extra, and a module of it; `nox -s mcp` runs them too."""


def with_examples() -> list[Path]:
    """The pages that contain examples which can run here."""
    usable = [page for page in PAGES if importlib.util.find_spec(EXTRAS.get(page.stem, "allm"))]
    return [page for page in usable if any(examples(page))]


def test_pages_are_found():
    """With an empty list, the next test would pass."""
    assert len(with_examples()) > 4


@pytest.mark.parametrize("page", with_examples(), ids=lambda page: page.stem)
async def test_examples_run(page, monkeypatch, capsys, tmp_path):
    """Each block runs after the ones above it, against a server that plays the vendor where it needs one."""
    await read(list(examples(page)), page, monkeypatch, capsys, tmp_path)


ALONE = [(page, index) for page in with_examples() for index in range(len(list(examples(page))))]


@pytest.mark.parametrize(("page", "index"), ALONE, ids=lambda value: getattr(value, "stem", value))
async def test_each_example_runs_alone(page, index, monkeypatch, capsys, tmp_path):
    """As printed, or after the blocks that its first line names, for a reader who copies one block."""
    await read(needed_by(index, list(examples(page))), page, monkeypatch, capsys, tmp_path)


def answer(request: RecordedRequest) -> Reply:
    """What a model might say: it calls a tool that it has, fills in a schema, names what it sees, or talks."""
    body = request.json()
    last = body["messages"][-1]
    if last["role"] == "tool":
        items = [fake.text(f"It is {last['content']}.")]
    elif body.get("tools"):
        function = body["tools"][0]["function"]
        items = [fake.tool_call(function["name"], dict.fromkeys(function["parameters"]["required"], "Zug"))]
    elif "response_format" in body:
        fields = body["response_format"]["json_schema"]["schema"]["properties"]
        items = [fake.text(json.dumps({name: VALUES[field["type"]] for name, field in fields.items()}))]
    elif isinstance(last["content"], list):
        items = [fake.text("A red fox.")]
    else:
        items = [fake.text("Nurseries "), fake.text("wait.")]
    return Reply.script("openai", [*items, fake.usage(output_tokens=2)])


VALUES = {"string": "Zug", "integer": 2}
"""What the model fills in, by the type of the field."""


async def read(blocks, page, monkeypatch, capsys, tmp_path):
    """Run blocks of a page, one after another, and compare what they print."""
    names: dict[str, object] = {"__name__": "__main__"}
    async with as_reader(monkeypatch, tmp_path):
        for code, printed in blocks:
            await trio.to_thread.run_sync(run, code, page, names)
            sys.stdout.flush()
            written = capsys.readouterr().out
            assert printed in (None, written)


@asynccontextmanager
async def as_reader(monkeypatch, tmp_path):
    """Where a reader runs the blocks: an empty folder, a key, and a server in the place of OpenAI."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    with_local_model(monkeypatch, tmp_path / "home")
    for name in ("HTTPS_PROXY", "NO_PROXY", "https_proxy", "no_proxy"):  # of the machine that runs the tests
        monkeypatch.delenv(name, raising=False)
    async with WireServer(default=answer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url("openai"))
        try:
            yield server
        finally:
            allm.models.clear()  # what the page has put in


def with_local_model(monkeypatch, home):
    """A scripted llama.cpp, and what it takes for weights."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "providers" / "fake_llama"))
    monkeypatch.setenv("ALLM_HOME", str(home))
    weights = home / "models" / "smollm2-135m.gguf"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"GGUF" + json.dumps({"log": str(home / "log")}).encode())


WITH_KEY = [
    (page, index)
    for page, index in ALONE
    if any(re.search(r"OpenAI\(\)|openai:", block.code) for block in needed_by(index, list(examples(page))))
]


@pytest.mark.parametrize(("page", "index"), WITH_KEY, ids=lambda value: getattr(value, "stem", value))
async def test_no_example_is_silent_about_a_wrong_key(page, index, monkeypatch, tmp_path):
    """A block that asks OpenAI raises what it says about the key, so that its reader does not wonder about silence."""
    *before, block = needed_by(index, list(examples(page)))
    names: dict[str, object] = {"__name__": "__main__"}
    async with as_reader(monkeypatch, tmp_path) as server:
        for code, _ in before:
            await trio.to_thread.run_sync(run, code, page, names)
        server.default, asked = Reply.error("openai", 401), len(server.requests)
        failure = None
        try:
            await trio.to_thread.run_sync(run, block.code, page, names)
        except allm.AllmError as error:
            failure = error
    assert (failure is not None) is (len(server.requests) > asked)


def test_the_adapter_of_the_guide_is_short_and_uses_public_names_only():
    """The guide promises a complete adapter in 60 lines, written with what other packages may import."""
    example = next(examples(ROOT / "docs" / "adapters.md")).code.strip("\n")
    tree = ast.parse(example)
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert modules == {"allm", "allm.adapters"}
    assert len(example.splitlines()) <= 60


TEXT_BLOCK = re.compile(r"^\s*```.*?^\s*```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
NAME = re.compile(r"(?<![\w./:@-])allm(?:\.[A-Za-z_]\w*)+")
OF_OPENTELEMETRY = {
    "allm.attempt",
    "allm.provider",
    "allm.model",
    "allm.retry.attempt",
    "allm.retry.delay",
    "allm.usage.cost",
    "allm.cancelled",
}
"""Attributes, which begin as names of the library do."""


def exists(name: str) -> bool:
    """Whether `allm.a.b` is a module, a value in one, an attribute of a class or a field of its instances."""
    found: Any = allm
    for part in name.split(".")[1:]:
        if isinstance(found, type) and attrs.has(found) and part in attrs.fields_dict(found):
            return True
        if not hasattr(found, part):
            if not (isinstance(found, types.ModuleType) and importlib.util.find_spec(f"{found.__name__}.{part}")):
                return False
            importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)
    return True


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.stem
)
def test_the_names_in_the_text_exist(page):
    """Whatever a page calls `allm.something` can be imported by this name; its examples are run by other tests."""
    text = TEXT_BLOCK.sub("", page.read_text("utf-8"))
    names = {name for code in CODE.findall(text) for name in NAME.findall(code)} - OF_OPENTELEMETRY
    assert [name for name in sorted(names) if not exists(name)] == []


MODULES = (allm, allm.adapters, allm.models, allm.providers, allm.session, allm.testing)
NOT_OURS = {"Class", "False", "None", "Spans", "TestModel", "True", "TypeError"}
VARIABLES = {
    "engine": [allm.Engine],
    "error": [allm.AdapterError, allm.ValidationError],
    "event": [allm.telemetry.TelemetryEvent],
    "events": [allm.EventStream, allm.session.SessionStream],
    "image": [allm.Image],
    "message": [allm.Message],
    "response": [allm.Response],
    "result": [allm.ChatResult],
    "session": [allm.Session],
    "step": [allm.StepResult],
    "thread": [allm.Thread],
    "usage": [allm.Usage],
}
"""What a page calls so."""


@pytest.mark.parametrize("page", sorted((ROOT / "docs/migrate").glob("*.md")), ids=lambda page: page.stem)
def test_the_right_columns_name_what_exists(page):
    """Where somebody who moves looks a name up, each class, argument and attribute is one of the library."""
    rows = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| ")]
    cells = [row.strip(" |").rpartition(" | ")[2] for row in rows]
    codes = [re.sub(r'"[^"]*"', '""', code) for cell in cells for code in CODE.findall(cell)]
    public = {name: getattr(module, name) for module in MODULES for name in module.__all__}
    arguments = set(allm.CallOptions.__annotations__)
    for value in public.values():
        with suppress(TypeError, ValueError):  # not to be called, or of C
            arguments |= set(inspect.signature(value).parameters)
    classes = {name for code in codes for name in re.findall(r"(?<![\w.])[A-Z][a-z]\w+", code)}
    given = {name for code in codes for name in re.findall(r"(\w+)=(?!=)", code)}
    attributes = {found for code in codes for found in re.findall(r"(?<![\w.])(\w+)\.(\w+)", code)}
    missing = [f"{name}.{attribute}" for name, attribute in attributes if not _has(name, attribute)]
    assert (classes - public.keys() - NOT_OURS, given - arguments, missing) == (set(), set(), [])
    assert len(codes) > 20


def _has(variable: str, attribute: str) -> bool:
    """Whether what a page calls `variable` has this attribute; other names are not the library's."""
    kinds = VARIABLES.get(variable, ())
    fields = [attrs.fields_dict(kind) if attrs.has(kind) else getattr(kind, "fields", ()) for kind in kinds]
    return not kinds or any(attribute in (*dir(kind), *names) for kind, names in zip(kinds, fields, strict=True))
