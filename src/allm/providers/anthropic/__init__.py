"""Anthropic's Claude models, and what else speaks the Messages API."""

from allm.providers.anthropic.adapter import Anthropic as Anthropic

__all__ = ["Anthropic"]
