"""The page of `allm trace` in a browser: what it shows, its keys, its search, two widths, and hostile recordings."""

from __future__ import annotations

import json
import re

import pytest
import trio

import allm
from allm import fake
from allm.cli.trace.page import page_of
from allm.cli.trace.spans import read
from allm.testing import Cut, Reply, WireServer

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
ODD = ["😀" * 50, "שלום עולם", "\u202egnirts\u202c", "a" * 1_000_000, "\x00\x07\x1b[31m", "{{DATA}} ${alert(1)} `x` \\"]


@pytest.fixture(scope="module")
def agents(tmp_path_factory):
    """The page of a real run: parallel tools, a retry, a sub-agent, a failure, a cancellation, costs."""
    path = tmp_path_factory.mktemp("trace") / "run.jsonl"
    trio.run(record_agents, path)
    return write(path.with_suffix(".html"), path.read_bytes().splitlines(keepends=True))


async def record_agents(path):
    async with WireServer() as server:
        claude = allm.providers.Anthropic(api_key="test", base_url=server.url("anthropic"))
        gpt = allm.providers.OpenAI(api_key="test", base_url=server.url("openai"), endpoint="chat_completions")

        @allm.tool
        async def weather(city: str) -> str:
            """Tell the weather of today."""
            if city == "Bern":
                raise allm.ToolError("no such station", reason="handler_raised")
            return "21 degrees"

        @allm.tool
        async def events(city: str) -> str:
            """Ask another model."""
            engine = allm.Engine(adapter=gpt, model="gpt-5.4-mini")
            return allm.unwrap(await allm.generate(engine, f"What is on in {city}?"))

        retry = allm.RetryPolicy(base_delay=0.001)
        engine = allm.Engine(adapter=claude, model="claude-sonnet-4-6", tools=[weather, events], retry=retry)
        asked = [fake.tool_call("weather", {"city": "Zug"}), fake.tool_call("weather", {"city": "Bern"})]
        counts = fake.usage(input_tokens=100_000, output_tokens=1_000)
        server.add(
            Reply.error("anthropic", status=529),
            Reply.script("anthropic", [*asked, fake.tool_call("events", {"city": "Zug"}), counts]),
            Reply.script("openai", [fake.text("A concert."), counts]),
            Reply.script("anthropic", [fake.text("Warm, with a concert."), counts]),
            Reply.script("anthropic", [fake.text("It is w" * 100), counts], fault=Cut(after=900)),
            Reply.script("anthropic", [fake.text("Once"), fake.delay(3600), fake.text(" upon")]),
        )
        with allm.telemetry.record(path, content=True):
            with allm.telemetry.span("request", path="/ask"):
                await allm.chat(engine, "What is on in Zug?")
            await allm.generate(engine, "And the weather?")
            async with allm.stream_generate(engine, "Tell a story.") as story:
                async for _ in story:
                    break


def write(path, lines):
    recordings, skipped = read(lines)
    path.write_bytes(page_of(recordings, name=path.name, skipped=skipped))
    return path.as_uri()


def made_of(folder, spans, *, end=True):
    """The page of spans made by hand: name, parent, start, end, attributes."""
    at = 1_795_910_000.0
    lines = [{"allm": "telemetry", "v": 1, "run": "r", "at": at, "content": True}]
    for number, (name, parent, start, stop, attributes) in enumerate(spans, 1):
        line = {"run": "r", "name": name, "span": number, "parent": parent, "attributes": attributes}
        lines.append({**line, "phase": "start", "at": at + start})
        if stop is not None:
            lines.append({**line, "phase": "stop", "at": at + stop, "duration": stop - start})
    if end:
        lines.append({"run": "r", "ended": True, "at": at + 1})
    return write(folder / "made.html", [json.dumps(line).encode() + b"\n" for line in lines])


def rows(page):
    """The level, the title and the status of each row that is drawn."""
    return page.eval_on_selector_all(
        ".row",
        "rows => rows.map(row => [Number(row.ariaLevel), row.querySelector('.title').textContent, "
        "row.querySelector('.chip')?.textContent ?? ''])",
    )


def selected(page):
    """The title of the selected row, which is also the one that a screen reader is told of."""
    row = page.locator(".row[aria-selected=true]")
    assert page.get_attribute("#tree", "aria-activedescendant") == row.get_attribute("id")
    return row.locator(".title").text_content()


