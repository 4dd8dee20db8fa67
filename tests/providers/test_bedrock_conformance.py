"""The Bedrock adapter passes the suite that authors of other adapters use."""

from __future__ import annotations

from typing import ClassVar

import pytest

from allm.providers import Bedrock
from allm.testing import Reply, StreamAdapterConformance, TokenCountConformance


@pytest.fixture(autouse=True)
def _without_botocore(monkeypatch):
    """A call without a key is signed where the extra `bedrock` is installed."""
    monkeypatch.setattr("allm.providers.bedrock.adapter.has_botocore", lambda: False)
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)


class TestBedrock(StreamAdapterConformance):
    """Converse, with a Bedrock API key."""

    wire_format = "bedrock"
    model = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    lacks: ClassVar = {
        "server_sent_events": "its streams are binary frames",
        "images": "its models make none",
    }

    def make_adapter(self, setup):
        """At the test's server."""
        return Bedrock(api_key=setup.api_key, base_url=setup.base_url, region="us-east-1")


class TestBedrockCounts(TokenCountConformance):
    """CountTokens, of the same adapter."""

    model = TestBedrock.model

    def make_adapter(self, setup):
        """At the test's server."""
        return Bedrock(api_key=setup.api_key, base_url=setup.base_url, region="us-east-1")

    def make_reply(self, tokens):
        """A count."""
        return Reply.json({"inputTokens": tokens})
