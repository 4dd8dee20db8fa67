"""Cases of delivery: however the bytes of an answer are cut on their way, the answer is the same."""

from __future__ import annotations

import attrs

from allm import fake
from allm.execution.generate import generate
from allm.testing.conformance.checks import same
from allm.testing.conformance.lifetime_cases import LifetimeCases
from allm.testing.conformance.samples import short_answer
from allm.testing.conformance.setup import case

__all__ = ["DeliveryCases"]

CUTS_APART = 97  # bytes between the cuts of one delivery: every byte is cut at in as many deliveries
SIZES = (16, 499)  # bytes: less and more than an event


class DeliveryCases(LifetimeCases):
    """What holds of the bytes on the wire."""

    @case("http")
    async def test_answer_cut_at_every_byte(self) -> None:
        """In the middle of a line end, of a character, of an escape, of a number."""
        call = [fake.tool_call("get_time", {"city": "Zü👋"}, id="call_1")] if self.has("tools") else []
        reply = self.make_reply((fake.text("Zü👋"), *call))
        size = len(reply.body)
        async with self.playing(default=reply) as stage:
            whole = await generate(stage.engine(), "hi", tools=self.tools)
            for first in range(1, min(CUTS_APART, size) + 1):
                sizes = (first, *[CUTS_APART] * (size // CUTS_APART))
                stage.http.default = attrs.evolve(reply, chunks=sizes, flush=True)
                response = await generate(stage.engine(), "hi", tools=self.tools)
                same(response, whole, f"the response with the answer cut at bytes {first}, {first + CUTS_APART}, ...")

    @case("http")
    async def test_answer_byte_by_byte(self) -> None:
        """The slowest delivery there is."""
        reply = self.make_reply((fake.text("Zü👋"),))
        async with self.playing(reply, attrs.evolve(reply, chunks=1, flush=True)) as stage:
            whole = await generate(stage.engine(), "hi")
            same(await generate(stage.engine(), "hi"), whole, "the response with the answer sent byte by byte")

    @case("http")
    async def test_answer_in_pieces_of_one_size(self) -> None:
        """Pieces that hold a part of an event, or several."""
        reply = self.make_reply(short_answer(self.capabilities))
        async with self.playing(default=reply) as stage:
            whole = await generate(stage.engine(), "hi", tools=self.tools)
            for size in SIZES:
                stage.http.default = attrs.evolve(reply, chunks=size, flush=True)
                response = await generate(stage.engine(), "hi", tools=self.tools)
                same(response, whole, f"the response with the answer in pieces of {size} bytes")

    @case("http")
    async def test_end_of_the_body_is_known_in_every_way(self) -> None:
        """Chunked, by its length, or by the end of the connection."""
        reply = self.make_reply(short_answer(self.capabilities))
        async with self.playing(default=reply) as stage:
            whole = await generate(stage.engine(), "hi", tools=self.tools)
            for framing in ("chunked", "content-length", "close"):
                stage.http.default = attrs.evolve(reply, framing=framing)
                response = await generate(stage.engine(), "hi", tools=self.tools)
                same(response, whole, f"the response with framing {framing!r}")
