"""The causes of a halt, as values."""

from __future__ import annotations

from typing import get_args

import attrs
import pytest

import allm
from allm.data.results import RESERVED_REASONS, CallHalt, ToolOutcome, first_halt

WHICH, WHEN = allm.PendingQuestion("Which?", "c1", hints={"choices": [1, 2]}), allm.PendingQuestion("When?", "c2")
FAILED = allm.ToolFailed(allm.ToolError("no", reason="handler_raised", tool_name="pay", tool_call_id="c3"))
OWN = allm.HandlerHalted("sold_out", "c4", '{"left":0}')
MANUAL = allm.ManualCalls([allm.ToolCall("c5", "pay", {})])
RESULT = allm.tool_result("c1", "x")


def outcomes(*halts):
    return [ToolOutcome(message=RESULT, halt=halt) for halt in halts]


def test_each_cause_has_the_reason_of_its_turn():
    """`halt.reason` is the halted_reason, and a handler's own is not reserved."""
    causes = [allm.UserAsked([WHICH]), FAILED, OWN, MANUAL]
    assert {type(cause) for cause in causes} == set(get_args(allm.HaltCause))
    assert [cause.reason for cause in causes] == ["ask_user", "tool_error", "sold_out", "manual_tool_calls"]
    assert {cause.reason for cause in causes} - RESERVED_REASONS == {"sold_out"}
    assert set(get_args(CallHalt)) == set(get_args(allm.HaltCause)) - {allm.ManualCalls}


@pytest.mark.parametrize(
    ("halts", "expected"),
    [
        ([], None),
        ([None, None], None),
        ([None, OWN, FAILED], OWN),
        ([FAILED, allm.UserAsked([WHICH])], FAILED),
        ([allm.UserAsked([WHICH]), None, OWN, allm.UserAsked([WHEN])], allm.UserAsked([WHICH, WHEN])),
    ],
)
def test_the_first_call_that_halts_counts(halts, expected):
    """In call order; if it asks the user, the questions of the other calls are kept."""
    assert first_halt(outcomes(*halts)) == expected


@pytest.mark.parametrize("halt", [allm.UserAsked([WHICH, WHEN]), FAILED, OWN, MANUAL, None], ids=repr)
def test_a_result_takes_its_halt_along(halt):
    """The halt of a step or a turn survives JSON."""
    step = allm.StepResult(thread=allm.Thread(), response=allm.Response(message=allm.assistant("x")), halt=halt)
    result = allm.ChatResult(thread=allm.Thread(), steps=[step], halt=halt)
    assert allm.from_json(allm.to_json(result)) == result


def test_no_halt_may_be_spelled_out():
    """A document with `"halt": null` is read like one without it."""
    text = allm.to_json(ToolOutcome(message=RESULT))
    assert allm.from_json(text[:-1] + ',"halt":null}') == ToolOutcome(message=RESULT)


@pytest.mark.parametrize("halt", ['{"type": "Halt", "reason": "x"}', '{"type": "ManualCalls", "tool_calls": []}', "7"])
def test_another_kind_of_halt_is_refused(halt):
    """A single call cannot have the halt `ManualCalls`."""
    text = allm.to_json(ToolOutcome(message=RESULT))
    with pytest.raises(allm.ValidationError) as caught:
        allm.from_json(f'{text[:-1]},"halt":{halt}}}')
    assert caught.value.errors == ((("halt",), "malformed_value"),)


def test_views_of_a_result_come_from_its_halt_and_its_steps():
    """The first question, and calls without a result, each once."""
    result = allm.ChatResult(thread=allm.Thread(), halt=allm.UserAsked([WHICH, WHEN]))
    assert result.pending_questions == (WHICH, WHEN)
    assert (result.pending_question, result.pending_tool_call_id) == ("Which?", "c1")
    assert attrs.evolve(result, halt=OWN).pending_question is None
    assert result.manual_tool_calls == ()
    calls = [allm.ToolCall(id, "pay", {}) for id in ("c1", "c5", "c5")]
    response = allm.Response(message=allm.assistant(*calls))
    step = allm.StepResult(thread=allm.Thread(), response=response, tool_results=[RESULT])
    assert step.manual_tool_calls == attrs.evolve(result, steps=[step]).manual_tool_calls == (calls[1],)
