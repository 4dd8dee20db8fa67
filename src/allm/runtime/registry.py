"""Adapters by provider name: which one serves `"openai:..."`. No adapter is imported before its name is used.

Names are looked up in three places, in this order: providers that the program registered, the bundled providers, and
installed packages with an entry point in the group `allm.providers`. Entry points are read only for a name that the
others do not know, because reading them from disk is by far the slowest lookup.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from allm.data.errors import EngineError
from allm.data.problems import nearest
from allm.runtime import catalog

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

__all__ = [
    "CHAT",
    "PROVIDERS",
    "SERVICES",
    "AdapterFactory",
    "adapter_for",
    "known_providers",
    "register",
    "service_adapter",
    "split_model",
]

AdapterFactory = Callable[[], Any] | str
"""A callable that makes an adapter without arguments, such as an adapter's class; or its location, `"module:Name"`."""

ENTRY_POINTS = "allm.providers"
CHAT = "chat"
"""The service behind `Engine(adapter=...)`; `SERVICES` has the others."""

PROVIDERS: dict[str, str] = {
    "openai": "allm.providers.openai:OpenAI",
    "anthropic": "allm.providers.anthropic:Anthropic",
    "gemini": "allm.providers.gemini:Gemini",
    "bedrock": "allm.providers.bedrock:Bedrock",
    "fake": "allm.providers.fake:Fake",
    "local": "allm.providers.local:Local",
}


COMPATIBLE = frozenset(
    {
        "azure",
        "cerebras",
        "cohere",
        "deepseek",
        "fireworks",
        "groq",
        "huggingface",
        "llamacpp",
        "lmstudio",
        "mistral",
        "moonshot",
        "novita",
        "nvidia",
        "ollama",
        "openrouter",
        "perplexity",
        "sambanova",
        "together",
        "vllm",
        "xai",
        "zai",
    }
)
"""Providers that speak OpenAI's wire format; each is a preset of its adapter."""

PROVIDERS.update(dict.fromkeys(COMPATIBLE, PROVIDERS["openai"]))


SERVICES: dict[str, dict[str, str]] = {
    "image": {
        "openai": "allm.providers.openai.images:OpenAIImages",
        "azure": "allm.providers.openai.images:OpenAIImages",
        "gemini": "allm.providers.gemini.images:GeminiImages",
        "fake": "allm.providers.fake.images:FakeImages",
    },
    "embedding": {
        **dict.fromkeys(
            (
                "openai",
                "azure",
                "cohere",
                "fireworks",
                "llamacpp",
                "lmstudio",
                "mistral",
                "ollama",
                "openrouter",
                "together",
                "vllm",
            ),
            "allm.providers.openai.embeddings:OpenAIEmbeddings",
        ),
        "gemini": "allm.providers.gemini.embeddings:GeminiEmbeddings",
        "voyage": "allm.providers.voyage.embeddings:VoyageEmbeddings",
        "fake": "allm.providers.fake.embeddings:FakeEmbeddings",
    },
    "moderation": {
        "openai": "allm.providers.openai.moderation:OpenAIModeration",
        "mistral": "allm.providers.openai.moderation:OpenAIModeration",
        "fake": "allm.providers.fake.moderation:FakeModeration",
    },
    "rerank": {
        "cohere": "allm.providers.cohere.rerank:CohereRerank",
        "jina": "allm.providers.cohere.rerank:CohereRerank",
        "openrouter": "allm.providers.cohere.rerank:CohereRerank",
        "voyage": "allm.providers.voyage.rerank:VoyageRerank",
        "fake": "allm.providers.fake.rerank:FakeRerank",
    },
    "speech": {
        "openai": "allm.providers.openai.speech:OpenAISpeech",
        "azure": "allm.providers.openai.speech:OpenAISpeech",
        "groq": "allm.providers.openai.speech:OpenAISpeech",
        "mistral": "allm.providers.openai.speech:OpenAISpeech",
        "openrouter": "allm.providers.openai.speech:OpenAISpeech",
        "gemini": "allm.providers.gemini.speech:GeminiSpeech",
        "xai": "allm.providers.xai.speech:XaiSpeech",
        "elevenlabs": "allm.providers.elevenlabs.speech:ElevenLabsSpeech",
        "fake": "allm.providers.fake.audio:FakeSpeech",
    },
    "transcription": {
        "openai": "allm.providers.openai.transcription:OpenAITranscription",
        "azure": "allm.providers.openai.transcription:OpenAITranscription",
        "groq": "allm.providers.openai.transcription:OpenAITranscription",
        "mistral": "allm.providers.openai.transcription:OpenAITranscription",
        "openrouter": "allm.providers.openai.transcription:OpenAITranscription",
        "gemini": "allm.providers.gemini.transcription:GeminiTranscription",
        "xai": "allm.providers.xai.transcription:XaiTranscription",
        "elevenlabs": "allm.providers.elevenlabs.transcription:ElevenLabsTranscription",
        "deepgram": "allm.providers.deepgram.transcription:DeepgramTranscription",
        "cohere": "allm.providers.cohere.transcription:CohereTranscription",
        "fake": "allm.providers.fake.audio:FakeTranscription",
    },
}
"""The services besides chat, and the providers of each: adapters for `Engine(image_adapter=...)` and the like."""

