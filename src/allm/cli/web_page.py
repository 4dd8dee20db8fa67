"""Fetch the text at a URL that the user named; the text of an HTML page is what a reader sees of it."""

from __future__ import annotations

import codecs
import re
from html.parser import HTMLParser
from typing import final
from urllib.parse import urljoin, urlsplit

import attrs
import click
import trio

from allm.cli.standard_input import size_text
from allm.data.errors import AdapterError
from allm.http.fetch import REDIRECTS
from allm.http.keys import Secret
from allm.http.private_url import PrivateUrl, without_user
from allm.http.response import HttpResponse
from allm.http.transport import open_response

__all__ = ["Page", "fetch", "text_of_html"]

_SECONDS = 60.0
_TEXTS = re.compile(r"text/.*|application/([\w.-]+\+)?(json|xml|yaml|x-yaml|toml|javascript|sql|x-sh|x-ndjson)")
_META = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_HEAD = 1024  # bytes in which HTML has to name its encoding
_CHARSET = re.compile(r"charset=[\"']?([\w.:-]+)", re.IGNORECASE)
_HTTP_ERROR = 300  # a redirect that is left leads nowhere
_MOST_REDIRECTS = 10


@attrs.frozen
class Page:
    """What a place has: text as UTF-8, anything else as it is.

    Attributes:
        url: Without user name and password, or the name of a file.
    """

    url: str
    data: bytes
    mime_type: str = ""


def fetch(url: str, limit: int) -> Page:
    """Fetch a URL, and follow its redirects.

    Args:
        limit: In bytes.

    Raises:
        click.ClickException: It cannot be fetched, or is too long.
    """
    shown, user = without_user(url)
    try:
        return trio.run(_fetch, shown, user, limit)
    except AdapterError as error:
        raise click.ClickException(f"Cannot fetch {shown}: {error.problem}") from error


async def _fetch(url: str, user: Secret | None, limit: int) -> Page:
    target = url
    headers: dict[str, str | Secret] = {"user-agent": "allm", "accept": "text/*, */*;q=0.5"}
    own = headers if user is None else {**headers, "authorization": user}
    with trio.move_on_after(_SECONDS):
        for _ in range(_MOST_REDIRECTS + 1):
            sent = own if urlsplit(target).netloc == urlsplit(url).netloc else headers
            async with open_response("GET", target, headers=sent, content=b"") as response:
                if response.status not in REDIRECTS or "location" not in response.headers:
                    return await _read(url, response, limit)
                target = PrivateUrl(urljoin(target, response.headers["location"]))
        raise click.ClickException(f"Cannot fetch {url}: it redirects more than {_MOST_REDIRECTS} times.")
    raise click.ClickException(f"Cannot fetch {url}: it did not arrive within {_SECONDS:g} s.")


async def _read(url: str, response: HttpResponse, limit: int) -> Page:
    if response.status >= _HTTP_ERROR:
        raise click.ClickException(f"Cannot fetch {url}: the server answered {response.status}.")
    data = await response.read(limit + 1)
    if len(data) > limit:
        raise click.ClickException(f"Cannot fetch {url}: it is longer than {size_text(limit)}.")
    mime_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not _TEXTS.fullmatch(mime_type) and mime_type != "application/xhtml+xml":
        return Page(url, data, mime_type)
    text = data.decode(_charset(response, data), "replace").removeprefix("\ufeff")
    if "html" in mime_type:
        text = text_of_html(text)
    return Page(url, text.encode("utf-8", "replace"), mime_type)


def _charset(response: HttpResponse, data: bytes) -> str:
    """The encoding that the header names, or the page itself at its beginning; else UTF-8."""
    said = _CHARSET.search(response.headers.get("content-type", ""))
    inside = _META.search(data[:_HEAD])
    name = said[1] if said else inside[1].decode() if inside else ""
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "utf-8"


# --- HTML ------------------------------------------------------------------------------------------------------------

_SILENT = frozenset({"noscript", "script", "style", "svg", "template"})
_LINES = re.compile(  # elements that begin and end a line; the others are inside of one
    r"address|article|aside|blockquote|br|caption|dd|details|div|dl|dt|fieldset|figcaption|figure|footer|form|h[1-6r]"
    r"|header|legend|li|main|nav|ol|option|p|pre|section|summary|table|tbody|tfoot|thead|title|tr|ul"
)
_HEADINGS = {f"h{level}": f"{'#' * level} " for level in range(1, 7)}
_CELLS = frozenset({"td", "th"})


def text_of_html(html: str) -> str:
    """The text of a page: its title, then a line for each block, with Markdown's marks for headings, lists and code."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.text()


@final
class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[str] = []
        self._silent: list[str] = []  # open elements whose text is not shown
        self._is_plain = 0  # depth of elements whose white space counts

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  (the protocol)
        if tag in _SILENT:
            self._silent.append(tag)
        if _LINES.fullmatch(tag):
            self._pieces.append("\n")
        if tag == "pre":
            self._is_plain += 1
            self._pieces.append("```\n")
        elif tag in _CELLS:
            self._pieces.append(" | ")
        elif tag == "li":
            self._pieces.append("- ")
        self._pieces.append(_HEADINGS.get(tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in self._silent:
            while self._silent.pop() != tag:
                pass
        if tag == "pre" and self._is_plain:
            self._is_plain -= 1
            self._pieces.append("\n```")
        if _LINES.fullmatch(tag):
            self._pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._pieces.append(data if self._is_plain else re.sub(r"\s+", " ", data))

    def text(self) -> str:
        lines = [line.rstrip() for line in "".join(self._pieces).split("\n")]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"
