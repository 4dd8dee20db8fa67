"""Ids that are unique in one answer, whatever the provider sends."""

from __future__ import annotations

import attrs

__all__ = ["UniqueIds"]


@attrs.define(eq=False)
class UniqueIds:
    """Gives the calls, or the blocks, of one answer their ids.

    Results are matched to calls by id, so two calls must never share one. Some servers send no id, and some send the
    same one twice.

    Attributes:
        taken: Ids that are in use already, such as those of the calls in the conversation so far.
    """

    taken: frozenset[str] = frozenset()
    _given: set[str] = attrs.field(factory=set[str], init=False)

    def new(self, sent: str | None, kind: str = "call") -> str:
        """The id for one more call or block.

        Args:
            sent: The provider's own id, which is kept if it is new in this answer; None where there is none.
            kind: What an id begins with that has to be made up, such as `call_0`.
        """
        unique, number = sent, len(self._given)
        while not unique or unique in self._given or unique in self.taken:
            unique = f"{kind}_{number}"
            number += 1
        self._given.add(unique)
        return unique
