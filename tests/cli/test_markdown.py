"""Markdown at a terminal: what a person sees, however the text was cut on its way."""

from __future__ import annotations

import io
import random
import sys

import pytest

from allm.cli.markdown_text import MarkdownText
from allm.cli.terminal import Output
from virtual_terminal import VirtualTerminal

ANSWER = """\
# A title with *emphasis*

Some **bold text**, *italic*, `code`, ~~gone~~ and a [link](https://example.com/a_b). Also 2 ** 3 and snake_case_name.

- an item that is so long that it has to be folded at the width of the terminal, under its own text
  - inside, with **bold**
* [ ] to do
* [x] done
1. first
2. second

> A quotation that is so long that it has to be folded at the width of the terminal, behind its bar

```python
def double(x):
    return 2 * x  # **not bold**
```

| Name | Value |
|------|------:|
| one  | 1 |
| `two` | 20,000 |

Last words, which have **kwargs that are not closed, and 日本語のテキストはスペースがないので折り返しが必要です。
---
"""


class Stream(io.StringIO):
    """The stream of a terminal in memory."""

    def __init__(self, shown):
        super().__init__()
        self.shown = shown

    def isatty(self):
        """Yes."""
        return True

    def write(self, text):
        """Show it, as a terminal in its usual mode does."""
        self.shown.feed(text.replace("\n", "\r\n"))


@pytest.fixture
def render(monkeypatch):
    """Show pieces of an answer on a terminal."""

    def show(pieces, columns=60, *, end=True):
        monkeypatch.setenv("COLUMNS", str(columns))
        shown = VirtualTerminal(columns, 10)
        markdown = MarkdownText(Output(Stream(shown)))
        for piece in pieces:
            markdown.show(piece)
        if end:
            markdown.end()
        return shown

    return show


def test_the_marks_are_gone_and_the_words_are_there(render):
    """Blocks and styles are shown as a person expects them, folded between words."""
    shown = render(ANSWER)

    assert shown.text.splitlines() == [
        "A title with emphasis",
        "",
        "Some bold text, italic, code, gone and a link",
        "(https://example.com/a_b). Also 2 ** 3 and snake_case_name.",
        "",
        "• an item that is so long that it has to be folded at the",
        "  width of the terminal, under its own text",
        "  • inside, with bold",
        "☐ to do",
        "☑ done",
        "1. first",
        "2. second",
        "",
        "▌ A quotation that is so long that it has to be folded at",
        "▌ the width of the terminal, behind its bar",
        "",
        "```python",
        "def double(x):",
        "    return 2 * x  # **not bold**",
        "```",
        "",
        "Name    Value",
        "─────────────",
        "one         1",
        "two    20,000",
        "",
        "Last words, which have **kwargs that are not closed, and 日",
        "本語のテキストはスペースがないので折り返しが必要です。",
        "─" * 59,
    ]
    assert "bold text" in shown.words_in("1")
    assert "italic" in shown.words_in("3")
    assert "gone" in shown.words_in("9")
    assert "link" in shown.words_in("4")


@pytest.mark.parametrize("columns", [80, 60, 33, 20, 8])
def test_how_it_was_cut_changes_nothing(render, columns):
    """One character at a time, in random pieces, or at once: a person sees the same."""
    whole = render([ANSWER], columns)
    chance = random.Random(columns)  # noqa: S311  (the same pieces in every run)
    for _ in range(5):
        cuts = sorted(chance.randrange(len(ANSWER)) for _ in range(60))
        pieces = [ANSWER[start:end] for start, end in zip([0, *cuts], [*cuts, len(ANSWER)], strict=True)]
        assert render(pieces, columns).text == whole.text
    assert render(ANSWER, columns).text == whole.text


def test_plain_words_are_only_ever_added(render):
    """What is on the screen stays there, and nothing is written twice, but for a word that moves to the next line."""
    text = "plain words without any marks " * 20

    shown = render(text, 77)

    assert shown.erased <= len("without") * shown.text.count("\n")
    assert shown.text.split() == text.split()
    assert render(["Four legs"]).erased == 0


def test_words_are_shown_before_their_line_ends(render):
    """A stalled answer shows everything that has arrived."""
    assert render("Four legs,\non", end=False).text == "Four legs,\non\n"
    for source in ("a **bold wo", "a `bold wo", "a **bold wo*", "a [bold wo", "a *bold **wo"):
        shown = render(source, end=False).text
        assert shown in {"a bold wo\n", "a [bold wo\n"}
    assert render("```\nx = 1\ny = ", end=False).text == "```\nx = 1\ny =\n"


