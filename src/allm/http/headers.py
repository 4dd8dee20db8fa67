"""Which headers of a response a user gets to see."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from allm.http.keys import Secret

__all__ = ["shown_headers"]

# `x-ratelimit-remaining-tokens` and `x-amzn-bedrock-input-token-count` are counts, `x-csrf-token` is a secret.
_SECRET = re.compile(r"authoriz|cookie|secret|password|api-?key|signature|(^|-)token$")
_SECRETS = frozenset({"location", "x-goog-upload-url"})
"""URLs that are a permission in themselves: who has one of them may upload, or download."""


def shown_headers(headers: Mapping[str, str], secrets: Iterable[Secret] = ()) -> dict[str, str]:
    """The headers without those that may hold a secret, and without the keys that were sent, wherever they are echoed.

    Args:
        headers: Of the response, their names in lower case.
        secrets: The keys that were sent.
    """
    shown = {name: value for name, value in headers.items() if name not in _SECRETS and not _SECRET.search(name)}
    for secret in secrets:
        shown = {name: secret.redact(value) for name, value in shown.items()}
    return shown
