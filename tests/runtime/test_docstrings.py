"""What a docstring says to a model."""

from __future__ import annotations

import pytest

from allm.runtime.docstrings import read_docstring

TOLD = "Search.\nIn all pages.\n\nLike this: so.\n\nExample:\n    >>> search(1)\n    Note: no section"
NUMPYDOC = """Parameters
----------
query : str
    what

Other Parameters
----------------
limit : int
    how many"""
DOCSTRINGS = {
    "only a section": (
        "Args:\n    query: what to look for\n    limit: the most results",
        "",
        {"query": "what to look for", "limit": "the most results"},
    ),
    "keyword arguments": (
        "Search.\n\nArgs:\n    query: what\n\nKeyword Args:\n    limit: how many\n\nReturns:\n    str: the text",
        "Search.",
        {"query": "what", "limit": "how many"},
    ),
    "keyword arguments alone": ("Search.\n\nKeyword Arguments:\n    limit: how many", "Search.", {"limit": "how many"}),
    "notes and examples": (
        f"{TOLD}\n\nArgs:\n    x: the x\n       goes on: here\n\nRaises:\n    ValueError: if\n\nNote:\n    Not twice.",
        f"{TOLD}\n\nNote:\n    Not twice.",
        {"x": "the x\ngoes on: here"},
    ),
    "numpydoc": (
        f"Search.\n\n{NUMPYDOC}\n\nReturns\n-------\nstr\n    the text\n\nNotes\n-----\nNot twice.\n",
        "Search.\n\nNotes\n-----\nNot twice.",
        {"query": "what", "limit": "how many"},
    ),
    "Sphinx": (
        "Search.\n\n:param query: what\n    of two lines\n:type query: str\n:keyword limit: how many\n:return: it",
        "Search.",
        {"query": "what\nof two lines", "limit": "how many"},
    ),
    "Epydoc": ("Search.\n\n@param query: what\n@return: the text", "Search.", {"query": "what"}),
    "colons in the prose": ("Search: with care.\n\nResults: many.", "Search: with care.\n\nResults: many.", {}),
    "types in brackets": (
        "Search.\n\nArgs:\n    query (str, optional): what: a text",
        "Search.",
        {"query": "what: a text"},
    ),
    "a section that is no list": ("Search.\n\nArgs:\n    none", "Search.", {}),
    "none": (None, "", {}),
}


@pytest.mark.parametrize("name", DOCSTRINGS)
def test_styles(name):
    """The description without what the schema has, and a text for each parameter."""
    text, description, parameters = DOCSTRINGS[name]

    def function():
        pass

    function.__doc__ = text
    assert read_docstring(function) == (description, parameters)
