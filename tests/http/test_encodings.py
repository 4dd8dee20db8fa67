"""Compressed bodies: read in pieces of a bounded size, and only in encodings that were asked for."""

from __future__ import annotations

import gzip
import zlib

import pytest
import trio

import allm
from allm.http import library as http_library
from allm.http.encodings import _Inflated, decoded
from allm.http.transport import open_response
from allm.providers import OpenAI, OpenAIEmbeddings
from allm.testing import Reply, WireServer, loopback_clock

LIBRARY = http_library.library()
BOMB = gzip.compress(bytes(50_000_000), mtime=0)
TEXT = b"".join(b"%d two three " % number for number in range(3_000))


@pytest.fixture
def clock():
    return loopback_clock()


class Chunks:
    """A body in pieces of a size."""

    def __init__(self, body, size):
        self.chunks = iter([body[at : at + size] for at in range(0, len(body), size)])

    async def __anext__(self):
        await trio.lowlevel.checkpoint()
        for chunk in self.chunks:
            return chunk
        raise StopAsyncIteration


async def pieces_of(encoding, body, size):
    source, pieces = decoded({"content-encoding": encoding}, Chunks(body, size)), []
    try:
        while True:
            pieces.append(await anext(source))
    except StopAsyncIteration:
        return pieces


def raw_deflate(body):
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(body) + deflate.flush()


FORMS = {
    "gzip": ("gzip", gzip.compress(TEXT, mtime=0)),
    "x-gzip": (" X-GZip ", gzip.compress(TEXT, mtime=0)),
    "two members": ("gzip", gzip.compress(TEXT[:1000], mtime=0) + gzip.compress(TEXT[1000:], mtime=0)),
    "padded": ("gzip", gzip.compress(TEXT, mtime=0) + bytes(100)),
    "without its end": ("gzip", gzip.compress(TEXT, mtime=0)[:-8]),
    "deflate": ("deflate", zlib.compress(TEXT)),
    "deflate without a head": ("deflate", raw_deflate(TEXT)),
    "identity": ("identity", TEXT),
    "nothing": ("", TEXT),
    "no compression": ("UTF-8", TEXT),
}


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 1_000_000])
@pytest.mark.parametrize("form", FORMS)
async def test_what_is_read(form, size):
    """However it is split."""
    encoding, body = FORMS[form]
    assert b"".join(await pieces_of(encoding, body, size)) == TEXT


async def test_pieces_are_bounded():
    """One read that stands for 50 MB comes in pieces, with a checkpoint for each."""
    pieces = await pieces_of("gzip", BOMB, len(BOMB))
    assert max(map(len, pieces)) <= 64 * 1024
    assert sum(map(len, pieces)) == 50_000_000


async def test_what_is_read_stops_at_the_limit(clock, monkeypatch):
    """The rest is not even decompressed."""
    pieces = []
    inflated = _Inflated._next

    def next_piece(self):
        pieces.append(inflated(self))
        return pieces[-1]

    monkeypatch.setattr(_Inflated, "_next", next_piece)
    async with WireServer() as server:
        server.default = Reply(body=BOMB, headers={"content-encoding": "gzip"})
        async with open_response("POST", server.base_url, headers={}, content=b"") as response:
            assert len(await response.read(1000)) == 1000
    assert sum(map(len, pieces)) <= 64 * 1024


@pytest.mark.parametrize("encoding", ["zstd", "br", "gzip, br", "gzip, gzip", "compress", "dcz", "x" * 500])
async def test_an_encoding_that_was_not_asked_for(clock, encoding):
    """It is named in the error, of a stream and of other services, and the body is not touched."""
    async with WireServer() as server:
        server.default = Reply(body=b"\x28\xb5\x2f\xfd" * 100, headers={"content-encoding": encoding})
        adapter = OpenAI(api_key="k", base_url=server.url("openai"))
        embeddings = OpenAIEmbeddings(api_key="k", base_url=server.url("openai"))
        engine = allm.Engine(adapter=adapter, model="m", embedding_adapter=embeddings, embedding_model="m", retry=None)
        response = await allm.generate(engine, "hi")
        with pytest.raises(allm.AdapterError) as caught:
            await allm.embed(engine, "hi")
        asked = [request.headers["accept-encoding"] for request in server.requests]
    for error in (response.error, caught.value):
        assert (error.reason, error.retryable) == ("malformed_response", False)
        assert encoding[:80] in error.message
        assert len(error.message) < 400
    assert asked == ["identity", "gzip, deflate"]


async def test_an_error_in_such_an_encoding(clock):
    """Its status still says what it is."""
    async with WireServer() as server:
        server.default = Reply(status=429, body=b"\x28\xb5", headers={"content-encoding": "zstd", "retry-after": "7"})
        adapter = OpenAI(api_key="k", base_url=server.url("openai"))
        response = await allm.generate(allm.Engine(adapter=adapter, model="m", retry=None), "hi")
    assert (response.error.reason, response.error.retry_after) == ("rate_limited", 7)


NOT_THERE = {
    "an empty answer": [],
    "an error of the code page": UnicodeEncodeError("idna", "x", 0, 1, "label too long"),
    "an error of the resolver's own": IndexError("list index out of range"),
    "the usual error": OSError(-2, "Name or service not known"),
}


@pytest.mark.parametrize("case", NOT_THERE)
async def test_a_resolver_that_gives_nothing(case):
    """A call and a fetch fail with an error of the tree, whatever the resolver does."""

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_, **__):
            await trio.lowlevel.checkpoint()
            if isinstance(NOT_THERE[case], Exception):
                raise NOT_THERE[case]
            return NOT_THERE[case]

        async def getnameinfo(self, *_):
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Resolver())
    async with LIBRARY.AsyncClient() as client:
        for one in (None, client):
            adapter = OpenAI(api_key="k", base_url="http://api.example/v1", http_client=one)
            response = await allm.generate(allm.Engine(adapter=adapter, model="m", retry=None), "hi")
            assert response.error.reason == "network_error"
            assert "cannot be reached" in response.error.message
    with pytest.raises(allm.AdapterError) as caught:
        await allm.fetch_image("http://api.example/x.png")
    assert caught.value.reason == "network_error"
