"""The suite for adapters of images: the bundled ones pass, and one that breaks a rule is found."""

from __future__ import annotations

import base64
from typing import ClassVar

import attrs
import pytest

import allm
from allm.providers import FakeImages, GeminiImages, OpenAIImages
from allm.testing import ImageAdapterConformance, Reply


class TestOpenAIImages(ImageAdapterConformance):
    def make_adapter(self, setup):
        return OpenAIImages(api_key=setup.api_key, base_url=f"{setup.base_url}/v1")

    def make_reply(self, images):
        return Reply.json({"data": [{"b64_json": base64.b64encode(data).decode()} for data in images]})


class TestGeminiImages(ImageAdapterConformance):
    def make_adapter(self, setup):
        return GeminiImages(api_key=setup.api_key, base_url=setup.base_url)

    def make_reply(self, images):
        parts = [{"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}} for data in images]
        return Reply.json({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})


class TestFakeImages(ImageAdapterConformance):
    lacks: ClassVar = {"http": "draws in memory", "api_key": "asks nobody"}

    def make_adapter(self, setup):
        return FakeImages()


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


class Changed:
    """Passes everything on, but for one thing."""

    def __init__(self, setup):
        self.inner = TestOpenAIImages().make_adapter(setup)

    provider = "openai"

    def prepare(self, request, options):
        return self.inner.prepare(request, options)

    async def send(self, prepared):
        return await self.inner.send(prepared)


class SendsOneImage(Changed):
    def prepare(self, request, options):
        return self.inner.prepare(attrs.evolve(request, images=request.images[:1]), options)


class CountsWrong(Changed):
    async def send(self, prepared):
        return attrs.evolve(await self.inner.send(prepared), usage=allm.ImageUsage(images=9))


class TakesAnythingForAnImage(Changed):
    async def send(self, prepared):
        try:
            return await self.inner.send(prepared)
        except allm.AdapterError:
            return allm.ImageResponse(images=[allm.Image.from_bytes(b"?")], usage=allm.ImageUsage(images=1))


class TriesAgain(Changed):
    async def send(self, prepared):
        try:
            return await self.inner.send(prepared)
        except allm.AdapterError:
            return await self.inner.send(prepared)


@pytest.mark.parametrize(
    ("adapter", "case"),
    [
        (SendsOneImage, "every_image_of_an_edit_is_sent"),
        (CountsWrong, "an_image_is_generated"),
        (TakesAnythingForAnImage, "a_truncated_response_is_never_a_success"),
        (TriesAgain, "errors_have_their_reason"),
    ],
)
def test_an_adapter_that_breaks_a_rule_is_found(adapter, case):
    """By the case of that rule."""

    class Suite(TestOpenAIImages):
        def make_adapter(self, setup):
            return adapter(setup)

    with pytest.raises(AssertionError):
        getattr(Suite(), f"test_{case}")()


def test_names_that_are_no_capability():
    """A misspelt one is found."""

    class Suite(TestFakeImages):
        lacks: ClassVar = {"htpp": "?"}

    with pytest.raises(AssertionError, match="htpp"):
        Suite().test_lacks_has_known_capabilities()


def test_what_has_to_be_defined():
    """Is said by name."""
    with pytest.raises(NotImplementedError, match="make_reply"):
        ImageAdapterConformance.make_reply(TestFakeImages(), [])
