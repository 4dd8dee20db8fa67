"""Edge cases of HTTP: exceptions of the HTTP library, and resources that it leaves open."""

from __future__ import annotations

import gzip
import re
import ssl

import pytest

import allm
from allm.http import library as http_library
from allm.http.call import join_url
from allm.http.response import HttpResponse
from allm.http.transport import open_response
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
    monkeypatch.setattr(http_library, "LIBRARIES", ("no_such_library",))
    with pytest.raises(ImportError, match="pip install httpx"):
        http_library.library.__wrapped__()


def raising(error):
    """A client whose every request ends with `error`."""
    library = http_library.library()

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


# --- machines that are set up oddly ----------------------------------------------------------------------------------


@pytest.fixture
def no_context():
    """As in a process that has not loaded anything yet."""
    http_library.loaded.clear()
    http_library.tls.cache_clear()
    yield
    http_library.loaded.clear()
    http_library.tls.cache_clear()


def engine_at(base_url, **settings):
    adapter = allm.providers.OpenAI(api_key="key-0123456789", base_url=base_url, **settings)
    return allm.Engine(adapter=adapter, model="m", retry=None)


CERTIFICATES = {
    "no such file": ("SSL_CERT_FILE", "no/such/file.pem", "No such file"),
    "a folder": ("SSL_CERT_FILE", ".", "irectory"),
    "no certificates": ("SSL_CERT_FILE", __file__, "(?i)certificate"),
    "no such folder": ("SSL_CERT_DIR", "no/such/folder", "no such folder"),
}


@pytest.mark.parametrize("case", CERTIFICATES)
def test_certificates_that_are_not_there(monkeypatch, no_context, case):
    """Known before anything is sent: which variable, what it says, and what would help."""
    name, place, words = CERTIFICATES[case]
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv(name, place)
    with pytest.raises(allm.EngineError, match=words) as caught:
        allm.stream_generate(engine_at("https://api.example/v1"), "hi")
    assert caught.value.reason == "invalid_environment"
    for part in (f"{name} is ", place, "unset it"):
        assert part in str(caught.value)


async def test_certificates_that_are_not_needed(monkeypatch, no_context):
    """A server on this machine that speaks no TLS is reached without them."""
    monkeypatch.setenv("SSL_CERT_FILE", "no/such/file.pem")
    async with WireServer() as server:
        server.default = Reply.script("openai", [allm.fake.text("hi")])
        response = await allm.generate(engine_at(server.url("openai")), "hi")
    assert (response.output_text, response.error) == ("hi", None)


async def test_a_proxy_that_cannot_be_used(monkeypatch):
    """It is known before anything is sent, unless the host is reached without one, or by a client of one's own."""
    async with WireServer() as server:
        server.default = Reply.script("openai", [allm.fake.text("hi")])
        monkeypatch.setenv("all_proxy", "socks4://127.0.0.1:9")
        engine = engine_at(server.url("openai"))
        with pytest.raises(allm.EngineError, match=r"all_proxy is 'socks4://127\.0\.0\.1:9'"):
            await allm.generate(engine, "hi")
        assert server.requests == []
        async with http_library.library().AsyncClient(trust_env=False) as client:
            own = engine_at(server.url("openai"), http_client=client)
            assert (await allm.generate(own, "hi")).output_text == "hi"
        monkeypatch.setenv("no_proxy", "127.0.0.0/8,fd00::/8")
        assert (await allm.generate(engine, "hi")).output_text == "hi"


async def test_a_proxy(monkeypatch):
    """It is asked for hosts that are not this machine, and gets the key for them as the host would."""
    async with WireServer() as server:
        server.default = Reply.script("openai", [allm.fake.text("hi")])
        monkeypatch.setenv("http_proxy", server.base_url)
        monkeypatch.setenv("no_proxy", "example.org")
        response = await allm.generate(engine_at("http://api.example/v1"), "hi")
        assert [request.headers["host"] for request in server.requests] == ["api.example"]
    assert response.output_text == "hi"


def test_a_custom_response_has_to_implement_chunks():
    """A replacement for the network derives from `HttpResponse`."""
    with pytest.raises(NotImplementedError):
        HttpResponse(200, {}).chunks()
