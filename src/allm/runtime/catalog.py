"""What is known of models: what they can do, how much they take and write, what they cost.

The facts of single models are in `models.json` beside this file, written by `scripts/update_catalog.py` from the
packages it names; no number is typed in by hand. What whole families have in common, what they refuse, and the days on
which models are shut down are in `model_rules.json`, each rule with its source. The files are read at the first
question, not when `allm` is imported. A fact that no source gives is None, which is neither yes nor no: a model that is
not known passes every check and has no cost.

A model id is looked up in this order, and a row put in with `put` goes before a bundled one at each step:

1. the id itself,
2. the id without the mark of a snapshot (`gpt-5.4-2026-03-05`, `claude-opus-4-5@20251101`, `gemini-2.5-flash-001`),
3. of Bedrock, the id without the geography of a profile (`eu.anthropic.claude-...`), also at the end of an ARN,
4. the longest prefix, of rows whose id ends in `*` (`ft:gpt-4o-mini-2024-07-18:*`).

Other suffixes are other models: `gpt-5.4-mini` never gets the prices of `gpt-5.4`.

A rule holds for every id in which its regular expression is found, so that it reaches the names of other platforms and
models that came after the file was written. It adds to a bundled row what the row does not say, the first rule that
says it; what was `put` in stands alone.
"""

from __future__ import annotations

import functools
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, ParamSpec, TypeVar

import attrs

from allm.data.attrs_classes import frozen
from allm.data.errors import ValidationError
from allm.data.json.text import loads
from allm.data.problems import Problem, nearest, refuse, shown, wrong_type

__all__ = ["CAPABILITIES", "EFFORTS", "ModelInfo", "Prices", "bundled", "clear", "lookup", "put", "suggestions"]

P = ParamSpec("P")
T = TypeVar("T")

CAPABILITIES = ("tools", "json_schema", "json_schema_with_tools", "vision", "reasoning")

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""The words for how hard to think, from the least to the most."""

MOST_SUGGESTED = 3
"""Most models in a message about a name that is not known."""
_FIRST = frozenset({"openai", "anthropic", "gemini"})
"""Providers whose models others offer too: a name without a provider is most likely theirs."""

_SNAPSHOT = re.compile(r"(.+?)(?:[-@]20\d{6}|-20\d\d-\d\d-\d\d|-\d{3})")
"""OpenAI, Anthropic (also on Vertex AI) and Google mark snapshots so."""


@frozen(kw_only=True)
class Prices:
    """US dollars for a million tokens.

    Attributes:
        input: Of the prompt. Cached and written tokens without a price of their own cost the same.
        output: Of the answer, reasoning included.
        cached_input: Of prompt tokens that came from the provider's cache.
        cache_write: Of prompt tokens written to its cache.
        cache_write_1h: Of those kept for an hour (Anthropic), where that costs more.
        input_audio: Of prompt tokens that are sound. Without it, a prompt with sound has no cost.
        cached_input_audio: Of those that came from the cache.
        input_image: Of prompt tokens that are images, where they do not cost what text does.
        output_audio, output_image: Of an answer's tokens that are sound or images; without them, they have no cost.
        above: For prompts of more tokens than this; then for all of their tokens.
        starts: First day on which these prices hold (UTC); None for always.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None
    input_audio: float | None = None
    cached_input_audio: float | None = None
    input_image: float | None = None
    output_audio: float | None = None
    output_image: float | None = None
    above: int = 0
    starts: date | None = None


def _prices(value: Prices | Iterable[Prices]) -> tuple[Prices, ...]:
    return (value,) if isinstance(value, Prices) else tuple(value)


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _not_empty(_info: ModelInfo, attribute: Any, value: Any) -> None:
    if not isinstance(value, str) or not value.strip("*"):
        sentence = f"is {shown(value)}; expected a name"
        tag = "empty" if isinstance(value, str) else "invalid_type"
        raise ValidationError([Problem((attribute.name,), tag, sentence)], reason="invalid_model")


