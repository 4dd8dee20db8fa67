"""Many workers on one run and one account, simulated by `benchmarks/scale_simulation.py`: the journal is exact."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def simulation(monkeypatch):
    """The module of the benchmark, which is no part of a package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("scale_simulation")


def test_workers_that_die(simulation):
    """Nothing is missing or there twice; what was under way with them is asked again, and nothing else."""
    found = simulation.simulate(
        simulation.Scenario(workers=4, items=400, parts=8, limit=8, rate=50.0, deaths=3, start=0.0)
    )
    assert (found.rows, found.failed, found.saved_twice) == (400, 0, 0)
    assert found.deaths == 3
    assert 0 < found.asked_twice <= found.lost == 24


def test_a_provider_that_refuses_all_for_a_while(simulation):
    """No input fails, and none is asked twice."""
    found = simulation.simulate(
        simulation.Scenario(workers=4, items=400, parts=8, limit=16, rate=50.0, storm=(2.0, 8.0))
    )
    assert (found.rows, found.failed, found.asked_twice) == (400, 0, 0)
    assert found.wasted > 0


@pytest.mark.parametrize("told", [False, True])
def test_workers_that_know_nothing_of_each_other(simulation, told):
    """They use most of what one account allows; told their part of it, nothing is refused."""
    found = simulation.simulate(
        simulation.Scenario(workers=8, items=800, parts=16, limit=24, rate=50.0, told=told, start=2.0)
    )
    assert (found.rows, found.failed, found.asked_twice) == (800, 0, 0)
    assert found.share >= 75
    assert found.wasted <= (0 if told else 15)
