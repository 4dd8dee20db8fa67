"""What the server answers: status, headers, a body, how the body is cut and timed, and what goes wrong.

A reply is a value. Make a variation with `attrs.evolve(reply, chunks=1)`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

import attrs

from allm.data.script import ScriptItem
from allm.testing.faults import BEFORE_HEAD, Cut, Fault, Garbage, GarbageHead, KeepAlive, Stall
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
    """Body bytes that are written together, after `delay` seconds of silence."""

    delay: float
    data: bytes


class DeliveryOptions(TypedDict, total=False):
    """How a body is sent, apart from its cutting. Meanings: see `Reply`."""

    delay: float
    first_delay: float
    pauses: Mapping[int, float]
    fault: Fault | None
    framing: Framing
    flush: bool


class ReplyOptions(DeliveryOptions, total=False):
    """What every constructor of `Reply` takes. Meanings: see `Reply`."""

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
    """One answer of the server.

    Attributes:
        chunks: How the body is cut into HTTP chunks: None in one piece, an int into pieces of so many bytes (1 is byte
            by byte), a sequence into these lengths and the rest.
        delay: Seconds of silence before each chunk but the first.
        first_delay: Seconds before the status line. For silence between the head and the body use `pauses={0: ...}`.
        pauses: Seconds of silence before the body byte at an offset; the body is also cut there.
        fault: What goes wrong.
        framing: How the end of the body is known: `"chunked"`, `"content-length"`, or `"close"` of the connection.
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
            provider: `"openai"`, `"openai_responses"`, `"anthropic"` or `"gemini"`.
            status: HTTP status, 400 or above.
            message: The vendor's usual sentence for the status if left out.
            code: OpenAI `error.code`; Gemini `details[].reason`. Anthropic has none.
            type: OpenAI and Anthropic `error.type`; Gemini `error.status`.
            retry_after: Seconds, as `retry-after` (OpenAI: and `retry-after-ms`; Gemini: `RetryInfo` in the body).
            headers: Added to those of the vendor.
            **options: See `ReplyOptions`.
        """
        usual = by_status(provider, status)
        known = VendorError(status, type or usual.type, code or usual.code, message or usual.message)
        answer = encode_error(provider, known, retry_after=retry_after)
        return cls.json(answer.body, status=status, headers={**answer.headers, **(headers or {})}, **options)

    @classmethod
    def recorded(
        cls,
        folder: str | Path,
        *,
        chunks: int | Sequence[int] | Literal["recorded"] | None = "recorded",
        **options: Unpack[DeliveryOptions],
    ) -> Reply:
        """A recorded answer: `response.json` (status, headers), `response.body` and, where it exists, `chunks.json`.

        Headers that belonged to the recorded connection (length, encodings) are not replayed.

        Args:
            folder: Holds the three files.
            chunks: `"recorded"` cuts where the recording client's reads ended, if that is known.
            **options: See `DeliveryOptions`.

        Raises:
            OSError: A file is missing.
        """
        case = Path(folder)
        answer = json.loads((case / "response.json").read_bytes())
        headers = {name: value for name, value in answer["headers"].items() if name.lower() not in HOP_BY_HOP}
        sizes = _recorded_sizes(case) if isinstance(chunks, str) else chunks
        body = (case / "response.body").read_bytes()
        return cls(status=answer["status"], headers=headers, body=body, chunks=sizes, **options)

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
        `ErrorItem` becomes the vendor's error event, or what its reason means on a socket: `network_error` drops the
        connection, `timeout` is silence, `stream_truncated` ends the body early.

        Args:
            provider: `"openai"` (Chat Completions), `"openai_responses"`, `"anthropic"` or `"gemini"`.
            items: See `allm.data.script`.
            model: The model the answer names.
            id: The id the answer has.
            **options: See `ReplyOptions`.

        Raises:
            ValueError: The script has no form on this wire.
        """
        answer = encode_script(provider, items, model=model, id=id)
        options.setdefault("first_delay", answer.first_delay)
        if isinstance(answer.body, Mapping):
            return cls.json(answer.body, status=answer.status, headers=answer.headers, **options)
        offset = BEFORE_HEAD if answer.refused else len(answer.body)
        faults: dict[str, Fault] = {
            "network_error": Cut(offset),
            "timeout": Stall(offset),
            "stream_truncated": Cut(offset, clean=not answer.refused),
        }
        if answer.failure is not None:
            options.setdefault("fault", faults[answer.failure])
        options["pauses"] = {**answer.pauses, **options.get("pauses", {})}
        return cls(headers=answer.headers, body=answer.body, **options)

    @classmethod
    def embeddings(cls, request: RecordedRequest, *, dimensions: int = 8, **options: Unpack[ReplyOptions]) -> Reply:
        """Vectors for the texts in an embedding request of OpenAI, Voyage or Gemini: the same text, the same vector.

            async with WireServer(default=Reply.embeddings) as server: ...

        Args:
            request: What it answers: its path tells the format, and it may ask for a length and for base64.
            dimensions: Length of the vectors where it does not.
            **options: See `ReplyOptions`.
        """
        return cls.json(encode_embeddings(request.path, request.json(), dimensions), **options)

    @property
    def event_ends(self) -> tuple[int, ...]:
        """The body offset after each SSE event: where a `Cut` or a `KeepAlive` leaves whole events behind."""
        return tuple(match.end() for match in EVENT_END.finditer(self.body))

    def pieces(self) -> list[Piece]:
        """The body as the server writes it: cut by `chunks`, `pauses` and the fault's offset, up to the fault."""
        size = len(self.body)
        after = None if self.fault is None or isinstance(self.fault, GarbageHead) else min(self.fault.after, size)
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
