"""The example `examples/chat_page`: an answer streams, is stopped, and survives a reload; two tabs see the same."""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import httpx
import pytest
import trio

import allm
import any_vendor
from allm.testing import WireServer
from tcp_proxy import Proxy

pytest.importorskip("playwright.sync_api", reason="needs a browser: nox -s browser")
from playwright.sync_api import expect

FOLDER = Path(__file__).parents[2] / "examples" / "chat_page"
expect.set_options(timeout=20_000)  # milliseconds; a busy machine takes long


class Pace:
    """Lets the model say as many words as a test wants to see, from another thread."""

    def __init__(self):
        self.words, self.free, self.token, self.lot = 0, False, None, trio.lowlevel.ParkingLot()

    async def __call__(self):
        while not self.free and not self.words:
            await self.lot.park()
        self.words = max(self.words - 1, 0)
        await trio.lowlevel.checkpoint()

    def let(self, words):
        """Let this many more words out."""
        self._do(lambda: setattr(self, "words", self.words + words))

    def go(self):
        """Let all words out from now on."""
        self._do(lambda: setattr(self, "free", True))

    def _do(self, change):
        def in_trio():
            change()
            self.lot.unpark_all()

        trio.from_thread.run_sync(in_trio, trio_token=self.token)


class Server:
    """The example's server in a thread, with a demo model that keeps the pace of the test."""

    def __init__(self, store):
        demo = importlib.import_module("demo_model")
        self.store, self.pace, self.direct = store, Pace(), ""
        self.engine = allm.Engine(adapter=demo.DemoModel(self.pace), tools=[demo.pay])

    @contextlib.contextmanager
    def running(self):
        """The server, until the block is left; it may be entered again."""
        begun, scope, failures = threading.Event(), trio.CancelScope(), []

        async def main():
            self.pace.token = trio.lowlevel.current_trio_token()
            with scope:
                async with trio.open_nursery() as nursery:
                    [self.direct] = await nursery.start(serve)
                    self.proxy = Proxy(self.direct)
                    self.url = await nursery.start(self.proxy.serve)
                    begun.set()

        async def serve(task_status):
            bind = self.direct.removeprefix("http://") or "127.0.0.1:0"
            example = importlib.import_module("server")
            await example.run(self.engine, bind, store_url=self.store, task_status=task_status)

        def work():
            try:
                trio.run(main)
            except BaseException as error:
                failures.append(error)
            finally:
                begun.set()

        thread = threading.Thread(target=work)
        thread.start()
        begun.wait()
        try:
            yield self
        finally:
            with contextlib.suppress(trio.RunFinishedError):
                trio.from_thread.run_sync(scope.cancel, trio_token=self.pace.token)
            thread.join()
            assert failures == []

    def drop(self):
        """Break every connection to it."""
        trio.from_thread.run_sync(self.proxy.drop, trio_token=self.pace.token)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A running server."""
    monkeypatch.syspath_prepend(FOLDER)
    opened = Server(f"sqlite:///{tmp_path}/chat.db")
    with opened.running():
        yield opened
    for name in ("demo_model", "server"):
        del sys.modules[name]


def say(page, text):
    page.get_by_label("Your message").fill(text)
    page.get_by_role("button", name="Send").click()


def answers(page):
    return page.locator("#log .assistant .text")


def png(width=3, height=2):
    """A small picture."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x20\x70\xc0" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_an_answer_streams(server, page):
    """Word by word, and to its end."""
    page.goto(server.url)
    say(page, "Hello there.")
    expect(page.locator("#log .user .text")).to_have_text("Hello there.")
    expect(page.get_by_label("Your message")).to_have_value("")
    server.pace.let(4)
    expect(answers(page)).to_have_text("I am a demo ")
    server.pace.let(2)
    expect(answers(page)).to_have_text("I am a demo without a ")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    server.pace.go()
    expect(answers(page)).to_have_text(re.compile("You wrote: Hello there.$"))
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.get_by_role("status")).to_have_text(re.compile("^I am a demo"))


def test_an_answer_is_stopped(server, page):
    """By the button or by Escape; what was said stays, and the next message goes on."""
    page.goto(server.url)
    say(page, "Hello")
    server.pace.let(4)
    expect(answers(page)).to_have_text("I am a demo ")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("This answer was stopped.")).to_be_visible()
    expect(answers(page)).to_have_text("I am a demo ")
    say(page, "Again")
    server.pace.let(2)
    expect(answers(page).nth(1)).to_have_text("I am ")
    page.keyboard.press("Escape")
    expect(page.get_by_text("This answer was stopped.")).to_be_visible()
    page.reload()
    expect(answers(page)).to_have_text(["I am a demo ", "I am "])


