"""Guards every test against network access beyond this machine, and defines `--quick`, which skips long tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from allm.testing import deny_network

# The time of one example depends on the machine more than on the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# Replays of every sample at every split, every fault with every provider, and searches by Hypothesis. They take minutes
# and give the same result on every Python version.
LONG = [
    Path(__file__).parent / name
    for name in (
        "test_corpus.py",
        "data/json/test_codec.py",
        "providers/test_bad_wire.py",
        "providers/test_keys_stay_hidden.py",
        "execution/test_fold_property.py",
        "session/test_kill.py",
        "session/test_passed_on.py",
    )
]


def pytest_addoption(parser):
    """Add the option."""
    parser.addoption("--quick", action="store_true", help="leave out the long replays (nox runs them on one Python)")


def pytest_configure():
    """Restore SIGINT for the tests of Ctrl-C: a shell starts background processes with the signal ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Deselect the long files."""
    if missing := [str(path) for path in LONG if not path.exists()]:
        raise pytest.UsageError(f"tests/conftest.py names files that are gone: {', '.join(missing)}")
    if config.getoption("quick"):
        config.hook.pytest_deselected(items=[item for item in items if item.path in LONG])
        items[:] = [item for item in items if item.path not in LONG]


@pytest.fixture(scope="session", autouse=True)
def _no_network():
    with deny_network():
        yield
