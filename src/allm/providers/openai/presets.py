"""Services that speak OpenAI's wire format, as data: what differs between them, one row each.

Facts: each service's API reference for its URL, its variables and its field for the output limit; Mistral answers 422
to `stream_options`, `max_completion_tokens`, `seed` and `service_tier`; DeepSeek answers 400 when the thinking before a
call does not come back; xAI calls its Chat Completions API deprecated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from allm.providers.openai.models import THINKING, Endpoint

__all__ = ["OPENAI", "OPENAI_ITSELF", "PRESETS", "Preset", "UrlField"]


@attrs.frozen
class UrlField:
    """A part of a URL that differs from user to user.

    Attributes:
        env: Variables that give it; the first that is set counts.
        default: What it is otherwise, with fields of its own in braces; None: not known.
    """

    env: tuple[str, ...] = ()
    default: str | None = None


@attrs.frozen(kw_only=True)
class Preset:
    """A service that speaks OpenAI's wire format; `OpenAI(preset=...)` takes one of your own as well.

    Attributes:
        name: What `adapter.provider` says, and the name of its key in `allm.keys`.
        base_url: With the version segment, fields in braces; None: a URL has to be given.
        base_url_env: A variable that wins over `base_url`; `base_url_env_path` is put behind its value.
        dated_urls: The URL for each endpoint when an API version is given (Azure).
        url_fields: The fields of these URLs.
        key_env: Variables of the key; the first that is set counts.
        key_required: Without a key the call is refused; local servers need none.
        key_header: How the key is sent: `authorization` as a bearer token, any other header as it is.
        headers: Sent with every request.
        endpoint: What `endpoint="auto"` means; None: it depends on the model, at OpenAI itself.
        max_tokens_field: The name of the output limit in a body of Chat Completions.
        seed_field: The name of the seed in such a body; None: it takes none.
        parallel_calls_field: Whether it takes `parallel_tool_calls`.
        standard_tier: Its word for the standard tier in `service_tier`; None: it has no tiers.
        stream_usage: Whether it takes `stream_options`; without it, usage comes by itself or not at all.
        sends_done: A stream ends with `[DONE]`. Where it does not, a finish reason and the end of the body are the end.
        reasoning_field: Where the thinking of an earlier turn goes back in Chat Completions; None: nowhere.
        call_ids: Regular expression that the id of a call has to match; others are changed. None: any.
        encrypted_reasoning: Beginning, as a regular expression, of the models that Responses asks for encrypted
            reasoning; None: no model.
    """

    name: str
    base_url: str | None = None
    base_url_env: str | None = None
    base_url_env_path: str = ""
    dated_urls: Mapping[str, str] = attrs.field(factory=dict[str, str], hash=False)
    url_fields: Mapping[str, UrlField] = attrs.field(factory=dict[str, UrlField], hash=False)
    key_env: tuple[str, ...] = ()
    key_required: bool = True
    key_header: str = "authorization"
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False, hash=False)
    endpoint: Endpoint | None = "chat_completions"
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed_field: str | None = "seed"
    parallel_calls_field: bool = True
    standard_tier: str | None = "default"
    stream_usage: bool = True
    sends_done: bool = True
    reasoning_field: str | None = None
    call_ids: str | None = None
    encrypted_reasoning: str | None = THINKING


_AT_MOST_40 = ".{1,40}"  # "string too long. Expected a string with maximum length 40"; Responses takes 64

OPENAI = Preset(
    name="openai",
    call_ids=_AT_MOST_40,
    base_url="https://api.openai.com/v1",
    base_url_env="OPENAI_BASE_URL",
    key_env=("OPENAI_API_KEY",),
    endpoint=None,
    max_tokens_field="max_completion_tokens",
)

OPENAI_ITSELF = frozenset({"openai", "azure"})
"""Whom the limits in OpenAI's documentation bind; what other services take is for them to say."""

