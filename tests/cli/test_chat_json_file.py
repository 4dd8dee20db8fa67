"""The session of `allm chat` in a JSON file."""

from __future__ import annotations

import stat
import sys

import attrs
import pytest

import allm
from allm.cli.stores import open_stored_session

BEFORE = allm.Session(id="chat", thread=allm.Thread([allm.user("Hello"), allm.assistant("Hi.")]))
AFTER = allm.session.append_user(BEFORE, "Go on.")


async def look(turn):
    """A turn that changes nothing."""


def saving(session):
    """A turn that saves this session."""

    async def work(turn):
        await turn.save(session)

    return work


async def test_a_session_is_stored(pipes, tmp_path):
    """The file is a session document that is read back, and no other file is left."""
    place = tmp_path / "trip.json"
    stored = open_stored_session(str(place), None, pipes)
    await stored.turn(look)
    assert (stored.session, list(tmp_path.iterdir())) == (allm.Session(id="chat"), [])
    await stored.turn(saving(BEFORE))
    await stored.turn(saving(AFTER))

    assert allm.from_json(place.read_text("utf-8")) == AFTER
    again = open_stored_session(str(place), None, pipes)
    await again.turn(look)
    assert again.session == AFTER
    assert list(tmp_path.iterdir()) == [place]


async def test_images_are_part_of_the_file(pipes, tmp_path):
    """The file stays one document, however large an image is."""
    place = tmp_path / "trip.json"
    image = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100_000))
    seen = allm.Session(id="chat", thread=allm.Thread([allm.user("Look", image)]))
    more = allm.session.append_user(seen, "again")
    await open_stored_session(str(place), None, pipes).turn(saving(seen))
    stored = open_stored_session(str(place), None, pipes)
    await stored.turn(look)
    assert stored.session == seen
    await stored.turn(saving(more))
    assert allm.from_json(place.read_text("utf-8")) == more


async def test_a_thread_can_be_continued(pipes, tmp_path):
    """A file with a Thread can be continued."""
    place = tmp_path / "trip.JSON"
    place.write_text(allm.to_json(BEFORE.thread), "utf-8")
    stored = open_stored_session(str(place), None, pipes)
    await stored.turn(look)
    assert stored.session == BEFORE


async def test_what_someone_else_wrote_is_not_overwritten(pipes, tmp_path):
    """Changes before or during a turn become the conversation."""
    place = tmp_path / "trip.json"
    stored = open_stored_session(str(place), None, pipes)
    await stored.turn(saving(BEFORE))

    async def work(turn):
        place.write_text(allm.to_json(AFTER), "utf-8")
        await turn.save(BEFORE)

    with pytest.raises(allm.SessionError, match="another worker"):
        await stored.turn(work)
    with pytest.raises(allm.SessionConflict):
        await stored.turn(saving(BEFORE))
    assert stored.session == AFTER
    await stored.turn(saving(attrs.evolve(AFTER, metadata={"stored": True})))
    assert allm.from_json(place.read_text("utf-8")).metadata == {"stored": True}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")
async def test_a_file_is_private_unless_its_owner_says_otherwise(pipes, tmp_path):
    """An existing file keeps its permissions, and a link stays."""
    place = tmp_path / "trip.json"
    await open_stored_session(str(place), None, pipes).turn(saving(BEFORE))
    assert stat.S_IMODE(place.stat().st_mode) == 0o600

    place.chmod(0o640)
    (tmp_path / "link.json").symlink_to(place)
    await open_stored_session(str(tmp_path / "link.json"), None, pipes).turn(saving(AFTER))

    assert stat.S_IMODE(place.stat().st_mode) == 0o640
    assert (tmp_path / "link.json").is_symlink()
    assert allm.from_json(place.read_text("utf-8")) == AFTER


async def test_a_file_is_never_half_written(pipes, tmp_path, monkeypatch):
    """After a failure the old file is intact, and the chat can go on."""
    place = tmp_path / "trip.json"
    stored = open_stored_session(str(place), None, pipes)
    await stored.turn(saving(BEFORE))

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("allm.session.stores.saving.PATIENCE", 0.05)
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", fail)
        with pytest.raises(allm.SessionError, match="disk full"):
            await stored.turn(saving(AFTER))

    assert allm.from_json(place.read_text("utf-8")) == BEFORE
    assert list(tmp_path.iterdir()) == [place]
    await stored.turn(saving(AFTER))
    assert allm.from_json(place.read_text("utf-8")) == AFTER


@pytest.mark.parametrize("text", ["{", "[]", allm.to_json(allm.user("hello")), "\udcff"])
async def test_a_file_that_holds_something_else(pipes, tmp_path, text):
    """It is an error, and the file is unchanged."""
    place = tmp_path / "trip.json"
    place.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(allm.SessionError, match="cannot be read"):
        await open_stored_session(str(place), None, pipes).turn(look)
    assert place.read_bytes() == text.encode("utf-8", "surrogateescape")
