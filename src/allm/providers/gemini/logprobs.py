"""Log probabilities of Gemini: `logprobsResult` of a candidate.

https://ai.google.dev/api/generate-content#LogprobsResult: `chosenCandidates` are the tokens of the answer, and
`topCandidates` has for each of them the likeliest ones. A chunk of a stream has those of its own tokens, or of all so
far.
"""

from __future__ import annotations

from typing import Any

from allm.adapters import as_list, as_object, as_objects, as_text
from allm.data.logprobs import TokenLogprob

__all__ = ["with_logprobs"]


def with_logprobs(known: list[TokenLogprob], result: dict[str, Any]) -> list[TokenLogprob]:
    """The tokens so far, and those of one more `logprobsResult`."""
    tops = as_list(result.get("topCandidates"))
    found = [
        _token(chosen, tops[index] if index < len(tops) else None)
        for index, chosen in enumerate(as_objects(result.get("chosenCandidates")))
    ]
    return found if found[: len(known)] == known else [*known, *found]


def _token(fields: dict[str, Any], top: Any = None) -> TokenLogprob:
    number = fields.get("logProbability")  # left out where it is 0, as protobuf does with defaults
    return TokenLogprob(
        as_text(fields.get("token")) or "",
        float(number) if isinstance(number, (int, float)) else 0.0,
        alternatives=tuple(_token(each) for each in as_objects(as_object(top).get("candidates"))),
    )
