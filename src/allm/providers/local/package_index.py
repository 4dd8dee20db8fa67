"""Where a wheel can be downloaded: asked of the package indexes that pip uses on this machine.

Facts: https://packaging.python.org/specifications/simple-repository-api/; an index without its JSON form has the same
as HTML.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import parse_qs, unquote, urldefrag, urljoin, urlsplit

import attrs
import trio

from allm.adapters import JsonTextError, as_list, as_object, as_text, loads, open_download
from allm.data.errors import AdapterError

__all__ = ["STALL_SECONDS", "Wheel", "find_wheel"]

STALL_SECONDS = 60.0
"""A server that sends nothing for so long is given up."""

_PYPI = "https://pypi.org/simple"
_ACCEPTED = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_LONGEST_PAGE = 16 * 1024 * 1024  # bytes; the page of a package with thousands of files has some megabytes


@attrs.frozen
class Wheel:
    """A file of an index.

    Attributes:
        url: Its address.
        sha256: What the index says of it, in hexadecimal; None: nothing.
    """

    url: str = attrs.field(repr=False)  # may have a password in it
    sha256: str | None


async def find_wheel(package: str, version: str) -> Wheel:
    """The wheel of a package that is the same for every Python and system.

    Raises:
        AdapterError: No index has it, or none can be reached.
    """
    name = f"{package.replace('-', '_')}-{version}-py3-none-any.whl"
    indexes = await _indexes()
    failed: AdapterError | None = None
    for index in indexes:
        try:
            found = await _look(f"{index.rstrip('/')}/{package}/", name)
        except AdapterError as error:
            error.provider, error.host = "package index", urlsplit(index).netloc.rpartition("@")[2]
            failed = failed if failed is not None and error.reason == "not_found" else error
        else:
            if found is not None:
                return found
    if failed is not None and failed.reason != "not_found":
        raise failed
    places = ", ".join(urlsplit(index).netloc.rpartition("@")[2] for index in indexes)
    raise AdapterError(
        f"{name} is not on the package index ({places}); PIP_INDEX_URL names another one", reason="not_found"
    )


async def _indexes() -> list[str]:
    """The indexes by their addresses: those of pip's environment variables, else of its files, else PyPI."""
    settings = await _pip_settings()
    first = [settings.get("index-url") or os.environ.get("UV_DEFAULT_INDEX") or _PYPI]
    found = [*first, *settings.get("extra-index-url", "").split()]
    return [index for index in found if urlsplit(index).scheme in {"http", "https"}]


async def _pip_settings() -> dict[str, str]:
    """Pip's own word for its settings, by name; without pip, what its environment variables say."""
    ask = [sys.executable, "-m", "pip", "config", "list"]
    try:
        told = await trio.run_process(ask, capture_stdout=True, stderr=subprocess.DEVNULL, check=False)
        text = told.stdout.decode("utf-8", "replace")
    except OSError:
        text = ""
    lines = [line.partition("=") for line in text.splitlines()]
    found: dict[str, str] = {}
    for section in ("global.", "install.", "download."):
        for name, _, value in lines:
            if name.startswith(section):
                found[name.removeprefix(section)] = str(ast.literal_eval(value))
    for setting in ("index-url", "extra-index-url"):
        if given := os.environ.get(f"PIP_{setting.upper().replace('-', '_')}"):
            found[setting] = given
    return found


async def _look(url: str, name: str) -> Wheel | None:
    with trio.move_on_after(STALL_SECONDS):
        async with open_download(url, {"accept": _ACCEPTED}) as response:
            kind = response.headers.get("content-type", "")
            page = await response.read(_LONGEST_PAGE)
        return _in_json(url, page, name) if "json" in kind else _in_html(url, page, name)
    raise AdapterError(f"the package index has not answered within {STALL_SECONDS:.0f} s", reason="timeout")


def _in_json(url: str, page: bytes, name: str) -> Wheel | None:
    try:
        files = as_list(as_object(loads(page)).get("files"))
    except JsonTextError as error:
        raise AdapterError(
            f"the package index answered with broken JSON ({error})", reason="malformed_response"
        ) from error
    for file in map(as_object, files):
        if file.get("filename") == name and as_text(file.get("url")):
            return Wheel(
                urljoin(url, as_text(file.get("url"))), as_text(as_object(file.get("hashes")).get("sha256")) or None
            )
    return None


class _Links(HTMLParser):
    """The addresses of the links on a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of a link."""
        if tag == "a":
            self.found += [value for key, value in attrs if key == "href" and value]


def _in_html(url: str, page: bytes, name: str) -> Wheel | None:
    links = _Links()
    links.feed(page.decode("utf-8", "replace"))
    for link in links.found:
        address, fragment = urldefrag(urljoin(url, link))
        if unquote(urlsplit(address).path).rpartition("/")[2] == name:
            hashes = parse_qs(fragment).get("sha256")
            return Wheel(address, hashes[0] if hashes else None)
    return None
