"""Access tokens of Google Cloud and Azure, by the small libraries that these have for it.

They look for credentials where every program of the cloud does: variables, files, a tool that is logged in, the role of
a machine. A token is fetched when a call needs it, and when the service has refused the last one because it expired.
"""

from __future__ import annotations

import importlib
from typing import Any

from allm.http.keys import AccessToken

__all__ = ["entra", "google"]

_GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_AZURE_SCOPE = "https://cognitiveservices.azure.com/.default"


def google(credentials: Any = None) -> AccessToken:
    """Access tokens of Google Cloud, for Vertex AI: `Gemini(project="mine", api_key=allm.keys.google())`.

    Args:
        credentials: Those of google-auth; None: the application's default ones, which are looked for at the first call.

    Raises:
        ImportError: The extra `vertex` is not installed.
    """
    auth = _needed("google.auth", "vertex")
    transport = _needed("google.auth.transport.requests", "vertex")
    found = [credentials] if credentials is not None else []

    def fetch() -> str:
        if not found:
            found.append(auth.default(scopes=[_GOOGLE_SCOPE])[0])
        found[0].refresh(transport.Request())
        return str(found[0].token)

    return AccessToken(fetch)


def entra(credential: Any = None, *, scope: str = _AZURE_SCOPE) -> AccessToken:
    """Access tokens of Microsoft Entra ID, for Azure: `OpenAI(preset="azure", api_key=allm.keys.entra())`.

    Args:
        credential: One of azure-identity that is not async; None: its `DefaultAzureCredential`.
        scope: What the token is for; `https://ai.azure.com/.default` in projects of Foundry.

    Raises:
        ImportError: The extra `azure` is not installed.
    """
    if credential is None:
        credential = _needed("azure.identity", "azure").DefaultAzureCredential()

    def fetch() -> str:
        return str(credential.get_token(scope).token)

    return AccessToken(fetch)


def _needed(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is not installed: pip install 'allm-trio[{extra}]'") from error
