"""How the Gemini API is reached: address, key, headers; shared by its adapters."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import attrs

from allm.data.errors import ValidationError
from allm.data.problems import Problem, shown
from allm.http.json_call import HttpPost
from allm.http.settings import json_body, own_headers, secret_of
from allm.http.transport import check_client, join_url, parts_of
from allm.providers.gemini.errors import classify
from allm.runtime import keys
from allm.runtime.adapters import AdapterOptions

__all__ = ["Connection", "resource_name"]

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com"
KEY_VARIABLES = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
# First segments of a model name that is a whole resource name already; the last two are Vertex AI's.
COLLECTIONS = frozenset({"models", "tunedModels", "publishers", "projects"})


def resource_name(model: str) -> str:
    """The part of the URL that names the model, quoted: `models/gemini-3.5-flash`, `tunedModels/mine`.

    Raises:
        ValidationError: A name that would reach outside its place in the URL.
    """
    segments = model.split("/")
    if segments[0] not in COLLECTIONS or len(segments) == 1:
        segments = ["models", model]
    if any(segment in {"", ".", ".."} for segment in segments) or not model.isprintable():
        expected = "gemini-3.5-flash, models/gemini-3.5-flash or tunedModels/my-model"
        sentence = f"is {shown(model)}, which cannot be part of a URL; expected a name such as {expected}"
        raise ValidationError([Problem(("model",), "invalid_format", sentence)], reason="invalid_request")
    return "/".join(quote(segment, safe="") for segment in segments)


@attrs.frozen(kw_only=True, eq=False)
class Connection:
    """What the adapters of this vendor have in common.

    Args:
        api_key: Else `keys.override(gemini=...)`, `keys.put`, then GEMINI_API_KEY, then GOOGLE_API_KEY. It travels in
            the header x-goog-api-key, never in the URL.
        base_url: Without the version segment, as the vendor's SDK takes it; else GOOGLE_GEMINI_BASE_URL, else Google
            itself. A query is kept.
        api_version: The version segment of the URL.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
    """

    api_key: keys.Secret | None = attrs.field(default=None, converter=secret_of)
    base_url: str | None = None
    api_version: str = "v1beta"
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    http_client: Any = attrs.field(default=None, repr=False)

    @property
    def provider(self) -> str:
        """`"gemini"`."""
        return "gemini"

    def post(self, model: str, method: str, body: Mapping[str, Any], options: AdapterOptions) -> HttpPost:
        """A call that answers in one piece, such as `method="generateContent"`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: A model name that cannot be part of a URL.
        """
        url, secret = self.address(model, method), self.resolve_key(options)
        return HttpPost(
            provider=self.provider,
            url=url,
            headers=self.all_headers(secret, options, {"content-type": "application/json"}),
            body=json_body(body),
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

    def resolve_key(self, options: AdapterOptions) -> keys.Secret:
        """The key.

        Raises:
            EngineError: `missing_key`, `invalid_key`.
        """
        return keys.resolve(self.provider, options.api_key or self.api_key, KEY_VARIABLES)

    def address(self, model: str, method: str) -> str:
        """The URL of a method of a model.

        Raises:
            EngineError: `invalid_base_url`.
            ValidationError: A model name that cannot be part of a URL.
        """
        base_url = self.base_url
        if base_url is None:
            base_url = os.environ.get("GOOGLE_GEMINI_BASE_URL") or DEFAULT_BASE_URL
        version = self.api_version.strip("/")
        path = f"/{resource_name(model)}:{method}"
        # Google's own examples of URLs have the version in them, so a base URL that ends with it is understood as well.
        if version and not parts_of(base_url).path.rstrip("/").endswith(f"/{version}"):
            path = f"/{version}{path}"
        return join_url(base_url, path)

    def all_headers(self, secret: keys.Secret, options: AdapterOptions, headers: Mapping[str, str]) -> dict[str, str]:
        """`headers` with the key and those of the call and the user."""
        every = {**headers, "x-goog-api-key": secret.reveal()}
        if options.request_id is not None:
            every["x-request-id"] = options.request_id
        every.update(own_headers(self.headers))
        return every
