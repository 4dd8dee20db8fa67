"""Recording traffic, and replaying it without a network."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

import allm
from allm import fake
from allm.testing import Cut, Reply, Reset, WireServer, collect, record, replay, text

KEY = "sk-canary-0123456789"


@allm.tool
async def weather(city: str) -> str:
    """Return the weather."""
    return f"21 degrees in {city}"


CHAT = [
    [fake.reasoning("hm"), fake.tool_call("weather", {"city": "Zürich"}, id="c1")],
    [fake.text("Wärm"), fake.text(".")],
]

PIECE = b'data: {"id": "a", "choices": [{"delta": {"content": "so f"}}]}\n\n'


def engine(vendor, url, **fields):
    """An engine for `url` with the canary key."""
    adapter = {"openai": allm.providers.OpenAI, "anthropic": allm.providers.Anthropic, "gemini": allm.providers.Gemini}
    return allm.Engine(adapter=adapter[vendor](base_url=url, **fields), model="m", tools=[weather])


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "gemini"])
async def test_a_chat(tmp_path, vendor):
    """The replay gives the same events from the file alone: no server, no key."""
    async with WireServer() as server:
        server.add(*(Reply.script(vendor, items) for items in CHAT))
        url = server.url(vendor)
        with record(tmp_path / "chat.json") as recorded:
            events = await collect(allm.stream(engine(vendor, url, api_key=KEY), "Is it warm?"))
    assert len(recorded.exchanges) == 2

    with replay(tmp_path / "chat.json") as played:
        again = await collect(allm.stream(engine(vendor, url), "Is it warm?"))
        played.assert_exhausted()

    assert again == events
    assert text(again) == "Wärm."
    assert KEY not in (tmp_path / "chat.json").read_text("utf-8")


async def test_two_at_once(tmp_path):
    """Each concurrent request gets its own response, in any order."""
    async with WireServer() as server:
        url = server.url("openai")
        with record(tmp_path / "two.json"):
            for word in ("one", "two"):
                server.add(Reply.script("openai", [fake.text(word.upper())]))
                await allm.generate(engine("openai", url, api_key=KEY), word)
    answers = {}

    async def ask(word):
        answers[word] = (await allm.generate(engine("openai", url), word)).output_text

    with replay(tmp_path / "two.json"):
        async with trio.open_nursery() as nursery:
            for word in ("two", "one"):
                nursery.start_soon(ask, word)
    assert answers == {"one": "ONE", "two": "TWO"}


async def test_a_request_that_was_not_recorded(tmp_path):
    """It fails with the difference; nothing is sent."""
    async with WireServer() as server:
        server.add(Reply.script("openai", [fake.text("Hi.")]))
        url = server.url("openai")
        with record(tmp_path / "one.json"):
            await allm.generate(engine("openai", url, api_key=KEY), "Hello")

    with replay(tmp_path / "one.json") as cassette:
        response = await allm.generate(engine("openai", url), "Hullo")
        assert response.error.reason == "no_scripted_response"
        assert "'Hello'" in response.error.message.replace('"', "'")
        assert "'Hullo'" in response.error.message.replace('"', "'")
        with pytest.raises(AssertionError, match=r"not requested: POST http://127\.0\.0\.1"):
            cassette.assert_exhausted()
        response = await allm.generate(engine("openai", url + "/other"), "Hello")
        assert "of the 1 recorded requests, no unused one has this URL" in response.error.message
        assert (await allm.generate(engine("openai", url), "Hello")).output_text == "Hi."
        response = await allm.generate(engine("openai", url), "Hello")
        assert response.error.reason == "no_scripted_response"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(
            status=429, headers={"retry-after": "7", "x-request-id": "req_1"}, body=b'{"error": {"message": "slow"}}'
        ),
        Reply(status=500, body=b"\xff\xfe no text"),
        Reply(body=PIECE, fault=Cut(62)),
        Reply(body=PIECE, fault=Reset(62)),
        Reply(body=PIECE),
    ],
)
async def test_failures(tmp_path, reply):
    """They are replayed as recorded."""
    async with WireServer(default=reply) as server:
        url = server.url("openai")
        with record(tmp_path / "failure.json"):
            first = await allm.generate(engine("openai", url, api_key=KEY), "Hello", retry=None)
    with replay(tmp_path / "failure.json"):
        second = await allm.generate(engine("openai", url), "Hello", retry=None)
    assert first.error is not None
    assert second == first


async def test_no_connection(tmp_path):
    """A failed connection is recorded."""
    async with WireServer() as server:
        url = server.url("openai")
    with record(tmp_path / "none.json"):
        first = await allm.generate(engine("openai", url, api_key=KEY), "Hello", retry=None)
    with replay(tmp_path / "none.json"):
        second = await allm.generate(engine("openai", url), "Hello", retry=None)
    assert first.error.reason == "network_error"
    assert second == first


async def test_a_reader_that_leaves(tmp_path):
    """The pieces it read are replayed, and then the recording ends."""
    async with WireServer() as server:
        server.add(Reply.script("openai", [fake.text("one"), fake.delay(1000), fake.text("two")]))
        url = server.url("openai")
        with record(tmp_path / "left.json"):
            async with allm.stream_generate(engine("openai", url, api_key=KEY), "Hello") as events:
                async for piece in events.text():
                    assert piece == "one"
                    break
    with replay(tmp_path / "left.json"):
        response = await allm.generate(engine("openai", url), "Hello")
    assert response.output_text == "one"
    assert response.error.reason == "stream_truncated"
    assert "the recording ends here" in response.error.message


async def test_echoed_keys_are_masked(tmp_path):
    """Also a key that the network split in two."""
    half = len(KEY) // 2
    body = b'{"error": {"message": "bad key: ' + KEY.encode() + b'"}}'
    cut = body.index(KEY.encode()) + half
    async with WireServer(default=Reply(status=401, body=body, chunks=[cut, len(body) - cut], flush=True)) as server:
        with record(tmp_path / "echo.json"):
            await allm.generate(engine("openai", server.url("openai"), api_key=KEY), "Hello")
    written = (tmp_path / "echo.json").read_text("utf-8")
    assert "bad key: ***" in written
    assert KEY[:half] not in written
    assert KEY[half:] not in written


async def test_services_and_forms(tmp_path):
    """Unary calls are recorded too; a form matches in spite of its random boundary."""
    picture = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    async with WireServer(default=Reply(body=b'{"data": [{"b64_json": "iVBORw0KGgo="}]}')) as server:
        url = server.url("openai")

        def draws(**fields):
            images = allm.providers.OpenAIImages(base_url=url, **fields)
            return allm.Engine(image_adapter=images, image_model="gpt-image-2")

        with record(tmp_path / "image.json"):
            first = await allm.edit_image(draws(api_key=KEY), picture, "A cat")
    with replay(tmp_path / "image.json"):
        assert await allm.edit_image(draws(), picture, "A cat") == first


async def test_only_its_own_context(tmp_path):
    """A task that was started outside uses the network."""
    async with WireServer() as server, trio.open_nursery() as nursery:
        server.add(Reply.script("openai", [fake.text("a")]), Reply.script("openai", [fake.text("b")]))
        asking = engine("openai", server.url("openai"), api_key=KEY)
        go = trio.Event()

        async def outside():
            await go.wait()
            await allm.generate(asking, "b")

        nursery.start_soon(outside)
        await trio.testing.wait_all_tasks_blocked()
        with record(tmp_path / "own.json") as cassette:
            await allm.generate(asking, "a")
            go.set()
            await trio.testing.wait_all_tasks_blocked(0.01)
    assert len(cassette.exchanges) == 1
    assert len(server.requests) == 2


def test_nothing_asked_nothing_written(tmp_path):
    """A test that fails before its first request keeps the earlier recording."""
    with pytest.raises(ZeroDivisionError), record(tmp_path / "none.json"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        "{}",
        '{"v": 2, "exchanges": []}',
        '{"v": 1, "exchanges": [1]}',
        '{"v": 1, "exchanges": [{"request": 1}]}',
    ],
)
def test_another_file(tmp_path, document):
    """A file that is not a cassette is rejected at once."""
    (tmp_path / "x.json").write_text(document)
    with (
        pytest.raises(ValueError, match=r"x\.json is (not a cassette|a cassette of version 2)"),
        replay(tmp_path / "x.json"),
    ):
        raise AssertionError
    with pytest.raises(FileNotFoundError, match=r"y\.json") as caught, replay(tmp_path / "y.json"):
        raise AssertionError
    assert "with allm.testing.record(" in caught.value.__notes__[0]


async def test_people_can_read_it(tmp_path):
    """A JSON body is JSON in the file."""
    async with WireServer() as server:
        server.add(Reply.script("openai", [fake.text("Hi.")]))
        with record(tmp_path / "one.json"):
            await allm.generate(engine("openai", server.url("openai"), api_key=KEY), "Hello")
    [exchange] = json.loads((tmp_path / "one.json").read_text("utf-8"))["exchanges"]
    assert exchange["request"]["method"] == "POST"
    assert "Hello" in json.dumps(exchange["request"]["body"])
    assert exchange["headers"]["content-type"].startswith("text/event-stream")
    assert (exchange["status"], exchange["ended"]) == (200, True)
    assert set(exchange) == {"request", "status", "headers", "pieces", "ended", "error"}


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        ([allm.user("Hello"), allm.assistant("Hi."), allm.user("And?")], {}, "messages has 1 items there and 3 here"),
        ("Hello", {"temperature": 0.5}, "body.temperature is null there and 0.5 here"),
        ("x" * 500, {}, "xxx... here"),
    ],
)
async def test_what_is_different_is_told(tmp_path, prompt, options, words):
    """The first difference is described in one line."""
    async with WireServer() as server:
        server.add(Reply.script("openai", [fake.text("Hi.")]))
        url = server.url("openai")
        with record(tmp_path / "one.json"):
            await allm.generate(engine("openai", url, api_key=KEY), "Hello")
    with replay(tmp_path / "one.json"):
        response = await allm.generate(engine("openai", url), prompt, **options)
    assert words in response.error.message
