"""Parse values of the command line: models, images and `name=value` pairs.

An invalid value is a usage error, and is found before anything is sent.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import click

import allm
from allm.cli.key_files import use_keys
from allm.cli.model_choice import chosen_model, without_alias
from allm.cli.shell_advice import in_shell_words
from allm.cli.standard_input import StandardInput, size_text
from allm.data.image import EXTENSIONS
from allm.data.image_header import sniff_mime
from allm.http.call import join_url

__all__ = ["content_of", "engine_of", "images_of", "is_image", "kind_of", "only", "options_of", "service_of"]

LARGEST_IMAGE = 50_000_000
"""Most bytes of an attachment. What a provider takes is less, and its own to say."""
_WEB = ("http://", "https://")
_LONGEST_SHOWN = 64  # characters of a value in an error


def engine_of(model: str | None, base_url: str | None, argument: str = "--model") -> allm.Engine:
    """The engine of a model or an alias, or of the default model, at another URL if one is given.

    Its key may come from the files of keys.

    Args:
        argument: Where the model was named, for the error.

    Raises:
        click.BadParameter: An unknown provider, an invalid URL, or a provider without a base URL.
        click.UsageError: No model is given, and there is no default.
        click.ClickException: The settings or a file of keys cannot be read.
    """
    use_keys()
    try:
        engine = allm.Engine.from_model(chosen_model(model))
    except allm.EngineError as error:
        raise click.BadParameter(in_shell_words(error), param_hint=f"'{argument}'") from error
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
        raise click.BadParameter(in_shell_words(error), param_hint="'--model'") from error
    return _at(base_url, engine, f"{service}_adapter")


def _at(base_url: str | None, engine: allm.Engine, slot: str) -> allm.Engine:
    if base_url is None:
        return engine
    try:
        join_url(base_url, "")
    except allm.EngineError as error:
        raise click.BadParameter(in_shell_words(error), param_hint="'--base-url'") from error
    adapter: Any = getattr(engine, slot)
    if not hasattr(adapter, "base_url"):
        raise click.BadParameter(f"{adapter.provider} has no base URL.", param_hint="'--base-url'")
    changes: dict[str, Any] = {slot: attrs.evolve(adapter, base_url=base_url)}
    return attrs.evolve(engine, **changes)


def images_of(places: Iterable[str], option: str = "--image", stdin: StandardInput | None = None) -> list[allm.Image]:
    """Images from files, standard input (`-`), http(s) URLs, which the provider fetches, and data URIs.

    Raises:
        click.BadParameter: It cannot be read, or is not an image.
    """
    return [_image(place, option, stdin) for place in places]


def _image(place: str, option: str, stdin: StandardInput | None) -> allm.Image:
    if place.startswith(_WEB):
        return allm.Image.from_url(place)
    if place.startswith("data:"):
        return _inline(place, option)
    if place == "-" and stdin is not None:
        name, data = "standard input", stdin.data(f"{option} -")
    else:
        name, data = place, content_of(place, LARGEST_IMAGE, option)
    if data and (is_image(data) or Path(name).suffix.lower() in EXTENSIONS):
        return allm.Image.from_bytes(data, EXTENSIONS.get(Path(name).suffix.lower()))
    kind = kind_of(name, data) if data else "empty"
    raise click.BadParameter(
        f"{name} is {kind or 'of no known type'}; {only('images', kind)}", param_hint=f"'{option}'"
    )


def _inline(uri: str, option: str) -> allm.Image:
    try:
        image = allm.Image.from_data_uri(uri)
        if is_image(image.to_bytes()) or (image.mime_type or "").startswith("image/"):
            return image
        reason = f"it is {image.mime_type or 'of no known type'}; {only('images', image.mime_type)}"
    except allm.ValidationError as error:
        reason = error.problem
    shown = uri if len(uri) <= _LONGEST_SHOWN else f"{uri[:_LONGEST_SHOWN]}..."
    raise click.BadParameter(f"{shown}: {reason}", param_hint=f"'{option}'")


def content_of(place: str, limit: int, option: str, *, whole: bool = True) -> bytes:
    """The bytes of a file, or of a pipe as a shell makes them for `<(command)`.

    Args:
        place: Where it is.
        limit: How many bytes there may be, or how many are read.
        option: What names it.
        whole: More bytes than these are an error.

    Raises:
        click.BadParameter: It cannot be read, or is too long.
    """
    try:
        with Path(place).open("rb") as file:
            data = file.read(limit + 1 if whole else limit)
    except OSError as error:
        raise click.BadParameter(f"cannot read {place}: {error.strerror}", param_hint=f"'{option}'") from error
    except ValueError as error:  # a null character
        raise click.BadParameter(f"{place!r} is not the name of a file", param_hint=f"'{option}'") from error
    if whole and len(data) > limit:
        raise click.BadParameter(
            f"{place} is longer than {size_text(limit)}, the most that is sent", param_hint=f"'{option}'"
        )
    return data


def is_image(data: bytes) -> bool:
    """Whether the bytes say that they are an image."""
    return (sniff_mime(data) or "").startswith("image/")


def kind_of(name: str, data: bytes) -> str | None:
    """What a file is that is not a text, as its bytes or its name tell."""
    return sniff_mime(data) or mimetypes.guess_type(name)[0]


def only(what: str, kind: str | None) -> str:
    """What can be sent, and what helps with a file that cannot."""
    sentence = f"only {what} can be sent"
    return f"{sentence}: pdftotext FILE - gives the text of a PDF" if kind == "application/pdf" else sentence


def options_of(pairs: Iterable[str]) -> dict[str, Any]:
    """Fields of the provider's request body from `name=value`; a value that is not JSON is a text.

    Raises:
        click.BadParameter: No `=`, or no name before it.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE.", param_hint="'--option'")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options
