"""How ElevenLabs is reached."""

from __future__ import annotations

import attrs

from allm.adapters import HttpAdapter, KeyHeader, Vendor

__all__ = ["Connection"]

ELEVENLABS = Vendor(
    name="elevenlabs",
    base_url="https://api.elevenlabs.io/v1",
    base_url_env="ELEVENLABS_BASE_URL",
    key_env=("ELEVENLABS_API_KEY",),
    key_header=KeyHeader("xi-api-key"),
)


@attrs.frozen(kw_only=True, eq=False)
class Connection(HttpAdapter):
    """What the adapters of this vendor have in common.

    Args:
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(elevenlabs=...)`, `keys.put`, then ELEVENLABS_API_KEY.
        base_url: With the version segment; else ELEVENLABS_BASE_URL, else ElevenLabs itself.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
    """

    @property
    def vendor(self) -> Vendor:
        """ElevenLabs."""
        return ELEVENLABS
