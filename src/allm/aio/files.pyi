# The functions have the types of allm.files.

from allm.files import (
    delete as delete,
    download as download,
    get as get,
    list as list,
    read as read,
    upload as upload,
)

__all__ = ["delete", "download", "get", "list", "read", "upload"]
