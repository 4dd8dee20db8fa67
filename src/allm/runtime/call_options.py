"""The options of a call as users write them, and those that steer its execution. `option_table.py` has their rules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypedDict

import attrs

from allm.data.attrs_classes import frozen
from allm.data.content import ToolCall
from allm.data.errors import ToolError
from allm.data.events import AdapterEvent
from allm.data.message import Thread
from allm.data.problems import mapping_field
from allm.data.request import ResponseFormat, ToolChoice
from allm.data.response import OutputT
from allm.data.results import StepResult
from allm.data.step_changes import StepChanges, StepChangesDict
from allm.data.tool import Tool
from allm.data.toolset import Toolset
from allm.runtime.retry import DEFAULT_RETRY, RetryPolicy

if TYPE_CHECKING:  # few calls have one
    from allm.data.cache import Cache

__all__ = [
    "BeforeStep",
    "CallOptions",
    "Compact",
    "ExecutionOptions",
    "HaltWhen",
    "OnEvent",
    "OnToolError",
    "OtherOptions",
    "StepInput",
]


@frozen(kw_only=True)
class StepInput:
    """What `before_step` is told about the model call that comes next.

    Attributes:
        index: How many model calls this turn has made.
        thread: The conversation that is sent, with messages of the user that have just joined.
        tools, model, tool_choice: What the call has by the options of the turn.
        last: The step before it; None for the first.
        final: It is the call for the response format of a turn in two passes, which has no tools.
        context: As in `ToolContext`.
    """

    index: int
    thread: Thread
    tools: tuple[Tool, ...] = ()
    model: str | None = None
    tool_choice: ToolChoice | None = None
    last: StepResult[Any] | None = None
    final: bool = False
    context: dict[str, Any] = mapping_field()


_Changes = StepChanges | StepChangesDict | None
BeforeStep = Callable[[StepInput], _Changes | Awaitable[_Changes]]
"""A function, sync or async, that is asked before each model call of a turn what to change about it."""

HaltWhen = Callable[[StepResult], bool | Awaitable[bool]]
"""A function of a finished step, sync or async: whether the turn ends here."""

OnToolError = Literal["continue", "halt"] | Callable[[ToolCall, ToolError], Any]
"""What a failed tool call does to the turn. A function, sync or async, returns `"halt"` or the result that the model
reads instead."""

OnEvent = Callable[[AdapterEvent], Any]
"""A function, sync or async, that is shown events; what it returns is not used."""


Compact = Callable[[Thread], Thread | Awaitable[Thread]]
"""A function, sync or async, of a conversation that does not fit: what is to be sent in its place."""


class OtherOptions(TypedDict, total=False):
    """The options of every call but `response_format`."""

    model: str | None
    tools: Iterable[Tool | Toolset]
    tool_choice: ToolChoice | None
    temperature: float | None
    max_tokens: int | None
    top_p: float | None
    stop: str | Iterable[str] | None
    seed: int | None
    parallel_tool_calls: bool | None
    service_tier: str | None
    logprobs: int | None
    reasoning_effort: str | None
    reasoning_summary: str | None
    verbosity: str | None
    prompt_cache: bool | Literal["5m", "1h"] | None
    prompt_cache_key: str | None
    cached_content: Cache | None
    options: Mapping[str, Any]
    api_key: str | None
    headers: Mapping[str, str]
    base_url: str | None
    request_id: str | None
    mode: Literal["auto", "manual"]
    max_turns: int
    before_step: BeforeStep | None
    halt_when: HaltWhen | None
    compact: Compact | None
    on_tool_error: OnToolError
    tool_timeout: float | None
    max_concurrency: int | None
    context: Mapping[str, Any]
    session_id: str | None
    structured_finalize: bool
    structured_finalize_nudge: str
    output_mode: Literal["auto", "native", "tool", "prompted"]
    tool_mode: Literal["auto", "native", "prompted"]
    validation_retries: int
    emit_text_deltas: bool
    emit_tool_deltas: bool
    include_raw_chunks: bool
    on_event: OnEvent | None
    request_timeout: float | None
    first_event_timeout: float | None
    stream_timeout: float | None
    retry: RetryPolicy | None


# Generic, so that `**options: Unpack[CallOptions[OutputT]]` carries the type given as `response_format=` into the
# result. Where no type is given, OutputT is its default, Any. In a union, which this option needs, mypy 2.4 sees a type
# only in a class or its like (`list[Trip]`), but not in a Literal or a union. So the calls have an overload in front
# that takes types alone; there both type checkers see all of them. The methods of sessions have not.
class CallOptions(OtherOptions, Generic[OutputT], total=False):
    """Options of every call. Times are seconds.

    model, tools, tool_choice, temperature, max_tokens, top_p, stop, seed, parallel_tool_calls, service_tier, logprobs,
        response_format, options: as in `Request`.
    reasoning_effort, reasoning_summary, verbosity: provider words, sent where the provider has them.
    prompt_cache: Let the provider keep the prompt for the next call: True, for how long ("5m", "1h"), or False.
    prompt_cache_key: What calls with the same beginning have in common, where the provider routes by it (OpenAI).
    cached_content: A `Cache` of `allm.caches` that the call goes on from; what it has is not sent again (Gemini).
    api_key: For this call; wins over every other place.
    headers: Sent with the request; each replaces the adapter's of the same name. base_url: where to send it.
    request_timeout: Limit of the whole call, retries included; none by default.
    first_event_timeout, stream_timeout: Longest wait for the first event (300) and between two events (300).
    request_id, session_id: your own ids, for tracing. context: passed to tool handlers, over the engine's.
    retry: What happens when the call fails before its first content; None never retries.
    mode: "auto" runs tools, "manual" hands their calls to the caller. max_turns: model calls of one turn (8).
    before_step: function of a `StepInput`, asked before each model call of a turn; returns `StepChanges` or None.
    halt_when: function of a `StepResult` that ends the turn. on_tool_error: "continue", "halt", or a function of
        (tool_call, error). tool_timeout: limit of one tool call (30). max_concurrency: calls that run at once (all).
    compact: function of the `Thread`, asked when it comes near to the model's limit, and once when the provider says
        that it is too long; returns what is sent in its place. What is kept stays whole. See `allm.compact`.
    output_mode: How the model is asked for an answer that fits `response_format`: "native", as a "tool" that it has to
        call, "prompted" in its instructions, or the first of these that it has ("auto"). Without a schema of no effect.
    tool_mode: How the model gets its tools: "native", "prompted" in its instructions, or natively unless it is known to
        have none ("auto").
    structured_finalize: Run the tools without the format first, then make one call with it.
    structured_finalize_nudge: The message of that call; "" for none.
    validation_retries: How often to ask again when the answer does not fit the type in `response_format` (0).
    on_event: Called with every adapter event, before the filters.
    emit_text_deltas, emit_tool_deltas, include_raw_chunks: Which events the stream shows; the result is not affected.
    """

    response_format: ResponseFormat[OutputT] | None


@frozen(kw_only=True)
class ExecutionOptions:
    """The options that steer the execution itself; the field defaults are the library's defaults."""

    mode: str = "auto"
    max_turns: int = 8
    before_step: BeforeStep | None = None
    halt_when: HaltWhen | None = None
    compact: Compact | None = None
    on_tool_error: OnToolError = "continue"
    tool_timeout: float | None = 30.0
    max_concurrency: int | None = None
    context: Mapping[str, Any] = attrs.field(factory=dict)
    session_id: str | None = None
    request_id: str | None = None
    structured_finalize_nudge: str = "Now provide your final structured response."
    output_mode: str = "auto"
    tool_mode: str = "auto"
    validation_retries: int = 0
    emit_text_deltas: bool = True
    emit_tool_deltas: bool = True
    include_raw_chunks: bool = False
    on_event: OnEvent | None = None
    request_timeout: float | None = None
    first_event_timeout: float | None = 300.0
    stream_timeout: float | None = 300.0
    retry: RetryPolicy | None = DEFAULT_RETRY
