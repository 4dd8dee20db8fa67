"""`allm image`: its request, its files, and what it does not overwrite."""

from __future__ import annotations

import base64

import pytest

from allm.providers.fake.images import plain_png
from allm.testing import Reply

PNG = plain_png("fox")


@pytest.fixture
def to_server(server):
    """The arguments that direct `image` to the server."""
    return ["--model", "openai:gpt-image-2", "--base-url", server.url("openai")]


def answer(*images):
    return Reply.json({"data": [{"b64_json": base64.b64encode(image).decode()} for image in images]})


async def test_an_image_in_a_file(server, to_server, allm_main, tmp_path):
    """Only the path is printed."""
    server.add(answer(PNG))
    place = tmp_path / "out.png"
    assert await allm_main("image", "a fox", "-o", str(place), *to_server) == (0, f"{place}\n", "")
    assert place.read_bytes() == PNG
    assert server.requests[0].json() == {"model": "gpt-image-2", "prompt": "a fox"}


async def test_several_images(server, to_server, allm_main, tmp_path):
    """They are numbered, and the options reach the provider."""
    server.add(answer(PNG, plain_png("b")))
    options = ["-n", "2", "--size", "1024x1024", "--quality", "high", "--option", "moderation=low"]
    code, output, _ = await allm_main("image", "a fox", "-o", str(tmp_path / "f.png"), *options, *to_server)
    assert code == 0
    assert output.split() == [str(tmp_path / "f.png"), str(tmp_path / "f-2.png")]
    expected = {"n": 2, "size": "1024x1024", "quality": "high", "moderation": "low"}
    assert expected.items() <= server.requests[0].json().items()


async def test_an_edit(server, to_server, allm_main, tmp_path):
    """All images and the mask are sent."""
    server.add(answer(PNG))
    for name in ("a.png", "b.png", "m.png"):
        (tmp_path / name).write_bytes(plain_png(name))
    files = ["--edit", str(tmp_path / "a.png"), "--edit", str(tmp_path / "b.png"), "--mask", str(tmp_path / "m.png")]
    code, _, errors = await allm_main("image", "join", "-o", str(tmp_path / "out.png"), *files, *to_server)
    assert (code, errors) == (0, "")
    assert server.requests[0].path == "/v1/images/edits"
    assert all(plain_png(name) in server.requests[0].body for name in ("a.png", "b.png", "m.png"))


async def test_a_folder_that_cannot_be_written_to(to_server, server, allm_main, tmp_path, monkeypatch):
    """It is found before the call."""
    monkeypatch.setattr("os.access", lambda *_: False)
    code, _, errors = await allm_main("image", "a fox", "-o", str(tmp_path / "out.png"), *to_server)
    assert (code, server.requests) == (2, [])
    assert f"{tmp_path} is not writable" in errors


async def test_files_are_not_overwritten(server, to_server, allm_main, tmp_path):
    """Without --force it is a usage error, and nothing is sent."""
    place = tmp_path / "out.png"
    place.write_bytes(b"mine")
    code, _, errors = await allm_main("image", "a fox", "-o", str(place), *to_server)
    assert (code, place.read_bytes(), server.requests) == (2, b"mine", [])
    assert "--force" in errors
    server.add(answer(PNG))
    code, _, _ = await allm_main("image", "a fox", "-o", str(place), "--force", *to_server)
    assert (code, place.read_bytes()) == (0, PNG)


async def test_more_images_than_asked_for(server, to_server, allm_main, tmp_path):
    """They are saved too, without overwriting a file."""
    (tmp_path / "out-2.png").write_bytes(b"mine")
    server.add(answer(PNG, plain_png("b")))
    code, output, _ = await allm_main("image", "a fox", "-o", str(tmp_path / "out.png"), *to_server)
    assert code == 0
    assert output.split() == [str(tmp_path / "out.png"), str(tmp_path / "out-3.png")]
    assert (tmp_path / "out-2.png").read_bytes() == b"mine"
    assert (tmp_path / "out-3.png").read_bytes() == plain_png("b")


async def test_n_is_the_number_too(server, to_server, allm_main, tmp_path):
    """`-n` and `--number` are the same option."""
    server.add(answer(PNG, PNG))
    code, output, _ = await allm_main("image", "a fox", "-o", str(tmp_path / "f.png"), "--n", "2", *to_server)
    assert (code, len(output.split())) == (0, 2)
    assert server.requests[0].json()["n"] == 2


async def test_links_that_lead_nowhere(server, to_server, allm_main, tmp_path):
    """A link into an existing folder is written through; any other is found before the call."""
    server.add(answer(PNG))
    link, lost = tmp_path / "link.png", tmp_path / "lost.png"
    link.symlink_to(tmp_path / "real.png")
    lost.symlink_to(tmp_path / "none" / "real.png")
    assert (await allm_main("image", "a fox", "-o", str(link), *to_server))[0] == 0
    assert (tmp_path / "real.png").read_bytes() == PNG
    assert link.is_symlink()
    code, _, errors = await allm_main("image", "a fox", "-o", str(lost), *to_server)
    assert (code, len(server.requests)) == (2, 1)
    assert "is not a folder" in errors


async def test_a_url_is_printed(server, to_server, allm_main, tmp_path):
    """It is not fetched."""
    server.add(Reply.json({"data": [{"url": "https://example.com/fox.png"}]}))
    code, output, errors = await allm_main("image", "a fox", "-o", str(tmp_path / "out.png"), *to_server)
    assert (code, output) == (0, "https://example.com/fox.png\n")
    assert "not fetched" in errors
    assert not (tmp_path / "out.png").exists()


async def test_a_name_that_says_something_else(server, to_server, allm_main, tmp_path):
    """The file is saved, with a note."""
    server.add(answer(PNG))
    code, _, errors = await allm_main("image", "a fox", "-o", str(tmp_path / "out.webp"), *to_server)
    assert code == 0
    assert "image/png" in errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "nobody:x"], "nobody"),
        (["--model", "anthropic:x"], "anthropic"),
        (["--model", "openai:gpt-image-2", "--size", "big"], "size"),
        (["--model", "openai:gpt-image-2", "--edit", "missing.png"], "missing.png"),
        (["--model", "fake:x", "--base-url", "http://127.0.0.1"], "no base URL"),
    ],
)
async def test_what_cannot_be_drawn(allm_main, tmp_path, arguments, said):
    """The error is one line, and there is no file."""
    code, _, errors = await allm_main("image", "a fox", "-o", str(tmp_path / "out.png"), *arguments)
    assert code in {1, 2}
    assert said in errors
    assert not list(tmp_path.iterdir())


async def test_a_folder_that_is_not_there(allm_main, tmp_path):
    """It is found before the call."""
    code, _, errors = await allm_main("image", "a fox", "-o", str(tmp_path / "no" / "x.png"), "--model", "fake:x")
    assert code == 2
    assert "is not a folder" in errors
