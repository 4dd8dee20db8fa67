"""Anything may go wrong on the way."""

from __future__ import annotations

import gzip

import attrs
import pytest
import trio

import allm
from allm.testing import (
    BEFORE_HEAD,
    Cut,
    Garbage,
    GarbageHead,
    KeepAlive,
    Reply,
    Reset,
    Stall,
    WireServer,
    loopback_clock,
)
from calls import KEY, OVER_HTTP, WORDS
from leftovers import library_tasks, pooled, shared_clients

A_DAY = 86_400  # virtual seconds: nothing waits that long without being told to


@pytest.fixture
def clock():
    return loopback_clock()


def middle(reply):
    """An offset in the middle of the body: of a stream with text, inside the event that carries "three"."""
    found = reply.body.find(b"three")
    return found if found > 0 else len(reply.body) // 2


def event_before(reply):
    return max((end for end in reply.event_ends if end <= middle(reply)), default=0)


def faulty(reply, fault):
    return attrs.evolve(reply, fault=fault, framing="chunked")


FAULTS = {
    "closed before the head": lambda r: faulty(r, Cut(BEFORE_HEAD)),
    "closed in the middle": lambda r: faulty(r, Cut(middle(r))),
    "ended in the middle": lambda r: faulty(r, Cut(middle(r), clean=True)),
    "shorter than its length": lambda r: attrs.evolve(r, fault=Cut(middle(r)), framing="content-length"),
    "ended at once": lambda r: faulty(r, Cut(0, clean=True)),
    "reset before the head": lambda r: faulty(r, Reset(BEFORE_HEAD)),
    "reset in the middle": lambda r: faulty(r, Reset(middle(r))),
    "silent before the head": lambda r: faulty(r, Stall(BEFORE_HEAD)),
    "silent after the head": lambda r: faulty(r, Stall(0)),
    "silent in the middle": lambda r: faulty(r, Stall(middle(r))),
    "comments without end": lambda r: faulty(r, KeepAlive(event_before(r), interval=5)),
    "garbage in the middle": lambda r: faulty(r, Garbage(middle(r), b"\x00\xff{garbage\n\n")),
    "no HTTP": lambda r: faulty(r, GarbageHead()),
    "HTML": lambda r: Reply(headers={"content-type": "text/html"}, body=b"<!doctype html><title>Sign in</title>"),
    "HTML with 502": lambda r: Reply(status=502, headers={"content-type": "text/html"}, body=b"<html>bad gateway"),
    "429 with nothing": lambda r: Reply(status=429),
    "redirect": lambda r: Reply(status=307, headers={"location": "http://127.0.0.1:9/elsewhere"}),
    "no gzip": lambda r: attrs.evolve(r, headers={**r.headers, "content-encoding": "gzip"}),
    "cut gzip": lambda r: attrs.evolve(
        r, body=gzip.compress(r.body)[:-20], headers={**r.headers, "content-encoding": "gzip"}
    ),
}
# A body of sound without a length or an end marker may end anywhere, and may have any bytes.
SOUND_MAY = {"ended in the middle", "ended at once", "garbage in the middle", "HTML", "cut gzip"}
# Half of an event may be one that says nothing.
TEXT_MAY = {"garbage in the middle"}
# The first words are there before these.
KEEP_TEXT = {
    *(name for name in FAULTS if "in the middle" in name),
    "comments without end",
    "shorter than its length",
    "cut gzip",
}
# Sound that goes on for ever is no fault that anyone could see.
TRIALS = [
    (call, fault) for call in OVER_HTTP for fault in FAULTS if not ("speech" in call.name and "comments" in fault)
]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.sample(60)
@pytest.mark.parametrize(("call", "fault"), TRIALS, ids=[f"{call.name}: {fault}" for call, fault in TRIALS])
async def test_every_fault(call, fault, clock, record_property):
    """Whatever goes wrong on the way, a call ends, with an error of the library's own and with what had arrived.

    The next call works.
    """
    async with WireServer() as server:
        server.add(*call.replies[:-1])
        server.default = FAULTS[fault](call.replies[-1])
        result = error = None
        with trio.fail_after(A_DAY):
            try:
                result = await call.ask(call.engine(server.base_url))
            except allm.AllmError as raised:
                error = raised
            error = error or getattr(result, "error", None)
            server.default = None
            assert library_tasks() == []
            await server.wait_outcomes()
            held = [connection for client in shared_clients() for connection in pooled(client)]
            assert all(connection.is_idle() for connection in held)
            server.add(*call.replies)
            assert getattr(await call.ask(call.engine(server.base_url)), "error", None) is None
    harmless = ("speech" in call.name and fault in SOUND_MAY) or fault in TEXT_MAY
    assert isinstance(error, allm.AllmError) or harmless
    assert KEY not in repr(error)
    if call.is_stream:
        text = result.output_text if hasattr(result, "output_text") else result.response.output_text
        assert WORDS.startswith(text)
        assert bool(text) == (fault in KEEP_TEXT)
        assert error is not None or text == WORDS
    record_property("calls", 1)
