"""What is to become of the requests of a fake that otherwise succeeds at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
import trio

from allm.data.script import Delay, PreflightError, Trouble

__all__ = ["Troubles"]


def _lists(script: Iterable[Sequence[Trouble]]) -> list[list[Trouble]]:
    return [list(items) for items in script]


@attrs.define(eq=False)
class Troubles:
    """One list of `fake.delay(...)` and `fake.error(...)` for each request, in the order they are sent."""

    _script: list[list[Trouble]] = attrs.field(converter=_lists)

    def check(self) -> None:
        """Before a request is sent.

        Raises:
            AllmError: The next list begins with `fake.preflight_error(...)`, which uses it up.
        """
        first = self._script[0][0] if self._script and self._script[0] else None
        if isinstance(first, PreflightError):
            del self._script[0]
            raise first.error

    async def play(self) -> None:
        """Wait and fail as the next list says.

        Raises:
            AllmError: It says so.
        """
        await trio.lowlevel.checkpoint()
        for item in self._script.pop(0) if self._script else ():
            if isinstance(item, Delay):
                await trio.sleep(item.seconds)
            else:
                raise item.error
