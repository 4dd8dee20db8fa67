"""The fixture `page`: an empty page of a headless Chromium, whose errors fail the test.

`nox -s browser` names the browser in ALLM_CHROMIUM; without it, these tests are skipped.
"""

from __future__ import annotations

import os

import pytest

CHROMIUM = os.environ.get("ALLM_CHROMIUM", "")
OPTIONS = [
    "--no-sandbox",  # it does not start as root otherwise
    "--disable-gpu",
    # Nothing but the page under test uses the network.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def chromium():
    """A running browser."""
    if not CHROMIUM:
        pytest.skip("needs a browser: nox -s browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium):
    """A function that opens a page of 1280 x 800 in a profile of its own, or of the size that it is given."""
    errors: list[str] = []
    contexts = []

    def new_page(width: int = 1280, height: int = 800, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.on("weberror", lambda error: errors.append(str(error.error)))  # of all its tabs
        context.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        return context.new_page()

    yield new_page
    for context in contexts:
        context.close()
    assert errors == [], "the page raised or logged errors"


@pytest.fixture
def page(new_page):
    """A page of 1280 x 800."""
    return new_page()
