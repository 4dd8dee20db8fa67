"""Guards every test against network access beyond this machine, and defines which tests run.

`--quick` leaves out long tests. Trials of reliability run with `--reliability` only, as `nox -s reliability` does.
"""

from __future__ import annotations

import functools
import gc
import os
import random
import signal
from pathlib import Path

import pytest
from hypothesis import settings

import reliability_results
from allm.http import library
from allm.testing import deny_network

# The time of one example depends on the machine more than on the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

HERE = Path(__file__).parent
# Replays of every sample at every split, every fault with every provider, searches by Hypothesis, and counts of work:
# files and single tests. They take minutes and give the same result on every Python version.
LONG = {
    "test_corpus.py",
    "test_docs.py::test_each_example_runs_alone",
    "test_docs.py::test_no_example_is_silent_about_a_wrong_key",
    "test_linear.py",
    "bridge/test_cancelled_everywhere.py",
    "data/json/test_codec.py",
    "examples/test_examples.py::test_a_refusal_is_told_in_a_line",
    "examples/test_examples.py::test_it_runs",
    "examples/test_examples.py::test_it_runs_with_any_model",
    "execution/test_budget_programs.py",
    "execution/test_fold_property.py",
    "execution/test_hedge.py",
    "migrate/test_migrate.py::test_both_programs_print_the_same",
    "providers/test_bad_wire.py",
    "providers/test_keys_stay_hidden.py",
    "providers/test_what_can_be_saved.py",
    "runs/test_batches_in_trouble.py",
    "runs/test_cancelled.py",
    "runs/test_kill.py",
    "runs/test_scale.py",
    "runs/test_storm.py",
    "session/test_kill.py",
    "session/test_passed_on.py",
    "session/test_rows.py::test_a_turn_writes_what_is_new",
    "session/test_rows.py::test_the_cost_of_a_turn_does_not_grow",
    "telemetry/test_otel.py::test_ten_thousand_calls_keep_nothing",
}
TRIALS = HERE / "reliability"


def pytest_addoption(parser):
    """Add the option."""
    parser.addoption("--quick", action="store_true", help="leave out the long replays (nox runs them on one Python)")
    parser.addoption("--reliability", choices=["short", "long"], help="run the trials in tests/reliability too")
    parser.addoption("--reliability-results", type=Path, metavar="FILE", help="where their results go, as JSON")


def pytest_configure(config):
    """Restore SIGINT for the tests of Ctrl-C: a shell starts background processes with the signal ignored."""
    os.environ.setdefault("ALLM_SEED", str(random.SystemRandom().randrange(10**6)))  # the workers of xdist inherit it
    config.addinivalue_line("markers", "sample(n): run n cases of this trial in the short form of `nox -s reliability`")
    results = config.getoption("reliability_results")
    if results is not None and not hasattr(config, "workerinput"):  # the workers of pytest-xdist report to us
        config.pluginmanager.register(reliability_results.Results(results, config.getoption("reliability")))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config):
    """Print the seed of the trials."""
    return f"ALLM_SEED={os.environ['ALLM_SEED']}" if config.getoption("reliability") else None


def pytest_collection_modifyitems(config, items):
    """Deselect the long tests."""
    if missing := [name for name in LONG if not _exists(*name.split("::"))]:
        raise pytest.UsageError(f"tests/conftest.py names tests that are gone: {', '.join(missing)}")
    if config.getoption("quick"):
        long = {item for item in items if not LONG.isdisjoint(_names(item))}
        config.hook.pytest_deselected(items=list(long))
        items[:] = [item for item in items if item not in long]


def _exists(file, function=""):
    path = HERE / file
    return path.exists() and (not function or f"def {function}(" in path.read_text("utf-8"))


def _names(item):
    """How `LONG` may name a test: by its file, or its function in the file."""
    file = _in_tests(item.path)
    return file, f"{file}::{getattr(item, 'originalname', item.name)}"


@functools.cache
def _in_tests(path):
    return path.relative_to(HERE).as_posix() if path.is_relative_to(HERE) else ""


def pytest_collection_finish(session):
    """Keep few objects in the sight of the garbage collector.

    `cancel_everywhere` looks through all that the collector knows, and the collector itself does so now and then. What
    the collection made are more than a million objects that live to the end. The worker of a parallel run would keep
    three reports of each test as well, for a terminal that it does not have.
    """
    if hasattr(session.config, "workerinput"):
        session.config.pluginmanager.unregister(name="terminalreporter")
    gc.collect()
    gc.freeze()


def pytest_ignore_collect(collection_path, config):
    """Leave out the trials, which import packages that only their own session installs."""
    return True if collection_path == TRIALS and not config.getoption("reliability") else None


def pytest_terminal_summary(terminalreporter, config):
    """Say in one line that trials were left out."""
    if not config.getoption("reliability") and any(TRIALS.is_relative_to(path) for path in map(Path, config.args)):
        terminalreporter.write_line("tests/reliability was left out: `nox -s reliability` runs it")


@pytest.fixture(scope="session", autouse=True)
def _no_network():
    with deny_network():
        yield


@pytest.fixture
def unloaded():
    """As in a process that has made no call yet."""
    before = set(library.loaded)
    library.loaded.clear()
    yield
    library.loaded.update(before)
