"""The adapter that would have made a recorded call, found by its URL."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote, urlsplit

from allm.providers import Anthropic, Bedrock, Cohere, Gemini, OpenAI

_PRESETS = {
    "azure": "azure",
    "deepseek": "deepseek",
    "mistral": "mistral",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "x.ai": "xai",
}
"""Presets by a part of the host."""


def chat_adapter(url, base_url):
    """The chat adapter for a recorded URL, at the address of a test's server."""
    place = urlsplit(url)
    settings = {"api_key": "test", "base_url": base_url}
    if "bedrock-runtime" in place.netloc:
        bedrock = Bedrock(region="us-east-1", **settings)
        return Anthropic(via=bedrock) if "/invoke" in place.path else bedrock
    if "aiplatform" in place.netloc:
        vendor = Anthropic if "/publishers/anthropic/" in place.path else Gemini
        return vendor(project="p", location="us-central1", **settings)
    if "googleapis" in place.netloc:
        return Gemini(**settings)
    if "anthropic" in place.netloc:
        return Anthropic(**settings)
    if "cohere" in place.netloc:
        return Cohere(**settings)
    preset = next((preset for part, preset in _PRESETS.items() if part in place.netloc), None)
    endpoint = "chat_completions" if place.path.endswith("/chat/completions") else "responses"
    return OpenAI(endpoint=endpoint, **settings, **({} if preset is None else {"preset": preset}))


def model_of(folder):
    """The model of a recorded request: in its body, else in its path."""
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    body = request.get("body")
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        return body["model"]
    found = re.search(r"/models?/([^/]+?)(?:/|:\w+$|$)", unquote(urlsplit(request["url"]).path))
    return found[1] if found else "requested-model"
