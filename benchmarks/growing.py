"""The cost of structured output while it streams, compared with one parse of the whole answer.

The text of an answer comes in pieces of a network read each. The first rows are the parser alone: the items of the list
as JSON values, against one parse with the same C codec and with the standard library. The others are whole calls, with
a scripted provider: the items as instances, against reading the text and one `parsed()` at the end. `growth` is the
exponent of the time from the smallest to the largest answer.

    python benchmarks/growing.py [rounds]
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import attrs
import msgspec
import trio

import allm
from allm.data.json.growing import NOTHING, GrowingValue
from allm.data.json.growing_list import GrowingList
from allm.providers import Fake

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
SIZES = (10_000, 100_000, 1_000_000)
READS = (64, 1024, 16_384)


@attrs.frozen
class Place:
    """A part of an item."""

    city: str
    zip: str


@attrs.frozen
class Trip:
    """An item as models write them."""

    id: int
    name: str
    tags: list[str]
    price: float
    where: Place


def trips(size: int) -> str:
    one = [
        {
            "id": number,
            "name": f'A trip to "{number}"' if number % 5 == 0 else f"A trip to number {number}",
            "tags": ["short", "for [two]"],
            "price": number * 1.5,
            "where": {"city": "Zürich", "zip": "8001"},
        }
        for number in range(size // 130)
    ]
    return json.dumps(one, ensure_ascii=False)


def numbers(size: int) -> str:
    return json.dumps(list(range(size // 7)))


def cut(text: str, length: int) -> list[str]:
    return [text[start : start + length] for start in range(0, len(text), length)]


def best(run: Callable[[], Any]) -> float:
    times: list[float] = []
    for _ in range(ROUNDS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def items_of(pieces: list[str]) -> int:
    growing = GrowingList()
    return sum(len(growing.add(piece)) for piece in pieces)


def snapshots_of(pieces: list[str]) -> int:
    growing, count = GrowingValue(), 0
    for piece in pieces:
        growing.add(piece)
        count += growing.snapshot() is not NOTHING
    return count


def row(name: str, times: list[float], bases: dict[str, list[float]]) -> None:
    shown = [
        f"{base} " + " ".join(f"{found / whole:6.2f}" for found, whole in zip(times, whole_times, strict=True))
        for base, whole_times in bases.items()
    ]
    growth = math.log(times[-1] / times[0]) / math.log(SIZES[-1] / SIZES[0])
    print(f"{name:44} {'   '.join(shown)}   growth {growth:4.2f}")


def parser_rows() -> None:
    decode = msgspec.json.Decoder().decode
    for name, make in (("objects", trips), ("numbers", numbers)):
        texts = [make(size) for size in SIZES]
        bases = {
            "msgspec": [best(lambda text=text: decode(text)) for text in texts],
            "json": [best(lambda text=text: json.loads(text)) for text in texts],
        }
        for read in READS:
            pieces = [cut(text, read) for text in texts]
            row(f"{name}: items, reads of {read}", [best(lambda p=p: items_of(p)) for p in pieces], bases)
        pieces = [cut(text, READS[1]) for text in texts]
        row(f"{name}: snapshots, reads of {READS[1]}", [best(lambda p=p: snapshots_of(p)) for p in pieces], bases)


async def whole(engine: allm.Engine) -> int:
    async with allm.stream_generate(engine, "x", response_format=list[Trip]) as events:
        text = "".join([piece async for piece in events.text()])
    assert text
    return len(events.result().parsed())


async def one_by_one(engine: allm.Engine) -> int:
    async with allm.stream_generate(engine, "x", response_format=list[Trip]) as events:
        return len([item async for item in events.elements()])


def call_rows() -> None:
    for read in READS:
        scripts = [[allm.fake.text(piece) for piece in cut(trips(size), read)] for size in SIZES]

        def run(call: Callable[[allm.Engine], Any], script: list[Any]) -> int:
            return trio.run(call, allm.Engine(adapter=Fake(script=script)))

        bases = {"parsed()": [best(lambda s=s: run(whole, s)) for s in scripts]}
        row(f"calls: elements(), reads of {read}", [best(lambda s=s: run(one_by_one, s)) for s in scripts], bases)


if __name__ == "__main__":
    print(f"answers of {', '.join(f'{size:,}' for size in SIZES)} characters; time relative to one parse of the whole")
    parser_rows()
    call_rows()
