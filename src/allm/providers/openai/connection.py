"""How OpenAI, or a service that speaks its wire format, is reached: address, key, headers; shared by its adapters."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Mapping
from typing import Any

import attrs

from allm.data.errors import EngineError
from allm.data.jsontext import dumps
from allm.providers.openai.errors import classify
from allm.providers.openai.presets import OPENAI, PRESETS, Preset
from allm.runtime import keys
from allm.runtime.ports import AdapterOptions
from allm.runtime.post import HttpPost
from allm.runtime.transport import check_client, join_url

__all__ = ["Connection"]

JSON = "application/json"


def _secret(value: str | keys.Secret | None) -> keys.Secret | None:
    return keys.Secret(value) if isinstance(value, str) else value


def _known(_adapter: Any, _attribute: Any, name: str | None) -> None:
    if name is not None and name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise EngineError(
            f"no preset {name!r}; expected one of: {', '.join(sorted(PRESETS))}{hint}", reason="unknown_provider"
        )


@attrs.frozen(kw_only=True, eq=False)
class Connection:
    """What the adapters of this family have in common.

    Args:
        preset: A known service: `azure`, `groq`, `openrouter`, `mistral`, `deepseek`, `together`, `fireworks`, `xai`,
            `ollama`, `vllm`, `llamacpp`.
        api_key: Else `keys.override(openai=...)` (or the preset's name), `keys.put`, then OPENAI_API_KEY (or the
            preset's variable).
        base_url: With the version segment, as the vendor's SDK takes it; else OPENAI_BASE_URL (or the preset's), else
            the service itself. A query (Azure's `?api-version=...`) is kept.
        organization, project: Sent as OpenAI-Organization and OpenAI-Project.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.

    Raises:
        EngineError: `unknown_provider`: there is no such preset.
    """

    preset: str | None = attrs.field(default=None, validator=_known)
    api_key: keys.Secret | None = attrs.field(default=None, converter=_secret)
    base_url: str | None = None
    organization: str | None = None
    project: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    http_client: Any = attrs.field(default=None, repr=False)

    @property
    def provider(self) -> str:
        """`"openai"`, or the preset's name."""
        return self.preset or "openai"

    @property
    def row(self) -> Preset:
        """What is known of the service."""
        return PRESETS[self.preset] if self.preset else OPENAI

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | bytes,
        options: AdapterOptions,
        content_type: str = "application/json",
    ) -> HttpPost:
        """A call that answers in one piece.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
        """
        secret = self.resolve_key(options)
        return HttpPost(
            provider=self.provider,
            url=join_url(self.address(), path),
            headers=self.all_headers(secret, options, {"content-type": content_type}),
            body=body if isinstance(body, bytes) else dumps(body),
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

    def address(self) -> str:
        """The base URL.

        Raises:
            EngineError: `invalid_base_url`: the service has none of its own.
        """
        row = self.row
        from_env = os.environ.get(row.base_url_env) if row.base_url_env else None
        url = self.base_url or (from_env.rstrip("/") + row.path if from_env else row.base_url)
        if url is None:
            raise EngineError(
                f"{self.provider} has no address of its own: set {row.base_url_env}, or pass base_url=",
                reason="invalid_base_url",
            )
        return url

    def resolve_key(self, options: AdapterOptions) -> keys.Secret | None:
        """The key, or None for a service that needs none.

        Raises:
            EngineError: `missing_key`, `invalid_key`.
        """
        row = self.row
        try:
            return keys.resolve(self.provider, options.api_key or self.api_key, row.key_env)
        except EngineError as error:
            if error.reason == "missing_key" and not row.key_required:
                return None
            raise

    def all_headers(
        self, secret: keys.Secret | None, options: AdapterOptions, headers: Mapping[str, str]
    ) -> dict[str, str]:
        """`headers` with those of the service, the key, the call and the user."""
        row = self.row
        every = {**headers, **row.headers}
        if secret is not None:
            value = secret.reveal()
            every[row.key_header] = value if row.key_header == "api-key" else f"Bearer {value}"
        optional = {
            "openai-organization": self.organization,
            "openai-project": self.project,
            "x-client-request-id": options.request_id,
        }
        every.update({name: value for name, value in optional.items() if value is not None})
        every.update({name.lower(): value for name, value in self.headers.items()})
        return every
