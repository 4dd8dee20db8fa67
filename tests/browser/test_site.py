"""The documentation in a browser: what fits, what can be copied, what is found.

`nox -s docs` builds it and names the folder in ALLM_SITE; without it, these tests are skipped.
"""

from __future__ import annotations

import functools
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import allm

SITE = Path(os.environ.get("ALLM_SITE", "/nowhere"))
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html") if "_" not in path.parts[0][:1])
WRITTEN = [page for page in PAGES if page not in {"genindex.html", "py-modindex.html", "search.html"}]
pytestmark = pytest.mark.skipif(not PAGES, reason="needs the built pages: nox -s docs")

TOO_WIDE = """() => [...document.querySelectorAll('article pre')]
    .filter(block => block.scrollWidth > block.clientWidth + 1).map(block => block.textContent.slice(0, 200))"""
PUSHED_OUT = """() => [...document.querySelectorAll('article *')]
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
    .filter(one => !one.closest('.table-wrapper, pre, .sr-only'))
    .map(one => one.outerHTML.slice(0, 200)).slice(0, 3)"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves the folder without a word."""

    def log_message(self, *_args):
        """Nothing."""


@pytest.fixture(scope="module")
def site():
    """The address of the pages, whose search needs a server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def wide(chromium, site):
    """A page of 1280 x 800."""
    with chromium.new_context(viewport={"width": 1280, "height": 800}) as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def narrow(chromium, site):
    """A page as wide as a phone."""
    with chromium.new_context(viewport={"width": 400, "height": 800}) as context:
        yield context.new_page()


@pytest.mark.parametrize("name", WRITTEN)
def test_code_fits_on_a_screen(wide, site, name):
    """No line of code has to be pushed aside at 1280 pixels."""
    wide.goto(f"{site}/{name}", wait_until="domcontentloaded")
    assert wide.evaluate(TOO_WIDE) == []


@pytest.mark.parametrize("name", WRITTEN)
def test_a_page_fits_on_a_phone(narrow, site, name):
    """Nothing is wider than 400 pixels but tables, which are pushed aside by themselves."""
    narrow.goto(f"{site}/{name}", wait_until="domcontentloaded")
    assert narrow.evaluate(PUSHED_OUT) == []
    assert narrow.evaluate(TOO_WIDE) == []
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 400


def test_code_can_be_copied(new_page, site):
    """One press of a button, and without the prompt of a shell."""
    page = new_page(permissions=["clipboard-read", "clipboard-write"])
    page.goto(f"{site}/index.html")
    page.locator("div.highlight").first.hover()
    page.locator("button.copybtn").first.click()
    page.wait_for_function("navigator.clipboard.readText().then(text => text === 'pip install .')")


def found_by(page, site, words):
    """The titles that the search gives, best first."""
    page.goto(f"{site}/search.html?q={words.replace(' ', '+')}")
    page.wait_for_selector("#search-results ul.search li, #search-results p.search-summary:has-text('did not match')")
    page.wait_for_function("document.querySelector('#search-progress') === null || !Search._pulse_status", timeout=5000)
    page.wait_for_timeout(300)  # results are shown one after the other
    return page.locator("#search-results ul.search li > a").all_inner_texts()


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ("system prompt", "Tutorial"),
        ("ollama", "A model on this machine"),
        ("stop streaming", "Cancel a call"),
        ("pdf", "Send documents, audio and video"),
        ("fastapi", "Web pages"),
    ],
)
def test_what_newcomers_look_for(page, site, words, title):
    """Is among the first ten that are found."""
    assert title in found_by(page, site, words)[:10]


NOT_FOUND = """names => names.filter(name => {
    const term = new Stemmer().stemWord(name.toLowerCase());
    return !Search.performObjectSearch('allm.' + name.toLowerCase(), new Set([name.toLowerCase()])).length
        && !(term in Search._index.terms) && !(term in Search._index.titleterms);
})"""


def test_every_public_name_is_found(page, site):
    """By the search: as an object of the reference, or as a word of its text."""
    page.goto(f"{site}/search.html?q=generate")
    page.wait_for_function("typeof Search !== 'undefined' && Search._index !== null")
    names = [name for name in allm.__all__ if not name.startswith("_")]
    assert page.evaluate(NOT_FOUND, [*names, "no_such_name_at_all"]) == ["no_such_name_at_all"]
