"""Parse values of the command line: prompts, models, schemas, images, `name=value` pairs.

An invalid value is a usage error, and is found before anything is sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO, cast

import attrs
import click

import allm
from allm.cli.key_files import use_keys
from allm.cli.model_choice import chosen_model, without_alias
from allm.http.call import join_url

__all__ = ["engine_of", "images_of", "options_of", "prompt_of", "schema_of", "service_of"]

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME = 64  # characters; OpenAI's limit for the name of a response format


def prompt_of(argument: str | None, stdin: TextIO) -> str:
    """The argument, or standard input if the argument is `-` or left out.

    Raises:
        click.UsageError: There is no prompt.
    """
    if argument is None and stdin.isatty():
        raise click.UsageError("Missing argument 'PROMPT': give a text, or pipe one in.")
    prompt = _read(stdin) if argument in {None, "-"} else str(argument)
    if not prompt.strip():
        raise click.UsageError("The prompt is empty.")
    return prompt


def _read(stdin: TextIO) -> str:
    raw = getattr(stdin, "buffer", None)
    if raw is None:
        return stdin.read()
    try:
        text: str = raw.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"The prompt on standard input is not UTF-8 text ({error.reason}).") from error
    return text


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


def schema_of(path: Path) -> allm.JsonSchema:
    """The response format for the JSON Schema in the file `path`, named after the file.

    Raises:
        click.BadParameter: The file is not a JSON object.
    """
    try:
        schema: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise click.BadParameter(f"cannot read {path} as JSON: {error}", param_hint="'--schema'") from error
    if not isinstance(schema, dict):
        raise click.BadParameter(f"{path} is not a JSON Schema: expected a JSON object.", param_hint="'--schema'")
    name = _NOT_IN_NAMES.sub("_", path.stem)[:_LONGEST_NAME]
    return allm.json_schema(name, cast("dict[str, Any]", schema))


def images_of(places: Iterable[str], option: str = "--image") -> list[allm.Image]:
    """Images from files, http(s) URLs and data URIs.

    Raises:
        click.BadParameter: A file cannot be read, or is not an image.
    """
    return [_image(place, option) for place in places]


def _image(place: str, option: str) -> allm.Image:
    if place.startswith(("http://", "https://")):
        return allm.Image.from_url(place)
    try:
        image = allm.Image.from_data_uri(place) if place.startswith("data:") else allm.Image.from_file(place)
        image.to_bytes()
        image.resolved_mime_type()
    except allm.ValidationError as error:
        shown = place if len(place) <= _LONGEST_NAME else f"{place[:_LONGEST_NAME]}..."
        raise click.BadParameter(f"{shown}: {error.message}", param_hint=f"'{option}'") from error
    return image


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
