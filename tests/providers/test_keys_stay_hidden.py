"""A key is in nothing that can be read: with every provider and service, whatever goes wrong."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import traceback

import pytest

import allm
from allm import fake
from allm.runtime.registry import PROVIDERS, SERVICES, adapter_for, service_adapter
from allm.testing import BEFORE_HEAD, Cut, GarbageHead, Reply, Reset, WireServer

KEY = "sk-canary-0123456789-abcdefghijklmnopqrstuvwxyz"
TELLING = KEY[:16]  # a piece that is cut off tells enough
IMAGE = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40), "image/png")
AUDIO = allm.Audio.from_bytes(b"RIFF\x24\0\0\0WAVEfmt ")

CALLS = {
    "chat": lambda engine: allm.generate(engine, "hi", model="m"),
    "image": lambda engine: allm.generate_image(engine, "a cat", model="m"),
    "edit": lambda engine: allm.edit_image(engine, IMAGE, "a dog", model="m"),
    "embedding": lambda engine: allm.embed(engine, "hi", model="m"),
    "moderation": lambda engine: allm.moderate(engine, "hi", model="m"),
    "speech": lambda engine: allm.synthesize(engine, "hi", model="m"),
    "transcription": lambda engine: allm.transcribe(engine, AUDIO, model="m"),
    "rerank": lambda engine: allm.rerank(engine, "owls", ["hoot", "moo"], model="m"),
}
ASKED = sorted(
    [
        *((name, "chat") for name in PROVIDERS if name not in {"fake", "local"}),
        *((name, service) for service, names in SERVICES.items() for name in names if name != "fake"),
        *((name, "edit") for name in SERVICES["image"] if name != "fake"),
    ]
)

SAID = f"the key {KEY} is wrong"
SSE = {"content-type": "text/event-stream"}
HEADERS = {"x-request-id": KEY, "request-id": KEY, "retry-after": KEY, "x-note": KEY}


def quoted_to_its_middle(length):
    """A text in which a quotation of `length` characters ends within the key."""
    return "x" * (length - 30) + KEY


REPLIES = {
    "every envelope": [
        Reply.json({"error": {"message": SAID, "code": KEY, "type": KEY, "status": KEY, "param": KEY}}, status=401),
        Reply.json({"type": "error", "error": {"type": "authentication_error", "message": SAID}}, status=401),
        Reply.json([{"error": {"code": 400, "message": SAID, "details": [{"reason": KEY}]}}], status=400),
        Reply.json({"detail": [{"msg": SAID}]}, status=422),
        Reply.json({"code": KEY, "error": SAID}, status=403),
        Reply.json({"echo": {"authorization": f"Bearer {KEY}"}}, status=500),
        Reply.json(SAID, status=500),
    ],
    "no JSON": [
        Reply(status=502, body=f"<html>{SAID}</html>".encode()),
        Reply(status=500, body=SAID.encode() + b"\xff"),
        Reply(status=500, body=quoted_to_its_middle(500).encode()),
    ],
    "headers": [Reply.json({"error": {"message": "no"}}, status=429, headers=HEADERS)],
    "redirects": [
        Reply(status=302, headers={"location": f"https://elsewhere.example/?key={KEY}"}),
        Reply(status=307, headers={"location": KEY}),
    ],
    "nonsense with a good status": [
        Reply(body=SAID.encode()),
        Reply(body=quoted_to_its_middle(200).encode()),
        Reply(body=b'{"error": "' + KEY.encode()),
        Reply(body=b"{" + KEY.encode() + b"\xff}", headers={"content-type": KEY}),
        Reply.json([KEY]),
        Reply.json({"error": {"message": SAID, "code": KEY}}),
        Reply.json({"data": KEY, "candidates": KEY, "choices": KEY, "output": KEY, "results": KEY}),
    ],
    "nonsense in a stream": [
        Reply(body=b"data: " + SAID.encode() + b"\n\n", headers=SSE),
        Reply(body=b"data: " + quoted_to_its_middle(200).encode() + b"\n\n", headers=SSE),
        Reply(body=b'data: {"error": "' + KEY.encode(), headers=SSE),
        Reply(
            body=b"event: error\ndata: " + json.dumps({"message": SAID, "code": KEY}).encode() + b"\n\n", headers=SSE
        ),
        Reply(body=b"data: [1]\n\n" + SAID.encode() + b"\n", headers=SSE),
        Reply(body=SAID.encode() + b"\n" + b'{"error": ' + KEY.encode(), headers=SSE),
    ],
    "a broken connection": [
        Reply(body=SAID.encode(), fault=Cut(9)),
        Reply(body=SAID.encode(), fault=Reset(9)),
        Reply(fault=Cut(BEFORE_HEAD)),
        Reply(fault=GarbageHead(f"{KEY} is not HTTP\r\n\r\n".encode())),
        Reply(fault=GarbageHead(f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode())),
        Reply(body=SAID.encode(), headers={"content-encoding": "gzip"}),
    ],
}


@pytest.fixture(autouse=True)
def no_keys_of_ones_own(monkeypatch):
    for name in ("AZURE_OPENAI_ENDPOINT", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@contextlib.contextmanager
def everything_said(caplog):
    """What telemetry and the logs say; the logs of a failed telemetry handler as well."""
    said = []
    caplog.set_level(logging.DEBUG)
    detach = allm.telemetry.attach(lambda event: said.extend([repr(event), str(event.attributes)]))
    try:
        yield said
    finally:
        detach()
        # The HTTP library's own log of the answer's head is the provider's text, not ours.
        said += [record.getMessage() for record in caplog.records if not record.name.startswith("httpcore")]


def texts_of(error):
    """Every form that an error takes."""
    if error is None:
        return []
    return [
        str(error),
        repr(error),
        "".join(traceback.format_exception(error)),
        allm.to_json(error),
        repr(pickle.dumps(error)),
        repr(pickle.loads(pickle.dumps(error))),  # noqa: S301  our own
        *(repr(value) for value in vars(error).values()),
    ]


async def outcome(engine, service):
    """What a call gives back or raises."""
    try:
        return await CALLS[service](engine), None
    except allm.AllmError as error:
        return None, error


async def check(engine, service, caplog, *, answers):
    """Nothing has the key in it; `answers`: the provider's own words, which may have it."""
    with everything_said(caplog) as said:
        result, error = await outcome(engine, service)
    failure = error if error is not None else getattr(result, "error", None)
    assert failure is not None or answers
    texts = [*said, *texts_of(failure), repr(engine), repr(engine.adapter)]
    if failure is not None and result is not None:
        texts += [repr(result), allm.to_json(result)]
    for text in texts:
        assert TELLING not in text


