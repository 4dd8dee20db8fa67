"""`allm.caches` for programs on plain threads."""

from __future__ import annotations

from allm import caches
from allm.blocking.mapped import mapped

__all__ = ["create", "delete", "get", "list", "update"]

# The types are in the stub beside this file.
create = mapped(caches.create)
delete = mapped(caches.delete)
get = mapped(caches.get)
list = mapped(caches.list)  # noqa: A001  (as in allm.caches)
update = mapped(caches.update)
