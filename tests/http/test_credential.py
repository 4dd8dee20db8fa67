"""Keys that a function gives: asked for when they are needed, once for everyone, and again after a 401."""

from __future__ import annotations

import gc

import attrs
import pytest
import trio

import allm
from allm import fake
from allm.http.keys import KeySource, Secret
from allm.providers import Anthropic, Gemini, OpenAI, OpenAIModeration, OpenAISpeech
from allm.testing import Reply, WireServer

ANSWER = Reply.script("openai", [fake.text("hi")])
HEADERS = {OpenAI: "authorization", Anthropic: "x-api-key", Gemini: "x-goog-api-key"}


def refused(said="no"):
    return Reply.json({"error": {"message": said, "code": "invalid_api_key"}}, status=401)


class Source:
    """A function that gives key-1, key-2, ...; it takes `seconds`, and fails as often as `failures` says."""

    def __init__(self, *, seconds=1, failures=(), same=False):
        self.asked, self.seconds, self.failures, self.same = 0, seconds, list(failures), same

    async def __call__(self):
        self.asked += 1
        number = 1 if self.same else self.asked
        await trio.sleep(self.seconds)
        if self.failures:
            raise self.failures.pop(0)
        return f"key-{number}-0123456789"


def engine(server, source, **fields):
    return allm.Engine(
        adapter=OpenAI(preset="groq", api_key=source, base_url=server.url("openai")), model="m", **fields
    )


async def keys_of(source, count):
    """What `count` tasks get that ask at the same time."""
    found = []

    async def ask():
        try:
            found.append((await source.key()).reveal())
        except allm.AdapterError as error:
            found.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(ask)
    return found


async def test_many_calls_ask_once(autojump_clock):
    """One flight gives the key to all who wait, and it is kept."""
    function = Source()
    source = KeySource(function)
    assert set(await keys_of(source, 50)) == {"key-1-0123456789"}
    assert set(await keys_of(source, 50)) == {"key-1-0123456789"}
    assert function.asked == 1
    assert trio.current_time() == pytest.approx(1, abs=0.01)


async def test_a_failure_is_that_of_all_who_waited(autojump_clock):
    """Fifty calls do not ask a broken source fifty times; each has an error of its own, and the next call asks anew."""
    function = Source(failures=[OSError("down")])
    source = KeySource(function)
    errors = await keys_of(source, 50)
    assert function.asked == 1
    assert {(error.reason, error.retryable) for error in errors} == {("authentication_failed", False)}
    assert len(set(map(id, errors))) == 50
    assert all(isinstance(error.__cause__, OSError) and "OSError: down" in error.message for error in errors)
    assert await keys_of(source, 2) == ["key-2-0123456789"] * 2


@pytest.mark.parametrize("left", [0.5, 1.5])
async def test_the_call_that_asks_is_cancelled(autojump_clock, left):
    """The others have their key all the same: the next of them asks instead."""
    function = Source()
    source = KeySource(function)
    with trio.move_on_after(left) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keys_of, source, 1)
    assert scope.cancelled_caught is (left < 1)

    function, got = Source(), []
    source = KeySource(function)

    async def leader():
        with trio.move_on_after(left):
            await source.key()

    async def waiter():
        await trio.sleep(0.1)
        got.append((await source.key()).reveal())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leader)
        for _ in range(5):
            nursery.start_soon(waiter)
    assert len(got) == 5
    assert len(set(got)) == 1
    assert function.asked == (2 if left < 1 else 1)


async def test_a_waiter_is_cancelled(autojump_clock):
    """The one that asks goes on."""
    function = Source()
    source = KeySource(function)

    async def waiter():
        await trio.sleep(0.1)
        with trio.move_on_after(0.1):
            await source.key()
            raise AssertionError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter)
        assert (await source.key()).reveal() == "key-1-0123456789"
    assert function.asked == 1


async def test_only_the_rejected_key_is_replaced(autojump_clock):
    """Calls whose key was refused share one refresh, and one that comes late takes the key that is there."""
    function = Source()
    source = KeySource(function)
    old = await source.key()
    found = []

    async def renew():
        found.append(await source.key(rejected=old))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(renew)
        nursery.start_soon(keys_of, source, 3)  # calls that begin now wait for the new key
    assert await source.key(rejected=old) == found[0]
    assert {key.reveal() for key in found} == {"key-2-0123456789"}
    assert function.asked == 2


def test_one_source_in_several_runs():
    """An adapter may serve one Trio run after the other; the key stays, and nothing of a finished run does."""
    function = Source(seconds=0)
    source = KeySource(function)
    for _ in range(3):
        assert trio.run(keys_of, source, 3) == ["key-1-0123456789"] * 3
    trio.run(source.key, Secret("key-1-0123456789"))
    gc.collect()
    assert function.asked == 2
    assert not source._locks


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "NoneType"),
        ("", "empty"),
        ("a\nb", "line break"),
        ("Bearer k", "begins with 'Bearer '"),
        (b"k", "bytes"),
        ("é", "ASCII"),
    ],
)
async def test_what_cannot_be_a_key(given, words):
    """It is refused without being shown."""
    with pytest.raises(allm.AdapterError, match=words) as caught:
        await KeySource(lambda: given).key()
    assert caught.value.reason == "authentication_failed"
    assert "a\nb" not in caught.value.message


