"""Names that mark what is kept for Bedrock."""

from __future__ import annotations

from allm.adapters import Origin

__all__ = ["INVALID_JSON", "ITSELF", "PROVIDER"]

PROVIDER = "bedrock"
"""Marks the parts of a message that go back to Bedrock, and the key of metadata kept for it."""

ITSELF = Origin(PROVIDER)
"""Bedrock at an address of its own, of any region."""

INVALID_JSON = "INVALID_JSON"
"""The key for arguments that are not JSON, as the input of a call has to be an object; Anthropic documents it."""