def test_a_reload_in_the_middle_of_an_answer(server, page):
    """Nothing is lost and nothing comes twice."""
    page.goto(server.url)
    say(page, "Hello")
    server.pace.let(4)
    expect(answers(page)).to_have_text("I am a demo ")
    page.reload()
    expect(page.locator("#log .user .text")).to_have_text("Hello")
    expect(answers(page)).to_have_text("I am a demo ")
    server.pace.let(2)
    expect(answers(page)).to_have_text("I am a demo without a ")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    server.pace.go()
    expect(answers(page)).to_have_text(re.compile("^I am a demo without a key.*You wrote: Hello$"))


def test_a_page_that_was_closed_comes_back_to_the_end(server, page):
    """The answer was written meanwhile."""
    page.goto(server.url)
    say(page, "Hello")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    address = page.url
    page.goto("about:blank")
    server.pace.go()
    page.goto(address)
    expect(answers(page)).to_have_text(re.compile("You wrote: Hello$"))


@pytest.fixture
def rough_page(chromium):
    """A page that may log errors: the browser logs each connection that it loses."""
    with contextlib.closing(chromium.new_context()) as context:
        yield context.new_page()


def test_a_connection_that_breaks(server, rough_page):
    """The browser connects again by itself, names the last event that it has, and gets exactly the rest."""
    page = rough_page
    page.goto(server.url)
    say(page, "Hello")
    server.pace.let(4)
    expect(answers(page)).to_have_text("I am a demo ")
    page.evaluate("snapshots = 0; source.addEventListener('snapshot', () => snapshots++)")
    for words, text in ((2, "without a "), (2, "key. I ")):
        server.drop()
        server.pace.let(words)
        expect(answers(page)).to_have_text(re.compile(f"{re.escape(text)}$"))
    assert page.evaluate("snapshots") == 0
    server.pace.go()
    expect(answers(page)).to_have_text(re.compile("^I am a demo without a key.*You wrote: Hello$"))


def test_a_server_that_is_started_again(server, rough_page, tmp_path):
    """In the middle of an answer: what was said by then is there, and the page connects again by itself."""
    page = rough_page
    again = Server(f"sqlite:///{tmp_path}/again.db")
    with again.running():
        page.goto(again.direct)
        say(page, "Hello")
        again.pace.let(4)
        expect(answers(page)).to_have_text("I am a demo ")
    again.pace.free = True
    with again.running():
        expect(page.get_by_text("This answer was stopped.")).to_be_visible()
        expect(answers(page)).to_have_text("I am a demo ")
        say(page, "Again")
        expect(answers(page).nth(1)).to_have_text(re.compile("You wrote: Again$"))


def test_a_proxy_that_answers_for_the_server(server, rough_page):
    """The page says that it is cut off, and connects anew until it gets a stream; a browser gives up after an error."""
    page = rough_page
    page.route("**/events", lambda route: route.fulfill(status=502))
    page.goto(server.url)
    expect(page.locator("#away")).to_be_visible()
    page.unroute("**/events")
    expect(page.locator("#away")).to_be_hidden()
    server.pace.go()
    say(page, "Hello")
    expect(answers(page)).to_have_text(re.compile("You wrote: Hello$"))


def test_two_tabs_see_the_same_answer(server, page):
    """Whichever began it, and whichever ends it."""
    page.goto(server.url)
    other = page.context.new_page()
    other.goto(page.url)
    say(page, "Hello")
    server.pace.let(4)
    for tab in (page, other):
        expect(tab.locator("#log .user .text")).to_have_text("Hello")
        expect(answers(tab)).to_have_text("I am a demo ")
    other.get_by_role("button", name="Stop").click()
    for tab in (page, other):
        expect(tab.get_by_text("This answer was stopped.")).to_be_visible()
    say(other, "From the other tab")
    server.pace.go()
    for tab in (page, other):
        expect(answers(tab).nth(1)).to_have_text(re.compile("You wrote: From the other tab$"))
        expect(answers(tab)).to_have_count(2)


@pytest.mark.parametrize("decision", ["Allow", "Deny"])
def test_a_tool_is_approved_or_denied(server, page, decision):
    """It runs only if it is allowed; the question survives a reload, and the other tab learns how it went."""
    server.pace.go()
    page.goto(server.url)
    other = page.context.new_page()
    other.goto(page.url)
    say(page, "Please pay 7 francs")
    box = page.get_by_role("group", name=re.compile("Approval of pay"))
    expect(box).to_contain_text('pay({"amount":7})')
    page.get_by_label("Your message").fill("Nothing can be sent before the decision")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.reload()
    expect(box).to_be_visible()
    box.get_by_role("button", name=decision).click()
    outcome = "paid 7 francs" if decision == "Allow" else "denied"
    for tab in (page, other):
        expect(tab.locator(".call")).to_contain_text(outcome)
        expect(answers(tab).last).to_contain_text("That is settled")
        expect(tab.get_by_role("group", name=re.compile("Approval of"))).to_have_count(0)


