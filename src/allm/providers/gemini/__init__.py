"""Google's Gemini models, over the Gemini API and what speaks its wire format."""

from allm.providers.gemini.adapter import Gemini as Gemini

__all__ = ["Gemini"]
