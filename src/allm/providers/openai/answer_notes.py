"""What a response says beside its text and its calls: images, sound, fields of the service's own, tokens and costs.

Images come whole, as `images` of a message (OpenRouter, LiteLLM) or among the parts of its content. Sound comes as
`audio` (https://platform.openai.com/docs/guides/audio): in a stream, pieces of its data and of its transcript, and the
id and the time until which it can be referred to. The transcript is visible text; the sound is kept beside it.

Services add fields of their own, beside the choices (OpenRouter's `provider`, Perplexity's `citations` and
`search_results`, OpenAI's `system_fingerprint`, Azure's `prompt_filter_results`), in the choice (Azure's
`content_filter_results`, OpenRouter's `native_finish_reason`) and in the message (Groq's `executed_tools`). All that
has no place elsewhere is kept under its own name. In a stream it comes once, is repeated with each chunk, or grows:

- an object is merged key by key; Azure's judgement of a category is about the piece of text that came with it, so that
  one that filtered something stays;
- an array whose objects have an `index` is merged object by object;
- everything else replaces what was there.

Costs, each in US dollars:

- OpenRouter `cost`, with the tokens' shares in `cost_details`; with a key of your own for the upstream provider
  (`is_byok`) it is OpenRouter's fee alone, and the provider's bill comes on top
  (https://openrouter.ai/docs/use-cases/usage-accounting).
- Perplexity `cost` as an object, with a fee for the request in its total
  (https://docs.perplexity.ai/api-reference/chat-completions-post).
- xAI `cost_in_usd_ticks`, of which a dollar has 10^10 (https://docs.x.ai/docs/key-information/consumption-and-rate-limits).
- Venice and other gateways `cost`, as a number, a text or an object; DeepInfra `estimated_cost`.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import attrs

from allm.adapters import as_count, as_object, as_objects, as_text, image_of_url
from allm.data.content import ImagePart, ProviderPart
from allm.data.events import AdapterEvent, ImageCompleted, ProviderPartCompleted, TextDelta
from allm.data.response import FinishReason, Usage

__all__ = [
    "CHOICE",
    "CHUNK",
    "FINISH",
    "KINDS",
    "LISTS",
    "MESSAGE",
    "NO_WORD",
    "PLAIN_COUNTS",
    "Media",
    "chat_usage",
    "reported_costs",
    "special_counts",
    "take_notes",
]

_TRANSCRIPT = "audio-0"


@attrs.define(eq=False)
class Media:
    """What has come of it.

    Attributes:
        provider: Whose part the sound becomes.
        sound: The pieces of its data.
    """

    provider: str
    sound: list[str] = attrs.field(factory=list[str], init=False)
    _urls: dict[str, None] = attrs.field(factory=dict[str, None], init=False)  # an empty set is three times as large
    _audio: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)
    _transcript: list[str] = attrs.field(factory=list[str], init=False)

    def image(self, part: dict[str, Any]) -> list[AdapterEvent]:
        """The events of `{"image_url": {"url": ...}}`; some services repeat the images in their last chunk."""
        given = part.get("image_url")
        url = as_text(given) or as_text(as_object(given).get("url"))
        image = None if url is None or url in self._urls else image_of_url(url, None)
        if url is None or image is None:
            return []
        self._urls[url] = None
        return [ImageCompleted(f"image-{len(self._urls) - 1}", ImagePart(image))]

    def audio(self, audio: dict[str, Any]) -> list[AdapterEvent]:
        """The events of a piece."""
        pieces = {"data": self.sound, "transcript": self._transcript}
        for name, value in audio.items():
            if name not in pieces:
                self._audio[name] = value
            elif text := as_text(value):
                pieces[name].append(text)
        text = as_text(audio.get("transcript"))
        return [TextDelta(_TRANSCRIPT, text)] if text is not None else []

    def complete(self) -> list[AdapterEvent]:
        """The events at the end of the answer."""
        if not self.sound:
            return []
        audio = {**self._audio, "data": _joined(self.sound), "transcript": "".join(self._transcript)}
        part = ProviderPart(self.provider, {"type": "audio", "audio": audio})
        return [ProviderPartCompleted("audio", part)]


def _joined(pieces: list[str]) -> str:
    """Base64 texts as one: each may have an end of its own."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece, validate=True) for piece in pieces)).decode("ascii")
    except (binascii.Error, ValueError):  # cut anywhere: then only the whole is base64
        return "".join(pieces)


