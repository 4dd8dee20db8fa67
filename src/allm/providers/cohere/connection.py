"""How Cohere is reached."""

from __future__ import annotations

import attrs

from allm.adapters import HttpAdapter, Vendor

__all__ = ["COHERE", "Connection"]

COHERE = Vendor(
    name="cohere",
    base_url="https://api.cohere.com/v2",
    base_url_env="COHERE_V2_BASE_URL",  # COHERE_BASE_URL is the address for chat, which has another path
    key_env=("COHERE_API_KEY", "CO_API_KEY"),
)


@attrs.frozen(kw_only=True, eq=False)
class Connection(HttpAdapter):
    """What the adapters of this vendor have in common."""

    @property
    def vendor(self) -> Vendor:
        """Cohere."""
        return COHERE
