"""One response, and the usage of several."""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest

import allm

KNOWN = allm.Usage(input_tokens=10, output_tokens=5, input_cost=0.25, output_cost=0.5, total_cost=0.75)
COSTS = ("input_cost", "output_cost", "total_cost")


def costs(usage):
    return tuple(getattr(usage, name) for name in COSTS)


@pytest.mark.parametrize("unknown", [allm.Usage(input_tokens=3), allm.Usage(output_tokens=1, extra={"searches": 1})])
def test_a_total_that_leaves_a_cost_out_is_unknown(unknown):
    """An unknown cost makes the sum unknown, but tokens are still added."""
    for total in (KNOWN + unknown, unknown + KNOWN, allm.Usage() + unknown + KNOWN):
        assert costs(total) == (None, None, None)
        assert total.input_tokens == 10 + (unknown.input_tokens or 0)


def test_a_total_of_totals_has_only_the_costs_that_all_have():
    """The parts of a sum are unknown if one cost has only a total."""
    assert costs(KNOWN + allm.Usage(input_tokens=3, total_cost=0.25)) == (None, None, 1.0)
    assert costs(KNOWN + KNOWN) == (0.5, 1.0, 1.5)


@pytest.mark.parametrize("nothing", [allm.Usage(), allm.Usage(input_tokens=0, output_tokens=0)])
def test_a_call_that_used_nothing_leaves_the_costs_as_they_are(nothing):
    """Such as one that failed before the model read it."""
    assert costs(KNOWN + nothing) == costs(nothing + KNOWN) == costs(KNOWN)


def test_counts_that_no_call_reported_stay_unknown():
    """A reported 0 stays 0; a provider's own counts are added if both are numbers."""
    first = allm.Usage(input_tokens=0, extra={"searches": 1, "tier": "default", "first": 1})
    total = first + allm.Usage(output_tokens=2, extra={"searches": 2, "tier": "flex"})
    assert (total.input_tokens, total.output_tokens, total.cached_input_tokens) == (0, 2, None)
    assert total.extra == {"searches": 3, "tier": "flex", "first": 1}


def test_parsed_needs_a_class():
    """From the response, or as an argument."""
    with pytest.raises(allm.ValidationError, match="make the call with response_format") as caught:
        allm.Response(message=allm.assistant("{}")).parsed()
    assert caught.value.errors == (((), "missing_output_type"),)
    assert allm.Response(message=allm.assistant("{}"), output_type=dict).parsed() == {}


class Importable:
    """A class that pickle finds by its name."""


class Recorder:
    """What IPython prints with."""

    def text(self, text):
        self.printed = text


def shown(value):
    """What a notebook shows of a value."""
    recorder = Recorder()
    value._repr_pretty_(recorder, False)  # noqa: FBT003  IPython's protocol
    return recorder.printed


def test_a_response_travels_with_a_class_that_has_a_name():
    """Pickling leaves out a class that is local to a function."""

    class Local:
        pass

    for output_type, expected in ((Local, None), (Importable, Importable), (None, None)):
        response = allm.Response(message=allm.assistant("{}"), output_type=output_type, metadata={"a": [1]})
        again = pickle.loads(pickle.dumps(response))  # noqa: S301  our own
        assert (again, again.output_type) == (response, expected)
        nested = allm.StepResult(thread=allm.Thread(), response=response)
        assert pickle.loads(pickle.dumps(nested)) == nested  # noqa: S301


def results_of(response):
    """The response, and values that hold it."""
    step = allm.StepResult(thread=allm.Thread(), response=response)
    chat = allm.ChatResult(thread=allm.Thread(), final_response=response, steps=[step])
    return [response, step, chat, allm.ChatCompleted(chat)]


def response_in(value):
    result = value.result if isinstance(value, allm.ChatCompleted) else value
    match result:
        case allm.ChatResult(final_response=response):
            assert response is result.steps[0].response
            return response
        case allm.StepResult(response=response):
            return response
    return result


@pytest.mark.parametrize("index", range(4), ids=["Response", "StepResult", "ChatResult", "event"])
def test_a_copy_keeps_the_class(index):
    """Even one local to a function, in each value that holds a response."""

    @attrs.frozen
    class Local:
        x: int

    response = allm.Response(message=allm.assistant('{"x": 1}'), output_type=Local, metadata={"a": [1]})
    value = results_of(response)[index]
    for again in (copy.copy(value), copy.deepcopy(value)):
        assert again == value
        assert response_in(again).parsed() == Local(1)
    assert response_in(copy.deepcopy(value)).metadata["a"] is not response.metadata["a"]