_BUNDLED: dict[str, Mapping[str, str]] = {CHAT: PROVIDERS, **SERVICES}
_registered: dict[str, dict[str, AdapterFactory]] = {}  # by provider name, then by service
_NAME = re.compile(r"[a-z][a-z0-9_.-]*")


def register(
    name: str,
    *,
    adapter: AdapterFactory | None = None,
    image_adapter: AdapterFactory | None = None,
    embedding_adapter: AdapterFactory | None = None,
    moderation_adapter: AdapterFactory | None = None,
    rerank_adapter: AdapterFactory | None = None,
    speech_adapter: AdapterFactory | None = None,
    transcription_adapter: AdapterFactory | None = None,
    replace: bool = False,
) -> None:
    """Register a provider under a name, so that `Engine.from_model("acme:...")` works in the whole process.

        allm.providers.register("acme", adapter=Acme, embedding_adapter="acme.embeddings:AcmeEmbeddings")

    An installed package registers itself with an entry point: see the page "Write an adapter".

    Args:
        name: Lower-case letters, digits, `_`, `-` and `.`; the same as `adapter.provider`.
        adapter: Makes the chat adapter without arguments: its class, a function, or `"module:Name"` of either, which is
            imported when the provider is first used.
        image_adapter, embedding_adapter, moderation_adapter, rerank_adapter, speech_adapter, transcription_adapter: The
            same for the other services.
        replace: Replace a provider of this name; its services that are not given here stay as they are.

    Raises:
        EngineError: `invalid_engine`: the name is taken or invalid, or an adapter is missing or cannot be called.
    """
    given = {
        CHAT: adapter,
        "image": image_adapter,
        "embedding": embedding_adapter,
        "moderation": moderation_adapter,
        "rerank": rerank_adapter,
        "speech": speech_adapter,
        "transcription": transcription_adapter,
    }
    factories = {service: factory for service, factory in given.items() if factory is not None}
    _check(name, factories)
    if not replace and _is_known(name):
        raise EngineError(
            f"the provider name {name!r} is taken; choose another one, or pass replace=True", reason="invalid_engine"
        )
    _registered[name] = {**_registered.get(name, {}), **factories}


def _check(name: Any, factories: Mapping[str, Any]) -> None:
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        what = f"{name!r} cannot name a provider; expected lower-case letters, digits, '_', '-' and '.', such as 'acme'"
        raise EngineError(what, reason="invalid_engine")
    if not factories:
        what = f"register({name!r}) was given no adapter; expected at least one, such as adapter=Acme"
        raise EngineError(what, reason="invalid_engine")
    for service, factory in factories.items():
        is_location = isinstance(factory, str) and all(factory.partition(":"))
        if not (is_location or callable(factory)):
            argument = "adapter" if service == CHAT else f"{service}_adapter"
            what = f"{argument}={factory!r:.80} cannot make an adapter; expected a class, a function, or 'module:Name'"
            raise EngineError(what, reason="invalid_engine")


