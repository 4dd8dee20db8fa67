"""What the fixtures `fake_engine` and `cassette` of the pytest plugin do.

A fixture leaves what has to be checked after the test, and the context that it needs, in the stash of the test; the
hook of the plugin takes them from there. So a failed check fails the test itself, in the context of whatever runs it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any, Literal, TypeAlias, Unpack

import pytest

from allm import fake
from allm.data.request import Request
from allm.data.script import ScriptItem
from allm.providers.fake import Fake
from allm.runtime.engine import Engine, EngineFields
from allm.testing.cassette import Cassette, record, replay

__all__ = ["CHECKS", "CONTEXT", "FAILED", "cassette_path", "engines", "taped"]

CHECKS = pytest.StashKey[list[Callable[[], None]]]()
"""What is called after a test that has passed."""
CONTEXT = pytest.StashKey[dict[ContextVar[Any], Any]]()
"""Context variables that an async test needs, wherever its plugin runs it."""
FAILED = pytest.StashKey[Callable[[BaseException], None]]()
"""Is called with the exception of a test that has failed."""

Recording: TypeAlias = Literal["all", "new"]
LONGEST_NAME = 100  # characters; file systems take 255 bytes


def engines(item: pytest.Item) -> Callable[..., Engine]:
    """A function that makes engines for one test, whose scripts must all have been played when it has passed."""

    def fake_engine(
        *scripts: str | Iterable[ScriptItem],
        respond: Callable[[Request], Any] | None = None,
        all_played: bool = True,
        **fields: Unpack[EngineFields],
    ) -> Engine:
        """An engine over `Fake`.

        Args:
            *scripts: A script for each call; a text is a script that says it.
            respond: Is asked for each answer instead, see `Fake`.
            all_played: Whether the test fails if scripts are left over.
            **fields: Fields of the `Engine`, such as `tools`.
        """
        if scripts and respond is not None:
            raise TypeError("fake_engine takes scripts or respond=, not both")
        if "adapter" in fields:
            raise TypeError("fake_engine brings its own adapter; with another one, use allm.Engine")
        items = [[fake.text(script)] if isinstance(script, str) else script for script in scripts]
        adapter = Fake(scripts=items) if respond is None else Fake(respond=respond)
        if all_played:
            item.stash.setdefault(CHECKS, []).append(adapter.assert_exhausted)
        fields["adapter"] = adapter
        return Engine(**fields)

    return fake_engine


def cassette_path(item: pytest.Item) -> Path:
    """`cassettes/<file of the test>/<test>.json` beside the file of a test."""
    given = re.sub(r"\[(.*)\]$", r"-\1", item.nodeid.partition("::")[2].replace("::", "."), flags=re.DOTALL)
    name = re.sub(r"[^\w.-]+", "-", given)[:LONGEST_NAME]
    if name != given:  # another test could have the same
        name = f"{name}-{hashlib.sha256(given.encode()).hexdigest()[:8]}"
    return item.path.parent / "cassettes" / item.path.stem / f"{name}.json"


@contextmanager
def taped(item: pytest.Item, recording: Recording | None) -> Generator[Cassette]:
    """Replay the cassette of a test, or record it."""
    path = cassette_path(item)
    records = recording == "all" or (recording == "new" and not path.exists())
    before = copy_context()
    with _recorded(item, path) if records else _replayed(item, path) as cassette:
        after = copy_context()
        item.stash[CONTEXT] = {name: value for name, value in after.items() if before.get(name) is not value}
        yield cassette


@contextmanager
def _replayed(item: pytest.Item, path: Path) -> Generator[Cassette]:
    if not path.exists():
        pytest.fail(
            f"there is no recorded traffic for this test ({path}): record it, with your key and the network, by\n"
            f"    pytest --allm-record-new '{item.nodeid}'",
            pytrace=False,
        )
    again = f"if the requests were changed on purpose, record them again: pytest --allm-record '{item.nodeid}'"
    with replay(path) as cassette:

        def check() -> None:
            __tracebackhide__ = True
            if cassette.missed:
                raise AssertionError(f"{cassette.missed[0]}; {again}")
            try:
                cassette.assert_exhausted()
            except AssertionError as error:
                raise AssertionError(f"{error}; {again}") from None

        def failed(error: BaseException) -> None:
            if cassette.missed:
                error.add_note(f"{cassette.missed[0]}; {again}")

        item.stash.setdefault(CHECKS, []).append(check)
        item.stash[FAILED] = failed
        yield cassette


@contextmanager
def _recorded(item: pytest.Item, path: Path) -> Generator[Cassette]:
    """Record to a file, which a test that fails leaves as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.recording")
    passed = False
    try:
        with record(beside) as cassette:

            def check() -> None:
                __tracebackhide__ = True
                nonlocal passed
                if not cassette.exchanges:
                    raise AssertionError("this test has the fixture `cassette` and made no request to record")
                passed = True

            item.stash.setdefault(CHECKS, []).append(check)
            yield cassette
        if passed:
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
