"""Services that speak OpenAI's wire format, as data: what differs between them, one row each.

Facts: each service's API reference for its URL, its variables and its field for the output limit, at the row where it
is not the obvious one; Mistral answers 422 to `stream_options`, `max_completion_tokens`, `seed` and `service_tier`,
Cohere refuses `stream_options`; DeepSeek and Kimi answer 400 when an assistant message comes back without its thinking;
Groq and Mistral refuse fields of a message that they do not know; xAI calls its Chat Completions API deprecated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import attrs

__all__ = [
    "ELSEWHERE",
    "ENDPOINTS",
    "HOSTS",
    "OPENAI",
    "OPENAI_ITSELF",
    "PRESETS",
    "TAKES_MARKS",
    "THINKING",
    "Preset",
    "UrlField",
    "is_bound",
]

Endpoint = Literal["chat_completions", "responses"]
"""Which of the two APIs is called: both can do chat."""


# https://platform.openai.com/docs/models, and the model lists of OpenAI's own SDK. A name that no row knows is asked
# through Chat Completions. `ft:` begins the name of a fine-tuned model.
ENDPOINTS: tuple[tuple[str, Endpoint], ...] = (
    (r".*-search-(api|preview)", "chat_completions"),  # search in one call; not part of Responses
    (r"(ft:)?o\d", "responses"),
    (r"(ft:)?gpt-([5-9]|\d\d)", "responses"),
    (r"codex-|computer-use-|gpt-daybreak-|gpt-rosalind-", "responses"),  # there is no other API for them
)
"""Regular expressions for the beginning of a name; the first that fits decides."""

THINKING = r"(ft:)?(o\d|gpt-(?!5-chat)([5-9]|\d\d)|codex)"
"""Models that think. The others answer 400 when they are asked for encrypted reasoning."""


TAKES_MARKS = re.compile(r"(ft:)?gpt-(5\.([6-9]|\d\d)|[6-9]|\d\d)(?!\d)")
"""Models whose prompts may be marked: up to where they are kept."""


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
        max_tokens_field: The name of the output limit in a body of Chat Completions; None: `max_completion_tokens` for
            the models of OpenAI that think, `max_tokens` for all others.
        seed_field: The name of the seed in such a body; None: it takes none.
        parallel_calls_field: Whether it takes `parallel_tool_calls`.
        standard_tier: Its word for the standard tier in `service_tier`; None: it has no tiers.
        stream_usage: Whether it takes `stream_options`; without it, usage comes by itself or not at all.
        sends_done: A stream without `[DONE]` is cut off. Else a finish reason and a clean end of the body are the end,
            as many services never send it.
        replays: Whether an assistant message goes back with its thinking, in the field it came in, and with the fields
            that only the service knows, such as signatures of thoughts.
        reasoning_field: Where the thinking of an earlier turn goes back in Chat Completions; None: where it came in.
        reasoning_always: Every assistant message has that field, if need be empty.
        base64_embeddings: Embeddings are asked for in base64, which is a third of the size; else nothing is said.
        user_after_tool: Whether a user's message may directly follow the result of a tool; else an assistant message
            "OK." is sent between them.
        call_ids: Regular expression that the id of a call has to match; others are changed. None: any.
        most_logprobs: How many of the likeliest tokens it is known to give log probabilities of; 0: not known.
        strict_subset: Whether strict mode takes OpenAI's part of JSON Schema only: the schema of a type is rewritten to
            it. Else one that is not in it is sent as it is, without `strict`.
        encrypted_reasoning: Beginning, as a regular expression, of the models that Responses asks for encrypted
            reasoning; None: no model.
        files: The parts with files, beside images, that its Chat Completions takes: `file` with the content or an id,
            `file_url` for one with a URL in it, `document_url`, `input_audio`, `video_url`.
        counts_tokens: Whether its Responses API may have the endpoint that counts the tokens of a prompt.
        models_path: Where its list of models is, under the base URL.
        takes_cache_key: Whether it takes `prompt_cache_key`, and OpenAI's other fields about what is kept of a prompt.
        keeps_files: Whether it has OpenAI's endpoints for files.
        upload_purpose: What a file is for, where an upload does not say it; None: nothing is sent.
        uploads_expire: Whether an upload may say when it is to be deleted.
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
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = "max_tokens"
    seed_field: str | None = "seed"
    parallel_calls_field: bool = True
    standard_tier: str | None = "default"
    stream_usage: bool = True
    sends_done: bool = False
    replays: bool = True
    reasoning_field: str | None = None
    reasoning_always: bool = False
    base64_embeddings: bool = False
    user_after_tool: bool = True
    call_ids: str | None = None
    most_logprobs: int = 0
    strict_subset: bool = False
    encrypted_reasoning: str | None = THINKING
    files: frozenset[str] = frozenset({"file", "input_audio"})
    counts_tokens: bool = False
    models_path: str = "/models"
    takes_cache_key: bool = False
    keeps_files: bool = False
    upload_purpose: str | None = None
    uploads_expire: bool = False


_MOST_LOGPROBS = 20  # of OpenAI, and of vLLM's `--max-logprobs` unless it is set
_AT_MOST_40 = ".{1,40}"  # "string too long. Expected a string with maximum length 40"; Responses takes 64

OPENAI = Preset(
    name="openai",
    call_ids=_AT_MOST_40,
    base_url="https://api.openai.com/v1",
    base_url_env="OPENAI_BASE_URL",
    key_env=("OPENAI_API_KEY",),
    endpoint=None,
    max_tokens_field="max_completion_tokens",
    replays=False,
    base64_embeddings=True,
    most_logprobs=_MOST_LOGPROBS,
    strict_subset=True,
    counts_tokens=True,
    takes_cache_key=True,
    keeps_files=True,
    upload_purpose="user_data",
    uploads_expire=True,
)

ELSEWHERE = attrs.evolve(
    OPENAI,
    max_tokens_field=None,
    replays=True,
    base64_embeddings=False,
    strict_subset=False,
    files=frozenset({"file", "input_audio", "video_url"}),
)
"""A server at a `base_url` of which nothing else is known: it gets what every server takes."""

HOSTS = frozenset({"openai", "azure", "xai", "deepseek"})
"""Whose Responses API has tools that run there."""

OPENAI_ITSELF = frozenset({"openai", "azure"})
"""Whom the limits in OpenAI's documentation bind; what other services take is for them to say."""


