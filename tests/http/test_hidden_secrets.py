"""A secret that is given in any way is in nothing that comes out, not even in the variables of our frames."""

from __future__ import annotations

import json
import logging
import os
import stat
import traceback
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import trio

import allm
from allm.http import library as http_library
from allm.http.headers import secrets_in
from allm.http.private_url import masked_query
from allm.providers import Anthropic, OpenAI, OpenAIEmbeddings
from allm.runtime.adapters import AdapterOptions
from allm.testing import BEFORE_HEAD, Cut, Reply, WireServer, loopback_clock, record, replay

LIBRARY = http_library.library()
CANARY = "canary-0123456789-abcdefghijklmnop"
TELLING = CANARY[:14]


@pytest.fixture
def clock():
    return loopback_clock()


async def from_a_secret_store():
    await trio.lowlevel.checkpoint()
    return CANARY


@contextmanager
def put():
    allm.keys.put("openai", CANARY)
    try:
        yield
    finally:
        allm.keys.clear()


@contextmanager
def in_environment():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", CANARY)
        yield


def user(url):
    return url.replace("://", f"://somebody:{CANARY}@")


# How it is given: settings of the adapter, options of the call, of the engine, and what is around all of it.
WAYS = {
    "adapter": ({"api_key": CANARY}, {}, {}, nullcontext),
    "function": ({"api_key": lambda: CANARY}, {}, {}, nullcontext),
    "async function": ({"api_key": from_a_secret_store}, {}, {}, nullcontext),
    "call": ({}, {"api_key": CANARY}, {}, nullcontext),
    "engine": ({}, {}, {"params": {"api_key": CANARY}}, nullcontext),
    "default": ({}, {}, {}, lambda: allm.defaults(api_key=CANARY)),
    "override": ({}, {}, {}, lambda: allm.keys.override(openai=CANARY)),
    "put": ({}, {}, {}, put),
    "environment": ({}, {}, {}, in_environment),
    "authorization": ({"headers": {"Authorization": f"Bearer {CANARY}"}}, {}, {}, nullcontext),
    "x-api-key": ({"api_key": "other-key-1", "headers": {"X-Api-Key": CANARY}}, {}, {}, nullcontext),
    "api-key": ({"api_key": "other-key-1", "headers": {"api-key": CANARY}}, {}, {}, nullcontext),
    "cookie": ({"api_key": "other-key-1", "headers": {"cookie": f"a=b; session={CANARY}"}}, {}, {}, nullcontext),
    "user of the URL": ({"base_url": user}, {}, {}, nullcontext),
    "query of the URL": (
        {"api_key": "other-key-1", "base_url": lambda url: f"{url}?code={CANARY}"},
        {},
        {},
        nullcontext,
    ),
}


def mock(respond):
    return LIBRARY.AsyncClient(transport=LIBRARY.MockTransport(respond))


def bug(request):
    raise ZeroDivisionError


def refused(request):
    raise LIBRARY.ConnectError("no such machine")


ECHO = {"x-request-id": CANARY, "x-note": f"Bearer {CANARY}", "retry-after": CANARY}
REPLIES = {
    "status": Reply.json({"error": {"message": f"wrong: {CANARY}", "code": CANARY}}, status=401, headers=ECHO),
    "redirect": Reply(status=302, headers={"location": f"https://elsewhere.example/?key={CANARY}"}),
    "no JSON": Reply(body=b"<" + CANARY.encode()),
    "cut": Reply(body=b"data: ", fault=Cut(3)),
    "no head": Reply(fault=Cut(BEFORE_HEAD)),
    "silence": Reply(body=b"x", first_delay=10_000),
    "event of a reader that fails": Reply.json(
        {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}, headers=ECHO
    ),
}
CLIENTS = {"a mock with a bug": bug, "a mock that fails": refused}
FAILURES = [*REPLIES, *CLIENTS, "refused", "cancelled", "invalid option", "invalid header"]


def in_frames(error):
    """The variables of every frame but those of the tests, of the error and of all its causes."""
    seen, todo, found = set(), [error], []
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        todo += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
        for frame in traceback.StackSummary.extract(traceback.walk_tb(one.__traceback__), capture_locals=True):
            if "/tests/" not in frame.filename:
                found += [
                    f"{frame.filename}:{frame.lineno} {name}={value}" for name, value in (frame.locals or {}).items()
                ]
    return found


