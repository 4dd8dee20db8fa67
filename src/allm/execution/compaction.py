"""The option `compact`: what is sent of a conversation that does not fit its model any more."""

from __future__ import annotations

from typing import Any

import attrs

from allm.data.errors import AdapterError, AllmError, BudgetExceeded, OptionError
from allm.data.events import Failed
from allm.data.message import Thread, thread_problems
from allm.data.problems import refuse
from allm.data.token_count import estimated_tokens
from allm.data.user_functions import call_user
from allm.execution.event_changes import ChangedEvents
from allm.execution.failures import name_model
from allm.execution.options import ModelCall, check_answered, prepare_call
from allm.runtime.catalog import lookup
from allm.runtime.fitting import check_length, was_too_long

__all__ = ["OnTrio", "compacted", "compacted_after", "fitted"]

_NEAR = 0.8
"""What part of the model's limit an estimate may reach: it may be too low by as much as is left."""


class OnTrio:
    """A function of this library, which runs where the call does, whatever event loop the program has."""

    async def __call__(self, thread: Thread) -> Thread:
        """What is sent in place of the thread."""
        raise NotImplementedError


async def compacted_if_near(call: ModelCall, prepared: Any) -> tuple[ModelCall, Any]:
    """The call and what was prepared of it, with the shorter conversation where this one comes near to the limit.

    Raises:
        Exception: Raised by the function.
        AllmError: What it returned cannot be sent.
    """
    request = call.request
    info = lookup(call.adapter.provider, request.model) if request.model else None
    if info is None or info.context_window is None:
        return call, prepared
    provider, cache = call.adapter.provider, call.adapter_options.cached_content
    tokens = max(estimated_tokens(request), 0 if cache is None else cache.tokens or 0)
    if tokens <= _NEAR * info.context_window - (request.max_tokens or 0) and not was_too_long(provider, request):
        return call, prepared
    return await compacted(call) or (call, prepared)


async def fitted(call: ModelCall, prepared: Any) -> tuple[ModelCall, Any] | AllmError:
    """The call as it is sent first, and what was prepared of it; or why it is not sent.

    Raises:
        Exception: Raised by the function.
        AllmError: What it returned cannot be sent.
    """
    call, prepared = await compacted_if_near(call, prepared)
    return still_too_long(call, prepared) or (call, prepared)


def still_too_long(call: ModelCall, prepared: Any) -> AdapterError | None:
    """The error of a call that is known to be too long, with what the function made of it."""
    sent = prepared.prepared if isinstance(prepared, ChangedEvents) else prepared
    try:
        check_length(call.adapter.provider, call.request, sent)
    except AdapterError as error:
        name_model(error, call.request.model)
        return error
    return None


async def compacted_after(call: ModelCall, failure: Failed) -> tuple[ModelCall, Any] | None:
    """The call with what the function makes of its conversation, if the provider has found that too long.

    Raises:
        Exception: Raised by the function.
        AllmError: What it returned cannot be sent.
    """
    if not isinstance(failure.error, AdapterError) or failure.error.reason != "context_length_exceeded":
        return None
    return await compacted(call)


async def compacted(call: ModelCall) -> tuple[ModelCall, Any] | None:
    """The call with the shorter conversation, prepared; None if the function has nothing shorter.

    Raises:
        Exception: Raised by the function.
        AllmError: What it returned cannot be sent.
    """
    function, thread = call.execution_options.compact, Thread(call.request.messages)
    assert function is not None  # noqa: S101  (asked only if there is one)
    try:
        shorter: Any = await (function(thread) if isinstance(function, OnTrio) else call_user(function, thread))
    except BudgetExceeded:  # of a model that it asks; the call is then sent as it is, if that can be paid
        return None
    if not isinstance(shorter, Thread):
        what = f"compact returned {type(shorter).__name__}; expected a Thread, such as thread.last_turns(3)"
        raise OptionError(what, reason="invalid_type", option="compact")
    refuse(thread_problems(shorter), reason="invalid_thread")
    check_answered(shorter)
    if shorter.messages == thread.messages:
        return None
    shortened = attrs.evolve(call, request=attrs.evolve(call.request, messages=shorter.messages))
    try:
        return shortened, prepare_call(shortened)
    except BudgetExceeded:  # the attempt says so, as the last event
        return None
