"""The fenced code blocks of an answer."""

from __future__ import annotations

import pytest

from allm.cli.code_block import code_blocks


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("No code, but a `span` and ```three ticks``` in a line.", []),
        ("Here:\n```python\nx = 1\n```\nDone.", ["x = 1\n"]),
        ("```\na\n```\nand\n```sh\nb\n```", ["a\n", "b\n"]),
        ("````md\n```\ninner\n```\n````", ["```\ninner\n```\n"]),
        ("~~~\n```\nx\n```\n~~~", ["```\nx\n```\n"]),
        ("```\nnot the end:\n``` x\n~~~\n```", ["not the end:\n``` x\n~~~\n"]),
        ("1. Run\n   ```sh\n   a\n     b\n   ```\n", ["a\n  b\n"]),
        ("It was cut:\n```python\nx = 1\ny", ["x = 1\ny\n"]),
        ("```\n```", [""]),
        ("```c++ title=x\na\x0cb\u2028c\n```", ["a\x0cb\u2028c\n"]),
        ("```\r\na\r\n```\r\n", ["a\r\n"]),
    ],
)
def test_blocks_are_found_as_commonmark_says(text, blocks):
    """Longer fences, tildes, indentation, an end that is missing, and line ends inside are told apart."""
    assert code_blocks(text) == blocks