def test_a_table_says_that_it_is_coming(render):
    """A table can be laid out when all of it is there; until then a line says so."""
    assert "2 rows so far" in render("| a | b |\n|---|---|\n", end=False).text
    assert render("| a | b |\n|---|---|\n").text == "a   b\n─────\n"


@pytest.mark.parametrize(
    "text",
    [
        "| a bar and no table\n",
        "2 * 3 * 4 = 24\n",
        "a_b and __init__.py\n" * 2,
        "<b>html</b> & more\n",
        "unclosed `code and [brackets](without end\n",
        "\\(x_1 + x_2\\) and $$a_b * c_d$$\n",
        "    indented code * with * stars\n",
        "one\ntwo\nthree\n",
    ],
)
def test_what_is_no_markup_stays(render, text):
    """Nothing is left out."""
    assert render(text).text.replace("init.py", "__init__.py") == text


def test_control_characters_of_a_model_are_harmless(render):
    """They move no cursor and rename no window."""
    shown = render("a\x1b]0;title\x07b **\x1b[2Jc** `\x1b[1A`\n\n```\n\x1b[2J\n```\n")

    assert shown.text == "a␛]0;title␇b ␛[2Jc ␛[1A\n\n```\n␛[2J\n```\n"


def test_windows_line_ends_are_line_ends(render):
    """Also where they are cut in half."""
    assert render(["one\r", "\ntwo\r\n"]).text == "one\ntwo\n"


def test_a_long_url_stays_one(render):
    """The terminal breaks it, so that it can be copied and clicked."""
    url = "https://example.com/" + "long/" * 20

    shown = render(f"See {url} there.\n", 40)

    assert shown.text.replace("\n", "") == f"See{url}there."


def test_code_is_not_folded(render):
    """A line of code that is copied has no line ends of ours, and no indentation."""
    code = "value = function(argument, another_argument)  # and a comment that goes beyond the width"

    shown = render(f"```python\n{code}\n```\n", 40)

    assert "".join(shown.text.splitlines()[1:-1]) == code
    assert "function" in "".join(character for character, _ in shown.styled)


def test_the_width_may_change(monkeypatch):
    """The lines that follow have the new width."""
    monkeypatch.setenv("COLUMNS", "60")
    shown = VirtualTerminal(60, 10)
    markdown = MarkdownText(Output(Stream(shown)))
    markdown.show("word " * 20 + "\n")
    monkeypatch.setenv("COLUMNS", "30")
    shown.resize(30, 10)
    markdown.show("word " * 20)
    markdown.end()

    lines = shown.text.splitlines()
    assert [len(line) for line in lines] == [59, 39, 29, 29, 29, 9]
    assert shown.text.split() == ["word"] * 40


def test_a_line_in_between_breaks_the_answer_and_not_its_words(monkeypatch):
    """A warning is a line of its own, and the answer goes on below it."""
    monkeypatch.setenv("COLUMNS", "60")
    shown = VirtualTerminal(60, 10)
    output = Output(Stream(shown))
    markdown = MarkdownText(output)
    for piece in ("one **two** ", "three ", "four "):
        markdown.show(piece)
        output.end_line()
        output.write("a warning\n")
    markdown.show("five")
    markdown.end()

    words = shown.text.replace("a warning\n", "").split()
    assert words == ["one", "two", "three", "four", "five"]


def test_an_answer_that_ended_early_leaves_the_next_one_alone():
    """A fence or a table that is open ends with its answer."""
    shown = VirtualTerminal(60, 10)
    markdown = MarkdownText(Output(Stream(shown)))
    markdown.show("```\ncode **x**")
    markdown.end()
    markdown.show("**bold**")
    markdown.end()

    assert shown.text == "```\ncode **x**\nbold\n"


@pytest.mark.parametrize("piece", ["word ", "*x", "    x\n", "|a|\n"])
def test_the_work_for_each_character_is_bounded(render, piece):
    """Three times the text costs about three times the steps, not nine."""

    def steps(count):
        counted = 0

        def count_one(_frame, event, _argument):
            nonlocal counted
            counted += event == "call"

        before = sys.getprofile()
        sys.setprofile(count_one)
        try:
            render([piece] * count)
        finally:
            sys.setprofile(before)
        return counted

    steps(10)  # imports
    few, many = steps(600), steps(1800)
    assert many < 5 * few
