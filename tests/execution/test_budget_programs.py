"""Budgets in random programs: nested ones, parallel calls, agents in tools, losers of races, cancellations, failures.

The server keeps its own bill. What it billed is compared with what the budgets say: for answers that reported usage it
is the same, for those that were cut the budgets never say less, and no request begins when what has ended has already
cost more than the budget.
"""

from __future__ import annotations

import random
from contextlib import suppress
from contextvars import ContextVar
from decimal import Decimal

import attrs
import pytest
import trio

import allm
from allm import models
from allm.data.events import MessageCompleted, MessageStarted, TextDelta, ToolCallCompleted, UsageReported
from allm.data.message import unanswered_in
from allm.models import ModelInfo, Prices

PROGRAMS = 100
"""For each of ten seeds: a thousand in all."""
INPUT, OUTPUT = Decimal(3), Decimal(15)
"""US dollars for a million tokens."""
FACTORS = {"m": 1, "n": 4}
"""How many times as much each model costs."""


@attrs.define(eq=False)
class Bill:
    """What the server charges for one request."""

    factor: int = 1
    prompt: int = 0
    answer: int = 0
    reported: bool = False
    ended: bool = False

    @property
    def tokens(self):
        return self.prompt + self.answer

    @property
    def usd(self):
        return self.factor * (INPUT * self.prompt + OUTPUT * self.answer) / 1_000_000


@attrs.define(eq=False)
class Ledger:
    """The bills of the requests that were made under a budget, or in a turn."""

    budget: allm.Budget | None = None
    bills: list[Bill] = attrs.field(factory=list)

    def begin(self, bill):
        budget = self.budget
        if budget is not None:
            ended = [known for known in self.bills if known.ended]
            assert budget.calls is None or len(self.bills) < budget.calls
            assert budget.tokens is None or sum(known.tokens for known in ended) < budget.tokens
            assert budget.usd is None or sum(known.usd for known in ended) < Decimal(repr(budget.usd))
        self.bills.append(bill)

    def check(self):
        assert all(bill.ended for bill in self.bills)
        spent, estimated = self.budget.spent, self.budget.estimated
        told = [bill for bill in self.bills if bill.reported]
        cut = [bill for bill in self.bills if not bill.reported]
        assert spent.calls == len(self.bills)
        assert spent.tokens - estimated.tokens == sum(bill.tokens for bill in told)
        assert estimated.tokens >= sum(bill.tokens for bill in cut)
        assert self.budget._spent.usd - self.budget._estimated.usd == sum(bill.usd for bill in told)
        assert self.budget._estimated.usd >= sum(bill.usd for bill in cut)
        assert self.budget._under_way.tokens == self.budget._under_way.calls == self.budget._under_way.usd == 0


ledgers: ContextVar[tuple[Ledger, ...]] = ContextVar("ledgers", default=())


@attrs.define(eq=False)
class Server:
    """A provider whose answers, delays and failures are random; it stops where `max_tokens` says so, mostly."""

    random: random.Random
    provider = "metered"

    def prepare(self, request, _options):
        return request

    async def stream(self, request, emit):
        chance = self.random
        bill = Bill(FACTORS[request.model])
        for ledger in ledgers.get():
            ledger.begin(bill)
        try:
            await trio.sleep(chance.random())
            if chance.random() < 0.1:
                raise allm.AdapterError("try again", reason="overloaded")
            texts = sum(len(message.text) for message in request.messages)
            bill.prompt = texts // 4 + 3 * len(request.messages) + 15 * len(request.tools)
            await self._answer(request, emit, bill)
        finally:
            bill.ended = True

    async def _answer(self, request, emit, bill):
        chance = self.random
        await emit(MessageStarted(model=request.model))
        if chance.random() < 0.3:
            await emit(UsageReported(allm.Usage(input_tokens=bill.prompt, output_tokens=0)))
        heeds = chance.random() < 0.9
        length = chance.randrange(1, 60)
        if heeds and request.max_tokens is not None:
            length = min(length, request.max_tokens)
        content = []
        while bill.answer < length:
            count = min(chance.randrange(1, 5), length - bill.answer)
            bill.answer += count
            await emit(TextDelta("t", "abcd " * count))
            content.append("abcd " * count)
            if chance.random() < 0.5:
                await trio.sleep(chance.random() / 10)
        if chance.random() < 0.05:
            raise allm.AdapterError("broke off", reason="stream_truncated")
        calls = []
        if request.tools and length < 50 and chance.random() < 0.6:
            for number in range(chance.randrange(1, 4)):
                call = allm.ToolCall(f"call_{number}", request.tools[0].name, {"what": "x"}, '{"what":"x"}')
                bill.answer += 3
                await emit(ToolCallCompleted(call.id, call.name, call.arguments, call.raw_arguments))
                calls.append(call)
        if chance.random() < 0.9:
            usage = allm.Usage(input_tokens=bill.prompt, output_tokens=bill.answer)
            bill.reported = True
            try:
                await emit(UsageReported(usage), self._end(content, calls))
            except allm.StreamError:  # the answer was cut before
                bill.reported = False
                raise
        else:
            await emit(self._end(content, calls))

    def _end(self, content, calls):
        message = allm.assistant(allm.TextPart("".join(content)), *calls)
        return MessageCompleted(message, "tool_calls" if calls else "stop")


