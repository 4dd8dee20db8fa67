"""Names that mark what is kept for Bedrock, and whose models there are."""

from __future__ import annotations

import attrs

from allm.adapters import Origin, foundation_model

__all__ = ["INVALID_JSON", "ITSELF", "PROVIDER", "family_of", "of_family"]

PROVIDER = "bedrock"
"""Marks the parts of a message that go back to Bedrock, and the key of metadata kept for it."""

ITSELF = Origin(PROVIDER)
"""Bedrock at an address of its own, of any region."""

INVALID_JSON = "INVALID_JSON"
"""The key for arguments that are not JSON, as the input of a call has to be an object; Anthropic documents it."""


def family_of(name: str) -> str:
    """Whose model it is, such as `anthropic`; a name that does not tell is a family of its own."""
    model = foundation_model(name)
    return model if model.startswith("arn:") else model.partition(".")[0]


def of_family(origin: Origin, model: str | None) -> Origin:
    """Where what only its maker can read goes back to: the models of one maker at an address.

    Claude refuses the signature of a thought of Nova, and the other way round.
    """
    return attrs.evolve(origin, place=f"{origin.place or PROVIDER}/{family_of(model or '')}")
