"""Prompts that a provider keeps under a name: `create`, `get`, `list`, `update`, `delete`."""

from allm.execution.services.caches import (
    CacheOptions as CacheOptions,
    create as create,
    delete as delete,
    get as get,
    list as list,  # noqa: A004  (allm.caches.list)
    update as update,
)

__all__ = ["CacheOptions", "create", "delete", "get", "list", "update"]
