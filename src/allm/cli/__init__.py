"""The command `allm` (extra `cli`): `allm demo`, `allm generate`, `allm chat`, `allm image` and `allm embed`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

_EXTRA = frozenset({"click", "dotenv", "h11", "markdown_it", "prompt_toolkit", "rich", "tomlkit"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command `allm`.

    Args:
        arguments: The arguments without the program's name; default: those of the process.

    Returns:
        The exit code: 0 success, 1 failure, 2 usage error, 130 interrupted, 141 broken output pipe.
    """
    try:
        from allm.cli.commands import run

        return run(arguments)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA:
            raise
        print(f"allm: {package} is missing: pip install 'allm-trio[cli]'", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:  # during the import; `run` handles later ones
        print("interrupted", file=sys.stderr)  # noqa: T201
        return 130
