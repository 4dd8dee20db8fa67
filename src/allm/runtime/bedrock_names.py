"""Names of models on Amazon Bedrock.

https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html: a model has an id, such as
`anthropic.claude-haiku-4-5-20251001-v1:0`, which begins with its maker. A profile that spreads requests over the
regions of a geography has the same id with that geography in front, and an ARN ends with one of both. The ARN of a
profile, a custom model or an endpoint of one's own names no model.
"""

from __future__ import annotations

import re

__all__ = ["foundation_model", "profile_name"]

_GEOGRAPHY = re.compile(r"^(?:us|us-gov|eu|apac|jp|au|ca|in|global)\.(?=[a-z0-9]+\.)")
_NAMING = frozenset({"foundation-model", "inference-profile"})
"""Kinds of resources whose ARN ends with the id of a model or of its profile."""


def profile_name(name: str) -> str:
    """The id of a model or profile that an ARN ends with; any other name as it is."""
    if not name.startswith("arn:"):
        return name
    kind, _, resource = name.split(":", 5)[-1].partition("/")
    return resource if kind in _NAMING else name


def foundation_model(name: str) -> str:
    """The id of the model that a name on Bedrock stands for, such as that of a profile; else the name itself."""
    return _GEOGRAPHY.sub("", profile_name(name))
