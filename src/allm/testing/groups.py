"""Exceptions without the groups that nurseries put around them."""

from __future__ import annotations

__all__ = ["plain"]


def plain(error: BaseException) -> BaseException:
    """The one exception in a group, however deep; any other exception, and a group of several, as it is."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
