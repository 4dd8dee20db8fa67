"""Prompts that Google keeps under a name: made, used, found, kept for longer, deleted; refused if they do not fit."""

from __future__ import annotations

import time

import pytest

import allm
from allm import fake
from allm.providers import Anthropic, Fake, Gemini, OpenAI
from allm.testing import Cut, Reply, WireServer, cancel_everywhere, loopback_clock

ONCE = allm.RetryPolicy(max_attempts=2, base_delay=1)
NAME = "cachedContents/abc"
KEPT = {
    "name": NAME,
    "model": "models/gemini-2.5-flash",
    "createTime": "2030-03-17T16:46:40.5Z",
    "updateTime": "2030-03-17T16:46:40.5Z",
    "expireTime": "2030-03-17T17:46:40.475407640Z",
    "displayName": "",
    "usageMetadata": {"totalTokenCount": 9000},
}
RULES, BOOK = allm.system("Answer as a careful librarian."), allm.user("It was a dark and stormy night. " * 9)
QUESTION = allm.user("Who is the murderer?")


@allm.tool
def shelf(title: str) -> str:
    """Where a book stands.

    Args:
        title: Of the book.
    """
    return f"{title}: shelf 4"


@allm.tool
def loan(title: str) -> str:
    """Lend a book.

    Args:
        title: Of the book.
    """
    return title


@pytest.fixture
def autojump_clock():
    """Time that jumps over every wait."""
    return loopback_clock()


@pytest.fixture
async def server():
    async with WireServer() as server:
        yield server


@pytest.fixture
def engine(server):
    adapter = Gemini(api_key="sk-key", base_url=server.base_url)
    return allm.Engine(adapter=adapter, model="gemini-2.5-flash", retry=ONCE)


async def made(server, engine, messages=(RULES, BOOK), **options):
    server.add(Reply.json(KEPT))
    return await allm.caches.create(engine, messages, **options)


