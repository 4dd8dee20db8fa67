"""The vendor of the page on adapters: short, made of public names alone, and as good as the bundled ones."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```\n", PAGE, re.DOTALL | re.MULTILINE)
[VENDOR] = [block for block in BLOCKS if "class Acme(" in block]
[SUITE] = [block for block in BLOCKS if "class TestAcme(" in block]
NAMES: dict[str, object] = {"__name__": __name__}
for block in (VENDOR, SUITE):
    exec(block, NAMES)  # noqa: S102  # our own page

TestAcme = NAMES["TestAcme"]


def test_it_is_short():
    """Sixty lines, of which none is from anywhere but the public modules."""
    assert len(VENDOR.splitlines()) <= 60
    assert set(re.findall(r"^(?:from|import) (\S+)", VENDOR, re.MULTILINE)) == {"allm", "allm.adapters"}
