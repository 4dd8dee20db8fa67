"""Runs the command `allm` for `python -m allm`."""

from __future__ import annotations

import sys

from allm.cli import main

if __name__ == "__main__":
    sys.exit(main())
