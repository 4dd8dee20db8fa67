"""Replies of the server: status, headers, a body, how the body is cut and timed, and a fault.

A reply is a value; make a variation with `attrs.evolve(reply, chunks=1)`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

import attrs

from allm.data.script import ScriptItem
from allm.testing.faults import (
    BEFORE_HEAD,
    Cut,
    Fault,
    Garbage,
    GarbageHead,
    KeepAlive,
    Stall,
    TruncatedChunk,
    WrongLength,
)
from allm.testing.recorded import RecordedRequest
from allm.testing.wire_formats import (
    Provider,
    VendorError,
    by_status,
    encode_embeddings,
    encode_error,
    encode_script,
)

__all__ = ["DeliveryOptions", "Piece", "Reply", "ReplyOptions"]

Framing = Literal["chunked", "content-length", "close"]
HOP_BY_HOP = frozenset({"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"})
EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class Piece(NamedTuple):
    """Body bytes that are written together, after a pause of `delay` seconds."""

    delay: float
    data: bytes


class DeliveryOptions(TypedDict, total=False):
    """How a body is sent: `delay`, `first_delay`, `pauses`, `fault`, `framing` and `flush`, as in `Reply`."""

    delay: float
    first_delay: float
    pauses: Mapping[int, float]
    fault: Fault | None
    framing: Framing
    flush: bool


class ReplyOptions(DeliveryOptions, total=False):
    """Options of every constructor of `Reply`: those of `DeliveryOptions`, and `chunks`, as in `Reply`."""

    chunks: int | Sequence[int] | None


def _sizes(value: int | Iterable[int] | None) -> int | tuple[int, ...] | None:
    sizes = value if isinstance(value, int) or value is None else tuple(value)
    for size in (sizes,) if isinstance(sizes, int) else sizes or ():
        if size < 1:
            raise ValueError(f"a chunk has at least 1 byte, got chunks={value!r}")
    return sizes


def _headers(value: Mapping[str, str]) -> dict[str, str]:
    return dict(value)


def _pauses(value: Mapping[int, float]) -> dict[int, float]:
    return dict(value)


@attrs.frozen(kw_only=True)
class Reply:
    """One reply of the server.

    Attributes:
        chunks: How the body is cut into HTTP chunks: None for one piece, an int for pieces of that many bytes (1 is
            byte by byte), a sequence for these lengths and the rest.
        delay: Pause before each chunk but the first, in seconds.
        first_delay: Seconds before the status line. For a pause between the head and the body use `pauses={0: ...}`.
        pauses: Pauses in seconds by body offset; the body is also cut there.
        fault: A fault to play.
        framing: How the end of the body is marked: `"chunked"`, `"content-length"`, or `"close"` of the connection.
        flush: Write every chunk on its own and let other tasks run in between, so that a client in the same Trio run
            reads chunk by chunk. Otherwise chunks without a delay between them share a write.
    """

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=_headers, hash=False)
    body: bytes = attrs.field(default=b"", repr=False)
    chunks: int | tuple[int, ...] | None = attrs.field(default=None, converter=_sizes)
    delay: float = 0.0
    first_delay: float = 0.0
    pauses: Mapping[int, float] = attrs.field(factory=dict[int, float], converter=_pauses, hash=False)
    fault: Fault | None = None
    framing: Framing = "chunked"
    flush: bool = False

    def __attrs_post_init__(self) -> None:
        if isinstance(self.fault, KeepAlive) and self.framing == "content-length":
            raise ValueError("KeepAlive never ends, so its reply has no length: use framing='chunked' or 'close'")
        if isinstance(self.fault, TruncatedChunk) and self.framing != "chunked":
            raise ValueError(f"TruncatedChunk needs framing='chunked', got {self.framing!r}")
        if isinstance(self.fault, WrongLength):
            if self.framing != "content-length":
                raise ValueError(f"WrongLength needs framing='content-length', got {self.framing!r}")
            if len(self.body) + self.fault.by < 0:
                raise ValueError(f"the content length would be negative: {len(self.body)} {self.fault.by:+d}")

    @classmethod
    def json(
        cls, value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, **options: Unpack[ReplyOptions]
    ) -> Reply:
        """`value` as a JSON body with a content length.

        Args:
            value: Anything `json.dumps` takes.
            status: HTTP status.
            headers: Added to the content type.
            **options: See `ReplyOptions`.
        """
        body = json.dumps(value, ensure_ascii=False).encode()
        options.setdefault("framing", "content-length")
        return cls(status=status, headers={"content-type": "application/json", **(headers or {})}, body=body, **options)

    @classmethod
    def sse(
        cls,
        events: Iterable[tuple[str | None, str | bytes | Mapping[str, Any]]],
        *,
        line_end: str = "\n",
        headers: Mapping[str, str] | None = None,
        **options: Unpack[ReplyOptions],
    ) -> Reply:
        r"""Server-sent events.

        Args:
            events: Pairs of event name (None leaves the `event:` line out) and data; a mapping is sent as compact JSON.
            line_end: `"\n"`, `"\r\n"` or `"\r"`.
            headers: Added to the content type.
            **options: See `ReplyOptions`.
        """
        end = line_end.encode()
        body = b"".join(_event(name, data, end) for name, data in events)
        kind = {"content-type": "text/event-stream; charset=utf-8"}
        return cls(headers={**kind, **(headers or {})}, body=body, **options)

    @classmethod
    def error(
        cls,
        provider: Provider,
        status: int,
        *,
        message: str | None = None,
        code: str | None = None,
        type: str | None = None,  # noqa: A002 - the vendors' name of the field
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Unpack[ReplyOptions],
    ) -> Reply:
        """An HTTP error in the vendor's own envelope, with its retry hints.

        Args:
            provider: `"openai"`, `"openai_responses"`, `"anthropic"`, `"gemini"`, `"bedrock"` or `"cohere"`.
            status: HTTP status, 400 or above.
            message: Default: the vendor's usual message for the status.
            code: OpenAI `error.code`; Gemini `details[].reason`. Anthropic has none.
            type: OpenAI and Anthropic `error.type`; Gemini `error.status`;
                Bedrock the name of the exception.
            retry_after: Seconds, as `retry-after` (OpenAI: and `retry-after-ms`; Gemini: `RetryInfo` in the body).
            headers: Added to the vendor's.
            **options: See `ReplyOptions`.
        """
        usual = by_status(provider, status)
        known = VendorError(status, type or usual.type, code or usual.code, message or usual.message)
        encoded = encode_error(provider, known, retry_after=retry_after)
        return cls.json(encoded.body, status=status, headers={**encoded.headers, **(headers or {})}, **options)

    @classmethod
    def recorded(
        cls,
        folder: str | Path,
        *,
        chunks: int | Sequence[int] | Literal["recorded"] | None = "recorded",
        **options: Unpack[DeliveryOptions],
    ) -> Reply:
        """A recorded response: `response.json` (status, headers), `response.body` and, if it exists, `chunks.json`.

        Headers of the recorded connection (length, encodings) are not replayed.

        Args:
            folder: The folder with the files.
            chunks: `"recorded"` cuts where the reads of the recording client ended, if that is known.
            **options: See `DeliveryOptions`.

        Raises:
            OSError: A file is missing.
        """
        case = Path(folder)
        head = json.loads((case / "response.json").read_bytes())
        headers = {name: value for name, value in head["headers"].items() if name.lower() not in HOP_BY_HOP}
        sizes = _recorded_sizes(case) if isinstance(chunks, str) else chunks
        body = (case / "response.body").read_bytes()
        return cls(status=head["status"], headers=headers, body=body, chunks=sizes, **options)

    @classmethod
    def script(
        cls,
        provider: Provider,
        items: Iterable[ScriptItem],
        *,
        model: str | None = None,
        id: str | None = None,
        **options: Unpack[ReplyOptions],
    ) -> Reply:
        """A script in the vendor's streaming wire format, the same script that `Fake` plays in memory.

        A `PreflightError`, or an `ErrorItem` that comes first and has an HTTP status, becomes an HTTP error. Any other
        `ErrorItem` becomes the vendor's error event, or a fault according to its reason: `network_error` drops the
        connection, `timeout` stalls, `stream_truncated` ends the body early.

        Args:
            provider: `"openai"` (Chat Completions), `"openai_responses"`, `"anthropic"`, `"gemini"`, `"bedrock"` or
                `"cohere"`.
            items: Those of `allm.fake`.
            model: The model in the response.
            id: The id of the response.
            **options: See `ReplyOptions`.

        Raises:
            ValueError: The vendor's format cannot express the script.
        """
        encoded = encode_script(provider, items, model=model, id=id)
        options.setdefault("first_delay", encoded.first_delay)
        if isinstance(encoded.body, Mapping):
            return cls.json(encoded.body, status=encoded.status, headers=encoded.headers, **options)
        offset = BEFORE_HEAD if encoded.refused else len(encoded.body)
        faults: dict[str, Fault] = {
            "network_error": Cut(offset),
            "timeout": Stall(offset),
            "stream_truncated": Cut(offset, clean=not encoded.refused),
        }
        if encoded.failure is not None:
            options.setdefault("fault", faults[encoded.failure])
        options["pauses"] = {**encoded.pauses, **options.get("pauses", {})}
        return cls(headers=encoded.headers, body=encoded.body, **options)

    @classmethod
    def embeddings(cls, request: RecordedRequest, *, dimensions: int = 8, **options: Unpack[ReplyOptions]) -> Reply:
        """Vectors for the texts of an OpenAI, Voyage or Gemini embedding request; the same text gets the same vector.

            async with WireServer(default=Reply.embeddings) as server: ...

        Args:
            request: The request. Its path decides the format, and it may ask for a length and for base64.
            dimensions: Length of the vectors if the request does not ask for one.
            **options: See `ReplyOptions`.
        """
        return cls.json(encode_embeddings(request.path, request.json(), dimensions), **options)

    @property
    def event_ends(self) -> tuple[int, ...]:
        """The body offsets after each SSE event, in bytes, where a `Cut` or a `KeepAlive` is between whole events."""
        return tuple(match.end() for match in EVENT_END.finditer(self.body))

    def pieces(self) -> list[Piece]:
        """The body as the server writes it: cut by `chunks`, `pauses` and the fault's offset, up to the fault."""
        size = len(self.body)
        after = None
        if self.fault is not None and not isinstance(self.fault, (GarbageHead, WrongLength)):
            after = min(self.fault.after, size)
        starts = _chunk_starts(self.chunks, size)
        pauses = {min(offset, size): seconds for offset, seconds in self.pauses.items()}
        cuts = sorted({0, *starts, *pauses, *(() if after is None else (after,))})
        pieces: list[Piece] = []
        for begin, end in zip(cuts, [*cuts[1:], size], strict=True):
            pause = pauses.get(begin, 0.0)
            if begin == after:
                pieces.append(Piece(pause, self.fault.data if isinstance(self.fault, Garbage) else b""))
                if not isinstance(self.fault, Garbage):
                    break
                pause = 0.0
            if begin in starts:
                pause += self.delay
            pieces.append(Piece(pause, self.body[begin:end]))
        return [piece for piece in pieces if piece.data or piece.delay]


def _recorded_sizes(case: Path) -> list[int] | None:
    lengths = case / "chunks.json"
    return list(json.loads(lengths.read_bytes())["chunk_lengths"]) if lengths.exists() else None


def _chunk_starts(chunks: int | tuple[int, ...] | None, size: int) -> frozenset[int]:
    """Offsets at which a chunk other than the first begins."""
    if chunks is None:
        return frozenset()
    if isinstance(chunks, int):
        return frozenset(range(chunks, size, chunks))
    starts, offset = set[int](), 0
    for length in chunks:
        offset += length
        if offset < size:
            starts.add(offset)
    return frozenset(starts)


def _event(name: str | None, data: str | bytes | Mapping[str, Any], end: bytes) -> bytes:
    if isinstance(data, Mapping):
        data = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    raw = data.encode() if isinstance(data, str) else data
    lines = [b"event: " + name.encode()] if name is not None else []
    lines += [b"data: " + line for line in raw.split(b"\n")]
    return end.join([*lines, b"", b""])
