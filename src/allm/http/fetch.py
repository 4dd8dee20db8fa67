"""Fetching an image by URL: only when the caller asks for it, and only from public addresses.

A URL may come from anyone, and a server that fetches it sits inside a network that the sender cannot reach. So the host
name is resolved here, all of its addresses are checked, and the connection goes to a checked address: a name that
resolves differently a moment later (DNS rebinding) gains nothing. Each redirect is checked like a new URL.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

import trio

from allm.data.errors import AdapterError, Problem, ValidationError
from allm.data.image import Image
from allm.data.image_header import named_mime, sniff_mime
from allm.http.addresses import is_public
from allm.http.client import LiveResponse
from allm.http.connecting import Connecting
from allm.http.error_body import reason_for_status
from allm.http.library import library, load, tls
from allm.http.response import HttpResponse, mapped
from allm.http.transport import CLEANUP_SECONDS, CONNECT_SECONDS, WRITE_SECONDS
from allm.http.trio_task import outside_trio

__all__ = ["IMAGE_TYPES", "MAX_BYTES", "fetch_image", "open_at"]

MAX_BYTES = 20 * 1024 * 1024
"""Largest image, in bytes: what Gemini took inline in one request until 2026, when it raised its limit."""
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
MAX_REDIRECTS = 5  # what HTTP/1.1 once recommended (RFC 2068, 10.3)
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HTTP_ERROR = 300
PORTS = {"http": 80, "https": 443}
UNREACHED = frozenset({"network_error", "timeout"})
"""Errors after which the next address is tried, as browsers do."""


async def fetch_image(
    image: Image | str,
    *,
    max_bytes: int = MAX_BYTES,
    types: Collection[str] = IMAGE_TYPES,
    timeout: float = 30.0,  # noqa: ASYNC109  (a fetch needs a limit even where the caller sets no deadline)
    max_redirects: int = MAX_REDIRECTS,
    allow_hosts: Collection[str] = (),
) -> Image:
    """Fetch an image by URL. No other function of this library fetches a URL that it is given.

        image = await allm.fetch_image("https://example.com/fox.png")

    Args:
        image: A URL, or an image by URL; an image that has its bytes is returned as it is.
        max_bytes: Largest image, in bytes.
        types: MIME types accepted: the response has to declare one of them, and its bytes have to be one.
        timeout: Seconds for the whole fetch.
        max_redirects: How many redirects are followed.
        allow_hosts: Host names, without ports, that may have private addresses, such as a server of your own.

    Raises:
        ValidationError: `invalid_image`: the URL, an address, a redirect or the response is refused.
        AdapterError: The server failed, or could not be reached in time.
    """
    if not trio.lowlevel.in_trio_task():
        raise outside_trio()
    url = image.url if isinstance(image, Image) else image
    if url is None and isinstance(image, Image):
        await trio.lowlevel.checkpoint()
        return image
    if not isinstance(url, str):
        raise _refused("invalid_type", f"expected a URL or an Image, got {type(url).__name__}")
    accepted, hosts = _set_of(types), frozenset(host.strip("[]") for host in _set_of(allow_hosts))
    with trio.move_on_after(timeout):
        for _ in range(max_redirects + 1):
            result = await _follow(url, max_bytes, accepted, hosts)
            if isinstance(result, Image):
                return result
            url = result
        raise _refused("too_many_redirects", f"more than {max_redirects} redirects, the last to {url!r}")
    raise AdapterError(f"the image did not arrive within {timeout} s", reason="timeout")


def _set_of(names: Collection[str]) -> frozenset[str]:
    """Return the names in lower case; a bare string counts as one name."""
    return frozenset(name.lower() for name in ((names,) if isinstance(names, str) else names))


async def _follow(url: str, max_bytes: int, types: frozenset[str], hosts: frozenset[str]) -> Image | str:
    """Return the image, or the URL that the response redirects to."""
    parts = _checked(url)
    *others, last = await _addresses(parts, hosts)
    for address in others:
        try:
            return await _get(url, address, max_bytes, types)
        except AdapterError as error:
            # With a status, the server was reached, and its other addresses would give the same response.
            if error.reason not in UNREACHED or error.status is not None:
                raise
    return await _get(url, last, max_bytes, types)


async def _get(url: str, address: str, max_bytes: int, types: frozenset[str]) -> Image | str:
    headers = {"accept": ", ".join(sorted(types)), "user-agent": "allm"}  # some servers refuse requests without one
    async with open_at(url, address, headers) as response:
        if response.status in REDIRECTS and "location" in response.headers:
            return _target(url, response.headers["location"])
        if response.status >= HTTP_ERROR:
            reason = reason_for_status(response.status)
            raise AdapterError(f"{url!r} returned HTTP {response.status}", reason=reason, status=response.status)
        return await _image(url, response, max_bytes, types)


def _target(url: str, location: str) -> str:
    """Return the absolute URL that a redirect leads to."""
    try:
        target = urljoin(url, location)
    except ValueError as error:
        raise _refused("invalid_url", f"{url!r} redirects to something that is not a URL ({error})") from error
    if urlsplit(url).scheme == "https" and _checked(target).scheme == "http":
        raise _refused("forbidden_redirect", f"{url!r} redirects to {target!r}, which is not encrypted")
    return target


async def _image(url: str, response: HttpResponse, max_bytes: int, types: frozenset[str]) -> Image:
    declared = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if named_mime(declared) not in types:
        what = f"{url!r} has {declared or 'no content type'}; expected {', '.join(sorted(types))}"
        raise _refused("unsupported_type", what)
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":  # it was not asked for, and could decompress to any size
        raise _refused("unsupported_encoding", f"{url!r} is compressed with {encoding}; expected it uncompressed")
    data = await response.read(max_bytes + 1)  # one byte more tells a longer image from one of just that size
    if len(data) > max_bytes:
        raise _refused("too_large", f"{url!r} is longer than {max_bytes} bytes")
    # The declared type alone proves nothing: an error page or an SVG may call itself a PNG.
    if (found := sniff_mime(data)) not in types:
        raise _refused("unsupported_type", f"the bytes of {url!r} are {found or 'of no known type'}, not {declared}")
    return Image.from_bytes(data, found)


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, usable = urlsplit(""), False
    if parts.username is not None or parts.password is not None:
        # Without quoting the URL, so that the password does not end up in a log.
        raise _refused("invalid_url", "the URL contains a user name or password, which is never sent")
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise _refused("invalid_url", f"{url!r} is not an ASCII http or https URL with a host")
    return parts


async def _addresses(parts: SplitResult, hosts: frozenset[str]) -> list[str]:
    """Resolve the host and check every address it has."""
    host = parts.hostname or ""
    try:
        found = await trio.socket.getaddrinfo(
            host, parts.port or PORTS[parts.scheme], type=trio.socket.SOCK_STREAM, proto=trio.socket.IPPROTO_TCP
        )
    except Exception as error:  # a resolver of the user's may raise anything, and for odd names Python's does so too
        raise AdapterError(f"the host name {host!r} cannot be resolved: {error}", reason="network_error") from error
    if not found:
        raise AdapterError(f"the host name {host!r} has no address", reason="network_error")
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if host not in hosts and not is_public(address):
            raise _refused(
                "forbidden_address",
                f"{host!r} is at {address}, which is not a public address; allow_hosts= names hosts of your own",
            )
    return addresses


def _refused(tag: str, message: str) -> ValidationError:
    return ValidationError([Problem(("url",), tag, message)], reason="invalid_image", message=message)


@asynccontextmanager
async def open_at(url: str, address: str, headers: Mapping[str, str]) -> AsyncGenerator[HttpResponse]:
    """GET `url` from the machine at `address`: its name is not looked up again, no proxy is asked, nothing is followed.

    The connection is its own, since one that is kept for an address would serve every name that has this address.

    Raises:
        AdapterError: As `open_response`.
    """
    await load(secure=True)
    http, parts = library(), urlsplit(url)
    host = f"[{address}]" if ":" in address else address
    target = urlunsplit(
        (parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path or "/", parts.query, "")
    )
    timeout = http.Timeout(connect=CONNECT_SECONDS, write=WRITE_SECONDS, read=None, pool=None)
    request = http.Request(
        "GET",
        target,
        headers={**headers, "host": parts.netloc, "accept-encoding": "identity", "connection": "close"},
        # The certificate has to be for the name.
        extensions={"sni_hostname": parts.hostname, "timeout": timeout.as_dict(), "trace": Connecting()},
    )
    with mapped(http, reading=False):
        # A client would read proxies from the environment, and make a request of a redirect.
        async with http.AsyncHTTPTransport(verify=tls(), trust_env=False) as connection:
            response = await connection.handle_async_request(request)
            try:
                yield LiveResponse(response.status_code, response.headers, response, http)
            finally:
                with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                    await response.aclose()
