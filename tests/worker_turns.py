"""What the workers of the kill and fencing tests say in a turn."""

from __future__ import annotations


def expected(name, number):
    """The conversation of a worker's turn."""
    calls = [f"{name}/{number}/{n}" for n in range(3)]
    return [
        ("user", f"turn {number}", []),
        ("assistant", "Looking.", calls[:2]),
        ("tool", calls[0], True),
        ("tool", calls[1], True),
        ("assistant", "", calls[2:]),
        ("tool", calls[2], True),
        ("assistant", f"done {number}", []),
    ]
