"""The files in changelog.d can become lines of the changelog."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOWNCRIER = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["towncrier"]
NAME = re.compile(rf"\+[a-z0-9-]+\.({'|'.join(TOWNCRIER['fragment'])})\.md")


def problems(file: Path) -> list[str]:
    """What is wrong with a fragment."""
    text = file.read_text("utf-8")
    found = (
        [] if NAME.fullmatch(file.name) else ["its name is not +topic.type.md with one of the types in pyproject.toml"]
    )
    if not text.strip():
        found.append("it is empty")
    if text.startswith(("-", "*")):
        found.append("it begins with the mark of a list item, which towncrier adds")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    return found + [f"its link leads nowhere: {link}" for link in links if not (ROOT / link).exists()]


def test_fragments_are_usable():
    """Each has a type, says something, and links to what is there."""
    files = [path for path in (ROOT / TOWNCRIER["directory"]).iterdir() if path.name not in TOWNCRIER["ignore"]]
    assert {file.name: found for file in files if (found := problems(file))} == {}


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("+embeddings.added.md", "Vectors. [How](docs/embeddings.md#numpy), [why](https://example.org/).\n", ""),
        ("+embeddings.feature.md", "Vectors.\n", "name"),
        ("embeddings.added.md", "Vectors.\n", "name"),
        ("+embeddings.added.md", " \n", "empty"),
        ("+embeddings.added.md", "- Vectors.\n", "list item"),
        ("+embeddings.added.md", "[Vectors](docs/vectors.md).\n", "nowhere"),
    ],
)
def test_what_is_no_fragment(name, text, found, tmp_path):
    """Each mistake is named."""
    (tmp_path / name).write_text(text, "utf-8")
    assert [found in problem for problem in problems(tmp_path / name)] == [True] * bool(found)


def test_the_changelog_has_the_place_for_the_next_release():
    """Towncrier writes below this line, which must be there once, above the newest version."""
    before, after = (ROOT / TOWNCRIER["filename"]).read_text("utf-8").split(TOWNCRIER["start_string"])
    assert "\n## " not in before
    assert after.startswith("\n## [")