CHUNK = frozenset(
    {
        *("id", "object", "created", "model", "choices", "usage", "service_tier", "error", "obfuscation"),
        *("type", "code", "x_groq"),
    }
)
"""Fields of a chunk that have a place of their own, or mean nothing."""
CHOICE = frozenset({"index", "delta", "message", "finish_reason", "logprobs", "error", "usage"})
"""The same of a choice."""
MESSAGE = frozenset(
    {
        *("citations", "content_filter_results", "context", "executed_tools", "related_questions", "search_results"),
        *("stop_reason", "tool_responses", "videos"),
    }
)
"""Fields of a message that say something of the answer, and do not go back with it."""


LISTS = frozenset({"citations", "search_results"})
"""Fields of an answer with a list of its sources."""


def take_notes(notes: dict[str, Any], source: Mapping[str, Any], names: Iterable[str]) -> None:
    """Keep the fields of `source` that have these names and say anything; `settled` makes plain data of the notes."""
    for name in names:
        value = source.get(name)
        if value or value == 0:
            notes[name] = _merged(notes.get(name), value)


def _merged(old: Any, new: Any) -> Any:
    """Both, in the old value if it can take the new one: a copy of it with every chunk would cost too much."""
    if isinstance(new, dict) and isinstance(old, dict):
        if old.get("filtered") is True and new.get("filtered") is False:
            return old
        known = as_object(old)
        known.update((name, _merged(known.get(name), value)) for name, value in as_object(new).items())
        return known
    if isinstance(new, list) and isinstance(old, _Rows) and _is_indexed(new):
        old.merge(as_objects(new))
        return old
    return _own(new)


def _own(value: Any) -> Any:
    """The value as one that is changed here alone: a raw chunk shows the same one."""
    if isinstance(value, dict):
        return {name: _own(item) for name, item in as_object(value).items()}
    return _Rows(as_objects(value)) if isinstance(value, list) and _is_indexed(value) else value


class _Rows(list[dict[str, Any]]):
    """An array whose objects have an `index`."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        super().__init__()
        self._places: dict[int, int] = {}
        self.merge(rows)

    def merge(self, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            place = self._places.setdefault(row["index"], len(self))
            if place == len(self):
                self.append(_own(row))
            else:
                self[place] = _merged(self[place], row)


def _is_indexed(rows: list[Any]) -> bool:
    return all(type(as_object(row).get("index")) is int for row in rows)


_TICKS = Decimal(10**10)
_TOTALS = ("total_cost", "total", "usd", "amount")
_INPUTS = ("input_tokens_cost", "input_cost", "prompt_cost", "upstream_inference_prompt_cost")
_OUTPUTS = ("output_tokens_cost", "output_cost", "completion_cost", "upstream_inference_completions_cost")
KINDS = ("audio_tokens", "image_tokens")
"""Details of a count that cost something else than text."""
PLAIN_COUNTS = frozenset(
    {
        *("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"),
        *("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details"),
    }
)
"""Fields that the usage of every service has, by the one API or the other."""
_COUNTED = PLAIN_COUNTS.union(
    {
        *("cost", "cost_details", "cost_in_usd_ticks", "estimated_cost", "service_tier"),
        *("prompt_cache_hit_tokens", "prompt_cache_miss_tokens"),
    }
)
"""Fields of a usage that have a place of their own."""
_COUNTED_BESIDE = frozenset({"citation_tokens", "num_search_queries", "search_context_size"})
"""Fields of Perplexity's, whose totals have tokens of its searches in them."""


