r"""What a cassette holds: requests and their answers, without secrets, as JSON that people can read and change.

    {"v": 1, "exchanges": [
      {"request": {"method": "POST", "url": "https://...", "body": {"model": "..."}},
       "status": 200, "headers": {"content-type": "text/event-stream"}, "pieces": ["data: {...}\n\n", ...],
       "ended": true}]}

A body and a piece are text, or `{"base64": "..."}` where they are not UTF-8; the body of a JSON request is JSON.
`error` stands for a connection that failed, with the reason and the message of its `AdapterError`.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import attrs

from allm.data.errors import AdapterError
from allm.http.keys import MASK

__all__ = ["KEPT_HEADERS", "Exchange", "load", "plain_body", "plain_url", "save", "secrets_in"]

VERSION = 1
KEPT_HEADERS = frozenset(
    {"content-type", "retry-after", "retry-after-ms", "x-should-retry", "x-request-id", "request-id"}
)
"""Of an answer: what the library reads. Others may name an account, or be a cookie."""
SECRET = re.compile("auth|cookie|key|secret|token", re.IGNORECASE)
"""The names of a request's headers whose values no file may show."""
SHORTEST_SECRET = 8
"""Characters: what is shorter is no key, and may stand in any word."""


@attrs.define(eq=False, kw_only=True)
class Exchange:
    """One request and what came of it.

    Attributes:
        body: JSON, text, or `{"base64": ...}`.
        status: None: there was no answer, see `error`.
        pieces: The body of the answer, one for each read.
        ended: The whole body came.
        error: `(reason, message)` of the failure that ended it.
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
        """The connection failed."""
        self.error = error.reason, error.message

    def to_document(self, secrets: Iterable[str]) -> dict[str, Any]:
        """As JSON, with every secret masked."""
        pieces = self.pieces
        if any(secret.encode() in b"".join(pieces) for secret in secrets):
            pieces = [b"".join(pieces)]  # it may be cut in two
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
            text = text.replace(json.dumps(secret)[1:-1], MASK)
        return json.loads(text)  # type: ignore[no-any-return]

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Self:
        """From JSON; raises what a document of another form makes Python raise."""
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
    """The exchanges of a file.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is no cassette, or one of a version that is not known here.
    """
    try:
        document = json.loads(Path(path).read_bytes())
        version = document["v"]
        exchanges = [Exchange.of_document(item) for item in document["exchanges"]]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{os.fspath(path)} is no cassette of allm: {type(error).__name__}: {error}") from error
    if version != VERSION:
        raise ValueError(f"{os.fspath(path)} is a cassette of version {version!r}; expected {VERSION}")
    return exchanges


def save(path: str | os.PathLike[str], exchanges: Iterable[Exchange], secrets: Iterable[str]) -> None:
    """Replace the file at once."""
    document = {"v": VERSION, "exchanges": [exchange.to_document(secrets) for exchange in exchanges]}
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def plain_url(url: str) -> str:
    """The URL without a user and a password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def plain_body(headers: Mapping[str, str], content: bytes) -> Any:
    """The body of a request as it stands in a cassette, where the same request always has the same one."""
    _, _, boundary = headers.get("content-type", "").partition("boundary=")
    if boundary:
        content = content.replace(boundary.strip('"').encode(), b"boundary")
    try:
        return json.loads(content)
    except ValueError:
        return _text(content)


def secrets_in(headers: Mapping[str, str]) -> set[str]:
    """What no file may show of a request."""
    values = [value for name, value in headers.items() if SECRET.search(name)]
    return {word for value in values for word in value.split() if len(word) >= SHORTEST_SECRET}


def _text(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def _bytes(piece: Any) -> bytes:
    return base64.b64decode(piece["base64"]) if isinstance(piece, dict) else str(piece).encode("utf-8")
