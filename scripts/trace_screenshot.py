"""Make the pictures of docs/trace.md: run agents on a loopback server, record them, and photograph the page.

    python scripts/trace_screenshot.py            # needs playwright and a Chromium, named in ALLM_CHROMIUM

The run takes a few seconds, as its times are what the pictures show.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import trio

import allm
from allm import fake
from allm.cli import main as command
from allm.testing import Cut, Reply, WireServer

DOCS = Path(__file__).parents[1] / "docs"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ASKED = "Which of Zug and Bern is warmer today, and what is on there tonight?"


def answer(vendor: str, *items: Any, wait: float, tokens: tuple[int, int], **options: Any) -> Reply:
    """A reply that begins after `wait` seconds and then streams."""
    counts = fake.usage(input_tokens=tokens[0], output_tokens=tokens[1])
    return Reply.script(vendor, [*items, counts], first_delay=wait, chunks=160, delay=0.02, **options)  # type: ignore[arg-type]


@allm.tool
async def weather(city: str) -> str:
    """Tell the weather of today."""
    await trio.sleep(0.5 if city == "Zug" else 0.9)
    if city == "Bern":
        raise allm.ToolError("the station of Bern does not answer", reason="handler_raised")
    return f"{city}: 21 degrees, sunny"


async def run(folder: Path) -> Path:
    """Record what the pictures show."""
    recording = folder / "support.jsonl"
    async with WireServer() as server:
        claude = allm.providers.Anthropic(api_key="test", base_url=server.url("anthropic"))
        gpt = allm.providers.OpenAI(api_key="test", base_url=server.url("openai"), endpoint="chat_completions")

        @allm.tool
        async def events(city: str) -> str:
            """Find out what is on tonight, with a model of its own."""
            small = allm.Engine(adapter=gpt, model="gpt-5.4-mini")
            return allm.unwrap(await allm.generate(small, f"What is on tonight in {city}?"))

        engine = allm.Engine(adapter=claude, model="claude-sonnet-4-6", tools=[weather, events])
        called = [fake.tool_call("weather", {"city": "Zug"}), fake.tool_call("weather", {"city": "Bern"})]
        server.add(
            Reply.error("anthropic", status=529),
            answer("anthropic", *called, fake.tool_call("events", {"city": "Zug"}), wait=0.4, tokens=(1240, 96)),
            answer("openai", fake.text("A concert in the old town. " * 12), wait=0.3, tokens=(410, 230)),
            answer("anthropic", fake.text("Zug has 21 degrees and a concert. " * 8), wait=0.5, tokens=(1610, 140)),
            answer("anthropic", fake.tool_call("weather", {"city": "Zug"}), wait=0.3, tokens=(1180, 40)),
            answer("anthropic", fake.text("It is warm. " * 40), wait=0.3, tokens=(1300, 90), fault=Cut(after=900)),
            answer("anthropic", fake.text("Once upon a time. " * 60), wait=0.3, tokens=(60, 900)),
        )
        with allm.telemetry.record(recording, content=True):
            with allm.telemetry.span("request", path="/ask", user=7):
                await allm.chat(engine, ASKED)
            with allm.telemetry.span("request", path="/ask", user=12):
                await allm.chat(engine, "How warm is it in Zug?")
            with allm.telemetry.span("request", path="/tell", user=7), trio.move_on_after(0.8):
                await allm.generate(engine, "Tell a story.", tools=[])
    return recording


def photograph(page: Path) -> None:
    """The page in two sizes, light and dark."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("ALLM_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        for name, width, height, scheme, keys in (
            ("trace", 1280, 800, "light", []),
            ("trace-details", 1280, 800, "dark", ["ArrowDown", "ArrowDown", "ArrowDown", "Enter"]),
            ("trace-narrow", 400, 800, "light", []),
        ):
            shown = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
            shown.goto(page.as_uri())
            for key in keys:
                shown.keyboard.press(key)
            shown.screenshot(path=DOCS / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        made = trio.run(run, Path(place))
        sys.exit(command(["trace", str(made)]) or photograph(made.with_suffix(".html")))
