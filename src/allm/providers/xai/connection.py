"""How xAI is reached."""

from __future__ import annotations

import attrs

from allm.adapters import HttpAdapter, Vendor

__all__ = ["Connection"]

XAI = Vendor(name="xai", base_url="https://api.x.ai/v1", base_url_env="XAI_BASE_URL", key_env=("XAI_API_KEY",))


@attrs.frozen(kw_only=True, eq=False)
class Connection(HttpAdapter):
    """What the adapters of this vendor have in common.

    Args:
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(xai=...)`, `keys.put`, then XAI_API_KEY.
        base_url: With the version segment; else XAI_BASE_URL, else xAI itself.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
    """

    @property
    def vendor(self) -> Vendor:
        """XAI."""
        return XAI

    @property
    def requires_model(self) -> bool:
        """Its audio has no models to choose from."""
        return False