def boxes(page, *selectors):
    """Where elements are, all at one moment: rows are made anew whenever the list is drawn."""
    return page.evaluate(
        "selectors => selectors.map(one => document.querySelector(one).getBoundingClientRect().toJSON())", selectors
    )


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def test_a_run_is_a_tree(page, agents):
    """Everything of it in its place, with how it ended."""
    page.goto(agents)
    assert rows(page) == [
        [1, "request", ""],
        [2, "chat", ""],
        [3, "step 1", ""],
        [4, "model call", ""],
        [5, "retry 1", ""],
        [4, "weather", ""],
        [4, "weather", "error"],
        [4, "events", ""],
        [5, "generate", ""],
        [3, "step 2", ""],
        [4, "model call", ""],
        [1, "generate", "error"],
        [1, "generate", "cancelled"],
    ]
    told = page.text_content("#totals")
    for fact in ("3requests", "5model calls", "3tool calls", "1sub-agent", "1retry", "2errors", "1cancelled"):
        assert fact in told
    assert re.search(r"400Ktokens in3,\d{3}tokens out\$0\.\d\d", told)


def test_bars_are_where_the_times_are(page, tmp_path):
    """From left to right over the whole time; the part before the first token is set off."""
    spans = [
        ("chat", None, 0, 1, {}),
        ("model_call", 1, 0.25, 0.75, {"time_to_first_token": 0.125}),
    ]
    page.goto(made_of(tmp_path, spans))
    box, bar, waited = boxes(page, "#row-1 .ruler", "#row-1 .span", "#row-1 .span i")
    assert (bar["x"] - box["x"]) / box["width"] == pytest.approx(0.25, abs=0.01)
    assert bar["width"] / box["width"] == pytest.approx(0.5, abs=0.01)
    assert waited["width"] / bar["width"] == pytest.approx(0.25, abs=0.02)


def test_everything_is_done_with_the_keyboard(page, agents):
    """Up and down, fold and unfold, to the parent, to the ends, to the next error."""
    page.goto(agents)
    assert selected(page) == "request"
    press(page, "ArrowDown", "ArrowRight", "ArrowRight")
    assert selected(page) == "model call"
    press(page, "ArrowLeft", "ArrowLeft")  # folds, then goes to the parent
    assert selected(page) == "step 1"
    assert [4, "model call", ""] in rows(page)
    assert [5, "retry 1", ""] not in rows(page)
    press(page, "ArrowLeft")
    assert rows(page)[2:4] == [[3, "step 1", "error inside"], [3, "step 2", ""]]
    assert page.get_attribute(".row[aria-selected=true]", "aria-expanded") == "false"
    press(page, "*")
    assert [5, "retry 1", ""] in rows(page)
    press(page, "e")
    assert selected(page) == "weather"
    press(page, "E")
    assert selected(page) == "weather"  # there is none before it
    press(page, "End")
    assert selected(page) == "generate"
    press(page, "Home", "ArrowUp")
    assert selected(page) == "request"


def test_enter_shows_details(page, agents):
    """Times, usage, what was said; they follow the selection, and Esc closes them."""
    page.goto(agents)
    details = page.locator("#details")
    assert details.is_hidden()
    press(page, "ArrowDown", "ArrowDown", "ArrowDown", "Enter")
    assert details.is_visible()
    text = details.inner_text()
    for fact in ("model call", "first token after", "100,000", "claude-sonnet-4-6", "What is on in Zug?", "weather"):
        assert fact in text
    press(page, "ArrowDown")
    assert "overloaded" in details.inner_text()
    press(page, "ArrowDown", "ArrowDown")
    assert "no such station" in details.inner_text()
    press(page, "Tab")
    assert page.evaluate("document.activeElement.id") == "details"
    press(page, "Escape")
    assert details.is_hidden()
    assert page.evaluate("document.activeElement.id") == "tree"


def test_search_shows_what_matches_and_what_is_around_it(page, agents):
    """In names, attributes and content; Enter goes to the rows, Esc ends it."""
    page.goto(agents)
    press(page, "/")
    page.keyboard.type("A Concert.")
    assert page.text_content("#found") == "4 of 13"  # said by the sub-agent, told to the model, which says it again
    found = ["request", "chat", "step 1", "events", "generate", "step 2", "model call"]
    assert [title for _, title, _ in rows(page)] == found
    assert page.locator(".row.around").count() == 3
    press(page, "Enter", "n")
    assert selected(page) == "events"
    press(page, "n", "n")
    assert selected(page) == "model call"
    press(page, "N", "N")
    assert selected(page) == "events"
    press(page, "ArrowLeft")
    assert len(rows(page)) == len(found) - 1
    press(page, "ArrowLeft", "*")  # what does not match, in the step
    assert [title for _, title, _ in rows(page)][3:6] == ["model call", "retry 1", "weather"]
    press(page, "e")
    press(page, "Escape")
    assert len(rows(page)) == 13
    assert selected(page) == "weather"
    press(page, "/")
    page.keyboard.type('"and the weather"')
    assert page.text_content("#found") == "1 of 13"
    page.fill("#search", "529 retry")
    assert page.locator("mark").all_text_contents() == ["retry", "529"]
    page.fill("#search", "nothing of the kind")
    assert page.locator("#nothing").is_visible()
    assert rows(page) == []
    press(page, "Escape")
    assert len(rows(page)) == 13


