"""A request as the server received it, and the outcome of its reply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import attrs

__all__ = ["Outcome", "RecordedRequest"]

Outcome = Literal["completed", "client_closed", "faulted"]


FROZEN = attrs.setters.frozen


@attrs.define(eq=False, kw_only=True)
class RecordedRequest:
    """A received request. Its own fields never change; `outcome` and `bytes_sent` are updated as the reply is played.

    Attributes:
        method: `"POST"`.
        path: The path with the query: `"/v1beta/models/x:streamGenerateContent?alt=sse"`.
        headers: The headers by lower-case name; repeated ones are joined with `", "`.
        body: The bytes, after chunked decoding.
        connection: Number of its connection, from 0 in the order of acceptance. Requests with the same number shared
            one kept-alive connection.
        outcome: `"completed"`: the whole reply was sent. `"client_closed"`: the client left before that. `"faulted"`:
            the reply's fault was played to its end. None: still being played, or the server was closed meanwhile.
        bytes_sent: Body bytes handed to the operating system so far, without HTTP framing.
    """

    method: str = attrs.field(on_setattr=FROZEN)
    path: str = attrs.field(on_setattr=FROZEN)
    headers: Mapping[str, str] = attrs.field(on_setattr=FROZEN)
    body: bytes = attrs.field(on_setattr=FROZEN, repr=False)
    connection: int = attrs.field(on_setattr=FROZEN)
    outcome: Outcome | None = None
    bytes_sent: int = 0

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: The body is not JSON.
        """
        return json.loads(self.body)
