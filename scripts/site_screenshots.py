"""Photograph every page of the built documentation, whole: on a wide screen in light, on a narrow one in dark.

python scripts/site_screenshots.py FOLDER [PAGE ...]    # ALLM_SITE names the built pages, ALLM_CHROMIUM the browser
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from playwright.sync_api import sync_playwright

SCREENS = ((1280, "light"), (400, "dark"))
HEIGHT = 900
LONGEST = 12_000  # pixels: Chromium paints nothing below 16384
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def main(folder: Path, names: list[str]) -> None:
    """Write a picture for each page and screen, such as `tools-400.png`."""
    site = Path(os.environ["ALLM_SITE"]).resolve()
    found = [path.relative_to(site).with_suffix("").as_posix() for path in sorted(site.rglob("*.html"))]
    names = names or [name for name in found if not name.startswith("_")]
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as threads:  # painting takes one core for each browser
        list(threads.map(lambda screen: photograph(site, names, folder, *screen), SCREENS))
    print(f"{len(names) * len(SCREENS)} pictures in {folder}")


def photograph(site: Path, names: list[str], folder: Path, width: int, scheme: str) -> None:
    """Write a picture of each page on one screen, with a browser of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["ALLM_CHROMIUM"], args=OPTIONS)
        page = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
        for name in names:
            page.goto((site / f"{name}.html").as_uri())
            length = min(page.evaluate("document.documentElement.scrollHeight"), LONGEST)
            clip = {"x": 0, "y": 0, "width": width, "height": length}
            page.screenshot(path=folder / f"{name.replace('/', '-')}-{width}.png", full_page=True, clip=clip)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