def test_a_total_shows_what_it_counts(page, agents):
    """A click on the errors shows these, another one shows all again."""
    page.goto(agents)
    page.get_by_role("button", name="errors").click()
    assert [status for _, _, status in rows(page) if status] == ["error", "error"]
    page.get_by_role("button", name="errors").click()
    assert len(rows(page)) == 13


def test_the_mouse_does_it_too(page, agents):
    """A click shows details, the triangle folds, a double click shows the time of a span only."""
    page.goto(agents)
    page.locator(".row").nth(1).locator(".twist").click()
    assert len(rows(page)) == 4
    page.locator(".row").nth(1).locator(".twist").click()
    page.locator(".row").nth(4).click()
    assert "overloaded" in page.inner_text("#details")
    page.get_by_role("button", name="Close details").click()
    page.locator(".row").nth(2).dblclick()
    ruler, bar = boxes(page, "#row-2 .ruler", "#row-2 .span")
    assert bar["width"] > ruler["width"] * 0.9
    page.get_by_role("button", name="Zoom out").click()
    assert page.get_by_role("button", name="Zoom out").is_hidden()


def test_the_selected_row_stays_in_view(new_page, agents):
    """Also when the details take half of a small screen, and when the list is longer than that."""
    page = new_page(400, 600)
    page.goto(agents)
    for key in ("End", "Enter", "Home", "Escape", "Enter", *["ArrowDown"] * 12):
        press(page, key)
        tree, row = boxes(page, "#tree", ".row[aria-selected=true]")
        assert tree["y"] - 0.5 <= row["y"], key
        assert row["y"] + row["height"] <= tree["y"] + tree["height"] + 0.5, key


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_and_can_be_read(new_page, agents, width, scheme):
    """No scrolling to the side, with and without details; every text has the contrast that WCAG AA asks for."""
    page = new_page(width, 800, color_scheme=scheme)
    page.goto(agents)
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(
            "document.querySelector('#tree').scrollWidth <= document.querySelector('#tree').clientWidth"
        )
        assert page.evaluate(LOW_CONTRAST) == []
        press(page, "e", "Enter")
        assert page.locator("#details").is_visible()


# Texts whose colour and background are nearer than 4.5 : 1. Colours are read as they are painted, through a canvas.
LOW_CONTRAST = """() => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const painted = (colours) => {
    pen.fillStyle = "white";
    for (const colour of colours) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
    return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => rgb.map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const behind = [];
    for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const [text, back] = [painted([...behind, getComputedStyle(element).color]), painted(behind)].map(light);
    const ratio = (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05);
    if (ratio < 4.5) low.push([element.className || element.tagName, element.textContent.slice(0, 30), ratio]);
  }
  return low;
}"""


def test_the_theme_can_be_chosen(new_page, agents):
    """Whatever the system has."""
    page = new_page(color_scheme="light")
    page.goto(agents)
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    press(page, "t")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    press(page, "t")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == before


