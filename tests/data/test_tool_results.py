"""What becomes of a value that a tool returns or a program passes: a text, or parts with images."""

from __future__ import annotations

import base64
import dataclasses
import enum
from typing import Any

import attrs
import msgspec
import pydantic
import pytest
import trio

import allm
from allm import fake
from allm.providers import Fake

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(40))
IMAGE = allm.Image.from_bytes(PNG)


class Color(enum.StrEnum):
    RED = "red"


class Item(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    name: str
    extra: Any = None


class Row(msgspec.Struct):
    item: Item


class Tagged(msgspec.Struct, tag="t", rename="camel", omit_defaults=True):
    the_item: Item
    none: int = 0
    empty: list[int] = msgspec.field(default_factory=list)
    unset: int | msgspec.UnsetType = msgspec.UNSET
    given: int = 1


class Pair(msgspec.Struct, array_like=True, tag="p"):
    first: Item
    second: int = 2


@attrs.frozen
class Middle:
    item: Item
    pair: Pair


@dataclasses.dataclass
class Outer:
    middle: Middle


PARTS = [
    (IMAGE, (allm.ImagePart(IMAGE),)),
    ([IMAGE], (allm.ImagePart(IMAGE),)),
    (("Before:", IMAGE, "after", IMAGE), None),
    ([IMAGE, {"a": 1}, 7], (allm.ImagePart(IMAGE), allm.TextPart('{"a":1}'), allm.TextPart("7"))),
    (allm.TextPart("x"), (allm.TextPart("x"),)),
    (
        [allm.TextPart("x"), allm.ImagePart(IMAGE, detail="low")],
        (allm.TextPart("x"), allm.ImagePart(IMAGE, detail="low")),
    ),
]
TEXTS = [
    ("as it is", "as it is"),
    (Color.RED, "red"),
    (["a", "b"], '["a","b"]'),
    ({"ok": True}, '{"ok":true}'),
    (None, "null"),
    (Row(Item(name="x")), '{"item":{"name":"x","extra":null}}'),
    ([Item(name="x")], '[{"name":"x","extra":null}]'),
    (Item(name="x", extra=Row(Item(name="y"))), '{"name":"x","extra":{"item":{"name":"y","extra":null}}}'),
    (Tagged(Item(name="x"), given=3), '{"type":"t","theItem":{"name":"x","extra":null},"given":3}'),
    (
        Outer(Middle(Item(name="x"), Pair(Item(name="y")))),
        '{"middle":{"item":{"name":"x","extra":null},"pair":["p",{"name":"y","extra":null},2]}}',
    ),
]


async def of_a_turn(value: Any) -> allm.Message:
    """The result message when a tool returns `value`."""
    look = allm.Tool("look", "Looks.", handler=lambda _arguments: value)
    engine = allm.Engine(adapter=Fake(script=[fake.tool_call("look", {}, id="c")]), tools=[look])
    return (await allm.step(engine, "go")).tool_results[0]


async def of_a_session(value: Any) -> allm.Message:
    """The result message when a program gives `value` for a call that is left to it."""
    engine = allm.Engine(adapter=Fake(script=[fake.tool_call("look", {}, id="c")]))
    started, _ = await allm.session.start(engine, "go", tools=[allm.Tool("look", "Looks.", manual=True)])
    return allm.session.submit_tool_result(started, "c", value).thread.messages[-1]


async def by_hand(value: Any) -> allm.Message:
    """The result message that a program makes."""
    await trio.lowlevel.checkpoint()
    return allm.tool_result("c", value)


WAYS = [of_a_turn, of_a_session, by_hand]


@pytest.mark.parametrize("way", WAYS)
async def test_images_and_texts_are_parts(way):
    """Alone or in a list or tuple, in their order, with the JSON of any other item."""
    for value, expected in PARTS:
        given = (allm.TextPart("Before:"), allm.ImagePart(IMAGE), allm.TextPart("after"), allm.ImagePart(IMAGE))
        assert (await way(value)).content == (expected or given)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("value", "text"), TEXTS)
