"""OpenAI and everything that speaks its wire format."""

from allm.providers.openai.adapter import OpenAI as OpenAI

__all__ = ["OpenAI"]
