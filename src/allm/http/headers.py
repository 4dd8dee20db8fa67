"""Which response headers are shown to the user."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from allm.http.keys import Secret

__all__ = ["shown_headers"]

# `x-ratelimit-remaining-tokens` and `x-amzn-bedrock-input-token-count` are counts, `x-csrf-token` is a secret.
_SECRET = re.compile(r"authoriz|cookie|secret|password|api-?key|signature|(^|-)token$")
_SECRETS = frozenset({"location", "x-goog-upload-url"})
"""Headers with URLs that grant access by themselves, to an upload or a download."""


def shown_headers(headers: Mapping[str, str], secrets: Iterable[Secret] = ()) -> dict[str, str]:
    """Return the headers without those that may hold a secret, and with echoed keys masked.

    Args:
        headers: Headers of the response, names in lower case.
        secrets: The keys that were sent.
    """
    shown = {name: value for name, value in headers.items() if name not in _SECRETS and not _SECRET.search(name)}
    for secret in secrets:
        shown = {name: secret.redact(value) for name, value in shown.items()}
    return shown
