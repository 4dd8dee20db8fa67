"""Most tests of this folder need the extra `mcp` and start processes: `nox -s mcp` runs them."""

import importlib.util
from pathlib import Path

PURE = {"test_values.py"}
"""Those that need neither."""

collect_ignore: list[str] = []
if importlib.util.find_spec("mcp_types") is None:
    collect_ignore += [path.name for path in Path(__file__).parent.glob("test_*.py") if path.name not in PURE]
