"""Load the tools of a `Toolset`: once, in the task of the first who needs them, while all others wait for it.

If that task is cancelled, the next of those who wait calls the loader. If the loader fails, all of them are told, and
whoever comes later tries again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import AllmError, EngineError
from allm.data.tool_source import ToolSource, checked_tools, loads_tools
from allm.data.toolset import Toolset
from allm.data.user_functions import call_user
from allm.http.trio_task import outside_trio
from allm.runtime.tool_calls import in_worker_thread, is_async

__all__ = ["Toolset", "load_source"]


@define(eq=False)
class _Loading:
    """A load that runs in some task of this Trio run.

    Attributes:
        is_done: The loader has returned; if not, and without an error, its task was cancelled.
    """

    over: trio.Event = attrs.field(factory=trio.Event, init=False)
    is_done: bool = attrs.field(default=False, init=False)
    error: Exception | None = attrs.field(default=None, init=False)


# Of one Trio run, since an event of another one, in another thread, cannot be waited for.
_running: trio.lowlevel.RunVar[dict[ToolSource, _Loading]] = trio.lowlevel.RunVar("allm_tool_loading")
_inside: ContextVar[frozenset[ToolSource]] = ContextVar("allm_tool_loaders", default=frozenset())
"""The sources whose loaders have called what runs here, and would wait for themselves."""


@loads_tools
async def load_source(source: ToolSource) -> None:
    """Load the tools of the source, if they have to be.

    Tools that change while they are loaded are used all the same, and loaded again for the next model call.

    Raises:
        EngineError: `tools_not_loaded`; `__cause__` is what the loader raised.
    """
    if not trio.lowlevel.in_trio_task():
        raise outside_trio()
    await trio.lowlevel.checkpoint()
    if source.is_due and source in _inside.get():
        raise _failed(source, RuntimeError("it needs them itself, to load them"))
    running = _of_this_run()
    while source.is_due:
        if (other := running.get(source)) is not None:
            await other.over.wait()
            if other.error is not None:
                raise _failed(source, other.error) from other.error
            if other.is_done:
                return
            continue
        loading = running[source] = _Loading()
        wanted = source.wanted
        inside = _inside.set(_inside.get() | {source})
        try:
            source.tools = checked_tools(await _called(source.loader))
            source.loaded, loading.is_done = wanted, True
        except Exception as error:
            loading.error = error
            raise _failed(source, error) from error
        finally:
            _inside.reset(inside)
            del running[source]
            loading.over.set()
        return


def _of_this_run() -> dict[ToolSource, _Loading]:
    try:
        return _running.get()
    except LookupError:
        running: dict[ToolSource, _Loading] = {}
        _running.set(running)
        return running


async def _called(loader: Any) -> Any:
    given: Callable[[], Any] = loader
    if is_async(given):
        return await call_user(given)
    tools = await in_worker_thread(given)
    return await tools if inspect.isawaitable(tools) else tools


def _failed(source: ToolSource, error: Exception) -> EngineError:
    what = error.message if isinstance(error, AllmError) else f"{type(error).__name__}: {error}"
    return EngineError(
        f"the tools of {source.name} could not be loaded: {what}; the next call loads them again",
        reason="tools_not_loaded",
    )
