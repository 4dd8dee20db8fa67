"""Prompts that a provider keeps under a name: `create`, `get`, `list`, `update`, `delete`; and what caches `saved`."""

from allm.execution.services.caches import (
    CacheOptions as CacheOptions,
    create as create,
    delete as delete,
    get as get,
    list as list,  # noqa: A004  (allm.caches.list)
    saved as saved,
    update as update,
)

__all__ = ["CacheOptions", "create", "delete", "get", "list", "saved", "update"]
