"""Files that a provider keeps: `upload`, `get`, `list`, `delete`, `read`, `download`."""

from allm.execution.services.files import (
    delete as delete,
    download as download,
    get as get,
    list as list,  # noqa: A004  (allm.files.list)
    read as read,
    upload as upload,
)

__all__ = ["delete", "download", "get", "list", "read", "upload"]
