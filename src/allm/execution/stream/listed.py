"""The types of a response that is a list of items, as far as type checkers can tell them from a text or a mapping."""

from __future__ import annotations

from typing import TypeVar

from allm.data.response import Response
from allm.data.results import ChatResult, StepResult

__all__ = ["ListOf", "Listed"]

ItemT = TypeVar("ItemT")

ListOf = list[ItemT] | tuple[ItemT, ...] | set[ItemT] | frozenset[ItemT] | None
Listed = Response[ListOf[ItemT]] | ChatResult[ListOf[ItemT]] | StepResult[ListOf[ItemT]]
