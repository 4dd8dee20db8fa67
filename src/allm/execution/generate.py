"""`generate` and `stream_generate`: one model call, as a value or as a stream."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from inspect import isawaitable
from typing import Any, Unpack, overload

import trio
from typing_extensions import TypeForm

from allm.data.errors import Problem, ValidationError
from allm.data.response import FinishReason, OutputT, Response, UnwrapError
from allm.data.results import ChatResult, StepResult
from allm.data.tool import Tool
from allm.data.toolset import Toolset
from allm.execution.answer_check import AnswerCheck, AnswersFold, ask_until_it_fits
from allm.execution.options import (
    CallOptions,
    Input,
    engine_for_chat,
    output_type,
    prepare_call,
    resolve,
)
from allm.execution.retrying import fail_at_limit
from allm.execution.stream.attempt import run_model_call
from allm.execution.stream.block import StreamBlock, open_stream, until_done
from allm.execution.stream.event_stream import EventStream, StreamContext
from allm.execution.stream.folds import StreamCollector
from allm.execution.telemetry_facts import call_content, call_facts
from allm.runtime.call_options import OtherOptions
from allm.runtime.engine import Engine
from allm.runtime.fitting import advise
from allm.runtime.option_table import OPTIONS, seal

__all__ = ["generate", "stream_generate", "unwrap"]

logger: logging.Logger = logging.getLogger("allm")


@overload
def stream_generate(
    engine: Engine, request: Input, *, response_format: TypeForm[OutputT], **options: Unpack[OtherOptions]
) -> StreamBlock[EventStream[Response[OutputT]]]: ...
@overload
def stream_generate(
    engine: Engine, request: Input, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[EventStream[Response[OutputT]]]: ...
def stream_generate(
    engine: Engine, request: Input, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[EventStream[Response[OutputT]]]:
    """Call a model and stream its response.

        async with allm.stream_generate(engine, "Tell me a joke") as events:
            async for event in events:
                ...
        response = events.result()

    Leaving the block for any reason closes the connection and joins every task before the next statement runs.
    A failure in the middle of the response is the last event, `Failed`; the events before it stay in the result.

    Args:
        engine: The adapter, the model and the defaults of the call.
        request: A text, a message, messages, a `Thread` or a `Request`.
        options: See `CallOptions`.

    Raises:
        EngineError, OptionError, ValidationError, AdapterError: The call is invalid. Raised by this function, before
            anything is sent.
    """
    seal(options)
    call = resolve(engine_for_chat(engine), request, options)
    _warn_ignored_options(options)
    waits = call.loads_tools
    prepared = None if waits else prepare_call(call)
    check = AnswerCheck.of(call) if call.execution_options.validation_retries else None

    async def produce(context: StreamContext) -> None:
        limit = call.execution_options.request_timeout
        with nullcontext() if limit is None else trio.move_on_after(limit) as whole_call:
            ready, sent = call, prepared
            if waits:
                from allm.execution.tool_sets import with_loaded_tools

                ready = await with_loaded_tools(call)
                sent = prepare_call(ready)
            if check is None:
                await run_model_call(ready, sent, context)
            else:
                await ask_until_it_fits(ready, sent, context, check)
        if whole_call is not None and whole_call.cancelled_caught:
            await fail_at_limit(context, limit, call)

    return open_stream(
        "generate",
        produce,
        call.execution_options,
        StreamCollector(output_type(call)) if check is None else AnswersFold(check.hint),
        functools.partial(
            call_facts, call, validation_retries=0 if check is None else call.execution_options.validation_retries
        ),
        functools.partial(call_content, call),
    )


@overload
async def generate(
    engine: Engine, request: Input, *, response_format: TypeForm[OutputT], **options: Unpack[OtherOptions]
) -> Response[OutputT]: ...
@overload
async def generate(engine: Engine, request: Input, **options: Unpack[CallOptions[OutputT]]) -> Response[OutputT]: ...
async def generate(engine: Engine, request: Input, **options: Unpack[CallOptions[OutputT]]) -> Response[OutputT]:
    """Call a model and wait for the whole response: the fold of `stream_generate` with the same arguments.

    A failure of the provider is not raised: it is in `response.error`, beside the partial response. `unwrap` raises it.

    Raises:
        EngineError, OptionError, ValidationError, AdapterError: The call is invalid; nothing was sent.
    """
    seal(options)
    response = await until_done(stream_generate(engine, request, **options))
    if response.finish_reason != "tool_calls":
        return response
    offered = (*engine.tools, *getattr(request, "tools", ()), *(options.get("tools") or ()))
    if any(_has_handler(tool) for tool in offered):
        what = "the model called %s, and generate runs no tools: allm.chat runs them and gives the model the results"
        advise("generate", "", "tools", what, ", ".join(call.name for call in response.tool_calls))
    return response


def _has_handler(tool: Tool | Toolset) -> bool:
    tools = (tool,) if isinstance(tool, Tool) else tool.known() or ()
    return any(tool.handler is not None for tool in tools)


def _warn_ignored_options(options: Mapping[str, Any]) -> None:
    """Log that options of the chat loop have no effect on a single call."""
    for name in options:
        if OPTIONS[name].is_for_turns:
            logger.debug("option %s has no effect on generate and stream_generate; use chat or stream", name)


def unwrap(result: Response | ChatResult) -> str:
    """The text of a response, or of the last response of a turn, that ended cleanly.

    Raises:
        AllmError: The error of the response or the turn, if it failed.
        UnwrapError: It ended in another way (`non_stop_finish`, `halted`) or has no text (`empty_response`).
        ValidationError: `result` is neither a `Response` nor a `ChatResult`.
    """
    if not isinstance(result, Response | ChatResult):
        what = f"unwrap takes a Response or a ChatResult, got {type(result).__name__}"
        if isinstance(result, StepResult | tuple):
            what += f": pass {'step.response' if isinstance(result, StepResult) else 'its result'}"
        elif isawaitable(result):
            what += ": await it first"
        raise ValidationError([Problem((), "invalid_type", what)], reason="invalid_response")
    if result.error is not None:
        raise result.error
    response = result.final_response if isinstance(result, ChatResult) else result
    if isinstance(result, ChatResult) and (response is None or result.halted_reason != "completed"):
        raise UnwrapError(
            f"the turn ended with halted_reason {result.halted_reason!r}, not 'completed'; its conversation is in "
            "result.thread, and what the model said last in result.output_text",
            reason="halted",
            finish_reason=response.finish_reason if response is not None else None,
        ).advised(". A higher max_turns= lets it go on" if result.halted_reason == "max_turns" else "")
    assert response is not None  # noqa: S101  (a turn without one is refused above)
    if response.finish_reason != "stop":
        raise UnwrapError(
            f"the response ended with finish_reason {response.finish_reason!r}, not 'stop'; the partial text is in "
            "response.output_text",
            reason="non_stop_finish",
            finish_reason=response.finish_reason,
        ).advised(_WHAT_HELPS.get(response.finish_reason, ""))
    if not response.output_text:
        error = UnwrapError("the response has no text", reason="empty_response", finish_reason="stop")
        raise error.advised("; response.message.parts is what it has")
    return response.output_text


_WHAT_HELPS: dict[FinishReason | None, str] = {
    "length": ". A higher max_tokens= allows more",
    "tool_calls": ". allm.chat runs the tools, and gives the model their results",
    None: ". It has no end: its stream was not read to the end, or was cancelled",
}
"""What to do about a response that did not end cleanly, by its finish reason."""
