"""What telemetry is told of calls and answers: facts as attributes, and content for those handlers that ask for it.

Nothing here runs without a handler.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from allm.data.content import ToolCall
from allm.data.response import Response
from allm.data.results import ChatResult, StepResult, ToolOutcome

if TYPE_CHECKING:
    from allm.execution.options import ModelCall

__all__ = ["answer_content", "call_arguments", "call_content", "call_facts", "response_facts", "tool_result"]

_OF_REQUEST = ("max_tokens", "temperature", "top_p", "stop", "seed", "service_tier", "reasoning_effort")


def call_facts(call: ModelCall, *, validation_retries: int = 0) -> dict[str, Any]:
    """Of a call: provider, model, the kind of a group of engines, the parameters, and the ids of the caller.

    Args:
        validation_retries: How often it may ask again, each time with a model call that has a span of its own.
    """
    facts: dict[str, Any] = {"provider": call.adapter.provider, "model": call.request.model}
    options = call.execution_options
    given = {name: getattr(call.request, name, None) for name in _OF_REQUEST}
    given |= {"session_id": options.session_id, "request_id": options.request_id}
    given["validation_retries"] = validation_retries or None
    given["group"] = getattr(call.engine, "kind", None)
    if call.request.response_format is not None:
        given["output_type"] = "json"
    return facts | {name: value for name, value in given.items() if value is not None and value != ()}


def call_content(call: ModelCall) -> Mapping[str, Any]:
    """What the model is sent."""
    tools = tuple(
        {"name": tool.name, "description": tool.description, "parameters": tool.schema} for tool in call.request.tools
    )
    return {"messages": call.request.messages, **({"tools": tools} if tools else {})}


def response_facts(response: Response) -> dict[str, Any]:
    """How a model call ended."""
    return {
        "finish_reason": response.finish_reason,
        "usage": response.usage,
        "error": response.error,
        "response_id": response.id,
        "response_model": response.model,
    }


def answer_content(result: Any) -> Mapping[str, Any]:
    """What a model answered: in a response, a step or a turn, also in a part of one."""
    if isinstance(result, ChatResult):
        result = result.final_response
    if isinstance(result, StepResult):
        result = result.response
    return {"message": result.message} if isinstance(result, Response) else {}


def call_arguments(call: ToolCall) -> Mapping[str, Any]:
    """What the model called a tool with."""
    return {"arguments": call.raw_arguments if call.arguments is None else call.arguments}


def tool_result(outcome: ToolOutcome) -> Mapping[str, Any]:
    """The message that the model gets for its tool call."""
    return {"result": outcome.message}
