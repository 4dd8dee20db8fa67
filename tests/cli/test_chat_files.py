"""The tools files of `allm chat`."""

from __future__ import annotations

import importlib
import sys

import click
import pytest

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
    """Undo changes to sys.path after a test."""
    monkeypatch.setattr(sys, "path", [*sys.path])


def file_with(tmp_path, source):
    """A tools file with this content."""
    path = tmp_path / "my tools.py"
    path.write_text(source, "utf-8")
    return path


def test_a_file_of_tools(tmp_path):
    """Every tool is found once, also functions in TOOLS, and modules beside the file can be imported."""
    (tmp_path / "beside_the_tools.py").write_text("unit = 'C'")
    importlib.invalidate_caches()
    path = file_with(tmp_path, GOOD)

    tools = {tool.name: tool for tool in tools_of([path])}

    assert set(tools) == {"weather", "approve", "plain"}
    assert tools["weather"].schema["properties"].keys() == {"place"}
    assert tools["plain"].description == "Says it."


def test_files_of_one_folder(tmp_path):
    """The tools of several files are combined, and their folder is added to the path once."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(f"import allm\nx = allm.Tool('{name}', '')")
    paths = [tmp_path / "a.py", tmp_path / "b.py"]

    assert [tool.name for tool in tools_of(paths)] == ["a", "b"]
    assert sys.path.count(str(tmp_path)) == 1


SETS = """
import allm

@allm.tool
def weather(city: str) -> str:
    return "21"

crm = allm.Toolset([allm.Tool("find", "Finds.")]).prefixed("crm_")
later = allm.Toolset(lambda: [allm.Tool("late", "Late.")])
TOOLS = [crm]
"""


def test_sets_of_tools_are_offered_as_they_are(tmp_path):
    """Each once, beside the tools; one that is loaded later is not loaded here."""
    tool, known, later = tools_of([file_with(tmp_path, SETS)])

    assert tool.name == "weather"
    assert [tool.name for tool in known.known()] == ["crm_find"]
    assert later.known() is None


FUNCTIONS = """
from json import dumps

def add(a: int, b: int) -> int:
    "Adds."
    return a + b

def _hidden(): ...
"""


@pytest.mark.parametrize("in_a_file", [False, True])
def test_every_function_of_some_code_can_be_a_tool(tmp_path, in_a_file):
    """But for those that are imported or whose names begin with `_`."""
    code = str(file_with(tmp_path, FUNCTIONS)) if in_a_file else FUNCTIONS

    [tool] = tools_of([], [code])

    assert (tool.name, tool.description) == ("add", "Adds.")


@pytest.mark.parametrize(
    ("code", "says"), [("x = ", "the code: line 1: SyntaxError"), ("x" * 9999 + " = 1", "no tools")]
)
def test_code_that_has_no_functions_is_refused(code, says):
    """The option is named."""
    with pytest.raises(click.BadParameter) as caught:
        tools_of([], [code])

    assert says in caught.value.message
    assert caught.value.param_hint == "'--functions'"


BROKEN = {
    "def weather(:": "line 1: SyntaxError",
    "\n\nimport not_there_at_all": "line 3: ModuleNotFoundError: No module named",
    "import json\njson.loads('{')": "line 2: JSONDecodeError",
    "exit(3)": "SystemExit: 3",
    "x = 1": "has no tools",
    "TOOLS = 7": "TOOLS is of type int",
    "TOOLS = ['nothing']": "'nothing', which is neither",
    "def many(*names): ...\nTOOLS = [many]": "*names",
    "import allm\na = allm.Tool('same', '')\nb = allm.Tool('same', 'other')": "two tools called 'same'",
    "import allm\na = allm.Tool('same', '')\nb = allm.Toolset([allm.Tool('same', '')])": "two tools called 'same'",
    "import allm\na = allm.Tool('not a name', '')": "'not a name' cannot be used",
    "exec('x =')": "SyntaxError",
    "a\0b": "Error: ",
}


@pytest.mark.parametrize("source", BROKEN)
def test_a_broken_file_of_tools_is_one_sentence(tmp_path, source):
    """It has the file, the line if known, and the problem."""
    path = file_with(tmp_path, source)

    with pytest.raises(click.BadParameter) as caught:
        tools_of([path])

    assert BROKEN[source] in caught.value.message
    assert caught.value.message.startswith(f"{path}: ")
    assert "\n" not in caught.value.message
