"""Services that speak OpenAI's wire format, as data: what differs between them, one row each.

Facts: each service's API reference for its base URL, its variable and its field for the output limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

__all__ = ["OPENAI", "PRESETS", "Preset"]


@attrs.frozen(kw_only=True)
class Preset:
    """One service.

    Attributes:
        base_url: With the version segment.
        base_url_env: A variable that wins over `base_url`; `path` is put behind its value.
        key_env: Variables of the key, first found wins.
        key_required: Without a key the call is refused; local servers need none.
        key_header: How the key is sent.
        max_tokens_field: The name of the output limit in the body.
        stream_usage: Whether it takes `stream_options`; without it usage comes by itself or not at all.
        headers: Sent with every request.
    """

    base_url: str | None
    base_url_env: str | None = None
    path: str = ""
    key_env: tuple[str, ...] = ()
    key_required: bool = True
    key_header: Literal["authorization", "api-key"] = "authorization"
    max_tokens_field: str = "max_tokens"
    stream_usage: bool = True
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], hash=False)


OPENAI = Preset(
    base_url="https://api.openai.com/v1",
    base_url_env="OPENAI_BASE_URL",
    key_env=("OPENAI_API_KEY",),
    max_tokens_field="max_completion_tokens",
)

PRESETS: dict[str, Preset] = {
    "azure": Preset(  # the model is the name of the deployment
        base_url=None,
        base_url_env="AZURE_OPENAI_ENDPOINT",
        path="/openai/v1",
        key_env=("AZURE_OPENAI_API_KEY",),
        key_header="api-key",
        max_tokens_field="max_completion_tokens",
    ),
    "groq": Preset(
        base_url="https://api.groq.com/openai/v1",
        key_env=("GROQ_API_KEY",),
        max_tokens_field="max_completion_tokens",
    ),
    "openrouter": Preset(base_url="https://openrouter.ai/api/v1", key_env=("OPENROUTER_API_KEY",)),
    "mistral": Preset(base_url="https://api.mistral.ai/v1", key_env=("MISTRAL_API_KEY",), stream_usage=False),
    "deepseek": Preset(base_url="https://api.deepseek.com/v1", key_env=("DEEPSEEK_API_KEY",)),
    "together": Preset(base_url="https://api.together.xyz/v1", key_env=("TOGETHER_API_KEY",)),
    "fireworks": Preset(base_url="https://api.fireworks.ai/inference/v1", key_env=("FIREWORKS_API_KEY",)),
    "xai": Preset(base_url="https://api.x.ai/v1", key_env=("XAI_API_KEY",), max_tokens_field="max_completion_tokens"),
    "ollama": Preset(
        base_url="http://127.0.0.1:11434/v1",
        base_url_env="OLLAMA_BASE_URL",
        key_env=("OLLAMA_API_KEY",),
        key_required=False,
    ),
    "vllm": Preset(
        base_url="http://127.0.0.1:8000/v1",
        base_url_env="VLLM_BASE_URL",
        key_env=("VLLM_API_KEY",),
        key_required=False,
    ),
    "llamacpp": Preset(
        base_url="http://127.0.0.1:8080/v1",
        base_url_env="LLAMACPP_BASE_URL",
        key_env=("LLAMACPP_API_KEY",),
        key_required=False,
    ),
}
