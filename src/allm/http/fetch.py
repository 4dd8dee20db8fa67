"""Fetching an image by its URL: only when the caller says so, and only from a public address.

A URL may come from anyone, and a server that fetches it stands inside a network that the sender does not. So the name
is looked up here, every address it has is checked, and the connection goes to a checked one: a name that answers
something else a moment later gains nothing. Each redirect is a new URL with the same checks.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import SplitResult, urljoin, urlsplit

import trio

from allm.data.errors import AdapterError, Problem, ValidationError
from allm.data.image import Image
from allm.data.image_header import named_mime, sniff_mime
from allm.http.addresses import is_public
from allm.http.error_body import reason_for_status
from allm.http.response import HttpResponse
from allm.http.transport import open_at

__all__ = ["IMAGE_TYPES", "MAX_BYTES", "fetch_image"]

MAX_BYTES = 20 * 1024 * 1024
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HTTP_ERROR = 300
PORTS = {"http": 80, "https": 443}
UNREACHED = frozenset({"network_error", "timeout"})
"""After these the next address is tried, as a browser does."""


async def fetch_image(
    image: Image | str,
    *,
    max_bytes: int = MAX_BYTES,
    types: Collection[str] = IMAGE_TYPES,
    timeout: float = 30.0,  # noqa: ASYNC109  (callers expect a limit of its own)
    max_redirects: int = MAX_REDIRECTS,
    allow_hosts: Collection[str] = (),
) -> Image:
    """The bytes behind a URL, as an image. Nothing else in this library fetches what it is given.

        image = await allm.fetch_image("https://example.com/fox.png")

    Args:
        image: A URL, or an image by URL; another image is returned as it is.
        max_bytes: Longest image.
        types: MIME types that are taken: the answer has to say one of them, and its bytes have to be one.
        timeout: Seconds for all of it.
        max_redirects: How many are followed.
        allow_hosts: Names, without ports, that may have private addresses, such as a server of your own.

    Raises:
        ValidationError: `invalid_image`: the URL, an address, a redirect or the answer is refused.
        AdapterError: The server failed, or could not be reached in time.
    """
    url = image.url if isinstance(image, Image) else image
    if url is None and isinstance(image, Image):
        await trio.lowlevel.checkpoint()
        return image
    if not isinstance(url, str):
        raise _refused("invalid_type", f"expected a URL or an Image, got {type(url).__name__}")
    wanted, hosts = _set_of(types), frozenset(host.strip("[]") for host in _set_of(allow_hosts))
    with trio.move_on_after(timeout):
        for _ in range(max_redirects + 1):
            found = await _one(url, max_bytes, wanted, hosts)
            if isinstance(found, Image):
                return found
            url = found
        raise _refused("too_many_redirects", f"more than {max_redirects} redirects, the last to {url!r}")
    raise AdapterError(f"the image did not come within {timeout} s", reason="timeout")


def _set_of(names: Collection[str]) -> frozenset[str]:
    """The names in lower case; a bare string counts as one name."""
    return frozenset(name.lower() for name in ((names,) if isinstance(names, str) else names))


async def _one(url: str, max_bytes: int, types: frozenset[str], hosts: frozenset[str]) -> Image | str:
    """The image, or the URL that the answer points to."""
    parts = _checked(url)
    *others, last = await _addresses(parts, hosts)
    for address in others:
        try:
            return await _from(url, address, max_bytes, types)
        except AdapterError as error:
            if error.reason not in UNREACHED or error.status is not None:
                raise
    return await _from(url, last, max_bytes, types)


async def _from(url: str, address: str, max_bytes: int, types: frozenset[str]) -> Image | str:
    headers = {"accept": ", ".join(sorted(types)), "user-agent": "allm"}  # some servers answer none without a name
    async with open_at(url, address, headers) as response:
        if response.status in REDIRECTS and "location" in response.headers:
            return _target(url, response.headers["location"])
        if response.status >= HTTP_ERROR:
            reason = reason_for_status(response.status)
            raise AdapterError(f"{url!r} answered HTTP {response.status}", reason=reason, status=response.status)
        return await _image(url, response, max_bytes, types)


def _target(url: str, location: str) -> str:
    """Where a redirect leads."""
    try:
        target = urljoin(url, location)
    except ValueError as error:
        raise _refused("invalid_url", f"{url!r} redirects to something that is not a URL ({error})") from error
    if urlsplit(url).scheme == "https" and _checked(target).scheme == "http":
        raise _refused("forbidden_redirect", f"{url!r} redirects to {target!r}, which is not encrypted")
    return target


async def _image(url: str, response: HttpResponse, max_bytes: int, types: frozenset[str]) -> Image:
    said = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if named_mime(said) not in types:
        raise _refused("unsupported_type", f"{url!r} is {said or 'of no type'}; expected {', '.join(sorted(types))}")
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":  # not what was asked for, and it could unpack to anything
        raise _refused("unsupported_encoding", f"{url!r} came packed with {encoding}; expected it as it is")
    data = await response.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise _refused("too_large", f"{url!r} is longer than {max_bytes} bytes")
    if (found := sniff_mime(data)) not in types:
        raise _refused("unsupported_type", f"the bytes of {url!r} are {found or 'no image that is known'}, not {said}")
    return Image.from_bytes(data, found)


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, usable = urlsplit(""), False
    if parts.username is not None or parts.password is not None:
        raise _refused("invalid_url", "the URL has a user name or a password in it, which is not sent anywhere")
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise _refused("invalid_url", f"{url!r} is not an http or https URL with a host, in ASCII")
    return parts


async def _addresses(parts: SplitResult, hosts: frozenset[str]) -> list[str]:
    """The addresses of the host, once all of them were checked."""
    host = parts.hostname or ""
    try:
        found = await trio.socket.getaddrinfo(
            host, parts.port or PORTS[parts.scheme], type=trio.socket.SOCK_STREAM, proto=trio.socket.IPPROTO_TCP
        )
    except (OSError, UnicodeError) as error:
        raise AdapterError(f"the name {host!r} cannot be looked up: {error}", reason="network_error") from error
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
