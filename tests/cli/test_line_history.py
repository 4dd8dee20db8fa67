"""The file of the lines that were entered, and what Tab completes."""

from __future__ import annotations

import stat

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from allm.cli import line_history
from allm.cli.line_completion import Completion
from allm.cli.line_editor import is_unfinished, message_of
from allm.cli.line_history import history_of


def loaded(path):
    """The entries of the file, the newest first."""
    return list(history_of(path).load_history_strings())


def test_entries_are_kept_as_they_were_entered(tmp_path):
    """Several lines, other scripts, and what looks like the file's own marks."""
    entries = ["one", "two\nlines", "+plus\n\n# hash", "日本", "trailing\n"]
    path = tmp_path / "new folder" / "history"
    for entry in entries:
        history_of(path).append_string(entry)

    assert loaded(path) == entries[::-1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_line_after_a_space_is_not_kept(tmp_path):
    """As in a shell."""
    history_of(tmp_path / "history").append_string(" secret")

    assert not (tmp_path / "history").exists()


def test_a_file_that_cannot_be_used_does_not_matter(tmp_path):
    """A chat goes on without its history."""
    (tmp_path / "file").write_text("")
    history = history_of(tmp_path / "file" / "history")

    history.append_string("one")

    assert loaded(tmp_path / "file" / "history") == []
    assert history.get_strings() == ["one"]


def test_of_a_long_file_the_newest_entries_are_read(tmp_path, monkeypatch):
    """The first may be cut."""
    path = tmp_path / "history"
    for number in range(100):
        history_of(path).append_string(f"entry {number}")
    monkeypatch.setattr(line_history, "LONGEST", 100)

    assert loaded(path)[0] == "entry 99"
    assert 5 <= len(loaded(path)) <= 10


def test_none_is_in_memory():
    """`--no-history`."""
    history = history_of(None)
    history.append_string("one")

    assert history.get_strings() == ["one"]


@pytest.mark.parametrize(
    ("text", "unfinished", "message"),
    [
        ("one", False, "one"),
        ("one\\", True, "one\\"),
        ('"""one', True, '"""one'),
        ('"""one\ntwo"""', False, "one\ntwo"),
        ('"""\none\n"""', False, "one"),
        ('"""Doc."""\nx = 1', False, '"""Doc."""\nx = 1'),
        ('"""a"""\nx\n"""b"""', False, '"""a"""\nx\n"""b"""'),
        ('say """', False, 'say """'),
        ('""""""', False, ""),
    ],
)
def test_when_enter_sends(text, unfinished, message):
    """A text that is closed, and every program that is pasted, can be sent."""
    assert is_unfinished(text) is unfinished
    assert message_of(text) == message


def completed(text, tmp_path):
    """The texts after completion."""
    completion = Completion(["/file", "/model"], lambda: ["openai:a", "openai:b", "short", "groq:c"])
    found = completion.get_completions(Document(text, len(text)), CompleteEvent(completion_requested=True))
    return [text[: len(text) + each.start_position] + each.text for each in found]


def test_what_tab_completes(tmp_path):
    """Commands at the start of a line, and what they take; nothing in a message."""
    (tmp_path / "notes.txt").write_text("")

    assert completed("/f", tmp_path) == ["/file"]
    assert completed("/", tmp_path) == ["/file", "/model"]
    assert completed("/model ", tmp_path) == ["/model groq:", "/model openai:", "/model short"]
    assert completed("/model openai:", tmp_path) == ["/model openai:a", "/model openai:b"]
    assert completed(f"/file {tmp_path}/no", tmp_path) == [f"/file {tmp_path}/notes.txt"]
    assert completed("see /f", tmp_path) == []
    assert completed("/nope x", tmp_path) == []
