"""Atomic file replacement."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

import allm
from allm.data.atomic_write import write_whole


def names(folder):
    return sorted(place.name for place in folder.iterdir())


def test_a_file_is_replaced_at_once(tmp_path, monkeypatch):
    """If writing fails half-way, the old content is unchanged and no other file is left."""
    place = tmp_path / "a.png"
    for data in (b"one", b"two"):
        assert write_whole(place, data) == place
        assert place.read_bytes() == data

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match=r"No space left .*a\.png") as caught:
        allm.Image.from_bytes(b"three").save(place)
    assert caught.value.filename == str(place)
    assert (place.read_bytes(), names(tmp_path)) == (b"two", ["a.png"])


def test_a_link_stays(tmp_path):
    """A link's target is written, even if it does not exist yet."""
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "there" / "real.png")
    for data in (b"one", b"two"):
        assert allm.Audio(data).save(link) == link
        assert link.is_symlink()
        assert (tmp_path / "there" / "real.png").read_bytes() == data
    assert names(tmp_path / "there") == ["real.png"]


def test_a_folder_that_is_missing(tmp_path):
    """The error names the file that was asked for."""
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "none" / "real.png")
    for place in (link, tmp_path / "none" / "a.png"):
        with pytest.raises(FileNotFoundError) as caught:
            write_whole(place, b"x")
        assert caught.value.filename == str(place)
    assert names(tmp_path) == ["link.png"]
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path, b"x")


def test_permissions(tmp_path):
    """A replaced file keeps its permissions, and a new one gets the usual ones."""
    place = tmp_path / "a.png"
    write_whole(place, b"x")
    (tmp_path / "usual").touch()
    assert place.stat().st_mode == (tmp_path / "usual").stat().st_mode
    place.chmod(0o640)
    write_whole(place, b"y")
    assert stat.S_IMODE(place.stat().st_mode) == 0o640


def test_a_pipe_stays_a_pipe(tmp_path):
    """A pipe or a device such as /dev/stdout is written to directly."""
    pipe, arrived = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: arrived.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"x")
    reader.join(10)
    assert arrived == [b"x"]
    assert pipe.is_fifo()
