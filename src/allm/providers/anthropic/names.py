"""Names that mark what is kept for Anthropic."""

from __future__ import annotations

__all__ = ["INVALID_JSON", "PROVIDER"]

PROVIDER = "anthropic"
"""Marks the parts of a message that go back to Anthropic, and the key of metadata kept for it."""

INVALID_JSON = "INVALID_JSON"
"""The key that Anthropic documents for arguments that are not JSON, as `input` has to be an object:
https://platform.claude.com/docs/en/agents-and-tools/tool-use/fine-grained-tool-streaming."""
