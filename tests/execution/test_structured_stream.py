"""Structured output while it streams: snapshots and items, their errors, their order, and leaving early."""

from __future__ import annotations

import json
from typing import Annotated

import annotated_types
import attrs
import pydantic
import pytest
import trio

import allm
from allm import fake
from allm.testing import cancel_everywhere


@attrs.frozen
class Trip:
    city: str
    days: Annotated[int, annotated_types.Ge(1)] = 1


@attrs.frozen
class Plan:
    title: str
    trips: list[Trip]


class PydanticTrip(pydantic.BaseModel):
    city: str


class PydanticPlan(pydantic.BaseModel):
    title: str
    trips: list[PydanticTrip] = pydantic.Field(alias="all")


class PydanticTrips(pydantic.RootModel[list[PydanticTrip]]):
    pass


@attrs.frozen
class Lists:
    names: list[str]
    trips: list[Trip]


TWO = '[{"city": "Zug", "days": 2}, {"city": "Be]rn"}]'


def engine(*pieces, **fields):
    """An engine whose provider sends the pieces a second apart; what is no text is another item of its script."""
    script = []
    for piece in pieces:
        script += [fake.delay(1), fake.text(piece) if isinstance(piece, str) else piece]
    return allm.Engine(adapter=allm.providers.Fake(script=script), **fields)


async def elements(engine, wanted, *item, **options):
    async with allm.stream_generate(engine, "hi", response_format=wanted) as events:
        return [found async for found in events.elements(*item, **options)]


async def partial(engine, wanted=None, **options):
    async with allm.stream_generate(engine, "hi", response_format=wanted) as events:
        return [found async for found in events.partial_output(**options)]


# --- items ------------------------------------------------------------------------------------------------------------


