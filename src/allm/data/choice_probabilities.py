"""The probability of each of several values at a place in a JSON answer, from the log probabilities of its tokens.

A value is written in one token or several, and tokens do not end where JSON does: `":"` and `yes"}` are tokens. So the
tokens are followed from the end of the value's key on. At each of them there is the token that was chosen and the
likeliest ones in its place. What stood before it and one of these is a text that some of the values can begin with:

- Where it is one value, the token's probability is that value's; several such tokens are added up (`yes`, `"yes`).
- Where it is several values and the token is the one that was chosen, the next token tells them apart: `"` is followed
  by `yes` or by `no`. What comes later is a share of this token's probability.
- Where it is several values and another token was chosen, nobody knows how it would have gone on: if these are all of
  the values, it says nothing, and is left out; else each gets the same part.

At each token the shares are of the sum of all that could begin one of the values, as the model cannot have meant
anything else. So the numbers add up to 1, and a value that is not among the likeliest tokens has 0. Where the chosen
token is not among them either, nothing is said.
"""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from json import JSONDecoder
from typing import Any

from allm.data.attrs_classes import frozen
from allm.data.json.text import dumps
from allm.data.logprobs import TokenLogprob

__all__ = ["Blank", "probabilities_in"]

_SPACE = re.compile(r"\s*")
_BEFORE_VALUE = re.compile(rb"\s*(?::\s*)?")
_BEHIND_VALUE = re.compile(rb"[\s,}\]]")
_decoder = JSONDecoder()


@frozen
class Blank:
    """A place in the JSON where one of some values stands.

    Attributes:
        path: The keys that lead to it.
        choices: Each value, and what it stands for.
    """

    path: tuple[str, ...]
    choices: tuple[tuple[Any, Any], ...]


def probabilities_in(
    text: str, tokens: Sequence[TokenLogprob], blanks: Iterable[Blank]
) -> list[dict[Any, float] | None]:
    """For each blank the probability of each value, by what it stands for.

    None where the tokens do not tell: they are not those of the text, the likeliest tokens in their places are not
    known, or the text is written in a way that none of the values is.

    Args:
        text: The answer, a JSON object.
        tokens: Those of the answer, in order.
        blanks: The places.
    """
    written = [_bytes_of(token) for token in tokens]
    document = b"".join(written)
    start = document.find(text.encode())  # a service may count a mark of the end, or the space before the answer
    if start < 0:
        return [None for _ in blanks]
    ends = list(itertools.accumulate(map(len, written)))
    keys = dict(_in_bytes(text, start))
    found: list[dict[Any, float] | None] = []
    for blank in blanks:
        if (key_end := keys.get(blank.path)) is None:
            found.append(None)
            continue
        first = bisect.bisect_right(ends, key_end)  # the first token that goes on behind the key
        steps = ((ends[index] - len(written[index]), tokens[index]) for index in range(first, len(tokens)))
        found.append(_probabilities(_Place(document, key_end), steps, blank))
    return found


def _bytes_of(token: TokenLogprob) -> bytes:
    return token.token.encode(errors="surrogatepass") if token.token_bytes is None else token.token_bytes