def on_event(_event):
    raise ZeroDivisionError


async def failing(engine, failure, options):
    """Everything that comes out of one call."""
    if failure == "event of a reader that fails":
        options = {**options, "on_event": on_event}
    if failure == "invalid option":
        options = {**options, "temperature": "hot"}
    if failure == "invalid header":
        options = {**options, "request_id": "\n"}
    try:
        if failure == "cancelled":
            with trio.move_on_after(1):
                try:
                    await allm.generate(engine, "hi", **options)
                except trio.Cancelled as cancelled:
                    return cancelled, None
        response = await allm.generate(engine, "hi", request_timeout=5, **options)
    except (allm.AllmError, ZeroDivisionError) as error:
        return error, None
    return response.error, response


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("way", WAYS)
async def test_every_way_in(clock, caplog, way, failure):
    """Nothing that comes out has it: errors and their frames, responses, texts of what holds it, telemetry, logs."""
    caplog.set_level(logging.DEBUG)
    settings, options, engine_settings, around = WAYS[way]
    said = []
    async with WireServer() as server:
        url = server.url("openai")
    async with WireServer() as server:
        server.default = REPLIES.get("silence" if failure == "cancelled" else failure, REPLIES["status"])
        where = url if failure == "refused" else server.url("openai")
        settings = {**settings, "base_url": settings.get("base_url", str)(where), "endpoint": "chat_completions"}
        async with mock(CLIENTS.get(failure, bug)) as client:
            if failure in CLIENTS:
                settings["http_client"] = client
            engine = allm.Engine(adapter=OpenAI(**settings), model="m", retry=None, **engine_settings)
            detach = allm.telemetry.attach(lambda event: said.extend([repr(event), str(event.attributes)]))
            with around():
                error, response = await failing(engine, failure, options)
            detach()
    assert error is not None
    # The HTTP libraries log what they receive, and whole URLs; the page on errors says how to silence them.
    said += [record.getMessage() for record in caplog.records if not record.name.startswith("http")]
    said += [
        str(error),
        repr(error),
        *(repr(value) for value in vars(error).values()),
        *traceback.format_exception(error),
    ]
    said += [repr(engine), repr(engine.adapter), repr(response)]
    if isinstance(error, allm.AllmError):
        said.append(allm.to_json(error))
    told = [text for text in [*said, *in_frames(error)] if TELLING in text]
    if (way, failure) == ("query of the URL", "a mock with a bug"):
        # An error of the user's own code keeps the frames of the HTTP library, whose request shows its URL.
        told = [text for text in told if str(Path(allm.__file__).parent) in text]
    assert not told, "\n".join(told)


@pytest.mark.parametrize("way", ["authorization", "user of the URL", "x-api-key", "cookie"])
async def test_it_is_sent(clock, way):
    """What is hidden still goes where it belongs."""
    settings, _, _, _ = WAYS[way]
    async with WireServer() as server:
        server.default = REPLIES["status"]
        settings = {**settings, "base_url": settings.get("base_url", str)(server.url("openai"))}
        await allm.generate(allm.Engine(adapter=OpenAI(**settings), model="m", retry=None), "hi")
        [request] = server.requests
    sent = request.headers
    if way == "user of the URL":
        pair = LIBRARY.BasicAuth("somebody", CANARY)._auth_header
        assert sent["authorization"] == pair
    else:
        assert CANARY in sent[way]


@pytest.mark.parametrize("way", WAYS)
async def test_recordings(clock, tmp_path, way):
    """Only the owner can read one, also where an older one was open to all; no secret is in it; it replays."""
    path = tmp_path / "trip.json"
    path.write_text("old", "utf-8")
    path.chmod(0o666)
    settings, options, engine_settings, around = WAYS[way]
    async with WireServer() as server:
        server.default = Reply.json(
            {"choices": [{"message": {"content": f"echo {CANARY}"}, "finish_reason": "stop"}]}, headers=ECHO
        )
        settings = {**settings, "base_url": settings.get("base_url", str)(server.url("openai"))}
        adapter = OpenAI(**settings, endpoint="chat_completions")
        engine = allm.Engine(adapter=adapter, model="m", retry=None, **engine_settings)
        with around(), record(path):
            await allm.generate(engine, "hi", **options)
    assert TELLING not in path.read_text("utf-8")
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with around(), replay(path):
        response = await allm.generate(engine, "hi", **options)
    assert response.output_text == "echo ***"


