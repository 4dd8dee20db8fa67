"""The conversation of `allm chat` in a JSON file."""

from __future__ import annotations

import stat
import sys

import attrs
import pytest

import allm
from allm.cli.stores import kept_of

BEFORE = allm.Session(id="chat", thread=allm.Thread([allm.user("Hello"), allm.assistant("Hi.")]))
AFTER = allm.session.append_user(BEFORE, "Go on.")


async def look(turn):
    """A turn that changes nothing."""


def saving(session):
    """A turn that saves this session."""

    async def work(turn):
        await turn.save(session)

    return work


async def test_a_conversation_is_kept(pipes, tmp_path):
    """As a document of its session; what is saved is read back, and no other file is left in the folder."""
    place = tmp_path / "trip.json"
    kept = kept_of(str(place), None, pipes)
    await kept.turn(look)
    assert (kept.session, list(tmp_path.iterdir())) == (allm.Session(id="chat"), [])
    await kept.turn(saving(BEFORE))
    await kept.turn(saving(AFTER))

    assert allm.from_json(place.read_text("utf-8")) == AFTER
    again = kept_of(str(place), None, pipes)
    await again.turn(look)
    assert again.session == AFTER
    assert list(tmp_path.iterdir()) == [place]


async def test_a_thread_is_gone_on_with(pipes, tmp_path):
    """A program may have written one."""
    place = tmp_path / "trip.JSON"
    place.write_text(allm.to_json(BEFORE.thread), "utf-8")
    kept = kept_of(str(place), None, pipes)
    await kept.turn(look)
    assert kept.session == BEFORE


async def test_what_someone_else_wrote_is_not_overwritten(pipes, tmp_path):
    """Neither before a turn nor during one; it is the conversation from then on."""
    place = tmp_path / "trip.json"
    kept = kept_of(str(place), None, pipes)
    await kept.turn(saving(BEFORE))

    async def work(turn):
        place.write_text(allm.to_json(AFTER), "utf-8")
        await turn.save(BEFORE)

    with pytest.raises(allm.SessionError, match="another worker"):
        await kept.turn(work)
    with pytest.raises(allm.SessionConflict):
        await kept.turn(saving(BEFORE))
    assert kept.session == AFTER
    await kept.turn(saving(attrs.evolve(AFTER, metadata={"kept": True})))
    assert allm.from_json(place.read_text("utf-8")).metadata == {"kept": True}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")
async def test_a_file_is_private_unless_its_owner_says_otherwise(pipes, tmp_path):
    """A new file is for its owner alone; an existing one keeps its permissions, and a link stays one."""
    place = tmp_path / "trip.json"
    await kept_of(str(place), None, pipes).turn(saving(BEFORE))
    assert stat.S_IMODE(place.stat().st_mode) == 0o600

    place.chmod(0o640)
    (tmp_path / "link.json").symlink_to(place)
    await kept_of(str(tmp_path / "link.json"), None, pipes).turn(saving(AFTER))

    assert stat.S_IMODE(place.stat().st_mode) == 0o640
    assert (tmp_path / "link.json").is_symlink()
    assert allm.from_json(place.read_text("utf-8")) == AFTER


async def test_a_file_is_never_half_written(pipes, tmp_path, monkeypatch):
    """When anything fails on the way, the old file is still there and nothing else, and the chat can go on."""
    place = tmp_path / "trip.json"
    kept = kept_of(str(place), None, pipes)
    await kept.turn(saving(BEFORE))

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", fail)
        with pytest.raises(allm.SessionError, match="disk full"):
            await kept.turn(saving(AFTER))

    assert allm.from_json(place.read_text("utf-8")) == BEFORE
    assert list(tmp_path.iterdir()) == [place]
    await kept.turn(saving(AFTER))
    assert allm.from_json(place.read_text("utf-8")) == AFTER


@pytest.mark.parametrize("text", ["{", "[]", allm.to_json(allm.user("hello")), "\udcff"])
async def test_a_file_that_holds_something_else(pipes, tmp_path, text):
    """Is an error, and stays as it is."""
    place = tmp_path / "trip.json"
    place.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(allm.SessionError, match="cannot be read"):
        await kept_of(str(place), None, pipes).turn(look)
    assert place.read_bytes() == text.encode("utf-8", "surrogateescape")
