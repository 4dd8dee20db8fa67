"""A form that fills up while the model writes: snapshots to show, then a checked value to use."""

from __future__ import annotations

from datetime import date

import attrs
import demo
import trio

import allm
from allm import fake

LETTER = "Dear hotel, we are Ada and Bob and come on 3 May 2027 for two nights. A quiet room, please."


@attrs.frozen
class Booking:
    """What a booking needs.

    Attributes:
        guests: Their names.
    """

    guests: list[str]
    arrival: date
    nights: int
    wishes: str | None = None


def read(_asked: demo.Asked) -> list[object]:
    """The demo model writes its answer in small pieces."""
    text = '{"guests": ["Ada", "Bob"], "arrival": "2027-05-03", "nights": 2, "wishes": "a quiet room"}'
    pieces = [text[start : start + 12] for start in range(0, len(text), 12)]
    return [item for piece in pieces for item in (fake.text(piece), fake.delay(0.02))]


async def main() -> None:
    """Read a letter."""
    async with demo.engine(read) as engine:
        async with allm.stream_generate(engine, f"Read this booking: {LETTER}", response_format=Booking) as events:
            async for snapshot in events.partial_output():
                print(snapshot)  # to a page: what is in one snapshot is in all later ones
        booking = events.result().parsed()
        print(f"{' and '.join(booking.guests)} for {booking.nights} nights from {booking.arrival:%d %B %Y}")


if __name__ == "__main__":
    trio.run(main)
