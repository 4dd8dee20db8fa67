"""Every bundled adapter passes the suite that authors of other adapters use."""

from __future__ import annotations

from typing import ClassVar

from allm.providers import Fake, Gemini, OpenAI
from allm.testing import StreamAdapterConformance


class TestFake(StreamAdapterConformance):
    """Plays scripts in memory."""

    lacks: ClassVar = {
        "http": "plays in memory",
        "api_key": "asks nobody",
        "pure_prepare": "takes the next script",
    }

    def make_adapter(self, setup):
        """With all the scripts."""
        return Fake(scripts=setup.scripts)


class TestOpenAIChat(StreamAdapterConformance):
    """Chat Completions."""

    wire_format = "openai"
    lacks: ClassVar = {"hosted_calls": "the format has none"}

    def make_adapter(self, setup):
        """At the test's server."""
        return OpenAI(api_key=setup.api_key, base_url=f"{setup.base_url}/v1", endpoint="chat_completions")


class TestOpenAIResponses(StreamAdapterConformance):
    """Responses."""

    wire_format = "openai_responses"

    def make_adapter(self, setup):
        """At the test's server."""
        return OpenAI(api_key=setup.api_key, base_url=f"{setup.base_url}/v1", endpoint="responses")


class TestGemini(StreamAdapterConformance):
    """Gemini."""

    wire_format = "gemini"
    lacks: ClassVar = {"invalid_arguments": "arguments are sent as an object"}

    def make_adapter(self, setup):
        """At the test's server."""
        return Gemini(api_key=setup.api_key, base_url=setup.base_url)