def is_bound(row: Preset) -> bool:
    """Whether they bind where this row is asked: not at another address of OpenAI's adapter, which may be anybody's."""
    return row.name in OPENAI_ITSELF and row is not ELSEWHERE


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
        most_logprobs=_MOST_LOGPROBS,
        max_tokens_field="max_completion_tokens",
        replays=False,
        base64_embeddings=True,
        strict_subset=True,
        files=frozenset({"input_audio"}),
        counts_tokens=True,
        takes_cache_key=True,
        keeps_files=True,
        upload_purpose="assistants",  # https://learn.microsoft.com/azure/ai-foundry/openai/how-to/responses
    ),
    Preset(
        name="cerebras",  # https://inference-docs.cerebras.ai/resources/openai
        base_url="https://api.cerebras.ai/v1",
        base_url_env="CEREBRAS_BASE_URL",
        key_env=("CEREBRAS_API_KEY",),
        max_tokens_field="max_completion_tokens",
    ),
    Preset(
        name="cohere",  # https://docs.cohere.com/docs/compatibility-api
        base_url="https://api.cohere.ai/compatibility/v1",
        base_url_env="COHERE_BASE_URL",
        key_env=("COHERE_API_KEY", "CO_API_KEY"),
        stream_usage=False,
        replays=False,
    ),
    Preset(
        name="deepseek",
        base_url="https://api.deepseek.com/v1",
        base_url_env="DEEPSEEK_BASE_URL",
        key_env=("DEEPSEEK_API_KEY",),
        seed_field=None,  # https://api-docs.deepseek.com/api/create-chat-completion
        parallel_calls_field=False,
        standard_tier=None,
        reasoning_field="reasoning_content",  # https://api-docs.deepseek.com/guides/thinking_mode
        reasoning_always=True,
        files=frozenset(),
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
        replays=False,
    ),
    Preset(
        name="huggingface",  # https://huggingface.co/docs/inference-providers
        base_url="https://router.huggingface.co/v1",
        base_url_env="HUGGINGFACE_BASE_URL",
        key_env=("HF_TOKEN", "HUGGINGFACE_API_KEY"),
    ),
    Preset(
        name="llamacpp",
        base_url="http://127.0.0.1:8080/v1",
        base_url_env="LLAMACPP_BASE_URL",
        key_env=("LLAMACPP_API_KEY", "LLAMA_API_KEY"),
        key_required=False,
        standard_tier=None,
        reasoning_field="reasoning_content",
        most_logprobs=_MOST_LOGPROBS,
    ),
    Preset(
        name="lmstudio",  # https://lmstudio.ai/docs/developer/openai-compat
        base_url="http://127.0.0.1:1234/v1",
        base_url_env="LMSTUDIO_BASE_URL",
        key_env=("LMSTUDIO_API_KEY", "LM_API_TOKEN"),
        key_required=False,
        standard_tier=None,
    ),
    Preset(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        base_url_env="MISTRAL_BASE_URL",
        key_env=("MISTRAL_API_KEY",),
        seed_field="random_seed",  # https://docs.mistral.ai/api/endpoint/chat
        standard_tier=None,
        stream_usage=False,
        replays=False,
        user_after_tool=False,  # "Unexpected role 'user' after role 'tool'"
        call_ids="[A-Za-z0-9]{9}",  # "must be a-z, A-Z, 0-9, with a length of 9"
        base64_embeddings=True,
        files=frozenset({"document_url", "input_audio"}),  # https://docs.mistral.ai/capabilities/document_ai
        keeps_files=True,
        upload_purpose="ocr",
    ),
    Preset(
        name="moonshot",  # https://platform.moonshot.ai/docs/guide/use-kimi-k2-thinking-model
        base_url="https://api.moonshot.ai/v1",
        base_url_env="MOONSHOT_BASE_URL",
        key_env=("MOONSHOT_API_KEY",),
        reasoning_field="reasoning_content",
        reasoning_always=True,
    ),
    Preset(
        name="novita",  # https://novita.ai/docs/guides/llm-api
        base_url="https://api.novita.ai/openai/v1",
        base_url_env="NOVITA_BASE_URL",
        key_env=("NOVITA_API_KEY",),
    ),
    Preset(
        name="nvidia",  # https://docs.api.nvidia.com/nim/reference/llm-apis
        base_url="https://integrate.api.nvidia.com/v1",
        base_url_env="NVIDIA_BASE_URL",
        key_env=("NVIDIA_API_KEY",),
    ),
    Preset(
        name="ollama",
        base_url="http://127.0.0.1:11434/v1",
        base_url_env="OLLAMA_BASE_URL",
        key_env=("OLLAMA_API_KEY",),
        key_required=False,
        parallel_calls_field=False,  # https://docs.ollama.com/api/openai-compatibility
        standard_tier=None,
        most_logprobs=_MOST_LOGPROBS,
    ),
    Preset(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        base_url_env="OPENROUTER_BASE_URL",
        key_env=("OPENROUTER_API_KEY",),
        reasoning_field="reasoning",
        base64_embeddings=True,
        most_logprobs=_MOST_LOGPROBS,  # models that have none ignore it: https://openrouter.ai/docs/api-reference/parameters
        files=frozenset({"file", "file_url", "input_audio", "video_url"}),  # .../docs/guides/overview/multimodal
    ),
    Preset(
        name="perplexity",  # https://docs.perplexity.ai/api-reference/chat-completions-post
        base_url="https://api.perplexity.ai",
        base_url_env="PERPLEXITY_BASE_URL",
        key_env=("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
        stream_usage=False,  # every chunk has it
        replays=False,
        models_path="/v1/models",
    ),
    Preset(
        name="sambanova",  # https://docs.sambanova.ai/docs/en/features/openai-compatibility
        base_url="https://api.sambanova.ai/v1",
        base_url_env="SAMBANOVA_BASE_URL",
        key_env=("SAMBANOVA_API_KEY",),
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
        base64_embeddings=True,
        most_logprobs=_MOST_LOGPROBS,
        files=frozenset({"input_audio", "video_url"}),  # https://docs.vllm.ai/en/latest/features/multimodal_inputs.html
    ),
    Preset(
        name="xai",
        base_url="https://api.x.ai/v1",
        base_url_env="XAI_BASE_URL",
        key_env=("XAI_API_KEY",),
        endpoint="responses",
        max_tokens_field="max_completion_tokens",
        encrypted_reasoning="",  # all of them
        files=frozenset(),
        keeps_files=True,
    ),
    Preset(
        name="zai",  # https://docs.z.ai/guides/develop/openai/python
        base_url="https://api.z.ai/api/paas/v4",
        base_url_env="ZAI_BASE_URL",
        key_env=("ZAI_API_KEY",),
    ),
)

PRESETS: dict[str, Preset] = {row.name: row for row in _ROWS}
