"""A scripted adapter, for tests and demonstrations."""

from allm.providers.fake.adapter import Fake as Fake

__all__ = ["Fake"]
