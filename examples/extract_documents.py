"""Read 500 documents into values, with a journal: a run that ends half way, in whatever way, goes on where it was.

Each document is asked for as an `Invoice`, sixteen at a time. What is answered is in the journal, a SQLite file.

    python examples/extract_documents.py                 # stops itself once, and goes on
    python examples/extract_documents.py invoices.sqlite # kill it and start it again, as often as you like
"""

from __future__ import annotations

import functools
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import attrs
import demo
import trio

import allm

COUNT = 500
SUPPLIERS = ("Alder & Sons", "Birch Ltd", "Cedar GmbH")
INSTRUCTIONS = "Read this invoice. If it names no date of payment, leave that out.\n\n"


@attrs.frozen
class Invoice:
    """What the accounts need.

    Attributes:
        supplier: Who sent it.
        total: With tax, in euros.
        due: Until when it is to be paid.
    """

    number: int
    supplier: str
    total: Decimal
    due: date | None = None


def documents() -> Iterator[str]:
    """The texts, one at a time: no more of them are in memory than are under way."""
    for number in range(COUNT):
        due = f" Please pay until {date(2027, 1, 1) + timedelta(number % 90)}." if number % 5 else ""
        total = f"{10 + number % 70}.{number % 100:02}"
        yield f"{SUPPLIERS[number % 3]}, invoice no. {number}: paper and ink, {total} EUR with tax.{due}"


def read(asked: demo.Asked) -> str:
    """The demo model knows how these invoices are written."""
    found = re.search(r"(?m)^(.+), invoice no\. (\d+): .* ([\d.]+) EUR.*?(?: until ([\d-]+)\.)?$", asked.text)
    assert found is not None  # noqa: S101
    supplier, number, total, due = found.groups()
    return json.dumps({"number": int(number), "supplier": supplier, "total": total, "due": due})


async def extract(engine: allm.Engine, journal: Path, stop_after: int = COUNT) -> dict[int, Invoice]:
    """Read the documents that the journal does not have yet; gives the invoices of all, by the document's index."""
    invoices: dict[int, Invoice] = {}
    texts = (INSTRUCTIONS + text for text in documents())
    # More failures than max_failures would have a reason that all documents share.
    async with allm.bulk(engine, texts, limit=16, journal=journal, response_format=Invoice, max_failures=20) as run:
        async for item in run:
            if item.response is None:
                print(f"document {item.index}: {item.error}", file=sys.stderr)
                continue
            try:
                invoices[item.index] = item.response.parsed()
            except allm.AllmError as error:  # an answer that is no invoice
                print(f"document {item.index}: {error}", file=sys.stderr)
            else:
                if len(invoices) % 100 == 0:
                    print(f"{len(invoices)} of {COUNT} documents are read")
            if len(invoices) == stop_after < COUNT:
                break  # leaves the block at once, as a crash does: what is under way is lost
        print(f"{len(invoices)} invoices, {run.replayed} of them from the journal")
    return invoices


async def main(journal: Path, stop_after: int = COUNT) -> None:
    """Extract, and sum up."""
    async with demo.engine(read) as engine:
        if stop_after < COUNT:
            await extract(engine, journal, stop_after)
            print("stopped half way; the same call goes on:")
        invoices = await extract(engine, journal)
    for supplier in SUPPLIERS:
        totals = [invoice.total for invoice in invoices.values() if invoice.supplier == supplier]
        print(f"{supplier:12} {len(totals)} invoices, {sum(totals)} EUR")
    print("without a date of payment:", sum(invoice.due is None for invoice in invoices.values()))


if __name__ == "__main__":
    run = functools.partial(trio.run, main, restrict_keyboard_interrupt_to_checkpoints=True)  # Ctrl-C cuts no step
    if sys.argv[1:]:
        run(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder) / "invoices.sqlite", COUNT // 2)
