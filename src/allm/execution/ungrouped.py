"""The one exception that comes out of a block with tasks in it: its callers know nothing of nurseries and groups."""

from __future__ import annotations

from collections.abc import Iterator

import trio

__all__ = ["ungrouped"]


def ungrouped(group: BaseExceptionGroup[BaseException], body_error: BaseException | None = None) -> BaseException:
    """What to raise for the group that a nursery raised.

    The tasks here hand over what goes wrong, and raise nothing but an interrupt: a `KeyboardInterrupt` or `SystemExit`
    that hit one of them. It comes first; else it is what the body raised, whatever that is.
    """
    leaves = [leaf for error in group.exceptions if error is not body_error for leaf in _leaves(error)]
    for leaf in leaves:
        if not isinstance(leaf, (Exception, trio.Cancelled)):
            return leaf
    return body_error or leaves[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