async def test_an_adapter_error_is_passed_on():
    """A source that says that waiting helps is asked again by the engine's retries."""
    source = Source(seconds=0, failures=[allm.AdapterError("busy", reason="overloaded")])
    async with WireServer(default=ANSWER) as server:
        response = await allm.generate(engine(server, source, retry=allm.RetryPolicy(base_delay=0, max_delay=0)), "hi")
    assert response.output_text == "hi"
    assert source.asked == 2


@pytest.mark.parametrize("adapter", HEADERS)
async def test_the_function_gives_the_key_of_the_header(adapter):
    """Sync or async; not before the call is sent."""
    asked = []

    def function():
        asked.append(None)
        return "from-function"

    async with WireServer(default=refused()) as server:
        made = adapter(api_key=function, base_url=server.base_url)
        prepared = made.prepare(allm.request("hi", model="gemini-x"), allm.adapters.AdapterOptions())
        assert not asked
        assert "from-function" not in repr((prepared, made))
        await allm.generate(allm.Engine(adapter=made, model="m"), "hi")
    assert server.requests[0].headers[HEADERS[adapter]].removeprefix("Bearer ") == "from-function"


async def test_a_key_that_has_expired():
    """After a 401 the function is asked once more, and the request goes out again; the caller sees an answer."""
    source = Source(seconds=0)
    async with WireServer() as server:
        server.add(refused(), ANSWER, ANSWER)
        asked = engine(server, source, retry=None)
        assert (await allm.generate(asked, "hi")).output_text == "hi"
        assert (await allm.generate(asked, "hi")).output_text == "hi"
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer key-1-0123456789", "Bearer key-2-0123456789", "Bearer key-2-0123456789"]
    assert server.requests[0].body == server.requests[1].body


async def test_a_key_that_stays_refused():
    """The request is repeated once, and neither key is in the error that came of it."""
    source = Source(seconds=0)
    async with WireServer(default=refused("key-1-0123456789 and key-2-0123456789 are wrong")) as server:
        response = await allm.generate(engine(server, source), "hi")
    assert (len(server.requests), source.asked) == (2, 2)
    assert (response.error.reason, response.error.provider) == ("authentication_failed", "groq")
    assert response.error.message == "*** and *** are wrong"


async def test_the_same_key_again_is_not_sent_again():
    """Nor is a key that is a text."""
    async with WireServer(default=refused()) as server:
        source = Source(seconds=0, same=True)
        response = await allm.generate(engine(server, source), "hi")
        assert (len(server.requests), source.asked, response.error.status) == (1, 2, 401)
        await allm.generate(engine(server, "key"), "hi")
        assert len(server.requests) == 2


async def test_services_ask_for_a_fresh_key_as_well():
    """What answers in one piece and what answers with audio take the same way."""
    async with WireServer() as server:
        verdict = Reply.json({"results": [{"categories": {"hate": False}}]})
        server.add(refused(), verdict, refused(), Reply(body=b"sound", headers={"content-type": "audio/mpeg"}))
        url, moderation, speech = server.url("openai"), Source(seconds=0), Source(seconds=0)
        both = allm.Engine(
            moderation_adapter=OpenAIModeration(api_key=moderation, base_url=url),
            speech_adapter=OpenAISpeech(api_key=speech, base_url=url),
            speech_model="tts-1",
        )
        assert not (await allm.moderate(both, "hi")).flagged
        assert (await allm.synthesize(both, "hi")).audio.data == b"sound"
    assert (moderation.asked, speech.asked) == (2, 2)


async def test_a_copy_of_an_adapter_shares_the_key():
    """An engine that changes an adapter does not ask for a key of its own."""
    source = Source(seconds=0)
    async with WireServer(default=ANSWER) as server:
        adapter = OpenAI(preset="groq", api_key=source, base_url=server.url("openai"))
        for made in (adapter, attrs.evolve(adapter, headers={"x-mine": "1"})):
            await allm.generate(allm.Engine(adapter=made, model="m"), "hi")
    assert source.asked == 1


@pytest.mark.parametrize("key", [1, b"key", ["key"]])
def test_what_is_neither_a_text_nor_a_function(key):
    """It is refused where it is given."""
    with pytest.raises(allm.EngineError, match="expected str, or a function") as caught:
        OpenAI(api_key=key)
    assert caught.value.reason == "invalid_key"


async def test_the_call_is_cancelled_while_the_key_is_awaited(autojump_clock):
    """Nothing is sent, and the next call has its key."""
    source = Source(seconds=100)
    async with WireServer(default=ANSWER) as server:
        asked = engine(server, source)
        with trio.move_on_after(1) as scope:
            await allm.generate(asked, "hi")
    assert scope.cancelled_caught
    assert not server.requests
