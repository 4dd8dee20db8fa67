"""Edge cases of HTTP: exceptions of the HTTP library, and resources that it leaves open."""

from __future__ import annotations

import gzip
import re
import ssl

import pytest

import allm
from allm.http import transport
from allm.http.response import HttpResponse
from allm.http.transport import join_url, open_response
from allm.testing import Reply, WireServer

GZIP = {"content-encoding": "gzip"}


async def read(server, limit=1000):
    async with open_response("POST", server.base_url, headers={}, content=b"") as response:
        return await response.read(limit)


async def test_a_compressed_body():
    """It is read decompressed, whole or in part; nothing is left to the garbage collector, which would warn."""
    text = b"one two three " * 10_000
    async with WireServer() as server:
        server.default = Reply(body=gzip.compress(text, mtime=0), headers=GZIP, chunks=100, flush=True)
        assert await read(server, len(text)) == text
        assert await read(server) == text[:1000]


@pytest.mark.parametrize("body", [b"plain", gzip.compress(b"one" * 99, mtime=0)[:20]], ids=["at once", "later"])
async def test_a_body_with_the_wrong_content_encoding(body):
    """It is malformed, and the HTTP library's exception does not escape."""
    async with WireServer() as server:
        server.default = Reply(body=body + b"more", headers=GZIP, chunks=5, flush=True)
        with pytest.raises(allm.AdapterError, match="encoding that its headers name") as caught:
            await read(server)
    assert (caught.value.reason, caught.value.retryable) == ("malformed_response", False)


@pytest.mark.parametrize(
    "base_url", ["", "api.example", "ftp://api.example", "http://", "http://[::1", "http://a:0", None]
)
def test_an_invalid_base_url(base_url):
    """It is refused with an example of a valid one."""
    with pytest.raises(allm.EngineError, match="such as https://") as caught:
        join_url(base_url, "/chat")
    assert caught.value.reason == "invalid_base_url"


async def test_a_url_that_only_the_http_library_refuses():
    """It is the caller's mistake and is not retried."""
    with pytest.raises(allm.AdapterError, match="URL is not usable") as caught:
        async with open_response("POST", "http://xn--\ud800/", headers={}, content=b""):
            pass
    assert (caught.value.reason, caught.value.retryable) == ("invalid_request", False)


def test_without_an_http_library(monkeypatch):
    """The message says what to install."""
    monkeypatch.setattr(transport, "LIBRARIES", ("no_such_library",))
    with pytest.raises(ImportError, match="pip install httpx"):
        transport._library.__wrapped__()


def raising(error):
    """A client whose every request ends with `error`."""
    library = transport._library()

    def respond(request):
        raise error(library)

    return library.AsyncClient(transport=library.MockTransport(respond))


def caused_by(error, cause):
    """An error of the HTTP library caused by one of TLS, which is two levels down the chain of causes."""
    between = OSError("broken")
    between.__cause__ = cause
    error.__cause__ = between
    return error


def tls_error(reason):
    """A TLS alert of the peer, as Python reports it."""
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


FAILURES = {
    "slow": (lambda http: http.ConnectTimeout(""), "timeout", True, "timed out (ConnectTimeout)"),
    "refused": (lambda http: http.ConnectError("no"), "network_error", True, "cannot be reached (ConnectError: no)"),
    "proxy wants a password": (
        lambda http: http.ProxyError("407 Proxy Authentication Required"),
        "network_error",
        False,
        "407 Proxy Authentication Required",
    ),
    "proxy does not know the user": (
        lambda http: http.ProxyError("Invalid username/password"),
        "network_error",
        False,
        "Invalid username/password",
    ),
    "proxy has no room": (lambda http: http.ProxyError("503 Busy"), "network_error", True, "503 Busy"),
    "certificate": (
        lambda http: caused_by(http.ConnectError("no"), ssl.SSLCertVerificationError("expired")),
        "network_error",
        False,
        "cannot be reached",
    ),
    "certificate of the client": (
        lambda http: caused_by(http.ReadError("no"), tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED")),
        "network_error",
        False,
        "cannot be reached",
    ),
    "handshake": (
        lambda http: caused_by(http.ConnectError("no"), tls_error("UNEXPECTED_EOF")),
        "network_error",
        True,
        "cannot be reached",
    ),
    "impossible": (lambda http: http.LocalProtocolError("x"), "invalid_request", False, "cannot be sent"),
    "a bug": (lambda http: ZeroDivisionError("x"), None, None, "x"),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_failures_of_the_library(case):
    """Each gets the reason that says what can be done; other exceptions pass unchanged."""
    error, reason, retryable, words = FAILURES[case]
    async with raising(error) as client:
        with pytest.raises((allm.AdapterError, ZeroDivisionError), match=re.escape(words)) as caught:
            async with open_response("POST", "http://localhost", headers={}, content=b"", client=client):
                pass
    assert getattr(caught.value, "reason", None) == reason
    assert getattr(caught.value, "retryable", None) == retryable


def test_a_custom_response_has_to_implement_chunks():
    """A replacement for the network derives from `HttpResponse`."""
    with pytest.raises(NotImplementedError):
        HttpResponse(200, {}).chunks()
