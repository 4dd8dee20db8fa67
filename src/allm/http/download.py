"""GET of a file whose address the program knows, such as one of the package index: redirects are followed.

It goes through the shared connections, so that proxies and certificates are those of every call. For addresses that
anybody may have written, `fetch.py` has the checks.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urljoin, urlsplit

from allm.data.errors import AdapterError
from allm.http.error_body import reason_for_status
from allm.http.headers import HeaderValue
from allm.http.private_url import PrivateUrl, without_user
from allm.http.response import HttpResponse
from allm.http.transport import open_response

__all__ = ["open_download"]

_MOST_REDIRECTS = 5  # as `fetch.py`
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ERROR = 300


@asynccontextmanager
async def open_download(url: str, headers: Mapping[str, str]) -> AsyncGenerator[HttpResponse]:
    """Open the file at a URL for an `async with` block; user and password in it are sent to its own host only.

    Raises:
        AdapterError: The server failed, cannot be reached, or sends the request somewhere without encryption.
    """
    plain, user = without_user(url)
    host = urlsplit(plain).netloc
    for _ in range(_MOST_REDIRECTS + 1):
        own: dict[str, HeaderValue] = {"authorization": user} if user and urlsplit(plain).netloc == host else {}
        async with open_response("GET", plain, headers={"user-agent": "allm", **headers, **own}, content=b"") as found:
            if found.status not in _REDIRECTS or "location" not in found.headers:
                if found.status >= _ERROR:
                    reason = reason_for_status(found.status)
                    raise AdapterError(f"{plain!r} returned HTTP {found.status}", reason=reason, status=found.status)
                yield found
                return
            target = PrivateUrl(urljoin(plain, found.headers["location"]))
        if urlsplit(plain).scheme == "https" and urlsplit(target).scheme != "https":
            raise AdapterError(f"{plain!r} redirects to {target!r}, which is not encrypted", reason="invalid_request")
        plain = target
    raise AdapterError(f"{url!r} redirects more than {_MOST_REDIRECTS} times", reason="invalid_request")
