"""Fetch the text at a URL that the user named; the text of an HTML page is what a reader sees of it."""

from __future__ import annotations

import codecs
import re
from html.parser import HTMLParser
from typing import Any, final

import attrs
import click
import trio

from allm.cli.standard_input import size_text
from allm.data.errors import AdapterError
from allm.http.library import library, load, tls
from allm.http.response import mapped

__all__ = ["Page", "fetch", "text_of_html"]

_SECONDS = 60.0
_TEXTS = re.compile(r"text/.*|application/([\w.-]+\+)?(json|xml|yaml|x-yaml|toml|javascript|sql|x-sh|x-ndjson)")
_META = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_HEAD = 1024  # bytes in which HTML has to name its encoding
_HTTP_ERROR = 300  # redirects are followed, so one that is left leads nowhere


@attrs.frozen
class Page:
    """What a URL has: text as UTF-8, anything else as it is."""

    data: bytes
    mime_type: str


def fetch(url: str, limit: int) -> Page:
    """Fetch a URL, and follow its redirects.

    Args:
        limit: In bytes.

    Raises:
        click.ClickException: It cannot be fetched, or is too long.
    """
    try:
        return trio.run(_fetch, url, limit)
    except AdapterError as error:
        raise click.ClickException(f"Cannot fetch {url}: {error.problem}") from error


async def _fetch(url: str, limit: int) -> Page:
    await load(secure=True)
    http = library()
    with trio.move_on_after(_SECONDS):
        with mapped(http, reading=False):
            async with (
                http.AsyncClient(verify=tls(), follow_redirects=True, timeout=_SECONDS) as client,
                client.stream("GET", url, headers={"user-agent": "allm", "accept": "text/*, */*;q=0.5"}) as response,
            ):
                return await _read(url, response, limit)
    raise click.ClickException(f"Cannot fetch {url}: it did not arrive within {_SECONDS:g} s.")


async def _read(url: str, response: Any, limit: int) -> Page:
    if response.status_code >= _HTTP_ERROR:
        raise click.ClickException(f"Cannot fetch {url}: the server answered {response.status_code}.")
    pieces: list[bytes] = []
    size = 0
    async for piece in response.aiter_bytes():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise click.ClickException(f"Cannot fetch {url}: it is longer than {size_text(limit)}.")
    data = b"".join(pieces)
    mime_type: str = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not _TEXTS.fullmatch(mime_type) and mime_type != "application/xhtml+xml":
        return Page(data, mime_type)
    text = data.decode(_charset(response, data), "replace").removeprefix("\ufeff")
    if "html" in mime_type:
        text = text_of_html(text)
    return Page(text.encode("utf-8", "replace"), mime_type)


def _charset(response: Any, data: bytes) -> str:
    """The encoding that the header names, or the page itself at its beginning; else UTF-8."""
    inside = _META.search(data[:_HEAD])
    name: str = response.charset_encoding or (inside[1].decode() if inside else "")
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
