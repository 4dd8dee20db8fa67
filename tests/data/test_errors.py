"""Errors are values: they compare, can be pickled, and show their fields."""

from __future__ import annotations

import copy
import pickle

import pytest

import allm
from allm.data.errors import render_path
from allm.data.json.tags import ERROR_TYPES

LIMITED = allm.AdapterError("slow down", reason="rate_limited", provider="openai", retry_after=2.0)
ERRORS = [
    LIMITED,
    allm.ValidationError([(("messages", 0), "invalid_type")]),
    allm.OptionError("no such option", option="models"),
    allm.EngineError("no key", reason="missing_key"),
    allm.ToolError("failed", reason="handler_raised", tool_name="add"),
    allm.SessionError("away", reason="unavailable", session=allm.Session(id="a"), retryable=False),
    allm.SessionConflict("newer", session=allm.Session(id="a"), version=3),
    allm.EmbeddingAdapterError("cut off", completed_inputs=2),
    allm.UnwrapError("not done", reason="non_stop_finish", finish_reason="length"),
]


ERRORS += [
    allm.EngineError("no key", reason="missing_key", provider="acme", variables=["ACME_KEY"]).advised(
        ": pass api_key="
    ),
    allm.ValidationError([(("a",), "b")], message="no").advised("; leave a out"),
]


def pickled(value):
    """The value after a pickle."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301  our own


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_travels_to_another_process(error):
    """After pickling it is equal, with every field and the same hash."""
    again = pickled(error)
    assert (again, hash(again), repr(again), str(again)) == (error, hash(error), repr(error), str(error))
    assert again is not error


@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_advice_travels_along(error, again):
    """The end of a message that is for those who write Python stays apart."""
    advised = again(pickled(error).advised("; or wait"))
    assert advised.problem == error.problem
    assert advised.message == str(advised.args[0]) == f"{error.message}; or wait"
    assert getattr(again(error), "variables", ()) == getattr(error, "variables", ())


@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_notes_travel_along(error, again):
    """In the order in which they were added, also of an error inside a value; a copy has notes of its own."""
    noted = pickled(error)
    noted.add_note("while planning the trip")
    noted.add_note("on day 2")
    session = allm.Session(status="error", error=noted)
    conflict = allm.SessionConflict("newer", session=session, version=2)
    group = ExceptionGroup("two", [noted, ValueError("x")])
    for found in (again(noted), again(session).error, again(conflict).session.error, again(group).exceptions[0]):
        assert found == noted
        assert found.__notes__ == ["while planning the trip", "on day 2"]
    twin = again(noted)
    twin.add_note("later")
    assert len(noted.__notes__) == 2
    assert not hasattr(again(error), "__notes__")


class WithCode(allm.ToolError):
    """An error with a constructor and a field of its own."""

    def __init__(self, code):
        super().__init__(f"code {code}", reason="handler_raised")
        self.code = code


@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test_an_error_of_a_users_class_travels_too(again):
    """Whatever its constructor takes, with its own attributes."""
    found = again(WithCode(3))
    assert (type(found), found, found.code, str(found)) == (WithCode, WithCode(3), 3, "code 3")


def test_errors_of_different_classes_differ():
    """Even if one derives from the other."""
    image = allm.ImageAdapterError("slow down", reason="rate_limited", provider="openai", retry_after=2.0)
    assert image != LIMITED
    assert LIMITED != "slow down"
    assert allm.AdapterError("slow down", reason="rate_limited") != LIMITED


def test_repr_shows_what_is_known():
    """Fields that are None are left out."""
    assert repr(LIMITED) == (
        "AdapterError(message='slow down', reason='rate_limited', provider='openai', retry_after=2.0, retryable=True)"
    )


@pytest.mark.parametrize("cls", [cls for cls in ERROR_TYPES.values() if cls.reasons])
def test_a_reason_that_there_is_not(cls):
    """An unknown reason is rejected at once."""
    with pytest.raises(ValueError, match=f"{cls.__name__} has no reason 'tired'; expected one of"):
        cls("x", reason="tired")


def test_paths_are_rendered_as_one_writes_them():
    """Names have dots, indexes brackets."""
    assert render_path(("messages", 2, "role")) == "messages[2].role"
    assert render_path(()) == "value"


def test_problems_travel_with_their_sentences():
    """Through pickling and JSON."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.validate(allm.request("hi", temperature=9))
    error = caught.value
    [problem] = error.problems
    assert problem == allm.Problem(("temperature",), "out_of_range", "is 9; expected a number from 0 to 2")
    for again in (pickled(error), allm.from_json(allm.to_json(error))):
        assert (again, again.problems, str(again)) == (error, error.problems, str(error))


def test_pairs_alone_make_an_error_too():
    """Without a sentence the tag is used, in the message and in the problems."""
    error = allm.ValidationError([(("a", 0), "unknown"), ((), "empty")])
    assert error.problems == (allm.Problem(("a", 0), "unknown", "unknown"), allm.Problem((), "empty", "empty"))
    assert str(error) == "a[0]: unknown; empty"


def test_a_session_that_could_not_be_saved_goes_with_its_error():
    """Through pickle, a copy and JSON; the repr does not print a conversation."""
    session = allm.Session(id="a", thread=allm.Thread([allm.user("go")]))
    error = allm.SessionError("away", reason="unavailable", session=session)
    assert error.retryable
    assert not allm.SessionError("no", reason="conflict").retryable
    assert "go" not in repr(error)
    for same in (pickle.loads(pickle.dumps(error)), copy.copy(error), allm.from_json(allm.to_json(error))):  # noqa: S301
        assert (same, same.session, same.retryable) == (error, session, True)