def _key_ends(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """The path of each key of the object in `text`, and of those in objects in it, with the place behind the key."""
    yield from _keys_from(text, text.find("{"), ())


def _in_bytes(text: str, start: int) -> Iterator[tuple[tuple[str, ...], int]]:
    """The same, with places in UTF-8."""
    last = 0
    for path, end in _key_ends(text):
        start += len(text[last:end].encode())
        last = end
        yield path, start


def _keys_from(text: str, at: int, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    at = _after_space(text, at + 1)
    while at < len(text) and text[at] != "}":
        key, end = _decoder.raw_decode(text, at)
        yield (*path, key), end
        at = _after_space(text, _after_space(text, end) + 1)  # the colon
        if text[at] == "{":
            yield from _keys_from(text, at, (*path, key))
        at = _after_space(text, _decoder.raw_decode(text, at)[1])
        if text[at] == ",":
            at = _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


@frozen
class _Place:
    """The place behind a key in an answer."""

    document: bytes
    key_end: int

    def value_with(self, start: int, piece: bytes) -> bytes | None:
        """What would stand of the value if the answer went on with `piece` at `start`; None if that is no value."""
        if start < self.key_end:
            before = self.document[start : self.key_end]
            if not piece.startswith(before):
                return None
            tail = piece[len(before) :]
        else:
            tail = self.document[self.key_end : start] + piece
        found = _BEFORE_VALUE.match(tail)
        value = tail[found.end() :] if found is not None else tail
        return None if value and b":" not in tail[: len(tail) - len(value)] else value


def _probabilities(place: _Place, steps: Iterable[tuple[int, TokenLogprob]], blank: Blank) -> dict[Any, float] | None:
    spellings = {choice: _spellings(plain) for plain, choice in blank.choices}
    found = dict.fromkeys(spellings, 0.0)
    open_choices, mass = list(spellings), 1.0
    for start, token in steps:
        if len(open_choices) == 1:
            break
        shares = _shares(place, start, token, {choice: spellings[choice] for choice in open_choices})
        total = sum(share.weight for share in shares)
        goes_on = next((share.choices for share in shares if share.is_chosen), [])
        if not goes_on or not total:
            return None
        if len(goes_on) < len(open_choices) and not _tells(token, shares, len(open_choices)):
            return None
        rest = 0.0
        for share in shares:
            part = mass * share.weight / total
            if share.is_chosen:
                rest = part
            else:
                for choice in share.choices:
                    found[choice] += part / len(share.choices)
        open_choices, mass = goes_on, rest
    if len(open_choices) > 1:
        return None
    found[open_choices[0]] += mass
    return found


def _tells(token: TokenLogprob, shares: Iterable[_Share], open_count: int) -> bool:
    """Whether the likeliest tokens say how the choices compare.

    The chosen token alone does not. Where it is less likely than all of them, as when a server held the model to the
    schema against its will, so may be a choice of which none of them is a token.
    """
    others = [other.logprob for other in token.alternatives if other.token != token.token]
    seen = {choice for share in shares for choice in share.choices}
    return bool(others) and (len(seen) == open_count or token.logprob >= min(others))


@frozen
class _Share:
    """A token at one step: its probability, the choices that it can begin or go on with, and whether it was chosen."""

    weight: float
    choices: list[Any]
    is_chosen: bool


def _shares(place: _Place, start: int, token: TokenLogprob, spellings: dict[Any, tuple[bytes, ...]]) -> list[_Share]:
    chosen = _bytes_of(token)
    others = [(piece, other.logprob) for other in token.alternatives if (piece := _bytes_of(other)) != chosen]
    shares: list[_Share] = []
    for piece, logprob in [(chosen, token.logprob), *others]:
        value = place.value_with(start, piece)
        if value is None:
            continue
        fitting = [choice for choice, texts in spellings.items() if any(_fits(value, text) for text in texts)]
        is_chosen = piece == chosen
        if fitting and (is_chosen or len(fitting) < len(spellings)):
            shares.append(_Share(math.exp(min(logprob, 0.0)), fitting, is_chosen))
    return shares


def _fits(value: bytes, text: bytes) -> bool:
    """Whether `value`, as far as it goes, can be `text`, a value as it is written."""
    return text.startswith(value) or (value.startswith(text) and bool(_BEHIND_VALUE.match(value, len(text))))


def _spellings(plain: Any) -> tuple[bytes, ...]:
    """How a value is written in JSON: characters beyond ASCII as they are, or escaped."""
    text = dumps(plain)
    escaped = "".join(character if character.isascii() else _escaped(character) for character in text.decode()).encode()
    return (text,) if text == escaped else (text, escaped)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
