# The functions have the types of allm.caches.

from allm.caches import create as create, delete as delete, get as get, list as list, update as update

__all__ = ["create", "delete", "get", "list", "update"]