@frozen(kw_only=True)
class ModelInfo:
    """What is known of one model; None where nothing is.

    Attributes:
        provider: Who serves it: the provider's name in `"openai:gpt-5.4"`, the preset's in `"groq:..."`.
        id: The provider's model id, or the beginning of several ids and a `*`.
        tools: Whether it calls tools.
        json_schema: Whether the provider itself holds its answers to a JSON Schema.
        json_schema_with_tools: Whether it can do so in a call that offers tools.
        vision: Whether it reads images.
        reasoning: Whether it thinks before it answers, so that `reasoning_effort` means something to it.
        context_window: Most tokens of prompt and answer together.
        output_limit: Most tokens of one answer, thinking included.
        prices: One, or several that differ in `above` and `starts`.
        refuses: Names of parameters that it never takes, such as `temperature` and `top_p`.
        refuses_with_reasoning: Those that it does not take while it thinks.
        reasoning_unasked: Whether it thinks where a request does not say so.
        reasoning_budget: Whether it takes a number of tokens to think with.
        least_reasoning_budget: The smallest such number, where it is not 0.
        efforts: The words of `reasoning_effort` that it has, least first; empty where they are not known.
        forced_tool_choice: Whether it can be made to call a tool.
        media_in_tool_results: Whether the result of a tool may hold an image.
        shutdown: The day from which the provider no longer serves it.
        cache_minimum: Fewest tokens of a prompt of which the provider keeps anything for the next call.
        name: What the provider calls it for people, where its list of models says so.
        created: The day on which it came out, where the list says so.
        aliases: Other ids that mean this model now, where the list says so.
    """

    provider: str = attrs.field(validator=_not_empty)
    id: str = attrs.field(validator=_not_empty)
    tools: bool | None = None
    json_schema: bool | None = None
    json_schema_with_tools: bool | None = None
    vision: bool | None = None
    reasoning: bool | None = None
    context_window: int | None = None
    output_limit: int | None = None
    prices: tuple[Prices, ...] = attrs.field(default=(), converter=_prices)
    refuses: tuple[str, ...] = attrs.field(default=(), converter=_names)
    refuses_with_reasoning: tuple[str, ...] = attrs.field(default=(), converter=_names)
    reasoning_unasked: bool | None = None
    reasoning_budget: bool | None = None
    least_reasoning_budget: int | None = None
    efforts: tuple[str, ...] = attrs.field(default=(), converter=_names)
    forced_tool_choice: bool | None = None
    media_in_tool_results: bool | None = None
    shutdown: date | None = None
    cache_minimum: int | None = None
    name: str | None = None
    created: date | None = None
    aliases: tuple[str, ...] = attrs.field(default=(), converter=_names)

    def nearest_effort(self, effort: str) -> str:
        """`effort` as the model has it: the word itself, else the next one upwards, else the one with the most.

        A word that is not one of `none`, `minimal`, `low`, `medium`, `high`, `xhigh` and `max` is left as it is.
        """
        if effort not in EFFORTS or effort in self.efforts or not self.efforts:
            return effort
        higher = [word for word in EFFORTS[EFFORTS.index(effort) :] if word in self.efforts]
        return higher[0] if higher else max(self.efforts, key=EFFORTS.index)

    def prices_for(self, input_tokens: int | None, day: date) -> Prices | None:
        """The prices of a call with a prompt of so many tokens on `day` (UTC); None when they are not known."""
        current = [prices for prices in self.prices if prices.starts is None or prices.starts <= day]
        newest = max((prices.starts or date.min for prices in current), default=None)
        bands = [prices for prices in current if (prices.starts or date.min) == newest]
        if input_tokens is None:  # with a single band the size of the prompt does not matter
            return bands[0] if len(bands) == 1 and not bands[0].above else None
        fitting = [prices for prices in bands if input_tokens > prices.above or not prices.above]
        return max(fitting, key=lambda prices: prices.above, default=None)


class _Index:
    """Rows by provider and id, and by prefix."""

    def __init__(self, rows: Iterable[ModelInfo] = ()) -> None:
        self.exact: dict[tuple[str, str], ModelInfo] = {}
        self.prefixes: dict[tuple[str, str], ModelInfo] = {}
        for row in rows:
            self.add(row)

    def add(self, row: ModelInfo) -> None:
        table = self.prefixes if row.id.endswith("*") else self.exact
        table[row.provider, _plain(row.id.rstrip("*"))] = row

    def longest_prefix(self, provider: str, model: str) -> ModelInfo | None:
        fitting = [key for key in self.prefixes if key[0] == provider and model.startswith(key[1])]
        return self.prefixes[max(fitting, key=lambda key: len(key[1]))] if fitting else None


_own = _Index()


def _read(name: str) -> Any:
    """The data file; importlib.resources, which finds it too, imports zipfile and more."""
    return loads(pkgutil.get_data("allm.runtime", name) or b"")


@functools.cache
def bundled() -> tuple[ModelInfo, ...]:
    """The rows of the data file."""
    return tuple(map(_row, _models()))


@functools.cache
def _models() -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = _read("models.json")["models"]
    return models


def _row(row: Mapping[str, Any]) -> ModelInfo:
    fields: dict[str, Any] = {**row, "prices": [_band(band) for band in row.get("prices", ())]}
    return ModelInfo(**fields)


def _band(band: Mapping[str, Any]) -> Prices:
    starts = band.get("starts")
    fields: dict[str, Any] = {**band, "starts": None if starts is None else date.fromisoformat(starts)}
    return Prices(**fields)