def known_providers(service: str = CHAT) -> frozenset[str]:
    """The provider names known for a service, without those of installed packages that have not been loaded yet."""
    own = {name for name, factories in _registered.items() if service in factories}
    return frozenset(own | _BUNDLED[service].keys())


def split_model(text: str, service: str = CHAT) -> tuple[str, str]:
    """Split `"provider:id"` or `"id@provider"` into `(provider, id)`; the id may hold colons (`ollama:llama3:8b`).

    Raises:
        EngineError: `unknown_provider`: the name is not known, or the package that provides it cannot be loaded.
    """
    if not isinstance(text, str):
        raise EngineError(
            f"the model is {type(text).__name__}; expected a text such as 'openai:gpt-5.4'", reason="unknown_provider"
        )
    head, colon, rest = text.partition(":")
    before, at, tail = text.rpartition("@")
    # The first form goes first: ids may contain an @, as in `acme:model@2025-01-01`.
    if colon and rest and _offers(head, service):
        return head, rest
    if at and before and _offers(tail, service):
        return tail, before
    installed = {entry.name for entry in _entry_points()} if service == CHAT else frozenset[str]()
    known = known_providers(service) | installed
    owner, slash, model = text.partition("/")
    written = [(head, rest)] if colon else [(tail, before)] if at else []
    near = [(name, model) for given, model in written for name in nearest(given, known - {given})]
    if slash and owner in known:
        near = [(owner, model)]
    models = [f"{name}:{model}" for name, model in near] or catalog.suggestions(text)
    hint = f"; did you mean {' or '.join(map(repr, models))}?" if models else ""
    lacking = next((given for given, _ in written if _is_known(given)), None)
    what = f"unknown provider in {text!r}" if lacking is None else f"{lacking} has no {service} models"
    raise EngineError(
        f"{what}: expected provider:model or model@provider, with a provider of {', '.join(sorted(known))}{hint}",
        reason="unknown_provider",
    )


def _is_known(name: str) -> bool:
    return name in _registered or any(name in names for names in _BUNDLED.values())


def _offers(name: str, service: str) -> bool:
    """Whether the provider exists and has an adapter for the service; loads the package that provides it if needed."""
    if not _is_known(name):
        for entry in _entry_points(name=name):
            _load(entry)
            break  # two packages with one name: the first on the path, as for modules
    return name in known_providers(service)


def _entry_points(**which: Any) -> EntryPoints:
    from importlib.metadata import entry_points  # with modules that few programs need, such as zipfile

    return entry_points(group=ENTRY_POINTS, **which)


def _load(entry: EntryPoint) -> None:
    """Call the function of an entry point, which has to register the provider.

    Raises:
        EngineError: `unknown_provider`, with the cause.
    """
    try:
        entry.load()()
    except Exception as error:
        raise EngineError(
            f"the provider {entry.name!r} of an installed package cannot be loaded: its entry point {entry.value!r} "
            f"raised {type(error).__name__}: {error}",
            reason="unknown_provider",
        ) from error
    if entry.name not in _registered:
        raise EngineError(
            f"the entry point {entry.value!r} did not register the provider {entry.name!r}; expected a function that "
            f"calls allm.providers.register({entry.name!r}, ...)",
            reason="unknown_provider",
        )


def adapter_for(provider: str) -> Any:
    """Make a chat adapter of `provider` with its defaults."""
    return service_adapter(CHAT, provider)


def service_adapter(service: str, provider: str) -> Any:
    """Make an adapter of `provider` for `CHAT` or one of `SERVICES`, with its defaults.

    Raises:
        EngineError: `unknown_provider`: its module cannot be imported.
    """
    factory = _registered.get(provider, {}).get(service)
    if factory is not None:
        return factory() if callable(factory) else _import(provider, factory)()
    adapter_class = _import(provider, _BUNDLED[service][provider])
    # An adapter of a wire format that several services speak is told which one it is.
    is_one_of_several = hasattr(adapter_class, "preset") and provider != "openai"
    return adapter_class(preset=provider) if is_one_of_several else adapter_class()


def _import(provider: str, location: str) -> Any:
    module, _, name = location.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise EngineError(
            f"the adapter of {provider!r} cannot be loaded from {location!r}: {error}", reason="unknown_provider"
        ) from error