_ROWS = (
    Preset(
        name="azure",  # https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
        base_url="{endpoint}/openai/v1",
        dated_urls={
            "chat_completions": "{endpoint}/openai/deployments/{deployment}?api-version={api_version}",
            "responses": "{endpoint}/openai?api-version={api_version}",
        },
        url_fields={
            "resource": UrlField(("AZURE_OPENAI_RESOURCE", "AZURE_RESOURCE_NAME")),
            "endpoint": UrlField(("AZURE_OPENAI_ENDPOINT",), "https://{resource}.openai.azure.com"),
            "deployment": UrlField(("AZURE_OPENAI_DEPLOYMENT",)),
            "api_version": UrlField(("OPENAI_API_VERSION", "AZURE_OPENAI_API_VERSION")),
        },
        key_env=("AZURE_OPENAI_API_KEY",),
        key_header="api-key",
        call_ids=_AT_MOST_40,
        max_tokens_field="max_completion_tokens",
    ),
    Preset(
        name="deepseek",
        base_url="https://api.deepseek.com/v1",
        base_url_env="DEEPSEEK_BASE_URL",
        key_env=("DEEPSEEK_API_KEY",),
        seed_field=None,  # https://api-docs.deepseek.com/api/create-chat-completion
        parallel_calls_field=False,
        standard_tier=None,
        reasoning_field="reasoning_content",
    ),
    Preset(
        name="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        base_url_env="FIREWORKS_BASE_URL",
        key_env=("FIREWORKS_API_KEY",),
    ),
    Preset(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        base_url_env="GROQ_BASE_URL",  # as Groq's own SDK takes it
        base_url_env_path="/openai/v1",
        key_env=("GROQ_API_KEY",),
        standard_tier="on_demand",  # https://console.groq.com/docs/service-tiers
        max_tokens_field="max_completion_tokens",
    ),
    Preset(
        name="llamacpp",
        base_url="http://127.0.0.1:8080/v1",
        base_url_env="LLAMACPP_BASE_URL",
        key_env=("LLAMACPP_API_KEY", "LLAMA_API_KEY"),
        key_required=False,
        standard_tier=None,
        reasoning_field="reasoning_content",
    ),
    Preset(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        base_url_env="MISTRAL_BASE_URL",
        key_env=("MISTRAL_API_KEY",),
        seed_field="random_seed",  # https://docs.mistral.ai/api/endpoint/chat
        standard_tier=None,
        stream_usage=False,
        call_ids="[A-Za-z0-9]{9}",  # "must be a-z, A-Z, 0-9, with a length of 9"
    ),
    Preset(
        name="ollama",
        base_url="http://127.0.0.1:11434/v1",
        base_url_env="OLLAMA_BASE_URL",
        key_env=("OLLAMA_API_KEY",),
        key_required=False,
        parallel_calls_field=False,  # https://docs.ollama.com/api/openai-compatibility
        standard_tier=None,
    ),
    Preset(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        base_url_env="OPENROUTER_BASE_URL",
        key_env=("OPENROUTER_API_KEY",),
        reasoning_field="reasoning",
    ),
    Preset(
        name="together",
        base_url="https://api.together.xyz/v1",
        base_url_env="TOGETHER_BASE_URL",
        key_env=("TOGETHER_API_KEY",),
        standard_tier=None,
    ),
    Preset(
        name="vllm",
        base_url="http://127.0.0.1:8000/v1",
        base_url_env="VLLM_BASE_URL",
        key_env=("VLLM_API_KEY",),
        key_required=False,
        standard_tier=None,
    ),
    Preset(
        name="xai",
        base_url="https://api.x.ai/v1",
        base_url_env="XAI_BASE_URL",
        key_env=("XAI_API_KEY",),
        endpoint="responses",
        max_tokens_field="max_completion_tokens",
        encrypted_reasoning="",  # all of them
    ),
)

PRESETS: dict[str, Preset] = {row.name: row for row in _ROWS}
