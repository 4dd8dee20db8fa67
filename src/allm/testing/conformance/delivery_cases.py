"""Cases for delivery: the response does not depend on how its bytes are cut on the wire."""

from __future__ import annotations

import attrs

from allm import fake
from allm.execution.generate import generate
from allm.testing.conformance.checks import same
from allm.testing.conformance.lifetime_cases import LifetimeCases
from allm.testing.conformance.samples import short_response
from allm.testing.conformance.setup import case

__all__ = ["DeliveryCases"]

CUTS_APART = 97  # bytes between the cuts of one delivery, so that 97 deliveries cut at every byte
SIZES = (16, 499)  # bytes: smaller and larger than an event


class DeliveryCases(LifetimeCases):
    """Cases for the bytes on the wire."""

    @case("http")
    async def test_response_cut_at_every_byte(self) -> None:
        """A cut may be in the middle of a line end, a character, an escape or a number."""
        call = [fake.tool_call("get_time", {"city": "Zü👋"}, id="call_1")] if self.has("tools") else []
        reply = self.make_reply((fake.text("Zü👋"), *call))
        size = len(reply.body)
        async with self.playing(default=reply) as stage:
            whole = await generate(stage.engine(), "hi", tools=self.tools)
            for first in range(1, min(CUTS_APART, size) + 1):
                sizes = (first, *[CUTS_APART] * (size // CUTS_APART))
                stage.http.default = attrs.evolve(reply, chunks=sizes, flush=True)
                response = await generate(stage.engine(), "hi", tools=self.tools)
                same(response, whole, f"the response cut at bytes {first}, {first + CUTS_APART}, ...")

    @case("http")
    async def test_response_byte_by_byte(self) -> None:
        """Each byte may arrive on its own."""
        reply = self.make_reply((fake.text("Zü👋"),))
        async with self.playing(reply, attrs.evolve(reply, chunks=1, flush=True)) as stage:
            whole = await generate(stage.engine(), "hi")
            same(await generate(stage.engine(), "hi"), whole, "the response sent byte by byte")

    @case("http")
    async def test_response_in_pieces_of_one_size(self) -> None:
        """A piece may have a part of an event, or several events."""
        reply = self.make_reply(short_response(self.capabilities))
        async with self.playing(default=reply) as stage:
            whole = await generate(stage.engine(), "hi", tools=self.tools)
            for size in SIZES:
                stage.http.default = attrs.evolve(reply, chunks=size, flush=True)
                response = await generate(stage.engine(), "hi", tools=self.tools)
                same(response, whole, f"the response in pieces of {size} bytes")

    @case("http")
    async def test_every_framing_of_the_body(self) -> None:
        """The body may be chunked, or end by its length or with the connection."""
        reply = self.make_reply(short_response(self.capabilities))
        async with self.playing(default=reply) as stage:
            whole = await generate(stage.engine(), "hi", tools=self.tools)
            for framing in ("chunked", "content-length", "close"):
                stage.http.default = attrs.evolve(reply, framing=framing)
                response = await generate(stage.engine(), "hi", tools=self.tools)
                same(response, whole, f"the response with framing {framing!r}")
