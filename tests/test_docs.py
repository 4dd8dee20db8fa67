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
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

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
