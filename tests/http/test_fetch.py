"""Fetching by URL: from public addresses only, however a URL disguises its destination."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

import allm
from allm.http import fetch
from allm.http.response import HttpResponse
from allm.providers.fake.images import plain_png
from allm.testing import Cut, Reply, Stall, WireServer, loopback_clock

PNG = plain_png("fetched")


@pytest.fixture
def clock():
    return loopback_clock()


@pytest.fixture
async def server():
    async with WireServer() as running:
        yield running


class Names(trio.abc.HostnameResolver):
    """A resolver that reads a table; a list in it is used up, one item for each lookup."""

    def __init__(self, **addresses):
        self.addresses = addresses
        self.asked = []

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002  (its name in trio)
        await trio.lowlevel.checkpoint()
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        try:
            return socket.getaddrinfo(name, port, type=type, proto=proto, flags=socket.AI_NUMERICHOST)
        except OSError:
            pass
        entry = self.addresses.get(name.replace(".", "_").replace("-", "_"), ())
        found = [entry.pop(0)] if isinstance(entry, list) else entry
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, type, proto, "", (one, port)) for one in found]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


@pytest.fixture
def names():
    """Resolve names with the table instead of the network."""

    def use(**addresses):
        resolver = Names(**addresses)
        trio.socket.set_custom_hostname_resolver(resolver)
        return resolver

    return use


def png(**fields):
    return Reply(**{"body": PNG, "headers": {"content-type": "image/png; charset=x"}, **fields})


def tag_of(caught):
    assert caught.value.reason == "invalid_image"
    return caught.value.errors[0][1]


async def fetched(server, path="/fox.png", **options):
    return await allm.fetch_image(f"{server.base_url}{path}", allow_hosts=["127.0.0.1"], **options)


async def test_an_image_is_fetched(server):
    """Its type is that of its bytes; the request carries no headers of ours."""
    server.add(png())
    image = await fetched(server, "/a/fox.png?size=2")
    assert (image.to_bytes(), image.mime_type) == (PNG, "image/png")
    [request] = server.requests
    assert (request.method, request.path) == ("GET", "/a/fox.png?size=2")
    assert request.headers["host"] == server.base_url.removeprefix("http://")
    assert "authorization" not in request.headers
    await server.wait_idle()


async def test_an_image_with_bytes_is_not_fetched():
    """It is returned unchanged."""
    image = allm.Image.from_bytes(PNG)
    assert await allm.fetch_image(image) is image


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"])
async def test_a_host_with_a_private_address_is_refused(names, address):
    """Even if only one of its several addresses is private; `test_addresses.py` has more of them."""
    names(inside_example=(address,), both_example=("93.184.215.14", address))
    for host in ("inside.example", "both.example"):
        with pytest.raises(allm.ValidationError, match="not a public address") as caught:
            await allm.fetch_image(f"http://{host}/x.png")
        assert tag_of(caught) == "forbidden_address"


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
async def test_other_spellings_of_loopback_are_refused(host):
    """They are resolved first and then checked."""
    with pytest.raises((allm.ValidationError, allm.AdapterError)) as caught:
        await allm.fetch_image(f"http://{host}:9/x.png")
    assert caught.value.reason in {"invalid_image", "network_error"}


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://example.com/x.png", "example.com/x.png", "http:///x.png", "http://[::1/x.png",
        "http://user:secret@example.com/x.png", "http://example.com:0/", "http://example.com:x/",
        "http://exa mple.com/", "http://example.com/\r\nx", "http://ex\u00e4mple.com/", "",
    ],
)  # fmt: skip
async def test_an_invalid_url_is_refused(url):
    """No name is resolved for it, and a password in it is not shown."""
    with pytest.raises(allm.ValidationError) as caught:
        await allm.fetch_image(url)
    assert tag_of(caught) == "invalid_url"
    assert "secret" not in str(caught.value)


async def test_a_name_is_resolved_once(server, names):
    """A second, different result does not matter: the connection goes to the checked address."""
    resolver = names(shop_example=["127.0.0.1", "10.0.0.1"])
    server.add(png())
    port = server.base_url.rpartition(":")[2]
    image = await allm.fetch_image(f"http://shop.example:{port}/x.png", allow_hosts=["shop.example"])
    assert image.to_bytes() == PNG
    assert resolver.asked.count("shop.example") == 1
    assert server.requests[0].headers["host"] == f"shop.example:{port}"


@pytest.mark.parametrize("allowed", ["shop.example", ["shop.example"], {"SHOP.EXAMPLE": 1}])
async def test_allowed_hosts(server, names, allowed):
    """They match as whole names, in either case."""
    names(shop_example=("127.0.0.1",), shop=("127.0.0.1",), example=("127.0.0.1",))
    server.add(png())
    port = server.base_url.rpartition(":")[2]
    assert await allm.fetch_image(f"http://Shop.Example:{port}/x.png", allow_hosts=allowed, types="image/png")
    for other in ("shop", "example"):
        with pytest.raises(allm.ValidationError) as caught:
            await allm.fetch_image(f"http://{other}:{port}/x.png", allow_hosts=allowed)
        assert tag_of(caught) == "forbidden_address"


async def test_a_bare_string_is_one_type(server):
    """It does not match types that contain it."""
    server.add(png(headers={"content-type": "image/p"}), png(headers={"content-type": "image/gif"}))
    for _ in range(2):
        with pytest.raises(allm.ValidationError) as caught:
            await fetched(server, types="image/png")
        assert tag_of(caught) == "unsupported_type"


async def test_a_host_with_several_addresses(server, names):
    """They are tried in order until one responds; an error response is a response."""
    names(shop_example=("127.0.0.2", "127.0.0.1"))
    url = f"http://shop.example:{server.base_url.rpartition(':')[2]}/x.png"
    server.add(png())
    assert (await allm.fetch_image(url, allow_hosts="shop.example")).to_bytes() == PNG
    names(shop_example=("127.0.0.1", "127.0.0.1"))
    server.add(Reply(status=504), png())
    with pytest.raises(allm.AdapterError, match="returned HTTP 504"):
        await allm.fetch_image(url, allow_hosts="shop.example")
    names(shop_example=("127.0.0.2", "127.0.0.3"))
    with pytest.raises(allm.AdapterError) as caught:
        await allm.fetch_image(url, allow_hosts="shop.example")
    assert caught.value.reason == "network_error"


async def test_the_certificate_is_requested_by_name(names):
    """Although the connection goes to an address."""
    names(shop_example=("127.0.0.1",))
    hellos = []

    async def listen(stream):
        hellos.append(await stream.receive_some(65536))
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, listen, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        with pytest.raises(allm.AdapterError):
            await allm.fetch_image(f"https://shop.example:{port}/x.png", allow_hosts="shop.example")
        nursery.cancel_scope.cancel()
    assert b"shop.example" in hellos[0]  # the server name, which travels in the clear


async def test_no_proxy_is_used(server, monkeypatch):
    """A proxy would resolve the name again, elsewhere."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.add(png())
    assert (await fetched(server)).to_bytes() == PNG