async def test_a_cache_is_made(autojump_clock, server, engine):
    """Of messages, system prompt, tools and tool choice, with its lifetime, and nothing that belongs to a call."""
    cache = await made(
        server,
        engine.with_params(temperature=0.3),
        tools=[shelf],
        tool_choice="required",
        expires_in=90.5,
        display_name="owls",
    )
    [request] = server.requests
    assert (request.method, request.path) == ("POST", "/v1beta/cachedContents")
    declared = {"name": "shelf", "description": "Where a book stands.", "parametersJsonSchema": shelf.schema}
    assert request.json() == {
        "model": "models/gemini-2.5-flash",
        "contents": [{"role": "user", "parts": [{"text": BOOK.text}]}],
        "systemInstruction": {"parts": [{"text": RULES.text}]},
        "tools": [{"functionDeclarations": [declared]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "ttl": "90.5s",
        "displayName": "owls",
    }
    assert (cache.provider, cache.name, cache.model, cache.tokens) == ("gemini", NAME, "gemini-2.5-flash", 9000)
    assert cache.endpoint == server.base_url.removeprefix("http://")
    assert (cache.created_at, round(cache.expires_at)) == (1899996400.5, 1900000000)
    assert cache.display_name is None
    assert allm.from_json(allm.to_json(cache)) == cache


async def test_a_moment_instead_of_a_time(autojump_clock, server, engine):
    """Goes as a date; an hour is Google's own default, and is not sent."""
    await made(server, engine, "Some text", expires_at=4_000_000_000.25)
    await made(server, engine, RULES)
    first, second = (request.json() for request in server.requests)
    assert first["expireTime"] == "2096-10-02T07:06:40.250000Z"
    assert second == {
        "model": "models/gemini-2.5-flash",
        "systemInstruction": {"parts": [{"text": RULES.text}]},
    }


@pytest.mark.parametrize(
    ("messages", "options", "path"),
    [
        ("x", {"expires_in": 0}, "expires_in"),
        ("x", {"expires_in": True}, "expires_in"),
        ("x", {"expires_in": float("nan")}, "expires_in"),
        ("x", {"expires_in": 10**400}, "expires_in"),
        ("x", {"expires_at": 5}, "expires_at"),
        ("x", {"expires_in": 5, "expires_at": 4e9}, "expires_at"),
        ("x", {"display_name": 5}, "display_name"),
        ((), {}, "messages"),
    ],
)
async def test_what_cannot_be_made(autojump_clock, server, engine, messages, options, path):
    """Is refused with the argument's name, and nothing is sent."""
    with pytest.raises(allm.ValidationError) as caught:
        await allm.caches.create(engine, messages, **options)
    assert path in {problem[0][0] for problem in caught.value.errors}
    assert server.requests == []


async def test_options_of_a_call_are_none_of_a_cache(autojump_clock, server, engine):
    """A temperature, or a misspelt name, is an error that says what there is."""
    for name in ("temperature", "expires_im"):
        with pytest.raises(allm.OptionError, match=name):
            await allm.caches.create(engine, "x", **{name: 1})
    with pytest.raises(allm.ValidationError, match="expires_in= or expires_at="):
        await allm.caches.update(engine, NAME)
    assert server.requests == []


@pytest.mark.parametrize("whole", [True, False], ids=["the whole thread", "what is new"])
@pytest.mark.parametrize("with_system", [True, False])
async def test_what_the_cache_has_is_not_sent_again(autojump_clock, server, engine, whole, with_system):
    """Neither its messages, if a conversation begins with them, nor the system prompt, nor the tools."""
    cache = await made(server, engine, tools=[shelf], expires_in=60)
    server.add(Reply.script("gemini", [fake.text("The butler.")]))
    thread = [*([RULES] if with_system else []), *([BOOK] if whole else []), QUESTION]
    response = await allm.generate(engine, thread, tools=[shelf], tool_choice="auto", cached_content=cache)
    body = server.requests[1].json()
    assert body == {"contents": [{"role": "user", "parts": [{"text": QUESTION.text}]}], "cachedContent": NAME}
    assert response.output_text == "The butler."


async def test_cached_tools_are_run(autojump_clock, server, engine):
    """A turn goes on from the cache in each of its calls."""
    cache = await made(server, engine, tools=[shelf])
    server.add(Reply.script("gemini", [fake.tool_call("shelf", {"title": "Owls"})]))
    server.add(Reply.script("gemini", [fake.text("On shelf 4.")]))
    result = await allm.chat(engine, [RULES, BOOK, QUESTION], tools=[shelf], cached_content=cache)
    assert result.output_text == "On shelf 4."
    _, first, second = (request.json() for request in server.requests)
    assert [set(first), set(second)] == [{"contents", "cachedContent"}] * 2
    assert [content["role"] for content in second["contents"]] == ["user", "model", "user"]
    assert len(result.thread.messages) == 6  # the whole conversation, with what the cache has


@pytest.mark.parametrize(
    ("messages", "options", "path"),
    [
        ([allm.system("Answer in French."), QUESTION], {}, "messages"),
        ([RULES, BOOK, QUESTION, allm.system("Answer in French.")], {}, "messages"),
        ([QUESTION], {"tools": [loan]}, "tools"),
        ([QUESTION], {"tools": [shelf, loan]}, "tools"),
        ([QUESTION], {"tools": [shelf], "tool_choice": "required"}, "tool_choice"),
        ([RULES, BOOK], {}, "messages"),
        ([QUESTION], {"model": "gemini-2.5-pro"}, "cached_content"),
    ],
)
async def test_what_the_cache_has_not_is_refused(autojump_clock, server, engine, messages, options, path):
    """Gemini takes it only in the cache, so it would be lost."""
    cache = await made(server, engine, tools=[shelf])
    with pytest.raises(allm.ValidationError) as caught:
        await allm.generate(engine, messages, cached_content=cache, **options)
    assert [problem[0][0] for problem in caught.value.errors] == [path]
    assert NAME in str(caught.value)
    assert len(server.requests) == 1


async def test_a_cache_that_another_program_made(autojump_clock, server, engine):
    """May have the tools, which are needed to run its calls; a system prompt would be lost."""
    server.add(Reply.json(KEPT), Reply.script("gemini", [fake.text("Yes.")]))
    cache = await allm.caches.get(engine, NAME)
    assert cache.contents is None
    await allm.generate(engine, QUESTION, tools=[shelf], cached_content=cache)
    assert set(server.requests[1].json()) == {"contents", "cachedContent"}
    with pytest.raises(allm.ValidationError, match="system prompt"):
        await allm.generate(engine, [RULES, QUESTION], cached_content=cache)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "adapter",
    [
        lambda url: OpenAI(api_key="k", base_url=url),
        lambda url: Anthropic(api_key="k", base_url=url),
        lambda url: Gemini(api_key="k", base_url=f"{url}/elsewhere"),
        lambda _url: Gemini(api_key="k", project="p-1"),
        lambda _url: Fake([fake.text("x")]),
    ],
    ids=["openai", "anthropic", "elsewhere", "vertex", "fake"],
)
async def test_a_cache_of_another_service_is_refused(autojump_clock, server, engine, adapter):
    """Before anything is sent, whatever model it has."""
    cache = await made(server, engine)
    for model in ("gemini-2.5-flash", "gpt-5.5", "unheard-of"):
        other = allm.Engine(adapter=adapter(server.base_url), model=model)
        with pytest.raises(allm.ValidationError) as caught:
            await allm.generate(other, QUESTION, cached_content=cache)
        assert [problem[:2] for problem in caught.value.errors] in (
            [(("cached_content",), "foreign_cache")],
            [(("cached_content",), "other_model")],
        )
    assert len(server.requests) == 1


async def test_a_cache_whose_time_is_over_is_refused(autojump_clock, engine):
    """Its provider has deleted it."""
    cache = allm.Cache(provider="gemini", name=NAME, model="gemini-2.5-flash", expires_at=time.time() - 1)
    own = allm.Engine(adapter=Gemini(api_key="k"), model="gemini-2.5-flash")
    with pytest.raises(allm.ValidationError, match="time is over"):
        await allm.generate(own, QUESTION, cached_content=cache)


async def test_found_kept_for_longer_and_deleted(autojump_clock, server, engine):
    """By the cache or its name; what it was made of is still known."""
    cache = await made(server, engine)
    longer = {**KEPT, "expireTime": "2030-03-17T19:46:40Z"}
    server.add(Reply.json(KEPT), Reply.json(longer), Reply.json(longer), Reply.json({}))
    assert await allm.caches.get(engine, cache) == cache
    kept = await allm.caches.update(engine, cache, expires_in=600)
    assert (kept.contents, kept.expires_at) == (cache.contents, 1900007200)
    await allm.caches.update(engine, "abc", expires_at=4e9)
    assert await allm.caches.delete(engine, cache) is None
    calls = [(request.method, request.path, request.body) for request in server.requests[1:]]
    path = f"/v1beta/{NAME}"
    assert calls == [
        ("GET", path, b""),
        ("PATCH", path, b'{"ttl":"600s"}'),
        ("PATCH", path, b'{"expireTime":"2096-10-02T07:06:40Z"}'),
        ("DELETE", path, b""),
    ]


async def test_every_page_of_a_list(autojump_clock, server, engine):
    """A list comes in pages, and an empty one has no field."""
    server.add(Reply.json({"cachedContents": [KEPT], "nextPageToken": "n"}), Reply.json({}))
    [cache] = await allm.caches.list(engine)
    assert cache.name == NAME
    assert [request.path for request in server.requests] == [
        "/v1beta/cachedContents?pageSize=1000",
        "/v1beta/cachedContents?pageSize=1000&pageToken=n",
    ]


async def test_a_lost_answer_makes_no_second_cache(autojump_clock, server, engine):
    """Each one is charged for by the hour; what the provider refused is asked again."""
    server.add(Reply.json(KEPT, fault=Cut(-1)), Reply.json(KEPT))
    with pytest.raises(allm.AdapterError, match=r"allm\.caches\.list tells"):
        await allm.caches.create(engine, BOOK)
    assert len(server.requests) == 1


async def test_a_busy_provider_is_asked_again(autojump_clock, server, engine):
    """It has made nothing."""
    server.add(Reply.json({"error": {"message": "busy"}}, status=503), Reply.json(KEPT))
    assert (await allm.caches.create(engine, BOOK)).name == NAME


async def test_vertex_has_whole_names(autojump_clock, server):
    """With the project and the location; its answers name the project by its number."""
    adapter = Gemini(api_key="token", base_url=server.base_url, project="p-1", location="us-central1")
    engine = allm.Engine(adapter=adapter, model="gemini-2.5-flash")
    place = "projects/p-1/locations/us-central1"
    name = "projects/4711/locations/us-central1/cachedContents/123"
    kept = {**KEPT, "name": name, "model": f"{place}/publishers/google/models/gemini-2.5-flash"}
    server.add(Reply.json(kept), Reply.script("gemini", [fake.text("Yes.")]), Reply.json(kept), Reply.json(kept))
    server.add(Reply.json({"cachedContents": [kept]}))
    cache = await allm.caches.create(engine, BOOK, expires_in=300)
    await allm.generate(engine, [BOOK, QUESTION], cached_content=cache)
    await allm.caches.get(engine, cache)
    await allm.caches.get(engine, "123")
    await allm.caches.list(engine)
    assert [request.path for request in server.requests] == [
        f"/v1/{place}/cachedContents",
        f"/v1/{place}/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        f"/v1/{name}",
        f"/v1/{place}/cachedContents/123",
        f"/v1/{place}/cachedContents?pageSize=1000",
    ]
    assert server.requests[0].json()["model"] == kept["model"]
    assert (cache.name, cache.model) == (name, "gemini-2.5-flash")
    assert server.requests[1].json() == {
        "contents": [{"role": "user", "parts": [{"text": QUESTION.text}]}],
        "cachedContent": name,
    }


@pytest.mark.parametrize("name", ["..", "cachedContents/../models", "a/../../b", "a\nb", "", "cachedContents/"])
async def test_a_name_cannot_lead_elsewhere(autojump_clock, server, engine, name):
    """It becomes a part of a URL."""
    with pytest.raises(allm.ValidationError):
        await allm.caches.delete(engine, name)
    assert server.requests == []


async def test_what_is_no_cache(autojump_clock, server, engine):
    """Another value, one of another provider, or a service without caches is refused in words."""
    with pytest.raises(allm.ValidationError, match="expected a Cache"):
        await allm.caches.get(engine, 5)
    with pytest.raises(allm.ValidationError, match="kept by fake"):
        await allm.caches.get(engine, allm.Cache(provider="fake", name="x", model="m"))
    with pytest.raises(allm.OptionError, match=r"allm\.caches\.create"):
        await allm.generate(engine, "x", cached_content=NAME)
    with pytest.raises(allm.AdapterError, match="openai has no caches") as caught:
        await allm.caches.list(allm.Engine(adapter=OpenAI(api_key="k")))
    assert caught.value.reason == "unsupported_feature"
    server.add(Reply.json({"name": NAME}))
    with pytest.raises(allm.AdapterError, match="a cache with a name and a model"):
        await allm.caches.get(engine, NAME)


async def test_counts_go_on_from_the_cache(autojump_clock, server, engine):
    """The provider counts all of the prompt."""
    cache = await made(server, engine)
    server.add(Reply.json({"totalTokens": 9005, "cachedContentTokenCount": 9000}))
    counted = await allm.count_tokens(engine, [RULES, BOOK, QUESTION], cached_content=cache)
    assert counted.tokens == 9005
    assert server.requests[1].json()["generateContentRequest"] == {
        "model": "models/gemini-2.5-flash",
        "contents": [{"role": "user", "parts": [{"text": QUESTION.text}]}],
        "cachedContent": NAME,
    }


async def test_fake_keeps_caches():
    """For tests of programs that use them."""
    adapter = Fake(respond=lambda request: "Yes.")
    engine = allm.Engine(adapter=adapter, model="m")
    cache = await allm.caches.create(engine, [RULES, BOOK], expires_in=60)
    assert cache.tokens > 0
    assert (await allm.generate(engine, QUESTION, cached_content=cache)).output_text == "Yes."
    later = await allm.caches.update(engine, cache, expires_in=900)
    assert later.expires_at > cache.expires_at + 800
    assert await allm.caches.list(engine) == (later,)
    assert await allm.caches.get(engine, cache.name) == later
    await allm.caches.delete(engine, later)
    for gone in (allm.caches.get(engine, later), allm.generate(engine, QUESTION, cached_content=later)):
        with pytest.raises(allm.AdapterError) as caught:
            await gone
        assert caught.value.reason == "not_found"
    assert len(adapter.requests) == 1


async def test_it_can_be_cancelled_anywhere(autojump_clock):
    """Without a trace."""

    async def work():
        async with WireServer() as server:
            server.default = Reply.json(KEPT)
            adapter = Gemini(api_key="sk-key", base_url=server.base_url)
            engine = allm.Engine(adapter=adapter, model="gemini-2.5-flash")
            cache = await allm.caches.create(engine, BOOK)
            await allm.caches.update(engine, cache, expires_in=60)

    report = await cancel_everywhere(work)
    assert report.trials > 5
