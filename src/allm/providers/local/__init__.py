"""A model on this machine: llama.cpp, started when it is first used, and the weights that can be fetched for it."""

from allm.providers.local.adapter import Local as Local
from allm.providers.local.fetching import pull as pull

__all__ = ["Local", "pull"]
