"""Our adapters, each with the address where a server speaks its vendor's format."""

from __future__ import annotations

import pytest

import allm
from allm.providers import Anthropic, Gemini, OpenAI

KEY = "test-key-of-nobody"


def openai_chat(url, **options):
    return OpenAI(base_url=url, endpoint="chat_completions", **options)


def openai_responses(url, **options):
    return OpenAI(base_url=url, endpoint="responses", **options)


def anthropic(url, **options):
    return Anthropic(base_url=url, **options)


def gemini(url, **options):
    return Gemini(base_url=url, **options)


# Wire format: adapter, and the server's name for its vendor.
VENDORS = {
    "openai_chat": (openai_chat, "openai"),
    "openai_responses": (openai_responses, "openai"),
    "anthropic": (anthropic, "anthropic"),
    "gemini": (gemini, "gemini"),
}


def engine(vendor, url, *, api_key=KEY, model="any-model", retry=None, **options):
    """An engine for a base URL in the form that the vendor's SDK takes."""
    make, _ = VENDORS[vendor]
    return allm.Engine(adapter=make(url, api_key=api_key), model=model, retry=retry, **options)


def each(*vendors):
    """Run a test for each of these wire formats, or for all."""
    return pytest.mark.parametrize("vendor", [name for name in vendors or VENDORS if name in VENDORS])


@allm.tool
def get_weather(city: str) -> dict:
    """The weather of a city."""
    return {"city": city, "degrees": 21}
