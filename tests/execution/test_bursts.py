"""Events that came together are folded together, to what each of them by itself is folded to."""

from __future__ import annotations

import itertools

import attrs
import pytest
from hypothesis import given, strategies as st

import allm
from allm.data.message_builder import deltas_of
from allm.execution.answer_check import AnswersFold
from allm.execution.stream.fold import Hidden
from allm.execution.stream.folds import ChatFold, StepFold, StreamCollector, fold_burst

IDS = st.sampled_from(["a", "b"])
TEXTS = st.sampled_from(["x", "yy", ""])
EVENTS = st.one_of(
    st.builds(allm.TextDelta, IDS, TEXTS, st.booleans()),
    st.builds(allm.ReasoningDelta, IDS, TEXTS),
    st.builds(allm.ToolCallDelta, IDS, TEXTS),
    st.builds(allm.ToolCallStarted, IDS, TEXTS),
    st.builds(allm.TextCompleted, IDS, TEXTS),
    st.builds(allm.ReasoningCompleted, IDS, TEXTS),
    st.just(allm.UsageReported(allm.Usage(output_tokens=3))),
    st.just(allm.RawChunk("chunk")),
    st.just(allm.MessageStarted(id="r")),
)
RUNS = st.lists(st.tuples(EVENTS, st.integers(1, 6)).map(lambda run: [run[0]] * run[1]), max_size=8)
FOLDS = {
    "response": StreamCollector,
    "step": lambda: StepFold(allm.Thread()),
    "turn": lambda: ChatFold(allm.Thread()),
    "answers": lambda: AnswersFold(None),
}


@pytest.mark.parametrize("kind", FOLDS)
@given(runs=RUNS, cuts=st.sets(st.integers(0, 40)), hidden=st.booleans())
def test_a_fold_of_bursts(kind, runs, cuts, hidden):
    """However events are cut into bursts, and whether a filter hides them, the result is the same."""
    events = [event for run in runs for event in run]
    single, burst = FOLDS[kind](), FOLDS[kind]()
    for event in events:
        single.add(event)
    marks = [0, *sorted(cut for cut in cuts if cut < len(events)), len(events)]
    for begin, end in itertools.pairwise(marks):
        some = events[begin:end]
        fold_burst(burst, map(Hidden, some) if hidden else some)
    assert burst.result() == single.result()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 100])
@pytest.mark.parametrize("kind", [allm.TextDelta, allm.ReasoningDelta, allm.ToolCallDelta])
def test_deltas_made_together(kind, count):
    """They are equal to those made one by one, in every field, and as frozen."""
    texts = [f"é{n} " for n in range(count)]
    made = deltas_of(kind, "b", texts)
    assert made == [kind("b", text) for text in texts]
    assert [attrs.asdict(delta) for delta in made] == [attrs.asdict(kind("b", text)) for text in texts]
    for delta in made[:1]:
        assert hash(delta) == hash(kind("b", texts[0]))
        assert repr(attrs.evolve(delta, id="c")) == repr(kind("c", texts[0]))
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delta.id = "c"


class Burst:
    """An adapter that emits a whole response as one burst."""

    provider = "burst"
    requires_model = False

    def prepare(self, request, options):
        """Nothing to prepare."""

    async def stream(self, prepared, emit):
        """Emit it."""
        texts = [allm.TextDelta("t", f"{n} ") for n in range(9)]
        message = allm.assistant("".join(text.delta for text in texts))
        thoughts = [allm.ReasoningDelta("r", "why"), allm.ReasoningDelta("r", " not")]
        await emit(allm.MessageStarted(), *thoughts, *texts, allm.MessageCompleted(message, "stop"))


ENGINE = allm.Engine(adapter=Burst())


async def test_the_result_is_always_that_of_what_was_read():
    """After each event, whatever of its burst is still waiting."""
    alone = StreamCollector()
    async with allm.stream_generate(ENGINE, "hi") as events:
        async for event in events:
            alone.add(event)
            assert events.result() == alone.response()
    assert events.result().finish_reason == "stop"


async def test_hidden_events_are_read_with_the_next_visible_one():
    """They are in the result from then on, and not before."""
    seen = []
    async with allm.stream_generate(ENGINE, "hi", emit_text_deltas=False) as events:
        async for event in events:
            seen.append((type(event), len(events.result().output_text)))
    assert seen == [
        (allm.MessageStarted, 0),
        (allm.ReasoningDelta, 0),
        (allm.ReasoningDelta, 0),
        (allm.MessageCompleted, 18),
    ]


async def test_leaving_within_a_burst():
    """What was read before is in the result, and what was waiting is not."""
    async with allm.stream_generate(ENGINE, "hi") as events:
        async for event in events:
            if getattr(event, "delta", "") == "4 ":
                break
    assert events.result().output_text == "0 1 2 3 4 "
