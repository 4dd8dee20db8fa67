"""Generate src/allm/runtime/unit_prices.json from published packages: `nox -s catalog`.

What is not priced by the token of a text: searches of the provider's own tools, hours of sound, characters that are
said, images; and the tokens of models for images and sound, which are not in the catalog. Where genai-prices has a
price it is right, and litellm has the services and units that it lacks. Of prices that change, today's are taken.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genai_prices import data as genai_data, types as genai

SOURCES = ("genai-prices", "litellm")
RUNTIME = Path(__file__).parents[1] / "src" / "allm" / "runtime"
TARGET = RUNTIME / "unit_prices.json"

# Our names of providers, and those of genai-prices.
GENAI = {"anthropic": "anthropic", "gemini": "google", "groq": "groq", "mistral": "mistral", "openai": "openai"}
LITELLM = frozenset({"deepgram", "elevenlabs", "gemini", "groq", "mistral", "openai", "xai"})

PER_THOUSAND = {"web_search": "web_searches_kcount", "file_search": "storage_searches_kcount"}
OF_SOUND = {"audio_hour": "input_audio_hours", "characters": "input_mchars"}
TOKENS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "input_image": "input_image_mtok",
    "output_image": "output_image_mtok",
    "input_audio": "input_audio_mtok",
    "output_audio": "output_audio_mtok",
}
IN_TOKENS = ("image", "transcribe", "tts")
"""Words in the names of models whose prices by the token are not in the catalog."""


def main() -> None:
    """Write the file."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for provider, model, prices in (*of_litellm(), *of_genai()):  # the second source wins
        found.setdefault((provider, model), {}).update(prices)
    lines = [
        json.dumps({"provider": provider, "id": model} | dict(sorted(prices.items())))
        for (provider, model), prices in sorted(found.items())
        if prices
    ]
    sources = {name: importlib.metadata.version(name) for name in SOURCES}
    head = [
        f'{{"as_of": {json.dumps(datetime.now(UTC).date().isoformat())},',
        f'"sources": {json.dumps(sources)},',
        '"models": [',
    ]
    TARGET.write_text("\n".join([*head, ",\n".join(lines), "]}", ""]), "utf-8")


def of_genai() -> Iterator[tuple[str, str, dict[str, float]]]:
    """Prices of genai-prices, for its own ids and for those of the catalog that it knows."""
    catalog = json.loads((RUNTIME / "models.json").read_text("utf-8"))["models"]
    for provider, name in GENAI.items():
        [source] = [each for each in genai_data.providers if each.id == name]
        own = {row["id"] for row in catalog if row["provider"] == provider}
        for model in sorted(
            {*own, *(row.id for row in source.models if "claude" not in row.id or name == "anthropic")}
        ):
            row = source.find_model(model)
            if row is not None:
                yield provider, model, dict(_priced(model, _today(row)))


def _today(row: genai.ModelInfo) -> dict[str, Any]:
    periods = row.prices if isinstance(row.prices, list) else [genai.ConditionalPrice(prices=row.prices)]
    today = datetime.now(UTC).date()
    started = [each for each in periods if each.constraint is None or each.constraint.start_date <= today]
    return {name: value for name, value in vars(started[-1].prices).items() if value is not None}


def _priced(model: str, given: dict[str, Any]) -> Iterator[tuple[str, float]]:
    units = {**PER_THOUSAND, **OF_SOUND}
    if any(word in model for word in IN_TOKENS) and {"input_mtok", "output_mtok"} <= given.keys():
        units |= TOKENS
        if "tts" in model:  # all that it writes is sound
            given.setdefault("output_audio_mtok", given["output_mtok"])
    for unit, name in units.items():
        if name in given and not isinstance(given[name], genai.TieredPrices):
            yield unit, _plain(float(given[name]))


def of_litellm() -> Iterator[tuple[str, str, dict[str, float]]]:
    """Prices of litellm. Read as a data file, because importing the package takes seconds."""
    [path] = [file for file in importlib.metadata.files("litellm") or () if file.name.startswith("model_prices")]
    for key, row in json.loads(path.read_text("utf-8")).items():
        provider, model = row.get("litellm_provider"), key.partition("/")[2] or key
        mode = row.get("mode")
        if provider not in LITELLM or "/" in model.removeprefix("canopylabs/") or "streaming/" in key:
            continue
        by_second, by_character = row.get("input_cost_per_second"), row.get("input_cost_per_character")
        by_image = row.get("input_cost_per_image" if provider == "xai" else "output_cost_per_image")
        if mode == "audio_transcription" and by_second and "input_cost_per_token" not in row:
            yield provider, model, {"audio_hour": _plain(round(by_second * 3600, 3))}
        elif mode == "audio_speech" and by_character:
            yield provider, model, {"characters": _plain(round(by_character * 1e6, 3))}
        elif mode == "image_generation" and by_image and "input_cost_per_token" not in row:
            yield provider, model, {"image": _plain(by_image)}


def _plain(value: float) -> float:
    return int(value) if value.is_integer() else value


if __name__ == "__main__":
    main()
