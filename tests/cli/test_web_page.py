"""`-f URL`: what is fetched from a server, and the text of a page."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from allm import fake
from allm.cli import web_page
from allm.cli.web_page import text_of_html
from allm.testing import Reply

PAGE = """<!doctype html>
<html><head><meta charset="utf-8"><title>Fish &amp; chips</title><style>p { color: red }</style>
<script>document.write("<p>no</p>")</script>
<body><nav><a href="/">Home</a></nav>
<h1>How  to
fry</h1><p>Heat the <b>oil</b>.<br>Then:</p>
<ul><li>cod<li>salt</ul>
<pre>a  = 1
b</pre>
<table><tr><th>Fish<th>Price<tr><td>Cod<td>7</table>
<noscript>Turn it on</noscript><svg><text>drawn</text></svg>
"""
TEXT = """Fish & chips

Home

# How to fry

Heat the oil.
Then:

- cod
- salt

```
a  = 1
b
```

 | Fish | Price

 | Cod | 7
"""


def test_a_page_is_what_a_reader_sees_of_it():
    """Headings, lists, code and tables in lines; neither scripts nor styles; elements whose end is left out."""
    assert [line for line in text_of_html(PAGE).split("\n") if line.strip()] == [
        line for line in TEXT.split("\n") if line.strip()
    ]


@pytest.mark.parametrize("html", ["</pre></script>x", "<p>x", "<svg><noscript></svg>x", "x<!-- <p>y", "<a <b>x"])
def test_a_broken_page_has_the_text_that_can_be_read(html):
    """Whatever ends too early or too often."""
    assert "x" in text_of_html(html)


@pytest.fixture
async def site():
    """A server of one page for each path, and its address."""
    pages = {"requests": []}

    async def serve(stream):
        with trio.CancelScope():
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive_some()
            pages["requests"].append(request)
            path = request.split()[1].decode()
            if path == "/silent":
                await trio.sleep_forever()
            status, headers, body = pages[path]
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            await stream.send_all(f"HTTP/1.1 {status} X\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        [listener, *_] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        pages["url"] = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        yield pages
        nursery.cancel_scope.cancel()


def html(encoding):
    """The header of a page."""
    return {"content-type": f"text/html{encoding}"}


@pytest.mark.parametrize(
    ("headers", "body", "says"),
    [
        (html("; charset=latin-1"), "<p>Grüße".encode("latin-1"), "Grüße"),
        (html(""), '<meta charset="latin-1"><p>Grüße'.encode("latin-1"), "Grüße"),
        (html("; charset=nonsense"), "<p>Grüße".encode(), "Grüße"),
        ({"content-type": "application/vnd.x+json"}, b'{"a": 1}', '{"a": 1}'),
        ({"content-type": "text/plain"}, b"\xef\xbb\xbf<p>as it is", "<p>as it is"),
        ({}, b"untold", "untold"),
    ],
)
async def test_a_page_is_sent_with_its_address(server, to_server, allm_main, site, headers, body, says):
    """In the encoding that it names; HTML as text, any other text as it is."""
    site["/x"] = (200, headers, body)
    site["/moved"] = (302, {"location": "/x"}, b"")
    server.add(Reply.script("openai", [fake.text("Yes.")]))

    code, _, errors = await allm_main("generate", "-f", f"{site['url']}/moved", "Why?", *to_server)

    assert (code, errors) == (0, "")
    content = server.requests[0].json()["messages"][0]["content"]
    assert content == f"{site['url']}/moved\n```\n{says}\n```\n\nWhy?"


async def test_a_password_goes_to_its_own_server_only(server, to_server, allm_main, site):
    """It is neither in the prompt nor sent where the page has moved to."""
    address = site["url"].replace("http://", "http://me:secret@")
    site["/x"] = (302, {"location": site["url"].replace("127.0.0.1", "localhost") + "/y"}, b"")
    site["/y"] = (200, {"content-type": "text/plain"}, b"text")
    server.add(Reply.script("openai", [fake.text("Yes.")]))

    code, _, errors = await allm_main("generate", "-f", f"{address}/x", "Why?", *to_server)

    assert (code, errors) == (0, "")
    assert server.requests[0].json()["messages"][0]["content"].startswith(f"{site['url']}/x\n")
    assert [b"authorization: Basic" in request for request in site["requests"]] == [True, False]


async def test_an_image_is_sent_as_one(server, to_server, allm_main, site):
    """Its bytes, as the provider may not reach the address."""
    site["/x"] = (200, {"content-type": "image/png"}, b"\x89PNG\r\n\x1a\n and so on")
    server.add(Reply.script("openai", [fake.text("Yes.")]))

    assert (await allm_main("generate", "-f", f"{site['url']}/x", "Why?", *to_server))[0] == 0
    assert server.requests[0].json()["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png")


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("/missing", 1, "the server answered 404"),
        ("/loop", 1, "Cannot fetch"),
        ("/large", 1, "longer than 20 bytes"),
        ("/odd", 2, "is video/mp4; only"),
        (":1/", 1, "cannot be reached"),
        ("/silent", 1, "did not arrive within 0 s"),
    ],
)
async def test_what_cannot_be_fetched_or_sent_is_told(allm_main, site, monkeypatch, path, code, says):
    """In one line, with the address; nothing is sent."""
    site["/missing"] = (404, {}, b"")
    site["/loop"] = (302, {"location": "/loop"}, b"")
    site["/large"] = (200, {}, b"x" * 21)
    site["/pdf"] = (200, {"content-type": "application/pdf"}, b"%PDF-1.7")
    site["/odd"] = (200, {"content-type": "video/mp4"}, b"\0")
    monkeypatch.setattr("allm.cli.files.LARGEST_INPUT", 20)
    if path == "/silent":
        monkeypatch.setattr(web_page, "_SECONDS", 0)
    url = "http://127.0.0.1:1/" if path == ":1/" else site["url"] + path

    found, _, errors = await allm_main("generate", "-m", "openai:x", "-f", url, "Why?")

    assert found == code
    assert says in " ".join(errors.split())
    assert url in errors
