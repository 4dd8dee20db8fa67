"""`prompt_cache` and `prompt_cache_key`: each vendor in its own words, by the precedence of every option."""

from __future__ import annotations

import logging

import pytest

import allm
from allm import fake
from allm.providers import Anthropic, Fake, Gemini, OpenAI
from allm.runtime.fitting import forget_advice
from allm.testing import Reply, WireServer
from request_types import check_openai_chat, check_openai_responses

LONG = "All that a model should know. " * 1000
NEW, OLD = "gpt-5.6-sol", "gpt-5.4"


@pytest.fixture(autouse=True)
def _unwarned():
    forget_advice()


def openai(**fields):
    endpoint = fields.pop("endpoint", "responses")
    return lambda server: OpenAI(api_key="k", base_url=server.url("openai"), endpoint=endpoint, **fields)


def anthropic(**fields):
    return lambda server: Anthropic(api_key="k", base_url=server.url("anthropic"), **fields)


def gemini(server):
    return Gemini(api_key="k", base_url=server.url("gemini"))


async def body_of(make, model, prompt=LONG, *, params=None, **options):
    """The body that a call sends."""
    async with WireServer() as server:
        adapter = make(server)
        kind = "openai" if isinstance(adapter, OpenAI) else adapter.provider
        kind = "openai_responses" if getattr(adapter, "endpoint", None) == "responses" else kind
        server.add(Reply.script(kind, [fake.text("ok")]))
        engine = allm.Engine(adapter=adapter, model=model, params=params or {})
        assert allm.unwrap(await allm.generate(engine, prompt, **options)) == "ok"
        return server.requests[0].json()


@pytest.mark.parametrize(
    ("adapter", "engine", "call", "mark"),
    [
        (False, None, None, None),
        (True, None, None, {"type": "ephemeral"}),
        (True, None, False, None),
        (False, "1h", None, {"type": "ephemeral", "ttl": "1h"}),
        (True, "1h", "5m", {"type": "ephemeral", "ttl": "5m"}),
        (False, False, True, {"type": "ephemeral"}),
    ],
)
async def test_anthropic_gets_marks(adapter, engine, call, mark):
    """The call's word goes before the engine's, and that before the adapter's."""
    params = {} if engine is None else {"prompt_cache": engine}
    options = {} if call is None else {"prompt_cache": call}
    body = await body_of(anthropic(prompt_cache=adapter), "claude-sonnet-4-6", params=params, **options)
    assert body["messages"][0]["content"][-1].get("cache_control") == mark


@pytest.mark.parametrize("endpoint", ["responses", "chat_completions"])
@pytest.mark.parametrize(
    ("model", "asked", "sent"),
    [
        (NEW, True, None),
        (NEW, "5m", None),
        (NEW, "1h", {"mode": "implicit", "ttl": "12h"}),
        (NEW, False, {"mode": "explicit"}),
        (OLD, True, None),
        (OLD, "1h", None),
        (OLD, False, None),
        ("gpt-5", False, None),
    ],
)
async def test_openai_is_told_what_it_can_be_told(endpoint, model, asked, sent):
    """Models from gpt-5.6 on have settings; all others keep what they like."""
    body = await body_of(openai(endpoint=endpoint), model, prompt_cache=asked, prompt_cache_key="team-1")
    assert body.get("prompt_cache_options") == sent
    assert body["prompt_cache_key"] == "team-1"


@pytest.mark.parametrize("asked", [True, False])  # the types that are pinned do not know 12 hours yet
async def test_openais_types_take_it(asked):
    """Both bodies."""
    options = {"prompt_cache": asked, "prompt_cache_key": "team-1"}
    check_openai_chat(await body_of(openai(endpoint="chat_completions"), NEW, **options))
    check_openai_responses(await body_of(openai(), NEW, **options))


async def test_nothing_is_sent_unasked():
    """And a field of the request's own options goes first."""
    body = await body_of(openai(), NEW)
    assert not [name for name in body if name.startswith("prompt_cache")]
    body = await body_of(openai(), NEW, prompt_cache_key="a", options={"prompt_cache_key": "b"})
    assert body["prompt_cache_key"] == "b"


@pytest.mark.parametrize(
    ("make", "model"),
    [
        (gemini, "gemini-3.5-flash"),
        (anthropic(), "claude-sonnet-4-6"),
        (openai(preset="groq", endpoint="chat_completions"), "openai/gpt-oss-120b"),
    ],
)
async def test_a_key_that_has_no_counterpart(make, model, caplog):
    """Is left out, with a word about it."""
    body = await body_of(make, model, prompt_cache_key="team-1")
    assert "prompt_cache_key" not in str(body)
    assert "prompt_cache_key has no counterpart" in caplog.text


async def test_a_prompt_that_is_too_short(caplog):
    """Is not kept, which the vendor does not say: one warning for each model."""
    for _ in range(2):
        await body_of(anthropic(), "claude-haiku-4-5", "Hello", prompt_cache=True)
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "no effect" in record.getMessage()
    assert "4096" in record.getMessage()


@pytest.mark.parametrize(("model", "prompt", "asked"), [("claude-haiku-4-5", LONG, True), ("claude-x", "Hi", True)])
async def test_a_prompt_that_may_be_long_enough(model, prompt, asked, caplog):
    """And a model of which nothing is known, get no warning; nor does who asked for nothing."""
    await body_of(anthropic(), model, prompt, prompt_cache=asked, max_tokens=5)
    await body_of(anthropic(), "claude-haiku-4-5", "Hello", prompt_cache=False)
    assert "no effect" not in caplog.text


