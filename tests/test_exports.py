"""The public names are those of `__all__`: they exist, they are sorted, and the reference lists them."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import allm

REFERENCE = (Path(__file__).parents[1] / "docs" / "reference.md").read_text("utf-8")
PUBLIC_MODULES = [
    "allm",
    "allm.adapters",
    "allm.fake",
    "allm.keys",
    "allm.models",
    "allm.providers",
    "allm.session",
    "allm.telemetry",
    "allm.testing",
]


@pytest.fixture(params=PUBLIC_MODULES)
def module(request):
    """A module whose names users may rely on."""
    return importlib.import_module(request.param)


def test_all_is_sorted_and_without_repeats(module):
    """A sorted list makes a change easy to review."""
    assert module.__all__ == sorted(set(module.__all__))


def test_every_name_exists(module):
    """`from module import *` works, lazily loaded names included."""
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_every_name_is_in_the_reference(module):
    """Nobody can use what is not documented, and nothing stays documented that is gone."""
    documented = set(re.findall(rf"\b{re.escape(module.__name__)}\.(\w+)", REFERENCE))

    assert set(module.__all__) <= documented


def test_the_reference_names_nothing_else():
    """Every dotted name in the reference can be looked up."""
    for name in sorted(set(re.findall(r"\ballm(?:\.\w+)+", REFERENCE))):
        found = allm
        for part in name.split(".")[1:]:
            found = getattr(found, part)


def test_every_call_option_is_in_the_reference():
    """The table of options is complete, and has no row for an option that is gone."""
    [table] = re.findall(r"^## Call options$(.*?)^## ", REFERENCE, re.DOTALL | re.MULTILINE)
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]

    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(allm.CallOptions.__annotations__)


def test_dir_lists_the_public_names():
    """Completion in an editor or a prompt shows every public name."""
    assert set(allm.__all__) <= set(dir(allm))