async def test_items_come_while_the_answer_streams(autojump_clock):
    """Each with the piece that completes it; the result is that of the stream without them."""
    pieces = ['{"value": [{"city": "Z', 'ug", "days": 2}, {"ci', 'ty": "Be]rn"}', "]", "}"]
    found = []
    async with allm.stream_generate(engine(*pieces), "hi", response_format=list[Trip]) as events:
        async for trip in events.elements():
            found.append((trip, trio.current_time() // 1))
    begin = found[0][1]
    assert [(trip, at - begin) for trip, at in found] == [(Trip("Zug", 2), 0), (Trip("Be]rn"), 1)]
    assert events.result().parsed() == [Trip("Zug", 2), Trip("Be]rn")]


@pytest.mark.parametrize(
    ("wanted", "text", "item", "expected"),
    [
        (list[Trip], TWO, [], [Trip("Zug", 2), Trip("Be]rn")]),
        (list[Trip], '{"value": []}', [], []),
        (tuple[Trip, ...], TWO, [], [Trip("Zug", 2), Trip("Be]rn")]),
        (set[int], "[3, 4]", [], [3, 4]),
        (tuple[int, Trip], '[3, {"city": "Zug"}]', [], [3, Trip("Zug")]),
        (tuple[int, Trip], '[3, {"city": "Zug"}, "one too many"]', [], [3, Trip("Zug"), "one too many"]),
        (Annotated[list[int], pydantic.AfterValidator(sorted)], "[2, 1]", [], [2, 1]),
        (list[list[int]], "[[1], [], [2, 3]]", [], [[1], [], [2, 3]]),
        (Annotated[list[Trip] | None, "the trips"], TWO, [], [Trip("Zug", 2), Trip("Be]rn")]),
        (list[Trip] | None, '{"value": null}', [], []),
        (list[Trip] | str, '{"value": "none"}', [], []),
        (Plan, f'{{"title": "a [b", "trips": {TWO}}}', [], [Trip("Zug", 2), Trip("Be]rn")]),
        (PydanticPlan, '{"title": "a", "all": [{"city": "Zug"}]}', [], [PydanticTrip(city="Zug")]),
        (PydanticTrips, '{"value": [{"city": "Zug"}]}', [], [PydanticTrip(city="Zug")]),
        (PydanticTrips, '[{"city": "Zug"}]', [], [PydanticTrip(city="Zug")]),
        (Lists, f'{{"names": ["a"], "trips": {TWO}}}', [Trip], [Trip("Zug", 2), Trip("Be]rn")]),
        (Lists, f'{{"trips": {TWO}, "names": ["a"]}}', [str], ["a"]),
        (Plan, f'{{"title": "a", "trips": {TWO}}}', [dict[str, object]], json.loads(TWO)),
        (None, '{"title": 1, "trips": [1, {"a": 2}]}', [], [1, {"a": 2}]),
        (allm.json_schema("trips", {}), f'{{"title": 1, "trips": {TWO}}}', [Trip], [Trip("Zug", 2), Trip("Be]rn")]),
        (list[Trip], f"Here:\n```json\n{TWO}\n```\n[1]", [], [Trip("Zug", 2), Trip("Be]rn")]),
    ],
)
async def test_where_the_list_is(wanted, text, item, expected, autojump_clock):
    """The answer, wrapped or not, or the field that is a list; the items are of its type, or of the one given."""
    for pieces in ([text], [text[start : start + 3] for start in range(0, len(text), 3)]):
        assert await elements(engine(*pieces), wanted, *item) == expected


@pytest.mark.parametrize("wanted", [Trip, Lists, str, dict[str, list[int]], list[int] | list[str]])
async def test_a_format_without_one_list_is_refused(wanted):
    """At once, with what is expected."""
    async with allm.stream_generate(engine("[]"), "hi", response_format=wanted) as events:
        with pytest.raises(allm.ValidationError, match=r"expected a list, or a class with one field") as caught:
            events.elements()
    assert caught.value.errors == ((("response_format",), "no_list"),)


async def test_an_item_type_of_several_lists_or_none():
    """The type says which list is meant only if it is that of one."""
    async with allm.stream_generate(engine("[]"), "hi", response_format=Lists) as events:
        with pytest.raises(allm.ValidationError, match="2 lists"):
            events.elements(int)
        with pytest.raises(allm.ValidationError, match="has no JSON Schema"):
            events.elements(object.__class__)


async def test_an_item_that_does_not_fit(autojump_clock):
    """Raises in its place with its number and every problem; the next read goes on behind it."""
    text = '[{"city": "Zug"}, {"city": 1, "days": 0}, {"city": "Bern"}]'
    for wanted, form, path in ((list[Trip], "%s", ()), (Plan, '{"title": "a", "trips": %s}', ("trips",))):
        async with allm.stream_generate(engine(form % text), "hi", response_format=wanted) as events:
            found = events.elements(raise_on_error=False)
            assert await anext(found) == Trip("Zug")
            with pytest.raises(allm.ValidationError, match=r"\[1\]\.city: expected a string, got 1") as caught:
                await anext(found)
            assert await anext(found) == Trip("Bern")
            assert await anext(found, None) is None
        assert [problem.path for problem in caught.value.problems] == [(*path, 1, "city"), (*path, 1, "days")]
        with pytest.raises(allm.ValidationError):
            events.result().parsed()


CUT = {
    "in an item": ('[{"city": "Zug"}, {"ci', r"1 items of it are whole.*max_tokens"),
    "behind an item": ('{"value": [{"city": "Zug"}', r"1 items of it are whole"),
    "no JSON in it": ('[{"city": "Zug"}, {city: 1}, 2]', r"item 1 of the list is not JSON"),
    "no comma": ('[{"city": "Zug"} {"city": "Bern"}]', r"item 1 of the list is not JSON"),
}


@pytest.mark.parametrize("case", CUT)
async def test_an_answer_that_is_no_whole_list(case, autojump_clock):
    """Raises after the whole items, unless it is not to."""
    text, message = CUT[case]
    async with allm.stream_generate(engine(text), "hi", response_format=list[Trip]) as events:
        found = events.elements()
        assert await anext(found) == Trip("Zug")
        with pytest.raises(allm.ValidationError, match=message) as caught:
            await anext(found)
    assert caught.value.reason == "invalid_output"
    assert await elements(engine(text), list[Trip], raise_on_error=False) == [Trip("Zug")]


@pytest.mark.parametrize(
    ("wanted", "text", "message"),
    [
        (list[Trip], "I cannot.", "is not JSON for list.*I cannot"),
        (list[Trip], '{"trips": []}', "not a valid list"),
        (list[Trip], "", "is not JSON for list"),
        (None, "[I cannot.", "has no list.*I cannot"),
    ],
)
async def test_an_answer_without_the_list(wanted, text, message, autojump_clock):
    """Raises what `parsed()` does, if there is a type."""
    with pytest.raises(allm.ValidationError, match=message):
        await elements(engine(text, fake.usage(input_tokens=1)), wanted)


# --- snapshots --------------------------------------------------------------------------------------------------------


async def test_snapshots(autojump_clock):
    """One for each burst that changes it, without the object around it; the last is the whole value."""
    pieces = ['{"val', 'ue": [{"city": "Z', "ug", '", "days": 1', "2", " ", '}, {"city"', ': "Bern"}]', "}"]
    zug = {"city": "Zug"}
    expected = [[{"city": "Z"}], [zug], [{**zug, "days": 12}], [{**zug, "days": 12}, {}]]
    expected.append([{**zug, "days": 12}, {"city": "Bern"}])
    assert await partial(engine(*pieces), list[Trip]) == expected
    async with allm.stream_generate(engine(*pieces), "hi", response_format=list[Trip]) as events:
        await anext(events.partial_output())
        assert events.result().output_text == "".join(pieces[:2])


async def test_a_burst_gives_one_snapshot():
    """Many deltas in one read of the network are parsed once."""

    class Adapter:
        provider = "test"
        requires_model = False

        def prepare(self, request, options):
            return request

        async def stream(self, prepared, emit):
            text = '{"a": "bcd"}'
            await emit(*(allm.TextDelta("0", character) for character in text))
            await emit(allm.TextCompleted("0", text), allm.MessageCompleted(allm.assistant(text), "stop"))

    assert await partial(allm.Engine(adapter=Adapter())) == [{"a": "bcd"}]


@pytest.mark.parametrize(
    ("wanted", "text", "last"),
    [
        (None, "[1, 2]", [1, 2]),
        (int, '{"value": 12}', 12),
        (int, "12", 12),
        (Trip, '{"city": "Zug"}', {"city": "Zug"}),
        (dict[str, int], '{"value": 1}', {"value": 1}),
        (int | None, '{"value": null}', None),
        (list[int], 'Here:\n```json\n{"value": [1]}\n```\nThat is all.', [1]),
        (str, '{"value": "\\ud83d"}', "�"),
    ],
)
async def test_the_last_snapshot_is_the_whole(wanted, text, last, autojump_clock):
    """As `parsed()` has it, before it is made an instance."""
    for pieces in ([text], list(text)):
        assert (await partial(engine(*pieces), wanted))[-1] == last


async def test_an_answer_that_is_no_whole_json(autojump_clock):
    """Raises after the last snapshot, which has all that came, unless it is not to."""
    for text, last in (('{"city": "Zu', {"city": "Zu"}), ("[1, 2, nope]", None), ("I cannot.", None)):
        async with allm.stream_generate(engine(text), "hi") as events:
            found = events.partial_output()
            if last is not None:
                assert await anext(found) == last
            with pytest.raises(allm.ValidationError, match="is not JSON, or was cut off") as caught:
                await anext(found)
        assert caught.value.errors == (((), "not_json"),)
        assert await partial(engine(text), raise_on_error=False) == ([] if last is None else [last])


# --- both -------------------------------------------------------------------------------------------------------------

READERS = ["elements", "partial_output"]


@pytest.mark.parametrize("reader", READERS)
async def test_the_failure_comes_after_what_arrived(reader, autojump_clock):
    """As with `text()`; `raise_on_error=False` just ends."""
    for raises in (True, False):
        failing = engine(
            "[1, 2, 3", fake.error(allm.AdapterError("down", reason="overloaded", provider="x")), retry=None
        )
        seen = []
        async with allm.stream_generate(failing, "hi") as events:
            found = getattr(events, reader)(raise_on_error=raises)
            with pytest.raises(allm.AdapterError) if raises else trio.CancelScope():
                async for one in found:
                    seen.append(one)
        assert seen == ([1, 2] if reader == "elements" else [[1, 2]])
        assert events.result().error is not None


@pytest.mark.parametrize("reader", READERS)
async def test_deltas_that_are_hidden(reader, autojump_clock):
    """Without deltas the text comes with its block, as with `text()`."""
    async with allm.stream_generate(engine("[1,", "2]"), "hi", emit_text_deltas=False) as events:
        found = [one async for one in getattr(events, reader)()]
    assert found == ([1, 2] if reader == "elements" else [[1, 2]])


@pytest.mark.parametrize("reader", READERS)
async def test_an_answer_in_a_block_of_its_own(reader, autojump_clock):
    """It may follow a sentence without a line end; one that goes on in another block is one answer."""
    script = [
        fake.text("Let me think."),
        fake.reasoning("hm"),
        fake.text("[1, 2"),
        fake.reasoning("hm"),
        fake.text("3]"),
    ]
    engine = allm.Engine(adapter=allm.providers.Fake(script=script))
    async with allm.stream_generate(engine, "hi", response_format=list[int]) as events:
        found = [one async for one in getattr(events, reader)()]
    assert found[-2:] == ([1, 23] if reader == "elements" else [[1], [1, 23]])


@pytest.mark.parametrize("reader", READERS)
async def test_each_step_of_a_turn_begins_anew(reader, autojump_clock):
    """A sentence before a tool call is no answer; what is wrong with the last step is told."""

    def look() -> str:
        return "seen"

    scripts = [[fake.text("Let me look [it up"), fake.tool_call("look")], [fake.text("[1, "), fake.text("2]")]]
    engine = allm.Engine(adapter=allm.providers.Fake(scripts=scripts), tools=[allm.tool(look)])
    async with allm.stream(engine, "hi") as events:
        found = [one async for one in getattr(events, reader)()]
    assert found[-1] == (2 if reader == "elements" else [1, 2])

    engine = allm.Engine(
        adapter=allm.providers.Fake(scripts=[scripts[0], [fake.text("Sorry")]]), tools=[allm.tool(look)]
    )
    async with allm.stream(engine, "hi") as events:
        with pytest.raises(allm.ValidationError, match="It begins with 'Sorry'"):
            _ = [one async for one in getattr(events, reader)()]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("call", [allm.stream, allm.stream_generate])
async def test_an_answer_that_is_asked_for_again(call, reader, autojump_clock):
    """The items of the second answer follow those of the first; what was wrong with the first is not told."""
    scripts = [[fake.text('[{"city": "Zug"}, ')], [fake.text(TWO)]]
    engine = allm.Engine(adapter=allm.providers.Fake(scripts=scripts))
    async with call(engine, "hi", response_format=list[Trip], validation_retries=1) as events:
        found = [one async for one in getattr(events, reader)()]
    expected = [Trip("Zug"), Trip("Zug", 2), Trip("Be]rn")]
    assert found == (expected if reader == "elements" else [[{"city": "Zug"}], json.loads(TWO)])
    assert events.result().parsed() == expected[1:]


@pytest.mark.parametrize("reader", READERS)
async def test_a_read_that_is_cancelled_loses_nothing(reader, autojump_clock):
    """The next one goes on where it was."""
    seen = []
    async with allm.stream_generate(engine('[{"city": "Z', 'ug"}, {"city": ', '"Bern"}]'), "hi") as events:
        found = getattr(events, reader)()
        while True:
            with trio.move_on_after(0.3):
                seen.append(await anext(found, None))
                if seen[-1] is None:
                    break
    last = seen[-2]
    assert last == ({"city": "Bern"} if reader == "elements" else [{"city": "Zug"}, {"city": "Bern"}])
    assert seen[:-1][0] == ({"city": "Zug"} if reader == "elements" else [{"city": "Z"}])


@pytest.mark.parametrize("reader", READERS)
async def test_leaving_early_and_cancelling_leave_nothing_behind(reader):
    """At every moment of a read; there is no generator to close."""

    async def read():
        adapter = allm.providers.Fake(script=[fake.text("[1, 2"), fake.text(", 3]")])
        async with allm.stream_generate(allm.Engine(adapter=adapter), "hi") as events:
            async for _ in getattr(events, reader)():
                break
            await trio.lowlevel.checkpoint()
        return events.result()

    report = await cancel_everywhere(read)
    assert report.trials > 3


async def test_the_stream_of_a_session(autojump_clock):
    """It has both, of the same types."""
    async with allm.session.stream_start(engine(TWO), "hi", response_format=list[Trip]) as events:
        assert [trip async for trip in events.elements()] == [Trip("Zug", 2), Trip("Be]rn")]
    async with allm.session.stream_start(engine(TWO), "hi", response_format=list[Trip]) as events:
        assert [one async for one in events.partial_output()][-1] == json.loads(TWO)


@pytest.mark.parametrize("method", ["elements", "partial_output"])
async def test_an_answer_that_was_read_in_part_is_no_broken_answer(method, autojump_clock):
    """The error says that events were read before, since the model's JSON is whole."""
    async with allm.stream_generate(engine('{"value": [1,', "2]}"), "?", response_format=list[int]) as events:
        async for event in events:
            if isinstance(event, allm.TextDelta):
                break
        with pytest.raises(allm.ValidationError, match="events were read before"):
            [item async for item in getattr(events, method)()]
    assert events.result().parsed() == [1, 2]
