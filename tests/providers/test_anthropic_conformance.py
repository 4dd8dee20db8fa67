"""The Anthropic adapter passes the suite that authors of other adapters use."""

from __future__ import annotations

from typing import ClassVar

from allm.providers import Anthropic
from allm.testing import StreamAdapterConformance


class TestAnthropic(StreamAdapterConformance):
    """The Messages API."""

    wire_format = "anthropic"
    model = "claude-haiku-4-5"
    lacks: ClassVar = {"images": "its models make none"}

    def make_adapter(self, setup):
        """At the test's server."""
        return Anthropic(api_key=setup.api_key, base_url=setup.base_url)