@attrs.define(eq=False)
class Program:
    """One random program."""

    random: random.Random
    found: list[Ledger] = attrs.field(factory=list)

    @property
    def engine(self):
        """One engine, or a group of two."""
        chance = self.random.random()
        if chance < 0.2:
            return allm.hedge(self.one(), self.one(), after=self.random.random())
        return allm.fallback(self.one(), self.one()) if chance < 0.4 else self.one()

    def one(self):
        retry = allm.RetryPolicy(max_attempts=2, base_delay=0.1)
        return allm.Engine(adapter=Server(self.random), model=self.random.choice(list(FACTORS)), retry=retry)

    async def run(self, depth):
        kinds = [self.call, self.chat, self.call]
        if depth:
            kinds += [self.budget, self.budget, self.parallel, self.cancel, self.race, self.several]
        await self.random.choice(kinds)(depth - 1)

    async def call(self, _depth):
        options = {"max_tokens": self.random.randrange(1, 80)} if self.random.random() < 0.3 else {}
        with suppress(allm.BudgetExceeded):
            await allm.generate(self.engine, "some words " * self.random.randrange(1, 20), **options)

    async def chat(self, depth):
        @allm.tool
        async def agent(what: str) -> str:
            """Ask an agent."""
            await self.run(max(0, min(depth, 1)))
            return what

        turn = Ledger()
        with self.within(turn):
            try:
                result = await allm.chat(self.engine, "some words", tools=[agent], max_turns=3)
            except allm.BudgetExceeded:
                return
        assert not unanswered_in(result.thread)
        assert isinstance(result.error, allm.BudgetExceeded) or result.halted_reason != "budget"
        if turn.bills and all(bill.reported for bill in turn.bills):
            assert result.usage.input_tokens == sum(bill.prompt for bill in turn.bills)
            assert result.usage.output_tokens == sum(bill.answer for bill in turn.bills)

    async def budget(self, depth):
        chance = self.random
        limits = {"usd": chance.uniform(0, 0.004), "tokens": chance.randrange(500), "calls": chance.randrange(8)}
        chosen = {name: limits[name] for name in chance.sample(sorted(limits), chance.randrange(4))}
        ledger = Ledger(allm.budget(**chosen))
        self.found.append(ledger)
        with ledger.budget, self.within(ledger):
            for _ in range(chance.randrange(1, 4)):
                await self.run(depth)

    async def several(self, depth):
        for _ in range(3):
            await self.run(depth)

    async def parallel(self, depth):
        async with trio.open_nursery() as nursery:
            for _ in range(self.random.randrange(2, 5)):
                nursery.start_soon(self.run, depth)

    async def cancel(self, depth):
        with trio.move_on_after(self.random.random() * 2):
            await self.run(depth)

    async def race(self, depth):
        async def one():
            await self.run(depth)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            await trio.sleep(self.random.random() / 2)
            nursery.start_soon(one)

    def within(self, ledger):
        return _Within(ledger)


@attrs.define(eq=False)
class _Within:
    ledger: Ledger
    token: object = None

    def __enter__(self):
        self.token = ledgers.set((*ledgers.get(), self.ledger))

    def __exit__(self, *_error):
        ledgers.reset(self.token)


@pytest.mark.parametrize("seed", range(10))
async def test_budgets_agree_with_the_bill(seed, autojump_clock):
    """See above; nothing is still under way at the end."""
    for model, factor in FACTORS.items():
        prices = Prices(input=float(factor * INPUT), output=float(factor * OUTPUT))
        models.put(ModelInfo(provider="metered", id=model, prices=prices))
    budgets = requests = 0
    try:
        for number in range(PROGRAMS):
            program = Program(random.Random(seed * PROGRAMS + number))  # noqa: S311  (to repeat a failure)
            await program.budget(3)
            for ledger in program.found:
                ledger.check()
            budgets += len(program.found)
            requests += len(program.found[0].bills)
    finally:
        models.clear()
    assert budgets > PROGRAMS
    assert requests > PROGRAMS
