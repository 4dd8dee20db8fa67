"""Names that mark what is kept for Anthropic."""

from __future__ import annotations

from allm.adapters import Origin

__all__ = ["INVALID_JSON", "ITSELF", "PROVIDER"]

PROVIDER = "anthropic"
"""Marks the parts of a message that go back to Anthropic, and the key of metadata kept for it."""

ITSELF = Origin(PROVIDER)
"""Anthropic at its own address."""

INVALID_JSON = "INVALID_JSON"
"""The key that Anthropic documents for arguments that are not JSON, as `input` has to be an object:
https://platform.claude.com/docs/en/agents-and-tools/tool-use/fine-grained-tool-streaming."""
