"""Guards every test against network access beyond this machine, and defines `--quick`, which skips long tests."""

from __future__ import annotations

import ipaddress
import signal
import socket
from pathlib import Path

import pytest
from hypothesis import settings

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


def is_this_machine(host: object) -> bool:
    """Whether `host` is a loopback address, a name for one, or no host at all."""
    text = host.decode() if isinstance(host, bytes) else str(host or "")
    try:
        return text in {"", "localhost"} or ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False  # any other host name


def check(host: object) -> None:
    """Fail the test if `host` is another machine, with an exception that `except Exception` does not catch."""
    if not is_this_machine(host):
        pytest.fail(f"a test tried to reach {host!r}; tests may connect to this machine only (see tests/conftest.py)")


def guarded_connect(original):
    """Wrap `socket.connect` or `socket.connect_ex`."""

    def connect(self, address):
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            check(address[0])
        return original(self, address)

    return connect


def guarded_getaddrinfo(host, port, family=0, kind=0, proto=0, flags=0, original=socket.getaddrinfo, **options):
    """Resolve only names of this machine, since a lookup asks a name server. Numeric hosts need no lookup."""
    kind, flags = options.get("type", kind), options.get("flags", flags)
    if not flags & socket.AI_NUMERICHOST:
        check(host)
    return original(host, port, family, kind, proto, flags)


@pytest.fixture(scope="session", autouse=True)
def _no_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded_connect(socket.socket.connect_ex))
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield
