"""A turn of a session inside another one of it would wait for itself.

A task waits, at the end of its block, for all that it started there. So whoever runs below the task that has a session
waits in vain for its end: in the block itself, in a task that it started, in a tool that its turn calls. A task that
was started outside the block waits like any other worker.
"""

from __future__ import annotations

from collections.abc import Collection

import trio

from allm.data.errors import SessionError

__all__ = ["Owner", "refuse_to_wait"]

Owner = tuple[trio.lowlevel.Task, Collection[trio.Nursery]]
"""The task that has a session, and its nurseries that were open when it got it."""


def refuse_to_wait(key: str, owner: Owner | None) -> None:
    """Raise where this task would wait for itself.

    Raises:
        SessionError: `invalid_status`.
    """
    if owner is None:
        return
    first, before = owner
    task, nursery = trio.lowlevel.current_task(), None
    while task is not first:
        nursery = task.parent_nursery
        if nursery is None:
            return
        task = nursery.parent_task
    if nursery is None or nursery not in before:
        raise SessionError(
            f"this is inside the block of a turn of session {key!r}, and would wait for its end: use the turn of that "
            "block, or leave it first",
            reason="invalid_status",
        )