@pytest.mark.parametrize(
    ("model", "minimum"),
    [
        ("claude-opus-5", 512),
        ("claude-fable-5", 512),
        ("claude-opus-4-8", 1024),
        ("claude-sonnet-5", 1024),
        ("claude-sonnet-4-5-20250929", 1024),
        ("claude-sonnet-4-6", 1024),
        ("claude-opus-4-1-20250805", 1024),
        ("claude-opus-4-20250514", 1024),
        ("claude-opus-4-7", 2048),
        ("claude-opus-4-5", 4096),
        ("claude-opus-4-6", 4096),
        ("claude-haiku-4-5-20251001", 4096),
    ],
)
def test_the_fewest_tokens(model, minimum):
    """Of each family, as Anthropic's documentation has them."""
    assert allm.models.lookup("anthropic", model).cache_minimum == minimum


@pytest.mark.parametrize("value", ["2h", 5, "", ["5m"], {}])
async def test_what_it_cannot_be(value):
    """Is refused as every option's."""
    with pytest.raises(allm.OptionError, match="prompt_cache"):
        await allm.generate(allm.Engine(adapter=Fake(script=[])), "hi", prompt_cache=value)


# --- cache points ----------------------------------------------------------------------------------------------------

POINT = allm.cache_point()


def blocks_of(body, messages="messages"):
    """The parts of all messages."""
    return [part for message in body[messages] for part in message["content"] if isinstance(message["content"], list)]


@pytest.mark.parametrize(
    ("point", "options", "mark"),
    [
        (POINT, {}, {"type": "ephemeral"}),
        (allm.cache_point("1h"), {}, {"type": "ephemeral", "ttl": "1h"}),
        (POINT, {"prompt_cache": "1h"}, {"type": "ephemeral", "ttl": "1h"}),
        (POINT, {"prompt_cache": False}, None),
    ],
)
async def test_anthropic_marks_what_is_before_a_point(point, options, mark):
    """In a user's and in a system message."""
    thread = [allm.system("Rules.", point, "Today is Monday."), allm.user("A book.", point, "What is it about?")]
    body = await body_of(anthropic(), "claude-sonnet-4-6", thread, **options)
    marks = [block.get("cache_control") for block in (*body["system"], *blocks_of(body))]
    assert [block["text"] for block in blocks_of(body)] == ["A book.", "What is it about?"]
    assert (marks[0], marks[2]) == (mark, mark)
    assert options.get("prompt_cache") or (marks[1], marks[3]) == (None, None)


async def test_anthropic_takes_four():
    """The newest are kept, whatever the conversation's length, and the message stays as it was."""
    turns = [(allm.user(f"{n}", POINT, "?"), allm.assistant("ok")) for n in range(9)]
    thread = [message for turn in turns for message in turn]
    body = await body_of(anthropic(), "claude-sonnet-4-6", [*thread, allm.user("end")], prompt_cache=None)
    marked = [block["text"] for block in blocks_of(body) if "cache_control" in block]
    assert marked == ["5", "6", "7", "8"]
    assert thread[0].content[1] == POINT


@pytest.mark.parametrize(("endpoint", "messages"), [("responses", "input"), ("chat_completions", "messages")])
async def test_openai_marks_what_is_before_a_point(endpoint, messages):
    """From gpt-5.6 on, in explicit mode unless everything is to be kept; at most four, the newest."""
    thread = [allm.user(f"{n}", POINT, "?") for n in range(6)]
    body = await body_of(openai(endpoint=endpoint), NEW, thread)
    assert [part["text"] for part in blocks_of(body, messages) if "prompt_cache_breakpoint" in part] == list("2345")
    assert body["prompt_cache_options"] == {"mode": "explicit"}
    body = await body_of(openai(endpoint=endpoint), NEW, thread, prompt_cache=True)
    assert "prompt_cache_options" not in body
    body = await body_of(openai(endpoint=endpoint), NEW, thread, prompt_cache=False)
    assert "breakpoint" not in str(body)
    body = await body_of(openai(endpoint=endpoint), OLD, thread)
    assert "prompt_cache" not in str(body)


async def test_openais_types_take_a_point():
    """In both bodies."""
    thread = [
        allm.user("A book.", POINT, allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n", "image/png"), POINT, "What is it?")
    ]
    check_openai_chat(await body_of(openai(endpoint="chat_completions"), NEW, thread))
    check_openai_responses(await body_of(openai(), NEW, thread))


@pytest.mark.parametrize(
    ("make", "model"),
    [
        (gemini, "gemini-3.5-flash"),
        (openai(preset="groq", endpoint="chat_completions"), "m"),
        (openai(endpoint="chat_completions"), "gpt-4o"),
        (openai(endpoint="responses"), "gpt-5.4"),
    ],
)
async def test_others_are_not_told_of_a_point(make, model):
    """It is no content: what is sent is the same as without it."""
    pieces = ("A book.", "What is it about?")
    with_it = await body_of(make, model, [allm.user(pieces[0], POINT, pieces[1])])
    assert with_it == await body_of(make, model, [allm.user(*pieces)])


def test_a_point_is_a_value():
    """That goes to JSON and back, and has no text."""
    message = allm.user("a", allm.cache_point("1h"), "b")
    assert allm.from_json(allm.to_json(message)) == message
    assert message.text == "ab"
    with pytest.raises(allm.ValidationError):
        allm.cache_point("2h")
