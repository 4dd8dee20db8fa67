"""Log records have what their lines say as values, in attributes that no program has of its own."""

from __future__ import annotations

import logging

import pytest
import structlog
import trio

import allm
from allm import fake, telemetry
from allm.providers import Fake
from allm.runtime import fitting

BUSY = allm.AdapterError("try later", reason="overloaded", provider="fake", request_id="r-1", status=529)


def fields(record):
    return {name: value for name, value in vars(record).items() if name.startswith("allm_")}


def failing_engine():
    retry = allm.RetryPolicy(max_attempts=2, base_delay=0.5, jitter=0)
    return allm.Engine(adapter=Fake(script=[fake.error(BUSY)]), model="m", retry=retry)


ERROR = {
    "allm_provider": "fake",
    "allm_model": "m",
    "allm_reason": "overloaded",
    "allm_status": 529,
    "allm_request_id": "r-1",
    "allm_session_id": "s-1",
}


@pytest.mark.parametrize("call", ["generate", "chat"])
async def test_a_retry_and_a_failure_have_fields(call, caplog, autojump_clock):
    """Of the error, the call and the conversation."""
    with caplog.at_level(logging.INFO, "allm"):
        await getattr(allm, call)(failing_engine(), "hi", session_id="s-1")
    retry, failure = map(fields, caplog.records)
    assert retry == {**ERROR, "allm_attempt": 1, "allm_delay": 0.5}
    assert failure == {**ERROR, "allm_call": call}


async def test_the_span_is_named_while_somebody_listens(caplog, autojump_clock):
    """A line of the log can be found in the tree: the retry in its model call, the failure in the turn."""
    heard = []
    detach = telemetry.attach(heard.append)
    with caplog.at_level(logging.INFO, "allm"):
        await allm.chat(failing_engine(), "hi")
    detach()
    spans = {event.span_id: event.name for event in heard if event.phase == "start"}
    assert [spans[record.allm_span_id] for record in caplog.records] == ["model_call", "chat"]


async def test_services_and_advice_have_fields(caplog, monkeypatch):
    """A service that fails, and a warning about an unread stream, which is given once in a process."""
    monkeypatch.setattr(fitting, "_advised", set())
    with pytest.raises(allm.AdapterError):
        await allm.embed(allm.Engine(embedding_adapter=Refusing(), embedding_model="e"), ["x"])
    assert fields(caplog.records[-1])["allm_call"] == "embed"
    assert fields(caplog.records[-1])["allm_model"] == "e"
    async with allm.stream_generate(failing_engine(), "hi") as events:
        events.result()
    assert fields(caplog.records[-1]) == {"allm_advice": "unread"}


class Refusing(allm.providers.FakeEmbeddings):
    async def send(self, prepared):
        await trio.lowlevel.checkpoint()
        raise allm.AdapterError("no", reason="permission_denied", provider="fake")


async def test_records_of_a_program_with_names_of_its_own(caplog):
    """A program whose records all have a `request_id`, as web frameworks set, loses no call."""
    make = logging.getLogRecordFactory()

    def with_request_id(*args, **kwargs):
        record = make(*args, **kwargs)
        record.request_id = "of the program"
        return record

    logging.setLogRecordFactory(with_request_id)
    try:
        response = await allm.generate(failing_engine(), "hi", retry=None)
    finally:
        logging.setLogRecordFactory(make)
    assert response.error is not None
    assert caplog.records[-1].request_id == "of the program"
    assert caplog.records[-1].allm_request_id == "r-1"


async def test_structlog_takes_the_fields_over(caplog):
    """With its formatter for records of other libraries."""
    await allm.generate(failing_engine(), "hi", retry=None)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
    )
    assert '"allm_reason": "overloaded"' in formatter.format(caplog.records[-1])
