"""The proxy for a request, from the environment.

The variables are `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`; their lower-case forms take precedence. If
none is set, the settings of macOS and Windows are used. They are read for each call, and only those that the call needs
are checked; what the same values mean for the same server is found once.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from allm.data.attrs_classes import frozen
from allm.data.errors import EngineError
from allm.http.private_url import PrivateUrl

__all__ = ["PROXY_VARIABLES", "own_servers", "proxy_for"]

own_servers: set[str] = set()
"""Scheme, host and port of the servers that an adapter of this process runs for itself: no proxy is asked for them."""

_VARIABLES = tuple(
    name for kind in ("http", "https", "all", "no") for name in (f"{kind}_proxy", f"{kind.upper()}_PROXY")
)
PROXY_VARIABLES = (*_VARIABLES, "REQUEST_METHOD")
"""What decides. Where REQUEST_METHOD is set, HTTP_PROXY may be a header that a client sent to a CGI script
(CVE-2016-1000110); urllib takes care of that."""

_SOCKS = frozenset({"socks5", "socks5h"})
_USABLE = frozenset({"http", "https", *_SOCKS})
_ALIASES = {"socks": "socks5"}
"""GNOME writes `socks://` for a proxy with version 5 of the protocol."""

_PORTS = {"http": 80, "https": 443}
_USERINFO = re.compile(r"[^/@]*@")
_WITH_PORT = re.compile(r"(\[[^]]*\]|[^:]*):(\d+)")


@functools.lru_cache(maxsize=256)
def proxy_for(origin: str, environment: tuple[str | None, ...]) -> str | None:
    """Return the URL of the proxy for requests to `origin`, or None.

    Args:
        origin: Scheme, host and port of a URL.
        environment: The values of `PROXY_VARIABLES`.

    Raises:
        EngineError: `invalid_environment`: the proxy cannot be used. The message names the variable and the fix.
    """
    settings = _settings(environment)
    if not settings.proxies:
        return None
    scheme, host, port = _place_of(origin)
    kind = scheme if scheme in settings.proxies else "all"
    proxy = settings.proxies.get(kind)
    if proxy is None or any(_exempts(entry, scheme, host, port) for entry in settings.exempt):
        return None
    problem = _problem(proxy)
    if problem is not None:
        raise _unusable(kind, proxy, problem)
    return PrivateUrl("://".join(_scheme_and_rest(proxy)))


def _place_of(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme)


@frozen
class _Settings:
    """The proxy settings of the environment.

    Attributes:
        proxies: Proxy URLs by the scheme of the request's URL, or `all`.
        exempt: The entries of NO_PROXY.
    """

    proxies: Mapping[str, str]
    exempt: tuple[str, ...]


@functools.lru_cache(maxsize=16)
def _settings(_environment: tuple[str | None, ...]) -> _Settings:
    from urllib.request import getproxies  # it is slow to import, and the HTTP library needs it anyhow

    found = getproxies()
    proxies = {
        kind: PrivateUrl(found[kind].strip()) for kind in ("http", "https", "all") if found.get(kind, "").strip()
    }
    return _Settings(proxies, tuple(re.split(r"[\s,]+", found.get("no", "").strip().lower())))


def _scheme_and_rest(value: str) -> tuple[str, str]:
    url = value if "://" in value else f"http://{value}"
    scheme, _, rest = url.partition("://")
    return _ALIASES.get(scheme.lower(), scheme.lower()), rest


def _problem(value: str) -> str | None:
    """Why a proxy cannot be used; told by the caller, whose variables do not have its password."""
    scheme, rest = _scheme_and_rest(value)
    if scheme not in _USABLE:
        return f"proxies of the kind {scheme}:// cannot be used, only http://, https://, socks5:// and socks5h://"
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        is_address = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        return "it is not the address of a proxy, such as http://proxy.example:3128"
    if scheme in _SOCKS and importlib.util.find_spec("socksio") is None:
        return "a SOCKS proxy needs the package socksio: pip install socksio"
    return None


def _unusable(kind: str, value: str, why: str) -> EngineError:
    names = [name for name in (f"{kind}_proxy", f"{kind.upper()}_PROXY") if os.environ.get(name, "").strip() == value]
    where = names[0] if names else "the proxy of the system's settings"
    shown = _USERINFO.sub("***@", value, count=1)  # may contain a password
    what = f"{where} is {shown!r}: {why}. Correct it, unset it, or name the host in NO_PROXY"
    return EngineError(what, reason="invalid_environment").advised(", or pass a client of your own as http_client=")


# --- NO_PROXY --------------------------------------------------------------------------------------------------------


def _exempts(entry: str, scheme: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY matches the host."""
    if entry == "*":
        return True
    kind, separator, rest = entry.partition("://")
    if separator:
        if kind not in {scheme, "all"}:
            return False
        entry = rest
    with_port = _WITH_PORT.fullmatch(entry)
    if with_port is not None and _address(entry) is None:
        entry = with_port[1]
        if int(with_port[2]) != port:
            return False
    address = _address(host)
    if address is not None:
        return _holds(entry, address)
    name = entry.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _holds(entry: str, address: IPv4Address | IPv6Address) -> bool:
    """Whether `entry`, an address or a network, contains the address; brackets around IPv6 are ignored."""
    try:
        return address in ip_network(entry.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return False
