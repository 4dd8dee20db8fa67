"""The Bedrock adapter passes the suite that authors of other adapters use."""

from __future__ import annotations

from typing import ClassVar

import pytest

from allm.providers import Bedrock
from allm.testing import StreamAdapterConformance


class TestBedrock(StreamAdapterConformance):
    """Converse, with a Bedrock API key."""

    wire_format = "bedrock"
    model = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    lacks: ClassVar = {
        "server_sent_events": "its streams are binary frames",
        "hosted_calls": "Converse has none",
    }

    @pytest.fixture(autouse=True)
    def _without_botocore(self, monkeypatch):
        """A call without a key is signed where the extra `bedrock` is installed."""
        monkeypatch.setattr("allm.providers.bedrock.adapter.has_botocore", lambda: False)

    def make_adapter(self, setup):
        """At the test's server."""
        return Bedrock(api_key=setup.api_key, base_url=setup.base_url, region="us-east-1")
