"""OpenAI and everything that speaks its wire format."""

from allm.providers.openai.adapter import OpenAI as OpenAI
from allm.providers.openai.presets import Preset as Preset

__all__ = ["OpenAI", "Preset"]
