"""`generate_image`, `edit_image` and `image_variations`: what is sent, and what is rejected."""

from __future__ import annotations

import pytest
import trio

import allm
from allm.providers import FakeImages

RED = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n red", "image/png")
BLUE = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n blue", "image/png")


def engine(adapter=None, **fields):
    return allm.Engine(image_adapter=adapter or FakeImages(), **fields)


async def test_drawing():
    """There are as many images as asked for, each with its prompt, and they are real PNG files."""
    response = await allm.generate_image(engine(), "a fox", n=2)
    assert [image.prompt for image in response.images] == ["a fox", "a fox"]
    assert response.images[0] != response.images[1]
    assert response.image.size() == (8, 8)
    assert response.usage.images == 2
    assert allm.from_json(allm.to_json(response)) == response


async def test_saving(tmp_path):
    """Saving replaces the file with the bytes of the image."""
    path = tmp_path / "fox.png"
    path.write_bytes(b"old")
    response = await allm.generate_image(engine(), "a fox")
    assert response.image.save(path) == path
    assert allm.Image.from_file(path).to_bytes() == response.image.to_bytes()


async def test_all_images_are_part_of_an_edit():
    """All images are sent in order, and only `mask` is the mask."""
    adapter = FakeImages()
    await allm.edit_image(engine(adapter), [RED, BLUE], "join them")
    await allm.edit_image(engine(adapter), (image for image in [RED]), "paint it", mask=BLUE)
    await allm.image_variations(engine(adapter), RED)
    assert [(r.operation, r.images, r.mask) for r in adapter.requests] == [
        ("edit", (RED, BLUE), None),
        ("edit", (RED,), BLUE),
        ("variation", (RED,), None),
    ]


async def test_where_the_fields_come_from():
    """The call wins over the request, and that over the engine; chat options are not used."""
    adapter = FakeImages()
    given = engine(
        adapter, model="chatty", image_model="painter", params={"options": {"a": 0, "c": 0}, "temperature": 1}
    )
    request = allm.image_request("a fox", size=(512, 256), options={"a": 1, "b": 1}, metadata={"job": 7})
    await allm.generate_image(given, request)
    response = await allm.generate_image(given, request, size="auto", model="other", options={"b": 2})
    first, second = adapter.requests
    assert (first.model, first.size, first.options) == ("painter", "512x256", {"a": 1, "b": 1, "c": 0})
    assert (second.model, second.size, second.options) == ("other", "auto", {"a": 1, "b": 2, "c": 0})
    assert response.metadata == {"job": 7}


async def test_an_image_model_is_needed():
    """The chat model is not used instead."""

    class Choosy(FakeImages):
        requires_model = True

    with pytest.raises(allm.EngineError, match="image_model") as caught:
        await allm.generate_image(engine(Choosy(), model="chatty"), "a fox")
    assert caught.value.reason == "missing_model"


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (allm.image_request(""), "prompt"),
        (allm.image_request(7), "prompt"),
        (allm.image_request("x", n=0), "n"),
        (allm.image_request("x", n=True), "n"),
        (allm.image_request("x", size="big"), "size"),
        (allm.image_request("x", size=(0, 9)), "size"),
        (allm.image_request("x", quality=9), "quality"),
        (allm.image_request("x", response_format="png"), "response_format"),
        (allm.image_request("x", operation="paint"), "operation"),
        (allm.image_request("x", images=[RED]), "images"),
        (allm.image_request("x", operation="edit"), "images"),
        (allm.image_request("x", operation="edit", images=["a.png"]), "images"),
        (allm.image_request("x", mask=RED), "mask"),
        (allm.image_request("x", operation="edit", images=[RED], mask="m.png"), "mask"),
        (allm.image_request("x", operation="variation", images=[RED]), "prompt"),
        (allm.image_request(operation="variation", images=[RED, BLUE]), "images"),
    ],
)
async def test_invalid_image_requests(request_, path):
    """An invalid request is rejected with the path of each problem."""
    adapter = FakeImages()
    with pytest.raises(allm.ValidationError, match=path) as caught:
        await allm.generate_image(engine(adapter), request_)
    assert path in {place[0] for place, _ in caught.value.errors}
    assert not adapter.requests


@pytest.mark.parametrize("images", ["a.png", b"bytes", {"a": 1}, 7, None])
async def test_images_are_images(images):
    """A path is not an image; the error says how to make one."""
    with pytest.raises(allm.ValidationError, match=r"Image\.from_file"):
        await allm.edit_image(engine(), images, "paint it")


async def test_unknown_options():
    """The nearest image option is suggested; chat options are unknown."""
    with pytest.raises(TypeError, match="did you mean 'quality'"):
        await allm.generate_image(engine(), "a fox", qualitty="high")
    with pytest.raises(TypeError, match="unknown option 'tools'"):
        await allm.generate_image(engine(), "a fox", tools=[])


async def test_failures_are_retried_and_raised(autojump_clock):
    """Failures are retried within the budget, then raised as `ImageAdapterError`."""
    busy = allm.ImageAdapterError("busy", reason="overloaded")
    assert (await allm.generate_image(engine(FakeImages([busy, RED])), "x")).image.to_bytes() == RED.to_bytes()
    with pytest.raises(allm.ImageAdapterError, match="busy"):
        await allm.generate_image(engine(FakeImages([busy])), "x", retry=None)
    with pytest.raises(allm.ImageAdapterError, match="no entry left"):
        await allm.generate_image(engine(FakeImages([])), "x")
    with pytest.raises(allm.ImageAdapterError, match="request_timeout"):
        await allm.generate_image(engine(FakeImages([60, RED])), "x", request_timeout=5)
    with trio.move_on_after(1) as scope:
        await allm.generate_image(engine(FakeImages([60, RED])), "x")
    assert scope.cancelled_caught


def test_scripts_that_cannot_be_played():
    """The error says which entry is invalid."""
    with pytest.raises(allm.ValidationError, match=r"script\[1\]"):
        FakeImages([RED, "blue"])


async def test_engines_are_made_from_names():
    """An image model beside a chat model, each with its adapter."""
    given = allm.Engine.from_model("fake:chat", image_model="fake:painter")
    assert isinstance(given.image_adapter, FakeImages)
    assert (given.model, given.image_model) == ("chat", "painter")
    own = FakeImages()
    assert allm.Engine.from_model("fake:x", image_adapter=own, image_model="a:b").image_model == "a:b"
