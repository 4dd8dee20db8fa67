"""Field kinds that the values share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["mapping_field"]


def _copied(value: Mapping[str, Any]) -> dict[str, Any]:
    return dict(value)


def mapping_field() -> Any:
    """A keyword-only open mapping, copied on the way in; left out of the hash so that its owner stays hashable."""
    return attrs.field(factory=dict, kw_only=True, converter=_copied, hash=False)