def engine_of(name, service, base_url, key=KEY):
    where = {} if base_url is None else {"base_url": base_url}
    kind = "image" if service == "edit" else service
    made = adapter_for(name) if kind == "chat" else service_adapter(kind, name)
    preset = {"preset": name} if hasattr(type(made), "preset") and name != "openai" else {}
    adapter = type(made)(api_key=key, **where, **preset)
    field = "adapter" if kind == "chat" else f"{kind}_adapter"
    assert KEY not in repr(adapter)
    return allm.Engine(**{field: adapter}, retry=allm.RetryPolicy(max_attempts=2, base_delay=0, max_delay=0))


@pytest.mark.parametrize("replies", REPLIES.values(), ids=REPLIES)
@pytest.mark.parametrize(("name", "service"), ASKED, ids=["-".join(asked) for asked in ASKED])
async def test_what_the_provider_echoes(name, service, replies, caplog):
    """In a body, a header, half of a quotation: masked in the error, its fields, its causes, telemetry and logs."""
    async with WireServer() as server:
        for reply in replies:
            server.default = reply
            caplog.clear()
            await check(engine_of(name, service, server.base_url), service, caplog, answers=reply.status == 200)


@pytest.mark.parametrize(("name", "service"), ASKED, ids=["-".join(asked) for asked in ASKED])
async def test_a_provider_that_is_not_there(name, service, caplog):
    """A refused connection, one that is no TLS, and a URL that is none."""
    async with WireServer() as server:
        await check(
            engine_of(name, service, server.base_url.replace("http:", "https:")), service, caplog, answers=False
        )
    for base_url in (server.base_url, "ftp://nowhere", "http://", "http://127.0.0.1:99999"):
        await check(engine_of(name, service, base_url), service, caplog, answers=False)


@pytest.mark.parametrize(("name", "service"), ASKED, ids=["-".join(asked) for asked in ASKED])
@pytest.mark.parametrize("key", [f" {KEY}", f"{KEY} ", f"{KEY}\n", f"{KEY}\N{EURO SIGN}"])
async def test_a_key_that_no_header_can_carry(name, service, key, caplog):
    """It is refused before anything is sent, also from `keys.override`."""
    async with WireServer() as server:
        await check(engine_of(name, service, server.base_url, key), service, caplog, answers=False)
        with allm.keys.override(**{name: key}):
            await check(engine_of(name, service, server.base_url, None), service, caplog, answers=False)
        assert not server.requests


@pytest.mark.parametrize(("name", "service"), ASKED, ids=["-".join(asked) for asked in ASKED])
def test_what_holds_a_key_does_not_show_it(name, service):
    """Adapters, engines and prepared calls, as texts and as pickles."""
    engine = engine_of(name, service, "http://127.0.0.1:1")
    adapter = engine.adapter or getattr(engine, f"{'image' if service == 'edit' else service}_adapter")
    for value in (engine, adapter):
        for text in (repr(value), str(value), f"{value}"):
            assert TELLING not in text
        with contextlib.suppress(TypeError):  # mostly it cannot be pickled, as its key cannot
            assert TELLING.encode() not in pickle.dumps(value)
    with pytest.raises(allm.ValidationError):
        allm.to_json(engine)


async def test_the_key_that_works_is_in_the_header_alone(caplog):
    """Not in the URL or the body, nor in what is told of a call that went well."""
    async with WireServer() as server:
        server.add(Reply.script("openai", [fake.text("hi")]))
        engine = engine_of("openai", "chat", server.url("openai"))
        with everything_said(caplog) as said:
            response = await allm.generate(engine, "hi", model="m")
        [request] = server.requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    for text in (request.path, request.body.decode(), repr(response), allm.to_json(response), *said):
        assert TELLING not in text
