"""Telemetry: which handler receives which events, and that a handler cannot break a call."""

from __future__ import annotations

import logging

import allm
from allm.runtime import telemetry


def test_a_handler_gets_the_events_it_named():
    """Without names, it gets all of them."""
    everything, some = [], []
    detach = [
        telemetry.attach(lambda event: everything.append(event.name)),
        telemetry.attach(lambda event: some.append(event.name), ["tool"]),
    ]
    telemetry.emit("adapter.retry", attempt=1)
    telemetry.start_span("tool").stop()
    for each in detach:
        each()
        each()  # a second time does nothing
    telemetry.emit("tool")
    assert everything == ["adapter.retry", "tool", "tool"]
    assert some == ["tool", "tool"]


def test_a_handler_that_raises_is_detached(caplog):
    """The failure is logged once; other handlers still receive events."""
    heard = []

    def fails(_event):
        raise ValueError("no")

    telemetry.attach(fails)
    detach = telemetry.attach(heard.append)
    with caplog.at_level(logging.ERROR, "allm"):
        telemetry.emit("a")
        telemetry.emit("b")
    detach()
    assert [event.name for event in heard] == ["a", "b"]
    assert [record.message.split()[0:2] for record in caplog.records] == [["telemetry", "handler"]]


def test_a_span_ends_once():
    """It ends with the facts known then; an event within it has it as its parent."""
    heard = []
    detach = allm.telemetry.attach(heard.append)
    span = telemetry.start_span("generate", {"model": "m"})
    telemetry.emit("adapter.retry", span, attempt=1)
    inner = telemetry.start_span("tool", parent=span)
    inner.fail(ValueError("no"))
    span.stop(finish_reason="stop")
    span.fail(ValueError("later"))
    detach()
    assert [(event.name, event.phase) for event in heard] == [
        ("generate", "start"),
        ("adapter.retry", "event"),
        ("tool", "start"),
        ("tool", "exception"),
        ("generate", "stop"),
    ]
    assert {event.parent_id for event in heard[1:4]} == {span.id}
    assert heard[-1].attributes == {"model": "m", "finish_reason": "stop"}
    assert heard[-1].duration >= 0


async def test_a_handler_is_told_of_the_spans_that_began_after_it_was_attached():
    """Attached in the middle of a call, it is not told the end of what it was not told the start of."""
    heard, detach = [], []
    engine = allm.Engine(adapter=allm.providers.Fake(scripts=[[allm.fake.text("Hello")]] * 2))
    async with allm.stream_generate(engine, "Hi") as events:
        async for _ in events:
            if not detach:
                detach.append(allm.telemetry.attach(heard.append))
    assert events.result().output_text == "Hello"
    await allm.generate(engine, "Hi")
    detach[0]()
    assert [(event.name, event.phase) for event in heard] == [("generate", "start"), ("generate", "stop")]
