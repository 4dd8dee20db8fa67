r"""The file format of a cassette: requests and responses, without secrets, as JSON that people can read and edit.

    {"v": 1, "exchanges": [
      {"request": {"method": "POST", "url": "https://...", "body": {"model": "..."}},
       "status": 200, "headers": {"content-type": "text/event-stream"}, "pieces": ["data: {...}\n\n", ...],
       "ended": true}]}

A body or a piece is text, or `{"base64": "..."}` if it is not UTF-8; the body of a JSON request is JSON.
`error` records a failed connection, with the reason and the message of its `AdapterError`.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import attrs

from allm.data.errors import AdapterError
from allm.http.headers import HeaderValue
from allm.http.keys import MASK, Secret

__all__ = ["KEPT_HEADERS", "Exchange", "load", "plain_body", "save"]

VERSION = 1
KEPT_HEADERS = frozenset(
    {"content-type", "retry-after", "retry-after-ms", "x-should-retry", "x-request-id", "request-id"}
)
"""Response headers that are kept: those the library reads. Others may identify an account, or be a cookie."""
SHORTEST_SECRET = 8
"""Characters: anything shorter is not a key, and may be part of any word."""
OWNER_ONLY = 0o600
"""A recording has whole conversations in it."""


@attrs.define(eq=False, kw_only=True)
class Exchange:
    """One request and its response.

    Attributes:
        body: JSON, text, or `{"base64": ...}`.
        status: The HTTP status; None if there was no response, see `error`.
        pieces: The body of the response, one piece for each read.
        ended: Whether the whole body arrived.
        error: `(reason, message)` of the failure that ended the exchange.
    """

    method: str
    url: str
    body: Any
    status: int | None = None
    headers: dict[str, str] = attrs.field(factory=dict[str, str])
    pieces: list[bytes] = attrs.field(factory=list[bytes])
    ended: bool = False
    error: tuple[str, str] | None = None

    def failed(self, error: AdapterError) -> None:
        """Record that the connection failed."""
        self.error = error.reason, error.message

    def to_document(self, secrets: Iterable[Secret]) -> dict[str, Any]:
        """The exchange as JSON data, with every secret masked."""
        pieces, secrets = self.pieces, [one for one in secrets if len(one.reveal()) >= SHORTEST_SECRET]
        if any(secret.reveal().encode() in b"".join(pieces) for secret in secrets):
            pieces = [b"".join(pieces)]  # the secret may be split between two pieces
        document = {
            "request": {"method": self.method, "url": self.url, "body": self.body},
            "status": self.status,
            "headers": self.headers,
            "pieces": [_text(piece) for piece in pieces],
            "ended": self.ended,
            "error": self.error,
        }
        text = json.dumps(document)
        for secret in secrets:
            text = text.replace(json.dumps(secret.reveal())[1:-1], MASK)
        return json.loads(text)  # type: ignore[no-any-return]

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Self:
        """Read an exchange from JSON data; invalid data raises Python's own errors, such as KeyError."""
        error = document.get("error")
        return cls(
            method=str(document["request"]["method"]),
            url=str(document["request"]["url"]),
            body=document["request"]["body"],
            status=document["status"] if document["status"] is None else int(document["status"]),
            headers={str(name): str(value) for name, value in document["headers"].items()},
            pieces=[_bytes(piece) for piece in document["pieces"]],
            ended=bool(document["ended"]),
            error=(str(error[0]), str(error[1])) if error else None,
        )


def load(path: str | os.PathLike[str]) -> list[Exchange]:
    """Load the exchanges of a file.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a cassette, or has an unknown version.
    """
    try:
        document = json.loads(Path(path).read_bytes())
        version = document["v"]
        exchanges = [Exchange.of_document(item) for item in document["exchanges"]]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{os.fspath(path)} is not a cassette of allm: {type(error).__name__}: {error}") from error
    if version != VERSION:
        raise ValueError(f"{os.fspath(path)} is a cassette of version {version!r}; expected {VERSION}")
    return exchanges


def save(path: str | os.PathLike[str], exchanges: Iterable[Exchange], secrets: Iterable[Secret]) -> None:
    """Replace the file atomically, by one that only its owner can read."""
    document = {"v": VERSION, "exchanges": [exchange.to_document(secrets) for exchange in exchanges]}
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        beside.unlink(missing_ok=True)  # of a process that was killed
        beside.touch(OWNER_ONLY, exist_ok=False)
        beside.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def plain_body(headers: Mapping[str, HeaderValue], content: bytes) -> Any:
    """The body of a request in the form of the cassette, which is the same for the same request."""
    _, _, boundary = str(headers.get("content-type", "")).partition("boundary=")
    if boundary:
        content = content.replace(boundary.strip('"').encode(), b"boundary")
    try:
        return json.loads(content)
    except ValueError:
        return _text(content)


def _text(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def _bytes(piece: Any) -> bytes:
    return base64.b64decode(piece["base64"]) if isinstance(piece, dict) else str(piece).encode("utf-8")
