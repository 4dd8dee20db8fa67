"""A bulk run that is cancelled at any moment leaves nothing behind, and loses nothing that was delivered."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

import allm
from allm.testing import cancel_everywhere
from bulk_inputs import Echo, failing, texts

INPUTS = 6


@pytest.mark.parametrize("ordered", [False, True])
async def test_cancelled_everywhere(ordered, autojump_clock):
    """Without a journal, with retries and async inputs."""

    async def inputs():
        for text in texts(INPUTS):
            yield text

    async def run():
        echo = Echo({"q1": [failing()]})
        async with allm.bulk(echo.engine(), inputs(), limit=2, ordered=ordered) as items:
            async for _ in items:
                pass

    report = await cancel_everywhere(run)
    assert report.steps > 20


async def test_cancelled_everywhere_with_a_journal(tmp_path, autojump_clock):
    """What was delivered is in the journal, and the next run asks the rest."""
    number = 0

    @asynccontextmanager
    async def journal():
        nonlocal number
        number += 1
        yield tmp_path / f"{number}.sqlite", delivered.clear()

    delivered = []

    async def run(given):
        path, _ = given
        async with allm.bulk(Echo().engine(), texts(INPUTS), limit=2, journal=path, key=lambda _, text: text) as items:
            async for item in items:
                delivered.append(item.key)

    async def check(_trial):
        before = set(delivered)
        echo = Echo()
        path = tmp_path / f"{number}.sqlite"
        async with allm.bulk(echo.engine(), texts(INPUTS), limit=2, journal=path, key=lambda _, text: text) as items:
            again = {item.key: item async for item in items}
        assert len(again) == INPUTS
        assert not before & echo.asked.keys()

    report = await cancel_everywhere(run, around=journal, check=check)
    assert report.steps > 10
