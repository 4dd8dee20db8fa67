"""Where a service is: a URL that was given, a variable, or the preset's own with its fields filled in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote

import attrs

from allm.data.errors import EngineError
from allm.providers.openai.presets import Preset

__all__ = ["Place", "find_base_url", "url_value"]

_FIELD = re.compile(r"\{(\w+)\}")


@attrs.frozen
class Place:
    """What is known of where a service is: `given` are the fields of its URLs that the adapter was made with."""

    row: Preset
    base_url: str | None
    given: Mapping[str, str | None]


def find_base_url(place: Place, endpoint: str, model: str | None) -> str:
    """The base URL for `endpoint`.

    Raises:
        EngineError: `invalid_base_url`: it cannot be known without something that is missing.
    """
    row = place.row
    if place.base_url is not None:
        return place.base_url
    from_env = _variable((row.base_url_env,)) if row.base_url_env else None
    if from_env is not None:
        return from_env.rstrip("/") + row.base_url_env_path
    # A deployment that is asked for at the adapter is the model already; else the request's model names it.
    given = {**place.given, "deployment": place.given.get("deployment") or model}
    dated = row.dated_urls.get(endpoint)
    template = dated if dated and url_value(row, "api_version", given) else row.base_url
    if template is None:
        raise EngineError(f"{row.name} has no address of its own: pass base_url=", reason="invalid_base_url")
    return _filled(row, template, given)


def url_value(row: Preset, name: str, given: Mapping[str, str | None]) -> str | None:
    """A field of the row's URLs as it was given, else from its variables; None where neither is there."""
    field = row.url_fields.get(name)
    return None if field is None else given.get(name) or _variable(field.env)


def _variable(names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := os.environ.get(name, "").strip())), None)


def _filled(row: Preset, template: str, given: Mapping[str, str | None], tried: tuple[str, ...] = ()) -> str:
    def fill(match: re.Match[str]) -> str:
        name, field = match[1], row.url_fields[match[1]]
        variables = (*field.env, *tried)
        # What was given wins over a variable, also where it is only a part of what the variable has.
        by_parts = field.default is not None and all(given.get(part) for part in _FIELD.findall(field.default))
        value = given.get(name) if by_parts else url_value(row, name, given)
        if value is not None:
            return value.rstrip("/") if "://" in value else quote(value, safe="")
        if field.default is not None:
            return _filled(row, field.default, given, variables)
        raise EngineError(
            f"{row.name} needs its {name} for the URL {template}: pass {name}= or base_url=, or set the environment "
            f"variable {' or '.join(variables)}",
            reason="invalid_base_url",
        )

    return _FIELD.sub(fill, template)