def test_pictures_are_sent(server, page):
    """They are shown before and after, can be removed, and reach the model."""
    server.pace.go()
    page.goto(server.url)
    for name in ("one.png", "two.png"):
        data = png(3 if name == "one.png" else 4)
        page.get_by_label("Add pictures").set_input_files({"name": name, "mimeType": "image/png", "buffer": data})
    expect(page.locator("#pictures img")).to_have_count(2)
    page.get_by_role("button", name="Remove picture 2").click()
    expect(page.locator("#pictures img")).to_have_count(1)
    say(page, "What is this?")
    expect(answers(page)).to_have_text("I see a picture of the type image/png.")
    picture = page.locator("#log .user img")
    expect(picture).to_have_attribute("src", "data:image/png;base64," + base64.b64encode(png()).decode())
    assert picture.evaluate("(image) => image.complete && image.naturalWidth") == 3
    expect(page.locator("#pictures img")).to_have_count(0)


def test_a_failure_is_shown_and_can_be_tried_again(server, page):
    """With the reason of the error; what a provider says stays on the server."""
    server.pace.go()
    page.goto(server.url)
    say(page, "Please fail")
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("The answer failed (overloaded).")
    problem.get_by_role("button", name="Try again").click()
    expect(problem).to_contain_text("The answer failed (overloaded).")
    expect(answers(page)).to_have_count(1)


def test_what_the_server_refuses_is_shown(server, page, new_page):
    """And what was written is not lost."""
    page.goto(server.url)
    page.evaluate('() => { fetch = async () => new Response(\'{"error": "no, thanks"}\', {status: 409}) }')
    say(page, "Hello")
    expect(page.get_by_role("alert")).to_have_text(re.compile("no, thanks"))
    page.evaluate("() => { fetch = async () => { throw new TypeError('gone') } }")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_have_text(re.compile("cannot be reached"))
    expect(page.get_by_label("Your message")).to_have_value("Hello")


def test_markup_stays_text(server, page):
    """What a user or a model writes is never HTML of the page, and the page runs no script but its own."""
    server.pace.go()
    page.goto(server.url)
    hostile = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    say(page, hostile)
    expect(answers(page)).to_have_text(re.compile(re.escape(hostile) + "$"))
    expect(page).to_have_title("Chat")
    assert page.locator("#log img, #log script").count() == 0
    policy = page.request.get(server.url).headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_400_pixels_are_enough(server, new_page):
    """Nothing is cut off sideways, also with long words, a question, pictures and a problem."""
    server.pace.go()
    page = new_page(400, 700)
    page.goto(server.url)
    page.get_by_label("Add pictures").set_input_files(
        {"name": "wide.png", "mimeType": "image/png", "buffer": png(2000, 10)}
    )
    say(page, "W" * 300)
    expect(answers(page)).to_have_count(1)
    say(page, "pay " + "9" * 60)
    expect(page.get_by_role("button", name="Allow")).to_be_in_viewport(ratio=1)
    wide = "document.documentElement.scrollWidth > innerWidth || scroller.scrollWidth > scroller.clientWidth"
    assert not page.evaluate(wide)
    for name in ("Allow", "Deny", "Send"):
        expect(page.get_by_role("button", name=name)).to_be_in_viewport(ratio=1)
    expect(page.get_by_label("Your message")).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Deny").click()
    say(page, "fail")
    expect(page.get_by_role("button", name="Try again")).to_be_in_viewport(ratio=1)
    assert not page.evaluate(wide)


def test_the_keyboard_is_enough(server, page):
    """Focus begins in the message; Enter sends, Shift+Enter does not; Tab reaches every button in sight."""
    server.pace.go()
    page.goto(server.url)
    expect(page.get_by_label("Your message")).to_be_focused()
    page.keyboard.type("pay 3")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("please")
    page.keyboard.press("Enter")
    expect(page.locator("#log .user .text")).to_have_text("pay 3\nplease", use_inner_text=True)
    expect(page.get_by_role("status")).to_have_text("Your approval is needed.")
    allow = page.get_by_role("button", name="Allow")
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="Deny")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(allow).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".call")).to_contain_text("paid 3 francs")
    expect(page.get_by_label("Your message")).to_be_focused()