async def test_any_other_value_is_a_text(way, value, text):
    """Models of all libraries in containers of all others as well."""
    assert (await way(value)).content == text


AUDIO = allm.Audio.from_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")
INSIDE = [{"image": IMAGE}, [[IMAGE]], Item(name="x", extra=IMAGE), {"sound": AUDIO}]


class Broken:
    pass


@pytest.mark.parametrize("value", [*INSIDE, Broken(), {"a": Broken()}, Item(name="x", extra=Broken())])
async def test_what_cannot_be_sent_is_one_clear_error(value):
    """Media inside other values too, whose base64 text no model could read."""
    refused = await of_a_turn(value)
    assert refused.is_error
    assert '"encoding_failed"' in refused.text
    assert base64.b64encode(PNG[:12]).decode() not in refused.text
    with pytest.raises(allm.ValidationError, match="the result of c cannot be sent") as caught:
        allm.tool_result("c", value)
    assert caught.value.errors == ((("content",), "encoding_failed"),)
    with pytest.raises(allm.SessionError) as refusal:
        await of_a_session(value)
    assert refusal.value.reason == "invalid_input"


def test_the_error_says_where_an_image_belongs():
    """Whoever reads it knows what to return instead."""
    with pytest.raises(allm.ValidationError, match=r"Image inside a value .* in a list beside texts"):
        allm.tool_result("c", {"image": IMAGE})


def test_a_property_that_raises():
    """It is the same error, with the property's words."""

    @attrs.frozen
    class Row:
        a: int = 0

        def __getattribute__(self, name):
            if name == "a":
                raise LookupError("the row is gone")
            return super().__getattribute__(name)

    with pytest.raises(allm.ValidationError, match="the row is gone"):
        allm.tool_result("c", Row())


@pytest.mark.parametrize("way", WAYS)
async def test_a_file_may_be_gone_later(way, tmp_path):
    """It is read when the result is made, since a tool may remove its own screenshots."""
    path = tmp_path / "screen.png"
    path.write_bytes(PNG)
    image = allm.Image.from_file(path)
    result = await way(["The screen:", image])
    path.unlink()
    assert result.images[0].image.to_bytes() == PNG
    refused = await of_a_turn(image)
    assert '"encoding_failed"' in refused.text


async def test_a_result_that_halts_may_have_an_image():
    """The model still sees it."""
    result = await of_a_turn(allm.Halt("done", ["Here:", IMAGE]))
    assert [type(part) for part in result.parts] == [allm.TextPart, allm.ImagePart]


async def test_an_error_policy_may_answer_with_an_image():
    """What it returns is encoded like a result."""
    engine = allm.Engine(adapter=Fake(script=[fake.tool_call("nothing", {})]))
    step = await allm.step(engine, "go", on_tool_error=lambda _call, _error: ["See:", IMAGE])
    assert step.tool_results[0].parts == (allm.TextPart("See:"), allm.ImagePart(IMAGE))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_stores_keep_images_of_results(kind, tmp_path):
    """A turn's journal and the session that is loaded again have the same parts."""

    @allm.tool
    async def look() -> list[Any]:
        """Look."""
        return ["The screen:", IMAGE]

    adapter = Fake(scripts=[[fake.tool_call("look", {})], [fake.text("Blue.")]])
    url = "memory://" if kind == "memory" else f"sqlite:///{tmp_path}/s.db"
    async with allm.session.open_store(url) as store:
        async with store.turn("s") as turn:
            await turn.reply(allm.Engine(adapter=adapter, tools=[look]), "go")
        session, _ = await store.load("s")
    assert session.thread.messages[2].parts == (allm.TextPart("The screen:"), allm.ImagePart(IMAGE))
    assert allm.from_json(allm.to_json(session)) == session