@pytest.mark.parametrize("index", range(4), ids=["Response", "StepResult", "ChatResult", "event"])
def test_a_pickle_leaves_out_a_class_that_it_cannot_name(index):
    """The error then says to pass the class, which works."""

    @attrs.frozen
    class Local:
        x: int

    value = results_of(allm.Response(message=allm.assistant('{"x": 1}'), output_type=Local))[index]
    again = pickle.loads(pickle.dumps(value))  # noqa: S301  our own
    assert again == value
    with pytest.raises(
        allm.ValidationError, match="from JSON has none, nor has one from a pickle if it cannot"
    ) as caught:
        response_in(again).parsed()
    assert caught.value.errors == (((), "missing_output_type"),)
    assert response_in(again).parsed(Local) == Local(1)


def test_a_response_in_one_line():
    """The beginning of a long text, and the known facts."""
    usage = allm.Usage(input_tokens=12)
    response = allm.Response(message=allm.assistant("word " * 99), finish_reason="stop", model="m", usage=usage)
    beginning = ("word " * 16).rstrip()
    assert shown(response) == f"Response('{beginning}…', finish_reason='stop', model='m', usage='12 in, ? out')"
    failed = allm.Response(
        message=allm.assistant(allm.ToolCall("c", "add", {})),
        finish_reason="error",
        error=allm.AdapterError("busy", reason="overloaded"),
    )
    assert shown(failed) == "Response('', tool_calls=('add',), finish_reason='error', error='overloaded')"


def test_a_turn_in_one_line():
    """Its text, why it ended, and its usage."""
    response = allm.Response(message=allm.assistant("Zug"), finish_reason="stop", model="m")
    step = allm.StepResult(thread=allm.Thread(), response=response)
    usage = allm.Usage(input_tokens=1, output_tokens=2)
    result = allm.ChatResult(thread=allm.Thread(), final_response=response, steps=(step,), usage=usage)
    assert shown(result) == "ChatResult('Zug', halted_reason='completed', steps=1, model='m', usage='1 in, 2 out')"
    assert shown(allm.ChatResult(thread=allm.Thread())) == "ChatResult('', halted_reason='completed', steps=0)"


def test_a_turn_gives_the_parsed_output_of_its_last_response():
    """As the response itself; a turn without one says so."""

    @attrs.frozen
    class Point:
        x: int

    response = allm.Response(message=allm.assistant('{"x": 1}'), finish_reason="stop", output_type=Point)
    result = allm.ChatResult(thread=allm.Thread(), final_response=response)
    assert result.parsed() == Point(1)
    assert result.parsed(dict[str, int]) == {"x": 1}
    with pytest.raises(allm.ValidationError, match="ended before the model was called"):
        allm.ChatResult(thread=allm.Thread()).parsed()


def test_the_counts_of_each_modality_add_up():
    """Lists of counts are added by what they count, and objects of counts field by field."""

    def of(**counts):
        details = [{"modality": modality, "tokenCount": count} for modality, count in counts.items()]
        return allm.Usage(extra={"promptTokensDetails": details, "server_tool_use": {"searches": 1}})

    total = of(TEXT=3, AUDIO=4) + of(TEXT=2, IMAGE=7) + allm.Usage(extra={"promptTokensDetails": []})
    assert total.extra == {
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 5},
            {"modality": "AUDIO", "tokenCount": 4},
            {"modality": "IMAGE", "tokenCount": 7},
        ],
        "server_tool_use": {"searches": 2},
    }
    assert (allm.Usage(extra={"x": [1, 2]}) + allm.Usage(extra={"x": [3]})).extra == {"x": [3]}


def test_parsed_of_a_failed_call_names_the_failure():
    """What is there of the answer is no JSON, because the call failed: both are told, the failure as the cause."""
    failure = allm.AdapterError("the line went dead", reason="network_error", provider="fake")
    response = allm.Response(message=allm.assistant('{"city": "Zu'), finish_reason="error", error=failure)
    with pytest.raises(allm.ValidationError, match=r"(?s)the call failed: the line went dead.*JSON") as caught:
        response.parsed(dict[str, str])
    assert caught.value.reason == "invalid_output"
    assert caught.value.__cause__ is failure


def test_parsed_of_an_answer_that_was_whole_before_the_failure():
    """It is there, so it is given."""
    failure = allm.AdapterError("the line went dead", reason="network_error")
    response = allm.Response(message=allm.assistant('{"city": "Zug"}'), finish_reason="error", error=failure)
    assert response.parsed(dict[str, str]) == {"city": "Zug"}


@pytest.mark.parametrize(
    "result", [allm.Response(message=allm.assistant("7")), allm.ChatResult(thread=allm.Thread([allm.user("A prime?")]))]
)
def test_names_of_other_libraries_are_pointed_to_the_ones_here(result):
    """What is the text elsewhere is an error that says what it is here; any other name is the usual error."""
    for name in ("text", "content", "choices"):
        with pytest.raises(AttributeError, match=rf"has no attribute '{name}': .*output_text"):
            getattr(result, name)
    with pytest.raises(AttributeError, match=r"object has no attribute 'txet'$") as caught:
        result.txet  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("txet", result)
    assert not hasattr(result, "text")
