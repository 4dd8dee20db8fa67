"""The answer of POST /moderations as a `ModerationResponse`."""

from __future__ import annotations

from typing import Any

from allm.data.errors import AdapterError
from allm.data.json.wire import as_list, as_object, as_objects, as_text
from allm.data.moderation import ModerationResponse, ModerationResult

__all__ = ["moderation_response"]


def moderation_response(document: dict[str, Any]) -> ModerationResponse:
    """The answer. A category that the model does not judge (null) is left out.

    Raises:
        AdapterError: `malformed_response`.
    """
    if not isinstance(document.get("results"), list):
        raise AdapterError("expected the verdicts under 'results', which is no list", reason="malformed_response")
    return ModerationResponse(
        results=[_result(item) for item in as_objects(document["results"])],
        model=as_text(document.get("model")),
        id=as_text(document.get("id")),
    )


def _result(item: dict[str, Any]) -> ModerationResult:
    flags = as_object(item.get("categories"))
    categories = {name: value for name, value in flags.items() if isinstance(value, bool)}
    if not categories:
        raise AdapterError("a verdict without categories", reason="malformed_response")
    scores = as_object(item.get("category_scores"))
    types = as_object(item.get("category_applied_input_types"))
    flagged = item.get("flagged")
    return ModerationResult(
        # Mistral has no word for the whole.
        flagged=flagged if isinstance(flagged, bool) else any(categories.values()),
        categories=categories,
        scores={name: float(value) for name, value in scores.items() if isinstance(value, int | float)},
        applied_input_types={name: [str(kind) for kind in as_list(value)] for name, value in types.items()},
    )
