"""An answer may break off, or be split into reads, at any byte."""

from __future__ import annotations

import pytest

import allm
from allm.http.sse import SSEDecoder
from allm.testing import Reply
from calls import TEXT, TOOLS, VENDORS, WORDS
from test_growth import DECODERS

ANSWERS = {"text": TEXT, "calls": TOOLS}


def answered(vendor, pieces):
    """The response to these reads, and whether the vendor said that it was the end."""
    reader, decoder, collector = SSEDecoder(), DECODERS[vendor](), allm.StreamCollector()
    decoder.begin({})

    def take(parts):
        for name, data in parts:
            if not decoder.done:
                for event in decoder.decode(name, data):
                    collector.add(event)

    try:
        for piece in pieces:
            take(reader.feed(piece))
        take(reader.close())
        if not decoder.done:
            for event in decoder.end(""):
                collector.add(event)
    except allm.AdapterError as error:
        collector.add(allm.Failed(error))
    return collector.response()


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("vendor", VENDORS)
def test_every_cut(vendor, answer, long, chance, record_property):
    """An answer that is cut after any byte is an error with what had arrived; one that is split there is the same."""
    body = Reply.script(vendor, ANSWERS[answer]).body
    whole = answered(vendor, [body])
    assert whole.error is None
    places = range(len(body)) if long else sorted(chance.sample(range(len(body)), 100))
    last, cuts = "", 0
    for place in places:
        cut = answered(vendor, [body[:place]])
        assert whole.output_text.startswith(cut.output_text)
        assert cut.output_text.startswith(last), "more bytes gave less text"
        last = cut.output_text
        if cut.error is None:  # only what says nothing was missing
            assert (cut.message, cut.finish_reason) == (whole.message, whole.finish_reason)
        else:
            assert isinstance(cut.error, allm.AdapterError)
            assert allm.from_json(allm.to_json(cut)) == cut
        split = answered(vendor, [body[:place], body[place:]])
        assert (split.message, split.error) == (whole.message, None)
        cuts += 1
    assert answer != "text" or whole.output_text == WORDS
    record_property("cuts", cuts)
