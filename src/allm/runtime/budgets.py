"""Budgets: what the calls of a block may use in money, tokens and requests; and the sums of what they have used.

Theory of operation. `charged`, in `costs.py`, holds the accounts that every request made here is charged to, outermost
first: those of `with allm.budget(...)` blocks, and the sums of a turn's tools. Being a context variable, it reaches
whatever is started in the block: tasks, tools, worker threads, calls through `allm.aio` and `allm.blocking`.

A request is one `Charge`. Before it is sent, `open` compares the least that it can cost with what every budget has
left, and holds that much. While its answer arrives, `grow` holds what it has cost so far, and says when a budget is run
over. At its end `settle` puts what it did cost in place of what was held: as the provider reported it, else an estimate
that is rather too high. So requests under way at the same time see each other, and none is counted twice.

Everything here is arithmetic without an `await`, under one lock, since programs may have a Trio run in several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from decimal import Decimal
from math import isfinite
from types import TracebackType
from typing import Any, final

import attrs

from allm.data.attrs_classes import define, frozen
from allm.data.errors import BudgetExceeded, BudgetReason, OptionError
from allm.data.problems import Problem, refuse, shown
from allm.data.response import Usage
from allm.runtime.costs import Tally, charged

__all__ = ["Account", "Budget", "Charge", "Cost", "Remaining", "Spending", "budget", "exceeded"]

_lock = threading.Lock()
_NOTHING = Decimal(0)


@frozen
class Cost:
    """What one request costs.

    Attributes:
        usd: US dollars; None where the price is not known.
        tokens: Of the prompt and of the answer.
    """

    usd: Decimal | None = _NOTHING
    tokens: int = 0


@frozen(kw_only=True)
class Spending:
    """What has been used.

    Attributes:
        usd: US dollars; None where the price of a call is not known.
        tokens: Of prompts and answers.
        calls: Requests, each retry one of them.
    """

    usd: float | None = 0.0
    tokens: int = 0
    calls: int = 0


@frozen(kw_only=True)
class Remaining:
    """What can still be used; None where there is no limit.

    Attributes:
        usd: US dollars.
        tokens: Of prompts and answers.
        calls: Requests.
    """

    usd: float | None = None
    tokens: int | None = None
    calls: int | None = None


@define(eq=False)
class _Sum:
    """Money is decimal: a sum of binary fractions is not what the bill says."""

    usd: Decimal = _NOTHING
    tokens: int = 0
    calls: int = 0
    has_price: bool = True

    def add(self, cost: Cost, calls: int = 0) -> None:
        self.tokens += cost.tokens
        self.calls += calls
        if cost.usd is None:
            self.has_price = False
        else:
            self.usd += cost.usd

    def take_back(self, cost: Cost) -> None:
        self.tokens -= cost.tokens
        self.usd -= cost.usd or _NOTHING

    def shown(self) -> Spending:
        return Spending(usd=float(self.usd) if self.has_price else None, tokens=self.tokens, calls=self.calls)


@final
class Budget:
    """What the calls of a block may use, and what they have used; made by `allm.budget`.

    The block may be entered again, also by several tasks at once: all of its calls are paid from the same budget.

    Attributes:
        usd, tokens, calls: The limits; None: there is none.
    """

    __slots__ = ("_estimated", "_spent", "_under_way", "_within", "calls", "tokens", "usd")

    def __init__(self, usd: float | Decimal | None, tokens: int | None, calls: int | None) -> None:
        self.usd: float | None = None if usd is None else float(usd)
        self.tokens: int | None = tokens
        self.calls: int | None = calls
        self._spent, self._estimated, self._under_way = _Sum(), _Sum(), _Sum()
        self._within: tuple[Budget, ...] = ()

    def __enter__(self) -> Budget:
        around = charged.get() or ()
        self._within = tuple(account for account in around if isinstance(account, Budget) and account is not self)
        charged.set((*around, self))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        accounts = list(charged.get() or ())
        for index in reversed(range(len(accounts))):
            if accounts[index] is self:
                del accounts[index]
                break
        charged.set(tuple(accounts) or None)

    @property
    def spent(self) -> Spending:
        """What has been used; without requests that are still under way. `usd` is None if a price is not known."""
        with _lock:
            return self._spent.shown()

    @property
    def estimated(self) -> Spending:
        """The part of `spent` that no provider has reported, of answers that were cut or came without usage.

        Such a request is counted with all of its prompt and at most one token for each byte that had arrived.
        """
        with _lock:
            return self._estimated.shown()

    @property
    def remaining(self) -> Remaining:
        """What can still be used; not more than any budget around this one has left, nor less than 0."""
        with _lock:
            left = [budget._left() for budget in (*self._within, self)]
        usd, tokens, calls = (_least(amounts) for amounts in zip(*left, strict=True))
        return Remaining(usd=None if usd is None else float(usd), tokens=tokens, calls=calls)

    def _left(self) -> tuple[Decimal | None, int | None, int | None]:
        """What neither was used nor is held, of each limit."""
        spent, held = self._spent, self._under_way
        return (
            None if self.usd is None else _exact(self.usd) - spent.usd - held.usd,
            None if self.tokens is None else self.tokens - spent.tokens - held.tokens,
            None if self.calls is None else self.calls - spent.calls - held.calls,
        )

    def _lacks(self, cost: Cost, calls: int) -> BudgetExceeded | None:
        """Why so much more does not fit."""
        usd, tokens, left_calls = self._left()
        if left_calls is not None and calls > left_calls:
            return self._error("calls", "one more call")
        if tokens is not None and cost.tokens > tokens:
            return self._error("tokens", f"a call of {cost.tokens} tokens or more")
        if usd is not None and cost.usd is not None and cost.usd > usd:
            return self._error("usd", f"a call of {_dollars(cost.usd)} or more")
        return None

    def _run_over(self) -> BudgetExceeded | None:
        """Why it is run over: more was used, or is held, than it has."""
        usd, tokens, calls = self._left()
        if calls is not None and calls < 0:
            return self._error("calls")
        if tokens is not None and tokens < 0:
            return self._error("tokens")
        return self._error("usd") if usd is not None and usd < 0 else None

    def _error(self, reason: BudgetReason, no_room_for: str = "") -> BudgetExceeded:
        limit, spent, held = (
            _dollars(amount) if reason == "usd" else f"{amount} {reason}"
            for amount in (getattr(one, reason) for one in (self, self._spent, self._under_way))
        )
        under_way = f", {held} more under way" if getattr(self._under_way, reason) else ""
        how = f"has no room for {no_room_for}" if no_room_for else "is run over"
        what = f"the budget of {limit} {how}: {spent} used{under_way}"
        return BudgetExceeded(what, reason=reason).advised(f"; give allm.budget a larger {reason}=")

    def __repr__(self) -> str:
        limits = ", ".join(
            f"{name}={limit}" for name in ("usd", "tokens", "calls") if (limit := getattr(self, name)) is not None
        )
        return f"<allm.Budget({limits}) {self.spent}>"


Account = Budget | Tally


def budget(*, usd: float | Decimal | None = None, tokens: int | None = None, calls: int | None = None) -> Budget:
    """Limit what the calls in a block use together, whoever makes them.

        with allm.budget(usd=1.00) as budget:
            result = await allm.chat(engine, "Plan a trip.", tools=[search])
        budget.spent.usd, budget.remaining.usd

    It counts every request that is made in the block and in what is started there: of tools and agents in them, of
    embeddings, images and audio, retries and answers that were cut. A budget inside another one is counted in both, and
    the tighter one decides. See the page "Budgets".

    Args:
        usd: US dollars. A model whose price is not known is refused.
        tokens: Of prompts and answers.
        calls: Requests to providers.

    Raises:
        OptionError, ValidationError: A limit is not a number, or below 0.
    """
    for name, limit, kinds in (("usd", usd, (int, float, Decimal)), ("tokens", tokens, int), ("calls", calls, int)):
        _check(name, limit, kinds)
    return Budget(usd, tokens, calls)


def _check(name: str, limit: Any, kinds: Any) -> None:
    if limit is None:
        return
    if not isinstance(limit, kinds) or isinstance(limit, bool):
        expected = "int" if kinds is int else "a number"
        what = f"option {name} is {type(limit).__name__}; expected {expected}"
        raise OptionError(what, reason="invalid_type", option=name)
    if limit < 0 or not isfinite(limit):
        refuse([Problem((name,), "invalid_range", f"is {shown(limit)}; expected 0 or more")], reason="invalid_options")


def exceeded(accounts: Iterable[Account]) -> BudgetExceeded | None:
    """The error of a budget that has been run over, if there is one; one that is just used up is not."""
    with _lock:
        budgets = (account for account in accounts if isinstance(account, Budget))
        return next((error for one in budgets if (error := one._run_over()) is not None), None)


def _each_once(accounts: Iterable[Account]) -> tuple[Account, ...]:
    return tuple(dict.fromkeys(accounts))


@define(eq=False)
class Charge:
    """What one request is charged to, while it runs.

    Attributes:
        accounts: As `charged` has them, each once.
    """

    accounts: tuple[Account, ...] = attrs.field(converter=_each_once)
    _held: Cost | None = attrs.field(default=None, init=False)

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """Those of the accounts that have limits, or count."""
        return tuple(account for account in self.accounts if isinstance(account, Budget))

    @property
    def is_priced(self) -> bool:
        """Whether a budget is in US dollars."""
        return any(one.usd is not None for one in self.budgets)

    def left(self) -> tuple[Decimal | None, int | None]:
        """US dollars and tokens that all budgets can still pay; None: any number."""
        with _lock:
            left = [one._left() for one in self.budgets]
        return _least(usd for usd, _, _ in left), _least(tokens for _, tokens, _ in left)

    def check(self, least: Cost) -> None:
        """Refuse a request whose least cost does not fit.

        Raises:
            BudgetExceeded: It does not.
        """
        with _lock:
            self._check(least)

    def _check(self, least: Cost) -> None:
        for one in self.budgets:
            if (error := one._lacks(least, 1)) is not None:
                raise error

    def open(self, least: Cost) -> None:
        """Hold the least that a request can cost, until it is settled.

        Raises:
            BudgetExceeded: It does not fit; nothing is held.
        """
        with _lock:
            self._check(least)
            self._held = least
            for one in self.budgets:
                one._under_way.add(least, 1)

    def grow(self, cost: Cost) -> BudgetExceeded | None:
        """Hold what the request has cost so far; returns the error of a budget that is run over by it."""
        with _lock:
            if self._held is None:
                return None
            for one in self.budgets:
                one._under_way.take_back(self._held)
                one._under_way.add(cost)
            self._held = cost
            return next((error for one in self.budgets if (error := one._run_over()) is not None), None)

    def settle(self, cost: Cost, *, estimated: bool, usage: Usage | None = None) -> None:
        """The request has ended, and this is what it cost; a second time has no effect.

        Args:
            cost: What it cost.
            estimated: Whether the provider did not say so.
            usage: What it reported of its usage.
        """
        with _lock:
            if self._held is None:
                return
            held, self._held = self._held, None
            for account in self.accounts:
                if isinstance(account, Tally):
                    if usage is not None:
                        account.usage = usage if account.usage is None else account.usage + usage
                    continue
                account._under_way.take_back(held)
                account._under_way.calls -= 1
                account._spent.add(cost, 1)
                if estimated:
                    account._estimated.add(cost, 1)

    def take_back(self) -> None:
        """The request was not sent: nothing is held any more, and nothing counted."""
        with _lock:
            held, self._held = self._held, None
            if held is not None:
                for one in self.budgets:
                    one._under_way.take_back(held)
                    one._under_way.calls -= 1


def _dollars(usd: Any) -> str:
    return f"${float(usd):.6g}"


def _exact(usd: float) -> Decimal:
    return Decimal(repr(usd))


def _least(amounts: Iterable[Any]) -> Any:
    known = [amount for amount in amounts if amount is not None]
    return max(min(known), 0) if known else None
