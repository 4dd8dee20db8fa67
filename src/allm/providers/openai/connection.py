"""How OpenAI, or a service that speaks its wire format, is reached: address, key, headers; shared by its adapters."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import attrs

from allm.adapters import (
    BEARER,
    MAX_EVENT_BYTES,
    AdapterOptions,
    Body,
    Classify,
    HttpAdapter,
    HttpCall,
    KeyHeader,
    Origin,
    StreamCall,
    Vendor,
    WireDecoder,
    join_url,
)
from allm.data.errors import EngineError
from allm.providers.openai.errors import classify
from allm.providers.openai.presets import ELSEWHERE, OPENAI, OPENAI_ITSELF, PRESETS, Preset, is_bound

__all__ = ["Connection", "Place", "find_base_url", "is_openai", "row_at", "url_value"]


def _known(_adapter: Any, _attribute: Any, preset: Any) -> None:
    if preset is None or isinstance(preset, Preset) or preset in PRESETS:
        return
    from difflib import get_close_matches

    near = get_close_matches(str(preset), PRESETS, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected a Preset or one of: {', '.join(sorted(PRESETS))}."
    raise EngineError(
        f"no preset {preset!r}; {hint} For another server: OpenAI(preset=Preset(name=..., base_url=...))",
        reason="unknown_provider",
    )


@attrs.frozen(kw_only=True, eq=False)
class Connection(HttpAdapter):
    """What the adapters of this family have in common.

    Args:
        preset: A known service: `azure`, `cerebras`, `cohere`, `deepseek`, `fireworks`, `groq`, `huggingface`,
            `llamacpp`, `lmstudio`, `mistral`, `moonshot`, `novita`, `nvidia`, `ollama`, `openrouter`, `perplexity`,
            `sambanova`, `together`, `vllm`, `xai`, `zai`; or a `Preset` of your own.
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(openai=...)`, `keys.put`, then OPENAI_API_KEY; with a preset its name and variable.
        base_url: With the version segment, as the vendor's SDK takes it; else OPENAI_BASE_URL, or the preset's
            variable, else the service itself. A query is kept.
        organization, project: Sent as OpenAI-Organization and OpenAI-Project.
        resource, deployment, api_version: For Azure. The resource's name, else AZURE_OPENAI_ENDPOINT (the whole
            address) or AZURE_OPENAI_RESOURCE. The deployment, else the request's model, else AZURE_OPENAI_DEPLOYMENT. A
            dated version of the API, else OPENAI_API_VERSION; without one it is version 1, whose URLs have no date.
        headers: Sent with every request; an `authorization` or `api-key` here takes the place of the key.
        http_client: Your own client, never closed here; wins over the engine's.

    Raises:
        EngineError: `unknown_provider`: no such preset. `invalid_engine`: a part of Azure's URLs for another service.
    """

    preset: str | Preset | None = attrs.field(default=None, validator=_known)
    organization: str | None = None
    project: str | None = None
    resource: str | None = None
    deployment: str | None = None
    api_version: str | None = None

    def __attrs_post_init__(self) -> None:
        for name, value in self._given.items():
            if value is not None and name not in self.row.url_fields:
                raise EngineError(
                    f"{name}= is a part of Azure's URLs, and {self.provider} has none; expected preset='azure'",
                    reason="invalid_engine",
                )
        if self.base_url is not None and (self.resource or self.api_version):
            raise EngineError(
                "base_url= is the whole address, so that resource= and api_version= have no place in it; expected one "
                "or the other",
                reason="invalid_engine",
            )

    @property
    def provider(self) -> str:
        """`"openai"`, or the preset's name."""
        return self.row.name

    @property
    def requires_model(self) -> bool:
        """Whether a request has to name its model: not where a deployment does."""
        return self.deployment is None and url_value(self.row, "deployment", {}) is None

    @functools.cached_property
    def row(self) -> Preset:
        """What is known of the service."""
        if isinstance(self.preset, Preset):
            return self.preset
        return PRESETS[self.preset] if self.preset is not None else OPENAI

    @functools.cached_property
    def vendor(self) -> Vendor:  # pyright: ignore[reportIncompatibleMethodOverride]  # a property that is asked once
        """The service as the common base of all adapters sees it."""
        row = self.row
        own = {"openai-organization": self.organization, "openai-project": self.project}
        return Vendor(
            name=row.name,
            base_url=None if row.url_fields else row.base_url,
            key_env=row.key_env,
            key_header=BEARER if row.key_header == BEARER.name else KeyHeader(row.key_header),
            key_required=row.key_required,
            headers={**row.headers, **{name: value for name, value in own.items() if value is not None}},
            request_id_header="x-client-request-id",
            classify=functools.partial(classify, row.name),
        )

    def call(
        self,
        url: str,
        body: Mapping[str, Any] | bytes | Body,
        options: AdapterOptions,
        content_type: str = "application/json",
    ) -> HttpCall:
        """As every adapter makes it; what goes wrong at a server that is not known names the `Preset` that helps."""
        try:
            return HttpAdapter.call(self, url, body, options, content_type)
        except EngineError as error:
            self._explain(error, url)
            raise

    def stream_call(
        self,
        url: str,
        body: Mapping[str, Any] | bytes | Body,
        options: AdapterOptions,
        new_decoder: Callable[[], WireDecoder],
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> StreamCall:
        """As `call`, for a stream."""
        try:
            return HttpAdapter.stream_call(self, url, body, options, new_decoder, max_event_bytes=max_event_bytes)
        except EngineError as error:
            self._explain(error, url)
            raise

    def classify_at(self, url: str) -> Classify:
        """As every adapter does it; at a server that is not known, what it does not take may be what was guessed."""
        if is_known(self.row, url):
            return super().classify_at(url)
        return _classify_at_unknown(self.row.name)

    def _explain(self, error: EngineError, url: str) -> None:
        if error.reason == "missing_key" and not is_known(self.row, url):
            preset = "OpenAI(preset=Preset(name=..., base_url=..., key_required=False))"
            error.advised(f"; for a server that wants no key: {preset}")

    @property
    def _given(self) -> Mapping[str, str | None]:
        return {"resource": self.resource, "deployment": self.deployment, "api_version": self.api_version}

    def find_base_url(
        self, options: AdapterOptions, endpoint: str = "chat_completions", model: str | None = None
    ) -> str:
        """The base URL for `endpoint`.

        Args:
            options: Of the call.
            endpoint: `chat_completions` or `responses`: at Azure each has its own.
            model: Names the deployment where none is given (Azure).

        Raises:
            EngineError: `invalid_base_url`: it cannot be known without something that is missing.
        """
        base_url = self.base_url if options.base_url is None else options.base_url
        if base_url is not None:
            return base_url
        return find_base_url(Place(self.row, base_url, self._given), endpoint, model)

    def limits_bind(self, options: AdapterOptions, model: str | None) -> bool:
        """Whether a call goes to OpenAI or Azure, which the limits in OpenAI's documentation bind.

        Raises:
            EngineError: `invalid_base_url`, as `find_base_url`.
        """
        if self.provider not in OPENAI_ITSELF:
            return False
        return is_bound(row_at(self.row, self.find_base_url(options, model=model)))

    def origin(self, base_url: str) -> Origin:
        """The service at `base_url`; at Azure, the resource, whatever the endpoint or deployment."""
        found = super().origin(base_url)
        if found.place is None or not self.row.url_fields:
            return found
        return attrs.evolve(found, place=found.place.partition("/")[0])

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | bytes | Body,
        options: AdapterOptions,
        content_type: str = "application/json",
        *,
        model: str | None = None,
    ) -> HttpCall:
        """A call that answers in one piece.

        Args:
            path: Begins with a slash.
            body: JSON, or bytes of `content_type`.
            options: Of the call.
            content_type: Of the body.
            model: Names the deployment where none is given (Azure).

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
        """
        return self.call(join_url(self.find_base_url(options, model=model), path), body, options, content_type)


def row_at(row: Preset, base_url: str) -> Preset:
    """What is known of the server at `base_url`: OpenAI's own row does not hold at the address of another."""
    return ELSEWHERE if row is OPENAI and not is_openai(base_url) else row


def is_known(row: Preset, url: str) -> bool:
    """Whether what is sent there is what the service documents, and not a guess or a row of the user's own."""
    return row_at(row, url) is OPENAI or PRESETS.get(row.name) is row


_HOST = "api.openai.com"


def is_openai(base_url: str) -> bool:
    """Whether the URL is OpenAI's own, or that of one of its regions (`eu.api.openai.com`)."""
    host = _host_of(base_url) if isinstance(base_url, str) else ""
    return host == _HOST or host.endswith(f".{_HOST}")


@functools.lru_cache(maxsize=256)  # each call asks, for one of few addresses
def _host_of(base_url: str) -> str:
    try:
        return urlsplit(base_url.strip()).hostname or ""
    except ValueError:  # no URL, which is said where it is used
        return ""


_FIELD = re.compile(r"\{(\w+)\}")


@attrs.frozen
class Place:
    """What is known of where a service is: `given` are the fields of its URLs that the adapter was made with."""

    row: Preset
    base_url: str | None
    given: Mapping[str, str | None]


def find_base_url(place: Place, endpoint: str, model: str | None) -> str:
    """The base URL for `endpoint`.

    Raises:
        EngineError: `invalid_base_url`: it cannot be known without something that is missing.
    """
    row = place.row
    if place.base_url is not None:
        return place.base_url
    from_env = _variable((row.base_url_env,)) if row.base_url_env else None
    if from_env is not None:
        return from_env.rstrip("/") + row.base_url_env_path
    # A deployment that is asked for at the adapter is the model already; else the request's model names it.
    given = {**place.given, "deployment": place.given.get("deployment") or model}
    dated = row.dated_urls.get(endpoint)
    template = dated if dated and url_value(row, "api_version", given) else row.base_url
    if template is None:
        variables = (row.base_url_env,) if row.base_url_env else ()
        what = f"{row.name} has no address of its own"
        raise EngineError(what, reason="invalid_base_url", provider=row.name, variables=variables).advised(
            ": pass base_url="
        )
    return _filled(row, template, given)


def url_value(row: Preset, name: str, given: Mapping[str, str | None]) -> str | None:
    """A field of the row's URLs as it was given, else from its variables; None where neither is there."""
    field = row.url_fields.get(name)
    return None if field is None else given.get(name) or _variable(field.env)


def _variable(names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := os.environ.get(name, "").strip())), None)


def _filled(row: Preset, template: str, given: Mapping[str, str | None], tried: tuple[str, ...] = ()) -> str:
    def fill(match: re.Match[str]) -> str:
        name, field = match[1], row.url_fields[match[1]]
        variables = (*field.env, *tried)
        # What was given wins over a variable, also where it is only a part of what the variable has.
        by_parts = field.default is not None and all(given.get(part) for part in _FIELD.findall(field.default))
        value = given.get(name) if by_parts else url_value(row, name, given)
        if value is not None:
            return value.rstrip("/") if "://" in value else quote(value, safe="")
        if field.default is not None:
            return _filled(row, field.default, given, variables)
        raise EngineError(
            f"{row.name} needs its {name} for the URL {template}",
            reason="invalid_base_url",
            provider=row.name,
            variables=variables,
        ).advised(f": pass {name}= or base_url=, or set the environment variable {' or '.join(variables)}")

    return _FIELD.sub(fill, template)


@functools.lru_cache(maxsize=64)
def _classify_at_unknown(name: str) -> Classify:
    return functools.partial(classify, name, unknown_server=True)
