"""Keys from a function: it is called when a key is needed, once for all waiting calls, and again after a 401."""

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
    """A function that returns key-1, key-2, ... after `seconds`, and fails the first `failures` times."""

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
    """The keys that `count` concurrent tasks get."""
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


async def test_concurrent_calls_run_the_function_once(autojump_clock):
    """All of them get the key of the one run, and later calls reuse it."""
    function = Source()
    source = KeySource(function)
    assert set(await keys_of(source, 50)) == {"key-1-0123456789"}
    assert set(await keys_of(source, 50)) == {"key-1-0123456789"}
    assert function.asked == 1
    assert trio.current_time() == pytest.approx(1, abs=0.01)


async def test_a_failure_fails_all_waiting_calls(autojump_clock):
    """Fifty calls do not ask a broken source fifty times; each gets its own error, and the next call asks again."""
    function = Source(failures=[OSError("down")])
    source = KeySource(function)
    errors = await keys_of(source, 50)
    assert function.asked == 1
    assert {(error.reason, error.retryable) for error in errors} == {("authentication_failed", False)}
    assert len(set(map(id, errors))) == 50
    assert all(isinstance(error.__cause__, OSError) and "OSError: down" in error.message for error in errors)
    assert await keys_of(source, 2) == ["key-2-0123456789"] * 2


@pytest.mark.parametrize("left", [0.5, 1.5])
async def test_the_call_that_runs_the_function_is_cancelled(autojump_clock, left):
    """The others still get their key: the next one runs the function."""
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


async def test_a_waiting_call_is_cancelled(autojump_clock):
    """The call that runs the function goes on."""
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
    """Calls whose key was rejected share one refresh, and a late one takes the key that is already there."""
    function = Source()
    source = KeySource(function)
    old = await source.key()
    found = []

    async def renew():
        found.append(await source.key(rejected=old))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(renew)
        nursery.start_soon(keys_of, source, 3)  # calls that start now wait for the new key
    assert await source.key(rejected=old) == found[0]
    assert {key.reveal() for key in found} == {"key-2-0123456789"}
    assert function.asked == 2


def test_one_source_in_several_runs():
    """An adapter may serve one Trio run after another; the key is kept, but nothing else of the finished run."""
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
async def test_an_invalid_key(given, words):
    """It is refused without being shown."""
    with pytest.raises(allm.AdapterError, match=words) as caught:
        await KeySource(lambda: given).key()
    assert caught.value.reason == "authentication_failed"
    assert "a\nb" not in caught.value.message


async def test_an_adapter_error_is_passed_on():
    """The engine's retries ask a source again whose error is retryable."""
    source = Source(seconds=0, failures=[allm.AdapterError("busy", reason="overloaded")])
    async with WireServer(default=ANSWER) as server:
        response = await allm.generate(engine(server, source, retry=allm.RetryPolicy(base_delay=0, max_delay=0)), "hi")
    assert response.output_text == "hi"
    assert source.asked == 2


@pytest.mark.parametrize("adapter", HEADERS)
async def test_the_header_has_the_key_of_the_function(adapter):
    """Sync or async; the function is not called before the request is sent."""
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
    """After a 401 the function is called again and the request repeated; the caller sees only the response."""
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
    """The request is repeated once, and the error shows neither key."""
    source = Source(seconds=0)
    async with WireServer(default=refused("key-1-0123456789 and key-2-0123456789 are wrong")) as server:
        response = await allm.generate(engine(server, source), "hi")
    assert (len(server.requests), source.asked) == (2, 2)
    assert (response.error.reason, response.error.provider) == ("authentication_failed", "groq")
    assert response.error.message == "*** and *** are wrong"


async def test_the_same_key_is_not_sent_twice():
    """Neither from a function that returns it again, nor a key given as a string."""
    async with WireServer(default=refused()) as server:
        source = Source(seconds=0, same=True)
        response = await allm.generate(engine(server, source), "hi")
        assert (len(server.requests), source.asked, response.error.status) == (1, 2, 401)
        await allm.generate(engine(server, "key"), "hi")
        assert len(server.requests) == 2


async def test_services_ask_for_a_fresh_key_as_well():
    """Unary services and speech refresh a rejected key in the same way."""
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
    """An adapter changed with `attrs.evolve` does not fetch its own key."""
    source = Source(seconds=0)
    async with WireServer(default=ANSWER) as server:
        adapter = OpenAI(preset="groq", api_key=source, base_url=server.url("openai"))
        for made in (adapter, attrs.evolve(adapter, headers={"x-mine": "1"})):
            await allm.generate(allm.Engine(adapter=made, model="m"), "hi")
    assert source.asked == 1


@pytest.mark.parametrize("key", [1, b"key", ["key"]])
def test_a_key_of_another_type(key):
    """It is refused when the adapter is made."""
    with pytest.raises(allm.EngineError, match="expected str, or a function") as caught:
        OpenAI(api_key=key)
    assert caught.value.reason == "invalid_key"


async def test_the_call_is_cancelled_while_the_key_is_awaited(autojump_clock):
    """Nothing is sent, and the next call gets its key."""
    source = Source(seconds=100)
    async with WireServer(default=ANSWER) as server:
        asked = engine(server, source)
        with trio.move_on_after(1) as scope:
            await allm.generate(asked, "hi")
    assert scope.cancelled_caught
    assert not server.requests