@functools.cache
def _bundled_index(provider: str) -> _Index:
    return _Index(_row(row) for row in _models() if row["provider"] == provider)


@frozen
class _Rule:
    """Facts of every model of a provider whose id fits the regular expression `models`."""

    provider: str
    models: str
    facts: Mapping[str, Any] = attrs.field(hash=False)


@functools.cache
def _rules() -> tuple[_Rule, ...]:
    data = _read("model_rules.json")
    return tuple(_Rule(row["provider"], row["models"], _facts(row["facts"])) for row in data["rules"])


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    shutdown = facts.get("shutdown")
    return {**facts, **({} if shutdown is None else {"shutdown": date.fromisoformat(shutdown)})}


@functools.lru_cache(maxsize=1024)
def _bundled_info(provider: str, model: str) -> ModelInfo | None:
    """The bundled row with what the rules add; without a row, what they say alone."""
    row = _find(_bundled_index(provider), provider, model)
    added: dict[str, Any] = {}
    for rule in _rules():
        if rule.provider == provider and re.search(rule.models, _plain(model)):
            added = {**rule.facts, **added}
    if row is None:
        return ModelInfo(provider=provider, id=_plain(model), **added) if added else None
    unsaid = {name: value for name, value in added.items() if getattr(row, name) in {None, ()}}
    return attrs.evolve(row, **unsaid) if unsaid else row


def _remembered(function: Callable[P, T]) -> Callable[P, T]:
    """Every call asks for its model several times, so answers are kept until something is put in."""
    remembered: Any = functools.lru_cache(maxsize=1024)(function)
    _forget.append(remembered.cache_clear)
    return remembered  # type: ignore[no-any-return]


_forget: list[Callable[[], None]] = []


@_remembered
def lookup(provider: str, model: str) -> ModelInfo | None:
    """What is known of a model, or None.

    Args:
        provider: The name before the colon in `"openai:gpt-5.4"`.
        model: Its id, or that of a dated snapshot.
    """
    return own(provider, model) or _bundled_info(provider, model)


@_remembered
def denied(provider: str, model: str) -> frozenset[str]:
    """The capabilities that a model is known to lack."""
    info = lookup(provider, model)
    return frozenset(name for name in CAPABILITIES if getattr(info, name, None) is False)


@_remembered
def own(provider: str, model: str) -> ModelInfo | None:
    """What was `put` in of a model, or None."""
    return _find(_own, provider, model)


def _find(index: _Index, provider: str, model: str) -> ModelInfo | None:
    model = _plain(model)
    if provider == "bedrock":
        from allm.runtime.bedrock_names import foundation_model, profile_name

        named = profile_name(model)  # a global profile may cost less than others
        row = index.exact.get((provider, named)) or index.exact.get((provider, foundation_model(named)))
        return row or index.longest_prefix(provider, named)
    row = index.exact.get((provider, model))
    if row is None:
        row = index.exact.get((provider, without_snapshot(model)))
    return row or index.longest_prefix(provider, model)


def suggestions(model: str) -> list[str]:
    """Models of the catalog that `model` may mean, as `provider:id`: those of this id, else those named alike."""
    ids = {(row.provider, row.id) for row in (*bundled(), *_own.exact.values()) if not row.id.endswith("*")}
    plain = _plain(model).rpartition("/")[2]
    names = [name for name in (plain, without_snapshot(plain)) if any(id == name for _, id in ids)]
    names = names[:1] or nearest(plain, {id for _, id in ids}, MOST_SUGGESTED)
    found = [(provider, id) for name in names for provider, id in sorted(ids) if id == name]
    found.sort(key=lambda row: (names.index(row[1]), row[0] not in _FIRST))
    return [f"{provider}:{id}" for provider, id in found][:MOST_SUGGESTED]


def without_snapshot(model: str) -> str:
    """The id of the model that `model` is a dated or numbered snapshot of; `model` itself if it is none."""
    match = _SNAPSHOT.fullmatch(model)
    return match[1] if match else model


def _plain(model: str) -> str:
    return model.strip().lower().removeprefix("models/")  # Gemini's resource names


def put(info: ModelInfo) -> None:
    """Add a model, or say more or something else of a bundled one, for the whole process.

    What it says is all that counts: prices of the bundled row and of genai-prices, and the rules of its family, are no
    longer used.

    Raises:
        ValidationError: It is no `ModelInfo`.
    """
    if not isinstance(info, ModelInfo):
        refuse([wrong_type(("info",), info, "a ModelInfo")], reason="invalid_model")
    _own.add(info)
    _changed()


def clear() -> None:
    """Forget everything that was `put` in."""
    _own.exact.clear()
    _own.prefixes.clear()
    _changed()


def _changed() -> None:
    for forget in _forget:
        forget()
