"""Which model a command uses: its option, the environment, or the settings; and the short names for models."""

from __future__ import annotations

import click

from allm.cli.settings import settings

__all__ = ["chosen_model", "without_alias"]


def chosen_model(given: str | None) -> str:
    """The model as `provider:id`: `given` by `--model` or the environment, or the default.

    Raises:
        click.UsageError: There is none.
        click.ClickException: The settings cannot be read.
    """
    known = settings()
    model = given or known.model
    if model is None:
        raise click.UsageError(
            "Which model? Give --model PROVIDER:ID, set the environment variable ALLM_MODEL, or choose one for always: "
            "allm models default PROVIDER:ID. `allm models` lists models."
        )
    return known.aliases.get(model, model)


def without_alias(model: str) -> str:
    """The model that an alias stands for, or `model` itself."""
    return settings().aliases.get(model, model)