def test_a_new_conversation(server, page):
    """It is empty, has an address of its own, and the old one is where it was."""
    server.pace.go()
    page.goto(server.url)
    say(page, "Hello")
    expect(answers(page)).to_have_text(re.compile("Hello$"))
    address = page.url
    page.get_by_role("button", name="New conversation").click()
    expect(page).not_to_have_url(address)
    expect(answers(page)).to_have_count(0)
    page.goto(address)
    expect(answers(page)).to_have_text(re.compile("Hello$"))


def test_the_system_prompt_stays_on_the_server(server):
    """A page gets what was said, and nothing else of the conversation."""
    example = importlib.import_module("server")
    session = allm.Session(id="s", thread=allm.Thread([allm.system("Be secret."), allm.user("Hello")]))
    state = example.state_of(session, running=False)
    assert "secret" not in json.dumps(state)
    assert [message["text"] for message in state["messages"]] == ["Hello"]


def test_a_picture_that_is_elsewhere_is_left_out(server):
    """A tool may return one by its address; the page is shown without it."""
    example = importlib.import_module("server")
    result = allm.tool_result("c", ["See", allm.Image.from_url("https://example.com/a.png")])
    thread = allm.Thread([allm.user("Look"), allm.assistant(allm.ToolCall("c", "look", {})), result])
    state = example.state_of(allm.Session(id="s", thread=thread), running=False)
    assert (state["messages"][2]["text"], state["messages"][2]["images"]) == ("See", [])


def test_the_server_is_started_and_interrupted(tmp_path):
    """From the command line, without a key; Ctrl-C in the middle of an answer saves what there is of it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ALLM_")}
    environment |= {"ALLM_BIND": "127.0.0.1:0", "ALLM_STORE": f"sqlite:///{tmp_path}/chat.db"}
    command = [sys.executable, FOLDER / "server.py"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        url = re.search(r"http://[\d.:]+", line)[0]
        httpx.post(f"{url}/sessions/s/messages", json={"text": "Hello"}).raise_for_status()
        with httpx.stream("GET", f"{url}/sessions/s/events", timeout=30) as response:
            next(line for line in response.iter_lines() if '"type": "text"' in line)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
    assert process.returncode == 0

    async def load():
        async with allm.session.open_store(environment["ALLM_STORE"]) as store:
            return (await store.load("s"))[0]

    question, answer = trio.run(load).thread.messages
    assert (question.text, answer.text[:2]) == ("Hello", "I ")


@pytest.mark.parametrize("model", any_vendor.MODELS)
async def test_the_model_of_another_vendor_answers(model):
    """With ALLM_MODEL: it asks for the tool, which waits for the user, and answers once that has been allowed."""
    async with WireServer(default=any_vendor.answer) as vendor:
        settings = {**any_vendor.addresses(vendor), "ALLM_MODEL": model, "ALLM_BIND": "127.0.0.1:0"}
        texts = await trio.to_thread.run_sync(pay_with, {**any_vendor.no_settings(), **settings})
    assert texts[-2:] == ["paid 1 francs", any_vendor.TEXT]


def pay_with(environment):
    """Start the server, say something, and allow what is asked; gives the texts of the conversation."""

    def state(is_wanted):
        data = (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))
        return next(value for value in data if is_wanted(value))

    command = [sys.executable, FOLDER / "server.py"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            session = f"{re.search('http://[0-9.:]+', process.stderr.readline())[0]}/sessions/s"
            httpx.post(f"{session}/messages", json={"text": "Hello"}).raise_for_status()
            with httpx.stream("GET", f"{session}/events", timeout=30) as response:
                lines = response.iter_lines()
                [call] = state(lambda value: value.get("pending"))["pending"]
                decision = {"id": call["id"], "allow": True, "shown": call["shown"]}
                httpx.post(f"{session}/decisions", json=decision).raise_for_status()
                ended = state(lambda value: value.get("status") == "completed")
        finally:
            process.terminate()
    return [message["text"] for message in ended["messages"]]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", '{"text": "hi"}'),  # what a form of another site can send
        ("application/json", "[1]"),
        ("application/json", "{"),
        ("application/json", '{"text": "hi", "images": ["data:text/html,<script>"]}'),
        ("application/json", '{"text": "hi", "images": "x"}'),
    ],
)
def test_requests_that_are_none(server, content_type, body):
    """Are refused with a sentence, and begin nothing."""
    headers = {"content-type": content_type}
    response = httpx.post(f"{server.url}/sessions/s/messages", content=body, headers=headers)
    assert response.status_code == 400
    assert json.loads(response.text)["error"]
