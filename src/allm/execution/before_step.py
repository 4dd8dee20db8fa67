"""Ask `before_step` what to change about a model call, check the answer, and apply it."""

from __future__ import annotations

from collections.abc import Mapping, Set as AbstractSet
from typing import Any

import attrs

from allm.data.errors import OptionError, Problem, ValidationError
from allm.data.message import Message, Thread, system, thread_problems
from allm.data.problems import nearest, refuse
from allm.data.request import request_problems
from allm.data.results import StepResult
from allm.data.step_changes import StepChanges
from allm.data.tool import as_saved
from allm.data.tool_layers import ToolLayers, offered
from allm.data.user_functions import call_user
from allm.execution.options import ModelCall, check_answered
from allm.runtime.call_options import StepInput
from allm.runtime.option_table import check_options, merged_options

__all__ = ["CHANGES", "added_by", "ask", "changed_call"]

_NAMES = tuple(field.name for field in attrs.fields(StepChanges))
CHANGES = frozenset(_NAMES)
"""What a function may change."""
_OPTIONS = ("model", "tools", "tool_choice")


async def ask(call: ModelCall, thread: Thread, *, index: int, last: StepResult | None, final: bool) -> Any:
    """What `before_step` of the call returns.

    Raises:
        Exception: The function raised it.
    """
    options, request = call.execution_options, call.request
    assert options.before_step is not None  # noqa: S101  (asked only if there is one)
    return await call_user(
        options.before_step,
        StepInput(
            index=index,
            thread=thread,
            tools=request.tools,
            model=request.model,
            tool_choice=request.tool_choice,
            last=last,
            final=final,
            context=dict(options.context),
        ),
    )


def _checked(given: Any) -> StepChanges:
    """What the function returned, checked by the rules of options and messages."""
    changes = _as_changes(given)
    options = {name: getattr(changes, name) for name in _OPTIONS if getattr(changes, name) is not None}
    try:
        check_options(options)
    except OptionError as error:
        raise _wrong(error.message, error.option) from None
    if changes.instructions is not None and not isinstance(changes.instructions, str):
        raise _wrong(f"instructions of type {type(changes.instructions).__name__}; expected str", "instructions")
    for index, message in enumerate(changes.messages):
        if message.role == "tool" or message.tool_calls:
            what = "is a tool result or has tool calls; before_step adds messages without either"
            raise ValidationError([Problem(("messages", index), "invalid_role", what)], reason="invalid_thread")
    if "tools" in options:
        tools = merged_options([{"tools": changes.tools}])["tools"]
        changes = attrs.evolve(changes, tools=tools.known() if isinstance(tools, ToolLayers) else tools)
    return changes


def _as_changes(given: Any) -> StepChanges:
    if given is None:
        return StepChanges()
    if isinstance(given, StepChanges):
        return given
    if not isinstance(given, Mapping):
        raise _wrong(f"{type(given).__name__}; expected None, StepChanges(...) or a dict of its fields", "before_step")
    fields: dict[str, Any] = {str(name): value for name, value in given.items() if value is not None}
    for name in fields:
        if name not in _NAMES:
            near = nearest(name, _NAMES)
            hint = f"did you mean {near[0]!r}?" if near else f"expected some of: {', '.join(_NAMES)}"
            what = f"before_step returned the unknown name {name!r}; {hint}"
            raise OptionError(what, reason="unknown_option", option=name)
    return StepChanges(**fields)


def _wrong(what: str, option: str | None) -> OptionError:
    return OptionError(f"before_step returned {what}", reason="invalid_type", option=option)


def changed_call(call: ModelCall, thread: Thread, given: Any, *, only: AbstractSet[str] = CHANGES) -> ModelCall:
    """The call as `before_step` changes it; messages of its own are the caller's to add to the conversation.

    Args:
        thread: The conversation so far.
        given: What the function returned.
        only: Which of its changes take effect.

    Raises:
        OptionError, ValidationError: It cannot be used, or the request would be invalid.
    """
    changes = _checked(given)
    changes = StepChanges(**{name: getattr(changes, name) for name in only})
    sent = (changes.thread or thread).add(*changes.messages)
    if changes.instructions is not None:
        sent = attrs.evolve(sent, messages=_instructed(sent.messages, changes.instructions))
    refuse(thread_problems(sent), reason="invalid_thread")
    check_answered(sent)
    fields: dict[str, Any] = {"messages": sent.messages}
    if changes.model is not None:
        fields["model"] = changes.model
    if changes.tools is not None:
        fields["tools"] = tools = offered(changes.tools)
        if not tools:
            fields["tool_choice"] = None  # there is nothing to choose from
    if changes.tool_choice is not None:
        fields["tool_choice"] = changes.tool_choice
    request = attrs.evolve(call.request, **fields)
    refuse(request_problems(request))
    defaulted = call.defaulted - {(name,) for name in fields}
    if changes.tools is not None:  # a step can be saved, and functions cannot
        changes = attrs.evolve(changes, tools=tuple(map(as_saved, changes.tools)))
    return attrs.evolve(call, request=request, defaulted=defaulted, changes=changes)


def added_by(call: ModelCall) -> tuple[Message, ...]:
    """The messages that `before_step` added to the conversation."""
    return call.changes.messages if call.changes is not None else ()


def _instructed(messages: tuple[Message, ...], text: str) -> tuple[Message, ...]:
    others = tuple(message for message in messages if message.role != "system")
    return (system(text), *others) if text else others
