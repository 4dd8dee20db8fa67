"""Answers in Markdown: marks at the ends of the cited places, one number for each source, and nothing broken."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

import allm
from allm import Citation, SourcePlace, TextPart
from allm.data.markdown_code import code_spans
from allm.render import markdown

A, B = "https://a.example", "https://b.example"


def answer(text, *citations):
    """An assistant message of one text."""
    return allm.assistant(TextPart(text, citations=citations))


def body(text, *citations):
    """What becomes of the text, without the list."""
    return re.split(r"\n\n\[\^\d+\]: ", markdown(answer(text, *citations)))[0]


def at(text, cited, url=A, **fields):
    """A citation of the first place that has this text."""
    start = text.index(cited)
    return Citation(start, start + len(cited), url=url, **fields)


def test_an_answer_without_sources_is_its_text():
    """Unchanged, of a message, a response and a turn."""
    response = allm.Response(message=allm.assistant("Hi *you*\n"))
    assert markdown(response) == markdown(response.message) == "Hi *you*\n"


def test_sources_have_numbers_and_a_list():
    """In the order of their first mark; the same source has the same number, whichever part cites it."""
    text = "Owls 🦉 fly. They hunt. "
    first = TextPart(text, citations=[at(text, "They hunt. ", B, title="B"), at(text, "Owls 🦉 fly.", title="A")])
    second = TextPart("At night.", citations=[Citation(0, 9, url=A)])
    assert markdown(allm.assistant(first, second)) == (
        f"Owls 🦉 fly.[^1] They hunt.[^2] At night.[^1]\n\n[^1]: [A]({A})\n[^2]: [B]({B})"
    )


def test_marks_that_share_an_end():
    """Stand one behind the other, each source once."""
    text = "One two."
    cited = (at(text, "One two."), at(text, "two.", B), at(text, "two."), Citation(url="https://c.example"))
    assert body(text, *cited) == "One two.[^1][^2][^3]"


@pytest.mark.parametrize(
    ("text", "cited", "expected"),
    [
        ("Use `a[b]` here.", "a[b", "Use `a[b]`[^1] here."),
        ("x\n```py\ncode\n```\nMore.", "code", "x\n```py\ncode\n```\n\n[^1]\nMore."),
        ("x\n```py\ncode\n```", "```py\ncode\n```", "x\n```py\ncode\n```\n\n[^1]"),
        ("x\n```py\ncode", "co", "x\n```py\ncode\n\n[^1]"),
        ("See [it](https://x.example/a_(b)) now.", "x.example", "See [it](https://x.example/a_(b))[^1] now."),
        ("See https://x.example/a now.", "https://x", "See https://x.example/a[^1] now."),
        ("See [it] now.", "[it]", "See [it] [^1] now."),
        ("It is so.[1][2]", "[1]", "It is so.[^1][2]"),
        ("It has one.[^7]", "one.", "It has one.[^8][^7]"),
    ],
)
def test_what_ends_inside_something(text, cited, expected):
    """Code and addresses stay as they are; the model's own marks and footnotes are not mistaken for these."""
    assert body(text, at(text, cited)) == expected


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"url": "https://e.example/Ruby_(x)", "title": "R"}, "[R](<https://e.example/Ruby_(x)>)"),
        ({"url": "https://e.example/a b>\n", "title": "R"}, "[R](https://e.example/a%20b%3E)"),
        ({"url": " JavaScript:alert(1)", "title": "R](x)\n*y*"}, r"R\](x) \*y\*"),
        ({"url": "javascript:alert(1)"}, "a source"),
        ({"url": "data:text/html,x", "quote": "<b>"}, r"\<b\>"),
        ({"url": "manual/7"}, "manual/7"),
        ({"file_id": "file-1", "title": "a_b.pdf"}, r"a\_b.pdf"),
        ({"title": "T", "source": SourcePlace("pages", 2, 4, index=0)}, "T, pages 2, 3"),
        ({"title": "T", "source": SourcePlace("pages", 1, 2)}, "T, page 1"),
        ({"title": "T", "source": SourcePlace("characters", 1, 2)}, "T"),
    ],
)
def test_a_source_in_the_list(fields, line):
    """Titles cannot break out of their link, and only addresses of the web are links."""
    assert markdown(answer("x", Citation(0, 1, **fields))) == f"x[^1]\n\n[^1]: {line}"


def test_a_place_that_the_text_does_not_have():
    """As if there were none."""
    assert body("x", Citation(5, 9, url=A), Citation(0, None, url=A)) == "x[^1]"


@given(st.text("ab `~\n[]()1^.", max_size=60), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=4))
def test_nothing_of_the_text_is_lost(text, places):
    """Without the marks it is what it was, but for white space, and code is untouched."""
    citations = [Citation(*sorted(place), url=f"https://{n}.example") for n, place in enumerate(places)]
    shown = markdown(answer(text, *citations))
    for n in range(1, 5):
        shown = shown.split(f"[^{n}]: ", 1)[0] if n == 1 else shown
    for start, end in code_spans(text):
        assert text[start:end].rstrip() in shown
    if "[1]" not in text and "^" not in text:
        for n in range(1, 5):
            shown = shown.replace(f"[^{n}]", "")
        assert "".join(shown.split()) == "".join(text.split())
