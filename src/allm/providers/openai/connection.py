"""How OpenAI, or a service that speaks its wire format, is reached: address, key, headers; shared by its adapters."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from typing import Any

import attrs

from allm.data.errors import EngineError
from allm.http.json_call import HttpPost
from allm.http.settings import json_body, own_headers, secret_of
from allm.http.transport import check_client, join_url
from allm.providers.openai.errors import classify
from allm.providers.openai.presets import OPENAI, PRESETS, Preset
from allm.providers.openai.urls import Place, find_base_url, url_value
from allm.runtime import keys
from allm.runtime.adapters import AdapterOptions

__all__ = ["Connection"]

JSON = "application/json"


def _known(_adapter: Any, _attribute: Any, preset: Any) -> None:
    if preset is None or isinstance(preset, Preset) or preset in PRESETS:
        return
    near = difflib.get_close_matches(str(preset), PRESETS, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise EngineError(
        f"no preset {preset!r}; expected a Preset or one of: {', '.join(sorted(PRESETS))}{hint}",
        reason="unknown_provider",
    )


@attrs.frozen(kw_only=True, eq=False)
class Connection:
    """What the adapters of this family have in common.

    Args:
        preset: A known service: `azure`, `deepseek`, `fireworks`, `groq`, `llamacpp`, `mistral`, `ollama`,
            `openrouter`, `together`, `vllm`, `xai`; or a `Preset` of your own.
        api_key: Else `keys.override(openai=...)`, `keys.put`, then OPENAI_API_KEY; with a preset its name and variable.
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
    api_key: keys.Secret | None = attrs.field(default=None, converter=secret_of)
    base_url: str | None = None
    organization: str | None = None
    project: str | None = None
    resource: str | None = None
    deployment: str | None = None
    api_version: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    http_client: Any = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        for name, value in self.place.given.items():
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

    @property
    def row(self) -> Preset:
        """What is known of the service."""
        if isinstance(self.preset, Preset):
            return self.preset
        return PRESETS[self.preset] if self.preset is not None else OPENAI

    @property
    def place(self) -> Place:
        """What is known of where it is."""
        given = {"resource": self.resource, "deployment": self.deployment, "api_version": self.api_version}
        return Place(self.row, self.base_url, given)

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | bytes,
        options: AdapterOptions,
        content_type: str = JSON,
        *,
        model: str | None = None,
    ) -> HttpPost:
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
        secret = self.resolve_key(options)
        return HttpPost(
            provider=self.provider,
            url=join_url(find_base_url(self.place, "chat_completions", model), path),
            headers=self.all_headers(secret, options, {"content-type": content_type}),
            body=body if isinstance(body, bytes) else json_body(body),
            classify=functools.partial(classify, self.provider),
            secret=secret,
            client=self.client(options),
        )

    def client(self, options: AdapterOptions) -> Any:
        """The user's own HTTP client, or None."""
        client = self.http_client or options.http_client
        if client is not None:
            check_client(client)
        return client

    def resolve_key(self, options: AdapterOptions) -> keys.Secret | None:
        """The key, or None for a service that needs none.

        Raises:
            EngineError: `missing_key`, `invalid_key`.
        """
        row = self.row
        try:
            return keys.resolve(row.name, options.api_key or self.api_key, row.key_env)
        except EngineError as error:
            own = {name.lower() for name in self.headers}.intersection({"authorization", row.key_header})
            if error.reason == "missing_key" and (own or not row.key_required):
                return None
            raise

    def all_headers(
        self, secret: keys.Secret | None, options: AdapterOptions, headers: Mapping[str, str]
    ) -> dict[str, str]:
        """`headers` with those of the service, the key, the call and the user."""
        row = self.row
        every = {**headers, **{name.lower(): value for name, value in row.headers.items()}}
        if secret is not None:
            value = secret.reveal()
            every[row.key_header] = f"Bearer {value}" if row.key_header == "authorization" else value
        optional = {
            "openai-organization": self.organization,
            "openai-project": self.project,
            "x-client-request-id": options.request_id,
        }
        every.update({name: value for name, value in optional.items() if value is not None})
        every.update(own_headers(self.headers))
        return every
