"""Photograph pages of the built documentation, on a wide and on a narrow screen.

python scripts/site_screenshots.py FOLDER    # ALLM_SITE names the built pages, ALLM_CHROMIUM the browser
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PAGES = ("index", "tutorial", "tools", "structured", "cancellation", "reference")
WIDTHS = (1280, 400)
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def main(folder: Path) -> None:
    """Write a picture for each page and width."""
    site = Path(os.environ["ALLM_SITE"]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["ALLM_CHROMIUM"], args=OPTIONS)
        for width in WIDTHS:
            page = browser.new_page(viewport={"width": width, "height": 900})
            for name in PAGES:
                page.goto((site / f"{name}.html").as_uri())
                page.screenshot(path=folder / f"{name}-{width}.png")
        browser.close()
    print(f"{len(PAGES) * len(WIDTHS)} pictures in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
