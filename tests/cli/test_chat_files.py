"""The files of `allm chat`: the tools that it offers and the conversation that it keeps."""

from __future__ import annotations

import importlib
import sys

import click
import pytest

import allm
from allm.cli.session_file import SessionFile
from allm.cli.tools_file import tools_of

GOOD = '''
from __future__ import annotations
import dataclasses
import allm
from beside_the_tools import unit

@dataclasses.dataclass
class Place:
    city: str

@allm.tool
def weather(place: Place) -> str:
    """Tells it."""
    return f"21 {unit}"

alias = weather

def plain(text: str) -> str:
    """Says it."""
    return text

def hidden() -> str:
    return ""

approve = allm.Tool("approve", "Asks the boss.", manual=True)
TOOLS = [weather, "plain"]
'''


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    """What a tools file adds to the path goes with its test."""
    monkeypatch.setattr(sys, "path", [*sys.path])


def file_with(tmp_path, source):
    """A tools file."""
    path = tmp_path / "my tools.py"
    path.write_text(source, "utf-8")
    return path


def test_a_file_of_tools(tmp_path):
    """Every tool once, functions where TOOLS lists them, and modules beside the file."""
    (tmp_path / "beside_the_tools.py").write_text("unit = 'C'")
    importlib.invalidate_caches()
    path = file_with(tmp_path, GOOD)

    tools = {tool.name: tool for tool in tools_of([path])}

    assert set(tools) == {"weather", "approve", "plain"}
    assert tools["weather"].schema["properties"].keys() == {"place"}
    assert tools["plain"].description == "Says it."


def test_files_of_one_folder(tmp_path):
    """The tools of several files are offered together, and their folder is looked into once."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(f"import allm\nx = allm.Tool('{name}', '')")
    paths = [tmp_path / "a.py", tmp_path / "b.py"]

    assert [tool.name for tool in tools_of(paths)] == ["a", "b"]
    assert sys.path.count(str(tmp_path)) == 1


BROKEN = {
    "def weather(:": "line 1: SyntaxError",
    "\n\nimport not_there_at_all": "line 3: ModuleNotFoundError: No module named",
    "import json\njson.loads('{')": "line 2: JSONDecodeError",
    "exit(3)": "SystemExit: 3",
    "x = 1": "holds no tools",
    "TOOLS = 7": "TOOLS is of type int",
    "TOOLS = ['nothing']": "'nothing', which is neither",
    "def many(*names): ...\nTOOLS = [many]": "*names",
    "import allm\na = allm.Tool('same', '')\nb = allm.Tool('same', 'other')": "two tools called 'same'",
    "import allm\na = allm.Tool('not a name', '')": "'not a name' cannot be used",
    "exec('x =')": "SyntaxError",
    "a\0b": "Error: ",
}


@pytest.mark.parametrize("source", BROKEN)
def test_a_broken_file_of_tools_is_one_sentence(tmp_path, source):
    """It names the file, the line where there is one, and what is wrong."""
    path = file_with(tmp_path, source)

    with pytest.raises(click.BadParameter) as caught:
        tools_of([path])

    assert BROKEN[source] in caught.value.message
    assert caught.value.message.startswith(f"{path}: ")
    assert "\n" not in caught.value.message


def test_a_conversation_is_kept(tmp_path):
    """What is saved is read back, and no other file is left in the folder."""
    file = SessionFile.at(tmp_path / "trip.json")
    assert file.load() is None
    thread = allm.Thread([allm.user("Hello"), allm.assistant("Hi.")])

    file.save(allm.Thread())
    file.save(thread)

    assert file.load() == thread
    assert list(tmp_path.iterdir()) == [file.path]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")
def test_a_conversation_is_private_unless_its_owner_says_otherwise(tmp_path):
    """A new file is for its owner alone; an existing one keeps its permissions, and a link stays one."""
    file = SessionFile.at(tmp_path / "trip.json")
    file.save(allm.Thread())
    assert file.path.stat().st_mode & 0o777 == 0o600

    file.path.chmod(0o640)
    (tmp_path / "link.json").symlink_to(file.path)
    SessionFile.at(tmp_path / "link.json").save(allm.Thread())

    assert file.path.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "link.json").is_symlink()


def test_a_conversation_is_never_half_written(tmp_path, monkeypatch):
    """When anything fails on the way, the old file is still there, and nothing else."""

    def fail(*_):
        raise OSError("disk full")

    file = SessionFile.at(tmp_path / "trip.json")
    file.save(allm.Thread())
    monkeypatch.setattr("os.fsync", fail)

    with pytest.raises(OSError, match="disk full"):
        file.save(allm.Thread([allm.user("Hello")]))

    assert file.load() == allm.Thread()
    assert list(tmp_path.iterdir()) == [file.path]
