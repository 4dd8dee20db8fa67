"""What a new user asks first is answered by a section that is found quickly."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
ENTRY = re.compile(r"^```\{toctree\}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((\w+)\.md(?:#[\w-]+)?\)")
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

QUESTIONS = {
    "asyncio": r"asyncio",
    "notebook": r"notebook",
    "a web framework": r"FastAPI",
    "an empty answer": r"empty",
    "Claude": r"Claude|Anthropic",
    "Gemini": r"Gemini",
    "Ollama": r"Ollama",
    "Azure": r"Azure",
    "a picture": r"picture",
    "keys": r"\bkeys?\b",
    "what is sent": r"what is sent",
    "an option of one vendor": r"options? .*vendor",
    "a test of a tool": r"test a tool",
    "messages as dictionaries": r"messages=\[\{",
    "limits": r"\blimits?\b",
    "a proxy": r"prox(y|ies)",
    "certificates": r"certificate",
    "installation": r"install",
}


def in_sidebar(text: str) -> Iterator[str]:
    """The entries of the tables of contents: pages, or titles followed by `<page>`."""
    for entry in ENTRY.findall(text):
        yield from (re.sub(r".*<(.*)>", r"\1", line) for line in entry.splitlines() if line and line[0] != ":")


def linked(page: str) -> set[str]:
    """The pages that a reader of a page can click on: in its text, and in the sidebar of the index."""
    text = (DOCS / f"{page}.md").read_text("utf-8")
    names = set(LINK.findall(CODE.sub("", text)))
    names |= set(in_sidebar(text))
    return {name for name in names if (DOCS / f"{name}.md").exists()}


def within_two_clicks() -> set[str]:
    first = linked("index")
    return {"index"} | first | {name for page in first for name in linked(page)}


def headings(pages: set[str]) -> Iterator[str]:
    for page in sorted(pages):
        yield from HEADING.findall(CODE.sub("", (DOCS / f"{page}.md").read_text("utf-8")))


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_heading_has_the_word_of_the_question(question):
    """A reader who looks for the word in the titles finds it, at most two clicks from the landing page."""
    word = re.compile(QUESTIONS[question], re.IGNORECASE)
    assert [heading for heading in headings(within_two_clicks()) if word.search(heading)]


def test_every_page_is_in_the_sidebar():
    """A page that is in no table of contents is found by nobody."""
    listed = set(in_sidebar((DOCS / "index.md").read_text("utf-8")))
    assert {path.stem for path in DOCS.glob("*.md")} - {"index"} <= listed


def test_the_table_of_extras_is_complete():
    """Each extra of `pyproject.toml` has a row that names the packages it installs, and there are no others."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text("utf-8"))["project"]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\w, -]+) \|", (DOCS / "install.md").read_text("utf-8"), re.MULTILINE))
    installed = {
        extra: {re.split(r"[\[<>=]", requirement)[0] for requirement in requirements}
        for extra, requirements in project["optional-dependencies"].items()
    }
    assert {extra: set(packages.split(", ")) for extra, packages in rows.items()} == installed