async def test_an_unknown_host_name(names):
    """It is a network error."""
    names()
    with pytest.raises(allm.AdapterError, match="cannot be resolved") as caught:
        await allm.fetch_image("http://nowhere.example/x.png")
    assert caught.value.reason == "network_error"


async def test_redirects_are_followed(server):
    """Both relative and absolute ones."""
    server.add(
        Reply(status=302, headers={"location": "b.png"}),
        Reply(status=308, headers={"location": f"{server.base_url}/c.png"}),
        png(),
    )
    assert (await fetched(server, "/pics/a.png")).to_bytes() == PNG
    assert [request.path for request in server.requests] == ["/pics/a.png", "/pics/b.png", "/c.png"]


@pytest.mark.parametrize(
    ("location", "tag"),
    [
        ("http://10.0.0.1/x.png", "forbidden_address"),
        ("http://169.254.169.254/latest/meta-data", "forbidden_address"),
        ("http://localhost:1/x.png", "forbidden_address"),
        ("file:///etc/passwd", "invalid_url"),
        ("//user:pw@127.0.0.1/", "invalid_url"),
        ("http://[::1/x.png", "invalid_url"),
        ("http://127.0.0.1:x/", "invalid_url"),
    ],
)
async def test_redirects_are_checked_like_urls(server, location, tag):
    """A host in `allow_hosts` is allowed itself, not the hosts it redirects to."""
    server.add(Reply(status=302, headers={"location": location}))
    with pytest.raises(allm.ValidationError) as caught:
        await fetched(server)
    assert tag_of(caught) == tag
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("location", "tag"),
    [("http://example.com/x.png", "forbidden_redirect"), ("//example.com/x.png", "forbidden_address")],
)
async def test_redirects_from_https_to_http_are_refused(names, monkeypatch, location, tag):
    """Those that stay on https are followed, with the same checks."""
    names(shop_example=("93.184.215.14",), example_com=("10.0.0.1",))

    @asynccontextmanager
    async def answer(*_):
        await trio.lowlevel.checkpoint()
        yield HttpResponse(302, {"location": location})

    monkeypatch.setattr(fetch, "open_at", answer)
    with pytest.raises(allm.ValidationError) as caught:
        await allm.fetch_image("https://shop.example/x.png")
    assert tag_of(caught) == tag