def chat_usage(usage: dict[str, Any]) -> Usage:
    """`usage` of Chat Completions; counts that are not there stay None."""
    prompt = as_object(usage.get("prompt_tokens_details"))
    completion = as_object(usage.get("completion_tokens_details"))
    inputs, outputs = as_count(usage.get("prompt_tokens")), as_count(usage.get("completion_tokens"))
    reasoning, total = as_count(completion.get("reasoning_tokens")), as_count(usage.get("total_tokens"))
    cached = as_count(prompt.get("cached_tokens"))
    audio = as_count(prompt.get("audio_tokens"))
    if inputs is not None and outputs is not None and total is not None and (rest := total - inputs - outputs) > 0:
        if rest == audio:
            inputs += rest  # Mistral counts the audio of a prompt beside it
        elif reasoning is None and as_count(usage.get("prompt_audio_seconds")):
            inputs += rest
        elif rest == reasoning:
            outputs += rest  # xAI counts the thinking beside the completion
        elif reasoning is None and not _COUNTED_BESIDE.intersection(usage):
            outputs += rest  # the thinking of Gemini behind a compatible route, which is in the total alone
            reasoning = rest
    own = usage.keys() - PLAIN_COUNTS
    special = own or any(details.get(kind) for details in (prompt, completion) for kind in KINDS)
    return Usage(
        input_tokens=inputs,
        output_tokens=outputs,
        # DeepSeek has the count at the top level.
        cached_input_tokens=as_count(usage.get("prompt_cache_hit_tokens")) if cached is None else cached,
        cache_write_input_tokens=as_count(prompt.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
        total_tokens=total,
        **(reported_costs(usage) if own else {}),
        extra=special_counts(usage, prompt, completion) if special else {},
    )


def reported_costs(usage: Mapping[str, Any]) -> dict[str, Any]:
    """`input_cost`, `output_cost` and `total_cost` of a `Usage`, as far as the service reports them."""
    cost, details = usage.get("cost"), as_object(usage.get("cost_details"))
    shares = cost if isinstance(cost, dict) else details
    total = _first(shares, _TOTALS) if shares is cost else _dollars(cost)
    if total is not None and usage.get("is_byok") is True:
        total += _dollars(details.get("upstream_inference_cost")) or 0
    if total is None:
        total = _dollars(usage.get("estimated_cost"))
    ticks = _dollars(usage.get("cost_in_usd_ticks"))
    if total is None and ticks is not None:
        total = ticks / _TICKS
    if total is None:  # shares of nothing that was charged
        return {}
    costs = {"input_cost": _first(shares, _INPUTS), "output_cost": _first(shares, _OUTPUTS), "total_cost": total}
    return {name: float(value) for name, value in costs.items() if value is not None}


def special_counts(usage: Mapping[str, Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """`Usage.extra`: tokens that have prices of their own, and what only this service counts.

    Args:
        usage: The whole of it.
        inputs, outputs: The details of its prompt and of its answer.
    """
    found = {f"input_{kind}": as_count(inputs.get(kind)) for kind in KINDS}
    found |= {f"output_{kind}": as_count(outputs.get(kind)) for kind in KINDS}
    own = {
        name: value
        for name, value in usage.items()
        if name not in _COUNTED and value not in (None, [], {}, "") and not isinstance(value, bool)
    }
    return {**own, **{name: count for name, count in found.items() if count}}


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> Decimal | None:
    found = (_dollars(values.get(name)) for name in names)
    return next((value for value in found if value is not None), None)


def _dollars(value: Any) -> Decimal | None:
    """An amount as a number or a text of one; exact, as sums of binary fractions are not."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        amount = Decimal(str(value))
    except ArithmeticError:
        return None
    return amount if math.isfinite(amount) and amount >= 0 else None


FINISH: dict[str | None, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
"""OpenAI's own words (https://platform.openai.com/docs/api-reference/chat/object)."""
NO_WORD = frozenset({"null", "none", "None"})
"""What servers write where there is no finish reason yet."""
