"""Parse values of the command line: models and `name=value` pairs.

An invalid value is a usage error, and is found before anything is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import attrs
import click

import allm
from allm.cli.key_files import use_keys
from allm.cli.model_choice import chosen_model, without_alias
from allm.http.call import join_url

__all__ = ["engine_of", "options_of", "service_of"]


def engine_of(model: str | None, base_url: str | None) -> allm.Engine:
    """The engine of a model or an alias, or of the default model, at another URL if one is given.

    Its key may come from the files of keys.

    Raises:
        click.BadParameter: An unknown provider, an invalid URL, or a provider without a base URL.
        click.UsageError: No model is given, and there is no default.
        click.ClickException: The settings or a file of keys cannot be read.
    """
    use_keys()
    try:
        engine = allm.Engine.from_model(chosen_model(model))
    except allm.EngineError as error:
        raise click.BadParameter(error.message, param_hint="'--model'") from error
    return _at(base_url, engine, "adapter")


def service_of(service: str, model: str, base_url: str | None) -> allm.Engine:
    """The engine of `provider:model` for a service beside chat, such as `image`.

    Raises:
        click.BadParameter: As for `engine_of`.
    """
    use_keys()
    try:
        engine = allm.Engine().with_services(**{f"{service}_model": without_alias(model)})
    except allm.EngineError as error:
        raise click.BadParameter(error.message, param_hint="'--model'") from error
    return _at(base_url, engine, f"{service}_adapter")


def _at(base_url: str | None, engine: allm.Engine, slot: str) -> allm.Engine:
    if base_url is None:
        return engine
    try:
        join_url(base_url, "")
    except allm.EngineError as error:
        raise click.BadParameter(error.message, param_hint="'--base-url'") from error
    adapter: Any = getattr(engine, slot)
    if not hasattr(adapter, "base_url"):
        raise click.BadParameter(f"{adapter.provider} has no base URL.", param_hint="'--base-url'")
    changes: dict[str, Any] = {slot: attrs.evolve(adapter, base_url=base_url)}
    return attrs.evolve(engine, **changes)


def options_of(pairs: Iterable[str]) -> dict[str, Any]:
    """Fields of the provider's request body from `name=value`; a value that is not JSON is a text.

    Raises:
        click.BadParameter: No `=`, or no name before it.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{pair!r} is not name=value.", param_hint="'--option'")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options
