"""The fixtures work with pytest-trio and with anyio's plugin, and failures come out as themselves."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pytest_runs import MARKS, SOURCE, run_pytest

TESTS = """
import socket
import threading

import pytest
import trio
from hypothesis import HealthCheck, given, settings, strategies

import allm
from allm.testing import Reply, cancel_everywhere

pytestmark = MARK
kept, limiter = [], trio.CapacityLimiter(3)
stop = threading.Event()


@pytest.fixture
def anyio_backend():
    return "trio"


@pytest.fixture
def found_soon(monkeypatch):
    monkeypatch.setattr("allm.testing.leaks.SETTLING", [0.0] * 50)


async def test_sound(wire_server, deny_network, no_leaks):
    wire_server.add(*[Reply.script("openai", [allm.fake.text("Hello")])] * 2)
    adapter = allm.providers.OpenAI(api_key="test", base_url=wire_server.url("openai"))
    engine = allm.Engine(adapter=adapter, model="m")
    for _ in range(2):
        assert (await allm.generate(engine, "hi")).output_text == "Hello"
    assert wire_server.statistics().connections_total == 1


async def test_everywhere(wire_server, no_leaks):
    wire_server.default = Reply.script("openai", [allm.fake.text("Hello")], flush=True)
    adapter = allm.providers.OpenAI(api_key="test", base_url=wire_server.url("openai"))
    report = await cancel_everywhere(allm.generate, allm.Engine(adapter=adapter, model="m"), "hi")
    assert report.result.output_text == "Hello"


class TestMethods:
    @pytest.mark.parametrize("number", [1])
    async def test_method(self, number, no_leaks):
        assert number


async def test_socket(found_soon, no_leaks):
    kept.append(socket.socket())


async def test_file(found_soon, no_leaks):
    kept.append(open(__file__))


async def test_thread(found_soon, no_leaks):
    threading.Thread(target=stop.wait, name="lost", daemon=True).start()


async def test_task(found_soon, no_leaks):
    trio.lowlevel.spawn_system_task(trio.sleep_forever, name="lost")


async def test_token(found_soon, no_leaks):
    await limiter.acquire()


async def numbers():
    yield 1
    yield 2


async def test_generator(found_soon, no_leaks):
    kept.append(numbers())
    await anext(kept[-1])


@settings(max_examples=5, suppress_health_check=list(HealthCheck), database=None, deadline=None)
@given(number=strategies.integers(0, 1))
async def test_example(found_soon, no_leaks, number):
    if number:
        kept.append(socket.socket())


async def test_nursery(wire_server):
    async def child():
        number = 1
        assert number == 2

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)


async def test_two_failures(wire_server):
    async def child():
        raise ZeroDivisionError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
        nursery.start_soon(child)


async def test_skip(no_leaks):
    async with trio.open_nursery():
        pytest.skip("not today")


async def test_network(deny_network):
    await trio.open_tcp_stream("api.example.com", 443)
"""
PLAIN = """
import pytest


@pytest.fixture
def found_soon(monkeypatch):
    monkeypatch.setattr("allm.testing.leak_check.SETTLING", [0.001] * 50)


def test_file(found_soon, no_leaks, request):
    request.session.kept = open(__file__)


def test_closed_file(no_leaks):
    open(__file__).close()
"""


@pytest.fixture(scope="module", params=MARKS)
def outcomes(request, tmp_path_factory):
    """The outcomes of all tests above, with either plugin."""
    return run_pytest(tmp_path_factory.mktemp("tests"), TESTS.replace("MARK", MARKS[request.param]))


def test_sound_tests_pass(outcomes):
    """With all three fixtures, over the shared HTTP client, whose connection rests in its pool."""
    assert outcomes["test_sound"] is None
    assert outcomes["test_method"] is None
    assert outcomes["test_everywhere"] is None


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("test_socket", "not connected) is open"),
        ("test_file", "test_it.py) is open"),
        ("test_thread", "thread 'lost' is running"),
        ("test_task", "task 'lost' is running"),
        ("test_token", "a token of a CapacityLimiter is borrowed by"),
        ("test_generator", "async generator 'numbers' was not closed"),
        ("test_example", "not connected) is open"),
    ],
)
def test_leaks_fail_the_test(outcomes, name, left):
    """Each kind of leak fails the test that made it, and says what it is."""
    assert outcomes[name].startswith("failure: AssertionError: the block left behind:")
    assert left in outcomes[name]


def test_a_failure_comes_out_as_itself(outcomes):
    """An assertion in a task is shown as pytest shows any other, without groups around it or frames of plugins."""
    assert outcomes["test_nursery"].startswith("failure: assert 1 == 2")
    assert "ExceptionGroup" not in outcomes["test_nursery"]
    assert "pytest_allm" not in outcomes["test_nursery"]
    assert "ExceptionGroup" in outcomes["test_two_failures"]  # neither is better than the other
    assert outcomes["test_skip"].startswith("skipped: ")  # of the reason, pytest-trio knows nothing


def test_the_network_is_denied(outcomes):
    """Reaching another machine fails at once, with a message that says what to do."""
    assert "NetworkDenied: a test tried to reach 'api.example.com'" in outcomes["test_network"]
    assert "ExceptionGroup" not in outcomes["test_network"]


def test_a_plain_test_is_checked_too(tmp_path):
    """One that is not async, without any other plugin."""
    outcomes = run_pytest(tmp_path, PLAIN, "-p", "no:trio", "-p", "no:anyio")
    assert "test_it.py) is open" in outcomes["test_file"]
    assert outcomes["test_closed_file"] is None


def test_the_plugin_is_light():
    """Where it is loaded for nothing, neither allm nor Trio is."""
    code = "import pytest, sys, pytest_allm; sys.exit(' '.join({'allm', 'trio', 'httpx'} & sys.modules.keys()))"
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
