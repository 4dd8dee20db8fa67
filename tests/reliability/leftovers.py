"""What is left when calls are over: descriptors, memory, tasks, pooled connections."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import trio

import allm.http.library
import allm.http.transport


def descriptors():
    """How many file descriptors this process has open, after a collection."""
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def resident():
    """Resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def task_names():
    """The names of all tasks in this run."""
    names, waiting = [], [trio.lowlevel.current_root_task()]
    while waiting:
        task = waiting.pop()
        names.append(task.name)
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return sorted(names)


def library_tasks():
    """Names of the library's tasks that are alive in this run, except the one that keeps the HTTP clients."""
    return [name for name in task_names() if name.startswith("allm ")]


def pooled(client):
    """The connections in a client's pool, or in a pool of the library's own."""
    transport = getattr(client, "_transport", None)
    return list((client if transport is None else transport._pool).connections)


def shared_clients():
    """The library's own pools in this run."""
    return [one.pool for clients in allm.http.transport._shared.get({}).values() for one in clients.every]


def client_library():
    """The HTTP library that the calls use where none is given."""
    return allm.http.library.library()
