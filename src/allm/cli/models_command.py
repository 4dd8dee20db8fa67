"""The command `allm models`."""

from __future__ import annotations

import click

__all__ = ["models"]


@click.group()
def models() -> None:
    """Models on this machine."""