def test_what_was_recorded_is_text(page, tmp_path):
    """Markup, scripts, control characters, other directions and endless texts do nothing and are shown."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    spans = [
        (HOSTILE, None, 0, 1, {HOSTILE: HOSTILE, "error": {"type": HOSTILE, "message": HOSTILE}, "usage": HOSTILE}),
        ("tool", 1, 0, 1, {"tool_name": HOSTILE, "__proto__": {"kind": 1}, "constructor": None}),
        *((text, 1, 0, 1, {"text": text, "list": [text[:100]]}) for text in ODD),
    ]
    url = made_of(tmp_path, spans)
    page.goto(url)
    for _ in spans:
        press(page, "Enter", "ArrowDown")
    press(page, "Home")
    assert HOSTILE in page.inner_text("#details")
    page.fill("#search", HOSTILE)
    assert len(rows(page)) == 2
    page.fill("#search", "שלום")
    assert rows(page)[-1][1] == "שלום עולם"
    assert page.title() == "made.html - allm trace"
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth") == 1280
    assert asked == [url]


def test_times_can_be_anything(page, tmp_path):
    """Clocks that were set back, a year, nothing at all, and everything at one time: the page draws and zooms."""
    odd = [(0, 0), (0, 3e7), (5, 1), (-3e7, 0), (2e9, 2e9), (1e-9, 2e-9), (0, 1e-7)]
    for times in (odd, [(0, 0)], [(3e7, 3e7)] * 2):
        page.goto(made_of(tmp_path, [("span", None, start, end, {}) for start, end in times]))
        for _ in times:
            press(page, "z", "a", "z", "0", "ArrowDown")
        assert len(rows(page)) == len(times)
        assert page.locator("#ruler span").count() <= 101


def test_a_screen_reader_is_told_the_tree(page, agents):
    """Each row is an item with its level, its place, whether it is open, and whether it is selected."""
    page.goto(agents)
    press(page, "ArrowDown", "ArrowDown", "ArrowLeft")
    told = page.locator("#tree").aria_snapshot()
    assert re.search(r'tree "Spans":\n *- treeitem "request, span, .*" \[expanded\] \[level=1\]', told)
    assert re.search(r'treeitem "step 1, step, .*" \[level=3\] \[selected\]', told)
    item = page.get_by_role("treeitem", name="step 2")
    assert [item.get_attribute(f"aria-{name}") for name in ("posinset", "setsize")] == ["2", "2"]


def test_a_long_text_is_shown_in_parts(page, tmp_path):
    """A million characters at once would stop the browser."""
    page.goto(made_of(tmp_path, [("chat", None, 0, 1, {"text": "word " * 200_000})]))
    press(page, "Enter")
    assert len(page.text_content("#details")) < 30_000
    more = page.get_by_role("button", name="Show more")
    while more.count():
        more.click()
    assert len(page.text_content("#details")) > 1_000_000


def test_a_killed_process_is_shown(page, tmp_path):
    """What it had begun is unfinished, up to the last line; the line that was cut off is counted."""
    url = made_of(tmp_path, [("chat", None, 0, None, {}), ("step", 1, 0, 1, {}), ("tool", 1, 1, None, {})], end=False)
    page.goto(url)
    assert [status for *_, status in rows(page)] == ["unfinished", "", "unfinished"]
    assert "killed or still runs" in page.text_content("#notes")
    [bar] = boxes(page, "#row-0 .span.unfinished")
    assert bar["width"] > 300


def test_each_recording_of_a_file_can_be_chosen(page, tmp_path):
    """The last one is shown first."""
    lines = []
    for run, name in (("a", "first"), ("b", "second")):
        lines.append({"allm": "telemetry", "v": 1, "run": run, "at": 1.0})
        lines.append({"run": run, "name": name, "phase": "start", "span": 1, "at": 2.0})
    page.goto(write(tmp_path / "two.html", [json.dumps(line).encode() + b"\n" for line in lines]))
    assert rows(page) == [[1, "second", "unfinished"]]
    page.select_option("#recordings", index=0)
    assert rows(page) == [[1, "first", "unfinished"]]


def many(number):
    """Requests with four spans each."""
    spans = []
    for request in range(number // 5):
        at, top = request * 10.0, len(spans) + 1
        spans.append(("chat", None, at, at + 4, {"model": f"m{request}", "usage": {"input_tokens": 1}}))
        spans.append(("step", top, at, at + 4, {}))
        spans.append(("model_call", top + 1, at, at + 2, {"usage": {"input_tokens": 1}, "time_to_first_token": 1}))
        spans.extend([("tool", top + 1, at + 2, at + 3, {"tool_name": f"tool{request}"})] * 2)
    return spans


def test_ten_thousand_spans(page, tmp_path, record_property):
    """Only the rows that can be seen are drawn; to open, to unfold and to search them is a matter of moments."""
    page.goto(made_of(tmp_path, many(10_000)))
    assert page.locator(".row").count() < 60
    timing = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
    record_property("open_ms", page.evaluate(timing))
    press(page, "End")
    assert selected(page) == "chat"
    page.get_by_role("button", name="Unfold all").click()
    assert page.evaluate("document.querySelector('#space').clientHeight") == 10_000 * 30
    assert page.locator(".row").count() < 60
    page.fill("#search", "tool1999")
    assert [title for _, title, _ in rows(page)] == ["chat", "step 1", "tool1999", "tool1999"]
    page.fill("#search", "")
    page.evaluate("document.querySelector('#tree').scrollTop = 150000")
    page.wait_for_selector("#row-5005")
    assert page.locator(".row").count() < 60
