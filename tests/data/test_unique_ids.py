"""Unique ids for the calls of a response."""

from __future__ import annotations

from hypothesis import given, strategies as st

from allm.data.message_builder import UniqueIds

SENT = st.none() | st.text(max_size=3) | st.sampled_from(["call_0", "call_1", "item_1"])


@given(st.lists(SENT, max_size=12), st.frozensets(SENT.filter(bool)))
def test_ids_are_unique_and_kept_where_they_can_be(sent, taken):
    """The provider's id is kept unless it is missing or a duplicate."""
    ids = UniqueIds(taken)
    given_ids = [ids.new(one) for one in sent]
    assert len(set(given_ids)) == len(given_ids)
    assert not taken.intersection(given_ids)
    for place, one in enumerate(sent):
        if one and one not in taken and one not in given_ids[:place]:
            assert given_ids[place] == one


def test_ids_that_are_made_up_count_the_answers_own():
    """They contain what they identify and a number."""
    ids = UniqueIds()
    assert [ids.new(None), ids.new("a"), ids.new("a"), ids.new("", "item")] == ["call_0", "a", "call_2", "item_3"]
