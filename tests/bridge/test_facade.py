"""`allm.aio` and `allm.blocking` have every function that needs Trio, with its arguments."""

from __future__ import annotations

import inspect
import subprocess
import sys
import types
from pathlib import Path

import pytest

import allm
import allm.aio
import allm.blocking
from allm.session import SessionStore

FACADES = [allm.aio, allm.blocking]
OWN = {"run"}  # for functions that are written for Trio


def needs_trio(module: types.ModuleType) -> set[str]:
    """The public functions of a module that wait, or open something that does."""
    found = set()
    for name in dir(module):
        value = getattr(module, name)
        if name.startswith("_") or not inspect.isfunction(value):
            continue
        gives = str(inspect.signature(value).return_annotation)
        if inspect.iscoroutinefunction(value) or gives.startswith(
            ("StreamBlock", "SessionStore", "AbstractAsyncContextManager")
        ):
            found.add(name)
    return found


@pytest.mark.parametrize("facade", FACADES, ids=["aio", "blocking"])
@pytest.mark.parametrize("part", ["", "session", "files", "caches"])
def test_every_function_is_there(facade, part):
    """None is missing, and there is none that `allm` does not have."""
    original, mapped = (getattr(allm, part), getattr(facade, part)) if part else (allm, facade)
    names = {name for name in mapped.__all__ if inspect.isfunction(getattr(mapped, name))}
    assert names - OWN == needs_trio(original)
    assert len(names) > 4


@pytest.mark.parametrize("facade", FACADES, ids=["aio", "blocking"])
@pytest.mark.parametrize("name", sorted(needs_trio(allm)))
def test_arguments_are_the_same(facade, name):
    """By name, order, kind and default; also the documentation."""
    original, mapped = getattr(allm, name), getattr(facade, name)
    assert inspect.signature(mapped) == inspect.signature(original)
    assert mapped.__doc__ == original.__doc__
    assert inspect.iscoroutinefunction(mapped) == (facade is allm.aio and inspect.iscoroutinefunction(original))


def test_methods_are_those_of_the_store():
    """A mapped store has them all."""
    store = allm.blocking.session.open_store("memory://")
    assert {name for name in dir(SessionStore) if not name.startswith("_")} <= set(dir(store))


def test_the_stubs_are_up_to_date():
    """`python scripts/blocking_stubs.py` writes the types of `allm.blocking` from those of `allm`."""
    script = Path(__file__).parents[2] / "scripts" / "blocking_stubs.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0
