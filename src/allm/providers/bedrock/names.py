"""Names that mark what is kept for Bedrock, and those of its models.

https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html: a model has an id, such as
`anthropic.claude-haiku-4-5-20251001-v1:0`, which begins with its maker. A profile that spreads requests over the
regions of a geography has the same id with that geography in front, and an ARN ends with one of both. The ARN of a
profile, a custom model or an endpoint of one's own names no model.
"""

from __future__ import annotations

import re

import attrs

from allm.adapters import Origin

__all__ = ["INVALID_JSON", "ITSELF", "PROVIDER", "family_of", "foundation_model", "of_family"]

PROVIDER = "bedrock"
"""Marks the parts of a message that go back to Bedrock, and the key of metadata kept for it."""

ITSELF = Origin(PROVIDER)
"""Bedrock at an address of its own, of any region."""

INVALID_JSON = "INVALID_JSON"
"""The key for arguments that are not JSON, as the input of a call has to be an object; Anthropic documents it."""

_GEOGRAPHY = re.compile(r"^(?:us|us-gov|eu|apac|jp|au|ca|global)\.(?=[a-z0-9]+\.)")
_NAMING = frozenset({"foundation-model", "inference-profile"})
"""Kinds of resources whose ARN ends with the id of a model or of its profile."""


def foundation_model(name: str) -> str:
    """The id of the model that a name stands for; the name itself where it does not tell."""
    if name.startswith("arn:"):
        kind, _, resource = name.split(":", 5)[-1].partition("/")
        if kind not in _NAMING:
            return name
        name = resource
    return _GEOGRAPHY.sub("", name)


def family_of(name: str) -> str:
    """Whose model it is, such as `anthropic`; a name that does not tell is a family of its own."""
    model = foundation_model(name)
    return model if model.startswith("arn:") else model.partition(".")[0]


def of_family(origin: Origin, model: str | None) -> Origin:
    """Where what only its maker can read goes back to: the models of one maker at an address.

    Claude refuses the signature of a thought of Nova, and the other way round.
    """
    return attrs.evolve(origin, place=f"{origin.place or PROVIDER}/{family_of(model or '')}")
