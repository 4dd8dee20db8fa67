"""Where models are on Google's Vertex AI: https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations."""

from __future__ import annotations

import re
from urllib.parse import quote

from allm.data.attrs_classes import frozen
from allm.data.errors import EngineError, Problem
from allm.data.problems import refuse, shown

__all__ = ["VertexPlace"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9.:-]*[a-z0-9])?")  # a project of an organization begins with its domain
_MULTI_REGIONS = frozenset({"us", "eu"})


@frozen
class VertexPlace:
    """A project on Google's Vertex AI, in one of its locations.

    Args:
        project: The id of the project.
        location: Such as `europe-west1`.

    Raises:
        EngineError: `invalid_base_url`: a name that would make another address.
    """

    project: str
    location: str = "global"

    def __attrs_post_init__(self) -> None:
        for name, value in (("project", self.project), ("location", self.location)):
            if not _NAME.fullmatch(value) or (name == "location" and not value.replace("-", "").isalnum()):
                what = f"the {name} {value!r} is none of Google Cloud's; expected one such as my-project, europe-west1"
                raise EngineError(what, reason="invalid_base_url")

    @property
    def base_url(self) -> str:
        """The address of the location."""
        if self.location == "global":
            return "https://aiplatform.googleapis.com"
        if self.location in _MULTI_REGIONS:
            return f"https://aiplatform.{self.location}.rep.googleapis.com"
        return f"https://{self.location}-aiplatform.googleapis.com"

    @property
    def folder(self) -> str:
        """What the names of things there begin with."""
        return f"projects/{self.project}/locations/{self.location}/"

    def model(self, publisher: str, model: str) -> str:
        """The name of a publisher's model as a part of a URL.

        Raises:
            ValidationError: A name that would reach outside its place in the URL.
        """
        if not model.strip(".") or "/" in model or not model.isprintable():
            sentence = f"is {shown(model)}, which cannot be part of a URL; expected a name such as gemini-3.5-flash"
            refuse([Problem(("model",), "invalid_format", sentence)])
        return f"{self.folder}publishers/{publisher}/models/{quote(model, safe='@')}"
