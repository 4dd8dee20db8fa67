"""The tests of this folder need the extra `mcp`, and processes, so they run in a session of nox of their own."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("mcp_types") else ["test_*.py"]
