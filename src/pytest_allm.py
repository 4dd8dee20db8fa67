"""Fixtures for pytest: `no_leaks`, `deny_network` and `wire_server`, with pytest-trio and with anyio's plugin alike.

pytest loads this module in every run of an environment that has allm, whether its tests use it or not. So it is outside
the package, whose import takes a fifth of a second, and imports nothing of it until a test asks for a fixture.

Both plugins run a test in a place that a fixture cannot see: pytest-trio starts Trio for the test alone, and anyio's
keeps a run that stands still between the test and the end of its fixtures. Therefore the hook below puts the check of
`no_leaks` around the test itself.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from allm.testing import WireServer

__all__ = ["deny_network", "no_leaks", "wire_server"]

OURS = frozenset({"deny_network", "no_leaks", "wire_server"})


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
async def wire_server() -> AsyncGenerator[WireServer]:
    """A running `WireServer`, closed after the test."""
    from allm.testing import WireServer

    async with WireServer() as server:
        yield server


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Check for leaks around a test that asks for it, and show an exception without the groups of nurseries."""
    __tracebackhide__ = True
    used = OURS.intersection(getattr(item, "fixturenames", ()))
    if not used:
        return (yield)
    failure: BaseException
    try:
        with _checked(item) if "no_leaks" in used else nullcontext():
            return (yield)
    except BaseExceptionGroup as group:
        from allm.testing.groups import plain

        failure = plain(group)
        if failure is group:
            raise
    raise failure  # outside the clause above, so that the group is not shown as its context


@contextmanager
def _checked(item: Any) -> Generator[None]:
    """Put the check around the function of a test, inside whatever runs it."""
    from allm.testing import no_leaks

    original = item.obj
    inner = getattr(getattr(original, "hypothesis", None), "inner_test", None)
    if inspect.iscoroutinefunction(inner):  # each example is checked
        original.hypothesis.inner_test = _around(inner)
        try:
            yield
        finally:
            original.hypothesis.inner_test = inner
    elif inspect.iscoroutinefunction(original):
        item.obj = _around(original)  # before pytest-trio and anyio look at it
        try:
            yield
        finally:
            item.obj = original
    else:
        with no_leaks():
            yield


def _around(function: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
    @functools.wraps(function)
    async def checked(*args: Any, **fixtures: Any) -> object:
        __tracebackhide__ = True
        from allm.testing import no_leaks

        async with no_leaks():
            return await function(*args, **fixtures)

    return checked
