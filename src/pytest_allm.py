"""Fixtures for pytest, with pytest-trio and with anyio's plugin alike: leaks, the network, engines, servers, cassettes.

pytest loads this module in every run of an environment that has allm, whether its tests use it or not. So it is outside
the package, whose import takes a fifth of a second, and imports nothing of it until a test asks for a fixture.

Both plugins run a test in a place that a fixture cannot see: pytest-trio starts Trio for the test alone, and anyio's
keeps a run that stands still between the test and the end of its fixtures. Therefore the hook below puts the check of
`no_leaks`, and the context of `cassette`, around the test itself.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from allm import Engine
    from allm.testing import Cassette, WireServer

__all__ = ["cassette", "deny_network", "fake_engine", "no_leaks", "wire_server"]

OURS = frozenset(__all__)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flags that record."""
    group = parser.getgroup("allm")
    group.addoption(
        "--allm-record",
        action="store_const",
        const="all",
        help="record the traffic with providers again, for all chosen tests that use the fixture `cassette`",
    )
    group.addoption(
        "--allm-record-new",
        dest="allm_record",
        action="store_const",
        const="new",
        help="record the traffic of tests that have none, and replay the others",
    )


@pytest.fixture
def no_leaks() -> None:
    """The test leaves no task, file, socket, connection, busy thread, token or async generator behind."""
    # The hook below does it.


@pytest.fixture
def deny_network() -> Generator[None]:
    """The test reaches no machine but this one."""
    from allm.testing import deny_network

    with deny_network():
        yield


@pytest.fixture
def fake_engine(request: pytest.FixtureRequest) -> Callable[..., Engine]:
    """Makes engines that play scripts; the test fails if it leaves some over: `fake_engine("Hello", tools=[...])`."""
    from allm.testing.fixtures import engines

    return engines(request.node)


@pytest.fixture
def cassette(request: pytest.FixtureRequest) -> Generator[Cassette]:
    """The traffic of the test with providers, replayed from `cassettes/` beside it; `--allm-record` records it."""
    from allm.testing.fixtures import taped

    with taped(request.node, request.config.getoption("allm_record")) as cassette:
        yield cassette


@pytest.fixture
async def wire_server() -> AsyncGenerator[WireServer]:
    """A running `WireServer`, closed after the test."""
    from allm.testing import WireServer

    async with WireServer() as server:
        yield server


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Check what the fixtures ask for around a test, and show an exception without the groups of nurseries."""
    __tracebackhide__ = True
    used = OURS.intersection(getattr(item, "fixturenames", ()))
    if not used:
        return (yield)
    failure: BaseException
    try:
        with _around(item, checks_leaks="no_leaks" in used):
            outcome = yield
        if not used.isdisjoint({"cassette", "fake_engine"}):
            _check(item)
    except BaseExceptionGroup as group:
        from allm.testing.groups import plain

        failure = plain(group)
        _explain(item, failure)
        if failure is group:
            raise
    except BaseException as error:
        _explain(item, error)
        raise
    else:
        return outcome
    raise failure  # outside the clause above, so that the group is not shown as its context


def _check(item: pytest.Item) -> None:
    __tracebackhide__ = True
    from allm.testing.fixtures import CHECKS

    for check in item.stash.get(CHECKS, ()):
        check()


def _explain(item: pytest.Item, failure: BaseException) -> None:
    from allm.testing.fixtures import FAILED

    if FAILED in item.stash:
        item.stash[FAILED](failure)


@contextmanager
def _around(item: Any, *, checks_leaks: bool) -> Generator[None]:
    """Put the check for leaks, and the context of the fixtures, around the function of a test, in whatever runs it."""
    from allm.testing import no_leaks
    from allm.testing.fixtures import CONTEXT

    context = item.stash.get(CONTEXT, {})
    if not (checks_leaks or context):
        yield
        return
    original = item.obj
    wrap = functools.partial(_wrapped, checks_leaks=checks_leaks, context=context)
    inner = getattr(getattr(original, "hypothesis", None), "inner_test", None)
    if inspect.iscoroutinefunction(inner):  # each example is checked
        original.hypothesis.inner_test = wrap(inner)
        try:
            yield
        finally:
            original.hypothesis.inner_test = inner
    elif inspect.iscoroutinefunction(original):
        item.obj = wrap(original)  # before pytest-trio and anyio look at it
        try:
            yield
        finally:
            item.obj = original
    elif checks_leaks:
        with no_leaks():
            yield
    else:
        yield


def _wrapped(
    function: Callable[..., Awaitable[object]], *, checks_leaks: bool, context: dict[ContextVar[Any], Any]
) -> Callable[..., Awaitable[object]]:
    @functools.wraps(function)
    async def checked(*args: Any, **fixtures: Any) -> object:
        __tracebackhide__ = True
        from allm.testing import no_leaks

        tokens = [(name, name.set(value)) for name, value in context.items()]
        try:
            if not checks_leaks:
                return await function(*args, **fixtures)
            async with no_leaks():
                return await function(*args, **fixtures)
        finally:
            for name, token in tokens:
                name.reset(token)

    return checked
