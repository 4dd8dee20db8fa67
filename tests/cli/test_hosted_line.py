"""A line of `allm chat` says what a tool of the provider's did."""

from __future__ import annotations

import pytest

import allm
from allm.cli.hosted_line import hosted_line

LINES = {
    '* searched "owls"': allm.HostedCall("1", "web_search", input={"query": "owls"}),
    '* searched "a, b"': allm.HostedCall("1", "web_search", input={"queries": ["a", "b"]}),
    '* read "https://a.b" (failed)': allm.HostedCall("1", "web_fetch", "failed", {"url": "https://a.b"}),
    '* mcp "create" (waits for you)': allm.HostedCall("1", "mcp", "requires_action", {"name": "create"}),
    '* ran code "1 2"': allm.HostedCall("1", "code_execution", input={"code": "1\n2"}),
    "* shell": allm.HostedCall("1", "shell"),
}


@pytest.mark.parametrize("line", LINES)
def test_a_call_is_one_line(line):
    """With what was asked, in one line, and with what is not usual about its end."""
    assert hosted_line(LINES[line], None) == line


def test_what_was_asked_at_the_start_counts():
    """The result of Anthropic's calls does not say it again."""
    line = hosted_line(allm.HostedCall("1", "web_search"), {"query": "owl " * 100})
    assert line.startswith('* searched "owl owl')
    assert len(line) < 100
