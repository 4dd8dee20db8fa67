"""`allm.files` for programs on plain threads."""

from __future__ import annotations

from allm import files
from allm.blocking.mapped import mapped

__all__ = ["delete", "download", "get", "list", "read", "upload"]

# The types are in the stub beside this file.
delete = mapped(files.delete)
download = mapped(files.download)
get = mapped(files.get)
list = mapped(files.list)  # noqa: A001  (as in allm.files)
read = mapped(files.read)
upload = mapped(files.upload)
