"""Take the picture of the chat page for the documentation: python scripts/chat_page_picture.py [CHROMIUM].

It needs the dependency group `browser` and a Chromium; without its path, that of Playwright.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import trio
from playwright.sync_api import expect, sync_playwright

import allm

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "chat_page"
PICTURE = ROOT / "docs" / "chat-page.png"


def main(chromium: str | None) -> None:
    """Serve the page, use it, and take the picture."""
    sys.path.insert(0, str(EXAMPLE))
    import demo_model
    import server

    engine = allm.Engine(adapter=demo_model.DemoModel(trio.lowlevel.checkpoint), tools=[demo_model.pay])
    begun, scope, urls = threading.Event(), trio.CancelScope(), []

    async def serve(task_status: trio.TaskStatus[list[str]]) -> None:
        await server.run(engine, "127.0.0.1:0", task_status=task_status)

    async def work() -> None:
        urls.append(trio.lowlevel.current_trio_token())
        with scope:
            async with trio.open_nursery() as nursery:
                urls.extend(await nursery.start(serve))
                begun.set()

    thread = threading.Thread(target=trio.run, args=(work,))
    thread.start()
    begun.wait()
    token, url = urls
    try:
        take(chromium, url)
    finally:
        trio.from_thread.run_sync(scope.cancel, trio_token=token)
        thread.join()


def take(chromium: str | None, url: str) -> None:
    """Use the page until it asks for an approval."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": 700, "height": 590}, color_scheme="light").new_page()
        page.goto(url)
        for text in ("What is this page?", "Please pay 7 francs."):
            page.get_by_label("Your message").fill(text)
            page.get_by_role("button", name="Send").click()
            expect(page.locator("#log .user .text").last).to_have_text(text)
            expect(page.get_by_role("button", name="Stop")).to_be_hidden()
        expect(page.get_by_role("button", name="Allow")).to_be_visible()
        page.screenshot(path=PICTURE, animations="disabled", caret="hide")
        browser.close()


if __name__ == "__main__":
    main(*(sys.argv[1:] or [None]))