async def test_endless_redirects(server):
    """They end with an error."""
    server.default = Reply(status=302, headers={"location": "/again"})
    with pytest.raises(allm.ValidationError) as caught:
        await fetched(server, max_redirects=3)
    assert tag_of(caught) == "too_many_redirects"
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("reply", "tag"),
    [
        (png(headers={"content-type": "text/html"}), "unsupported_type"),
        (png(headers={}), "unsupported_type"),
        (png(headers={"content-type": "image/svg+xml"}, body=b"<svg/>"), "unsupported_type"),
        (png(body=b"<html>"), "unsupported_type"),
        (png(body=PNG + bytes(2000)), "too_large"),
        (png(body=PNG + bytes(2000), framing="close"), "too_large"),
        (png(body=PNG + bytes(2000), fault=Stall(1200)), "too_large"),
        (png(headers={"content-type": "image/png", "content-encoding": "gzip"}), "unsupported_encoding"),
    ],
)
async def test_refused_responses(server, reply, tag):
    """The declared type, the type of the bytes, the length received (not declared), and the compression."""
    server.add(reply)
    with pytest.raises(allm.ValidationError) as caught:
        await fetched(server, max_bytes=1000)
    assert tag_of(caught) == tag


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(status=404), "not_found"),
        (Reply(status=503), "provider_unavailable"),
        (png(fault=Cut(10)), "stream_truncated"),
        (png(fault=Stall(10)), "timeout"),
    ],
)
async def test_failures_of_the_server(clock, server, reply, reason):
    """Their reasons differ, and none takes longer than the timeout."""
    server.add(reply)
    with pytest.raises(allm.AdapterError) as caught:
        await fetched(server, timeout=5)
    assert caught.value.reason == reason


@pytest.mark.parametrize("said", ["image/jpg", "IMAGE/PNG ; a=b"])
async def test_spellings_of_the_type(server, said):
    """All common spellings are accepted; the image has the type of its bytes."""
    server.add(png(headers={"content-type": said, "content-encoding": "identity"}))
    assert (await fetched(server)).mime_type == "image/png"


@pytest.mark.parametrize("checkpoints", range(20))
async def test_cancel_at_any_checkpoint(server, checkpoints):
    """Cancelling closes the connection at every point."""
    server.default = png(fault=Stall(20))
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetched, server)
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    with trio.fail_after(30):
        await server.wait_idle()


async def test_a_value_that_is_not_a_url():
    """It is a clear error."""
    with pytest.raises(allm.ValidationError, match="expected a URL"):
        await allm.fetch_image(7)