def test_urls_are_not_shown():
    """User name, password and query of an address are hidden wherever a text is made of what holds it."""
    url = f"https://somebody:{CANARY}@api.example/v1?code={CANARY}"
    for adapter in (OpenAI(api_key="k", base_url=url), Anthropic(api_key="k", base_url=url)):
        engine = allm.Engine(adapter=adapter, model="claude-sonnet-4-6")
        call = adapter.prepare(allm.Request(model="claude-sonnet-4-6", messages=[allm.user("hi")]), AdapterOptions())
        for text in (repr(adapter), repr(engine), repr(call), repr(AdapterOptions(base_url=url))):
            assert CANARY not in text
        assert "api.example" in repr(call)
    for broken in (f"ftp://u:{CANARY}@x", f"https://u:{CANARY}?a@x", f"u:{CANARY}@x", f"http://[::1?{CANARY}"):
        with pytest.raises(allm.EngineError) as caught:
            OpenAI(api_key="k", base_url=broken).find_base_url(AdapterOptions())
            OpenAI(api_key="k", base_url=broken).url("/x", AdapterOptions())
        assert CANARY not in str(caught.value)


def test_json_of_a_recording_stays_readable(tmp_path):
    """A harmless parameter of a URL is kept: it says which API was asked."""
    assert json.dumps(masked_query("https://u:p@x/v1?api-version=1&code=2")) == '"https://x/v1?api-version=1&code=***"'


@pytest.mark.parametrize("failure", ["status", "refused", "cancelled"])
async def test_the_callers_own_error_keeps_its_frames(clock, failure):
    """One that is being handled while the call fails: it is the context of the call's error."""
    async with WireServer() as server:
        url = server.url("openai")
    async with WireServer() as server:
        server.default = REPLIES["silence" if failure == "cancelled" else "status"]
        where = url if failure == "refused" else server.url("openai")
        engine = allm.Engine(
            embedding_adapter=OpenAIEmbeddings(api_key=CANARY, base_url=where), embedding_model="m", retry=None
        )
        try:
            raise ValueError("mine")  # noqa: TRY301  (the point)
        except ValueError as error:
            mine = error
            with trio.move_on_after(5):
                try:
                    await allm.embed(engine, "hi")
                except (allm.AdapterError, trio.Cancelled) as caught:
                    told = [text for text in in_frames(caught) if TELLING in text]
                    assert not told
                    if failure == "cancelled":
                        raise
    assert [frame.name for frame in traceback.extract_tb(mine.__traceback__)] == [
        "test_the_callers_own_error_keeps_its_frames"
    ]


@pytest.mark.parametrize("proxy", ["ftp://me:{}@proxy.example", "http://me:{}@:1", "me:{}@proxy.example:0"])
def test_the_password_of_a_proxy(monkeypatch, proxy):
    """The error that names the variable does not have it, nor do its frames."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.format(CANARY))
    adapter = OpenAI(api_key="k", base_url="https://api.example/v1")
    with pytest.raises(allm.EngineError, match="HTTPS_PROXY") as caught:
        adapter.prepare(allm.Request(model="m", messages=[allm.user("hi")]), AdapterOptions())
    told = [text for text in [str(caught.value), *in_frames(caught.value)] if TELLING in text]
    assert not told


def test_names_in_a_cookie_are_no_secrets():
    """Only values are masked: names are words that a message may have."""
    secrets = secrets_in({"cookie": f"session-identifier={CANARY}; b=2", "authorization": "Basic bWU6Y2FuYXJ5LTAxMjM="})
    shown = [secret.reveal() for secret in secrets]
    assert CANARY in shown
    assert "canary-0123" in shown
    assert "bWU6Y2FuYXJ5LTAxMjM=" in shown
    assert "session-identifier" not in shown
