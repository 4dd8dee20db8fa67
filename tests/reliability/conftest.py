"""How much the trials do: everything in the long form, a sample in the short one, chosen by a seed that is printed."""

from __future__ import annotations

import os
import random
from itertools import groupby
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config, items):
    """In the short form keep `n` of the cases of a trial that is marked with `sample(n)`."""
    if config.getoption("reliability") != "short":
        return
    dropped = set()
    for _, group in groupby(items, key=lambda item: (item.path, getattr(item, "originalname", item.name))):
        cases = list(group)
        marker = cases[0].get_closest_marker("sample")
        if marker is not None and HERE in cases[0].path.parents and len(cases) > marker.args[0]:
            kept = chance_for(cases[0].originalname).sample(cases, marker.args[0])
            dropped.update(item for item in cases if item not in kept)
    config.hook.pytest_deselected(items=[item for item in items if item in dropped])
    items[:] = [item for item in items if item not in dropped]


def chance_for(name):
    """Random numbers for a trial; `ALLM_SEED`, which a run prints, repeats it."""
    return random.Random(f"{os.environ['ALLM_SEED']} {name}")


@pytest.fixture(scope="session")
def long(request):
    """Whether this is the long form."""
    return request.config.getoption("reliability") == "long"


@pytest.fixture
def chance(request):
    """Random numbers that the seed of the run decides."""
    return chance_for(request.node.nodeid)
