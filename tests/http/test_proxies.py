"""Which proxy a request goes through, in environments as real machines have them."""

from __future__ import annotations

import os
import sys

import pytest

import allm
from allm.http import proxies

API = "https://api.example/v1"
PROXY = "http://proxy.example:3128"


def proxy_for(url):
    """The proxy in the environment as it is now."""
    return proxies.proxy_for(url, tuple(map(os.environ.get, proxies.PROXY_VARIABLES)))


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "REQUEST_METHOD":
            monkeypatch.delenv(name)
    return monkeypatch


FOUND = {
    "nothing": ({}, API, None),
    "by scheme": ({"HTTPS_PROXY": PROXY, "HTTP_PROXY": "http://other:1"}, API, PROXY),
    "of the other scheme": ({"HTTP_PROXY": PROXY}, API, None),
    "for all": ({"ALL_PROXY": PROXY}, API, PROXY),
    "lower case wins": ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, API, PROXY),
    "without a scheme": ({"https_proxy": "proxy.example:3128"}, API, PROXY),
    "with a password": (
        {"https_proxy": "http://me:secret@proxy.example:3128"},
        API,
        "http://me:secret@proxy.example:3128",
    ),
    "empty": ({"HTTPS_PROXY": " ", "ALL_PROXY": PROXY}, API, PROXY),
    "spaces around it": ({"HTTPS_PROXY": f" {PROXY} "}, API, PROXY),
    "a desktop's SOCKS beside it": ({"ALL_PROXY": "socks://127.0.0.1:1080/", "https_proxy": PROXY}, API, PROXY),
    "a wrong one that is not needed": ({"ALL_PROXY": "ftp://x", "no_proxy": "api.example"}, API, None),
    "a web server's own variable": ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "http://api.example", None),
}


@pytest.mark.parametrize("case", FOUND)
def test_where_a_request_goes(environment, case):
    """As in other programs; only the settings that the request needs are checked."""
    variables, url, proxy = FOUND[case]
    for name, value in variables.items():
        environment.setenv(name, value)
    assert proxy_for(url) == proxy


EXEMPT = {
    "*": (["http://api.example", "http://10.0.0.1"], []),
    "api.example": (["http://api.example", "http://x.api.example:99", "http://API.example."], ["http://xapi.example"]),
    ".api.example": (["http://api.example", "http://x.api.example"], ["http://xapi.example"]),
    "*.api.example": (["http://x.api.example"], ["http://xapi.example"]),
    "localhost, api.example": (["http://localhost:8000", "http://api.example"], ["http://127.0.0.1"]),
    "localhost api.example": (["http://localhost:8000", "http://api.example"], ["http://127.0.0.1"]),
    "api.example:8080": (["http://api.example:8080"], ["http://api.example"]),
    "api.example:80": (["http://api.example"], ["http://api.example:8080"]),
    "http://api.example": (["http://api.example"], ["http://other.example"]),
    "https://api.example": ([], ["http://api.example"]),
    "all://api.example:80": (["http://api.example"], []),
    "10.0.0.0/8": (["http://10.1.2.3:8000"], ["http://11.0.0.1", "http://10.example", "http://[::1]"]),
    "127.0.0.1": (["http://127.0.0.1:1"], ["http://127.0.0.2"]),
    "127.0.0.1:11434": (["http://127.0.0.1:11434"], ["http://127.0.0.1"]),
    "fd00::/8": (["http://[fd12::1]:8000"], ["http://[fe80::1]", "http://10.0.0.1", "http://fd00.example"]),
    "[fd00::]/8": (["http://[fd12::1]"], []),
    "::1": (["http://[::1]:11434"], ["http://[::2]"]),
    "[::1]": (["http://[::1]"], []),
    "[::1]:11434": (["http://[::1]:11434"], ["http://[::1]:80"]),
    ", ,.,/,[,%,http://,:80,fd00::/999": ([], ["http://api.example", "http://[fd00::1]"]),
}


@pytest.mark.parametrize("entries", EXEMPT)
def test_no_proxy(environment, entries):
    """Names, addresses and IPv4 and IPv6 networks, with and without ports; unreadable entries are ignored."""
    environment.setenv("HTTP_PROXY", PROXY)
    environment.setenv("NO_PROXY", entries)
    direct, through = EXEMPT[entries]
    assert [proxy_for(url) for url in direct] == [None] * len(direct)
    assert [proxy_for(url) for url in through] == [PROXY] * len(through)


UNUSABLE = {
    "SOCKS without its package": ("ALL_PROXY", "socks5://10.0.0.1:1080", "pip install socksio"),
    "SOCKS as a desktop writes it": ("all_proxy", "socks://10.0.0.1:1080/", "pip install socksio"),
    "an older SOCKS": ("ALL_PROXY", "socks4://10.0.0.1:1080", "only http://"),
    "another protocol": ("HTTPS_PROXY", "ftp://proxy.example", "only http://"),
    "no address": ("https_proxy", "http://", "such as http://proxy"),
    "a bracket too many": ("HTTPS_PROXY", "http://[::1", "such as http://proxy"),
    "no port": ("HTTPS_PROXY", "proxy.example:x", "such as http://proxy"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_proxy(environment, monkeypatch, case):
    """The error names the variable, its value and the fix."""
    name, value, words = UNUSABLE[case]
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    environment.setenv(name, value)
    with pytest.raises(allm.EngineError, match="NO_PROXY") as caught:
        proxy_for(API)
    assert caught.value.reason == "invalid_environment"
    for part in (f"{name} is ", value, words):
        assert part in str(caught.value)


def test_socks_with_its_package(environment, monkeypatch):
    """SOCKS works, including the spelling that desktops use."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    environment.setenv("ALL_PROXY", "SOCKS://10.0.0.1:1080")
    assert proxy_for(API) == "socks5://10.0.0.1:1080"


def test_a_password_is_not_shown(environment):
    """It may be part of the address."""
    environment.setenv("HTTPS_PROXY", "ftp://me:secret@proxy.example")
    with pytest.raises(allm.EngineError, match=r"ftp://\*\*\*@proxy") as caught:
        proxy_for(API)
    assert "secret" not in str(caught.value)


def test_a_proxy_of_the_system(environment, monkeypatch):
    """The error names the system's settings, because no variable is set."""
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "ftp://x"})
    monkeypatch.setenv("NO_PROXY", "of-this-test-alone")
    with pytest.raises(allm.EngineError, match="the proxy of the system's settings is 'ftp://x'"):
        proxy_for(API)
