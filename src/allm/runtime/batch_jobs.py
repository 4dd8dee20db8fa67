"""Batches: many requests that a provider answers within a day, at a lower price; what its adapter is asked and says."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, cast

import attrs

from allm.data.attrs_classes import frozen
from allm.data.errors import AdapterError
from allm.data.json.text import JsonTextError, loads_lenient
from allm.http.call import HttpCall, open_call
from allm.http.errors import malformed
from allm.http.response import Body
from allm.http.stream_call import StreamCall, WireDecoder
from allm.runtime.adapters import AdapterOptions
from allm.runtime.file_store import file_segment

__all__ = [
    "BatchAdapter",
    "BatchAnswer",
    "BatchCancel",
    "BatchFind",
    "BatchGet",
    "BatchItem",
    "BatchJob",
    "BatchRead",
    "BatchSubmit",
    "Send",
    "batch_body",
    "batch_segment",
    "read_json_lines",
    "send_without_answer",
]

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Largest answer in a file of answers, as `MAX_DOCUMENT_BYTES` of an answer by itself."""
_SMALL = 64 * 1024
_OF_STREAMS = ("stream", "stream_options")


@frozen(kw_only=True)
class BatchJob:
    """A batch at its provider; it goes to JSON.

    Attributes:
        provider: Who has it.
        id: Its id there.
        state: `running` until every request has been answered or given up; `failed`: the whole was refused.
        total, done: How many requests it has, and how many of them have been answered, as far as the provider says.
        expires_at: When the provider gives up, in seconds since 1970.
        problem: Why it has failed.
        results: Ids of the files with the answers, where the provider keeps them in files.
    """

    provider: str
    id: str
    state: Literal["running", "ended", "failed"] = "running"
    total: int | None = None
    done: int | None = None
    expires_at: float | None = None
    problem: str | None = None
    results: tuple[str, ...] = ()


@frozen
class BatchItem:
    """One request of a batch: a key of letters, digits, `-` and `_`, and the call that a stream would make."""

    key: str
    call: StreamCall


@frozen
class BatchSubmit:
    """Asks to make a batch.

    Attributes:
        name: What the batch is found again by, where the provider keeps a name.
        items: Its requests, all of one `BatchAdapter.group`.
    """

    name: str
    items: Sequence[BatchItem] = attrs.field(repr=False)


@frozen
class BatchGet:
    """Asks how far a batch is."""

    id: str


@frozen
class BatchCancel:
    """Asks to end a batch; what has been answered can still be read."""

    id: str


@frozen
class BatchFind:
    """Asks for a batch whose id was lost, by its name, or by when it began and how many requests it has.

    Attributes:
        name: That of its `BatchSubmit`.
        since: When it was sent, in seconds since 1970.
        count: How many requests it has.
        others: Ids of batches that it is not; it may grow until the call is made.
    """

    name: str
    since: float
    count: int
    others: Collection[str] = ()


@frozen
class BatchRead:
    """Asks for the answers of a batch that has ended."""

    job: BatchJob


@frozen
class BatchAnswer:
    """The answer to one request.

    Attributes:
        key: That of the request.
        document: The answer, as it would have come without a stream.
        error: Why there is none.
        new_decoder: Makes what decodes the document, if it has another form than the request asked for.
    """

    key: str
    document: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    error: AdapterError | None = None
    new_decoder: Callable[[], WireDecoder] | None = attrs.field(default=None, repr=False)


Send = Callable[..., Awaitable[Any]]
"""A prepared call."""


class BatchAdapter:
    """A provider's batches, with the key and the address of its chat adapter. `prepare` is pure; `send` makes the call.

    Attributes:
        most_requests, most_bytes: The most that one batch may hold; the bytes are those of the requests' bodies.
    """

    most_requests: int = 10_000
    most_bytes: int = 100_000_000

    @property
    @abstractmethod
    def provider(self) -> str:
        """The provider's short name."""
        ...

    def group(self, _call: StreamCall, /) -> str:
        """What all requests of a batch have in common, such as their model."""
        return ""

    def prepare(
        self, request: BatchSubmit | BatchGet | BatchCancel | BatchFind | BatchRead, options: AdapterOptions
    ) -> Send:
        """The calls that are to be made.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: A batch that cannot be sent, an id that is none.
        """
        match request:
            case BatchSubmit():
                return self.submit(request, options)
            case BatchGet():
                return self.get(request.id, options)
            case BatchCancel():
                return self.cancel(request.id, options)
            case BatchFind():
                return self.find(request, options)
            case BatchRead():
                return self.answers(request.job, options)

    async def send(self, prepared: Send) -> Any:
        """Make the calls: a `BatchJob`; None where nothing was found.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await prepared()

    async def read(self, prepared: Send, each: Callable[[BatchAnswer], Awaitable[None]]) -> None:
        """Give each answer of a `BatchRead` to `each`, in any order.

        Raises:
            AdapterError: Whatever went wrong; after some answers, too.
        """
        await prepared(each)

    @abstractmethod
    def submit(self, batch: BatchSubmit, options: AdapterOptions) -> Send:
        """Make the batch; gives its `BatchJob`."""
        ...

    @abstractmethod
    def get(self, id: str, options: AdapterOptions) -> Send:
        """Ask for its `BatchJob`."""
        ...

    @abstractmethod
    def cancel(self, id: str, options: AdapterOptions) -> Send:
        """End it; gives its `BatchJob`, which may be running for some time still."""
        ...

    @abstractmethod
    def find(self, wanted: BatchFind, options: AdapterOptions) -> Send:
        """Look for it among the provider's batches; gives its `BatchJob`, or None."""
        ...

    @abstractmethod
    def answers(self, job: BatchJob, options: AdapterOptions) -> Send:
        """Read the answers; the call takes what each is given to."""
        ...


def batch_body(call: StreamCall) -> dict[str, Any]:
    """The body of a call, for an answer in one piece.

    Raises:
        ValidationError: Its headers or its body cannot be in a batch.
    """
    body = call.body
    content = b"".join(cast("Iterable[bytes]", body.open())) if isinstance(body, Body) else body
    document: dict[str, Any] = loads_lenient(content)
    return {name: value for name, value in document.items() if name not in _OF_STREAMS}


def batch_segment(id: str) -> str:
    """The id of a batch or of one of its files as a part of a URL.

    Raises:
        ValidationError: It would reach outside its place.
    """
    return file_segment(id, "batch")


async def read_json_lines(call: HttpCall, each: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Make the call and give each line of its answer to `each`; no more than a line and a read are in memory.

    Raises:
        AdapterError: The call failed, or a line is not a JSON object.
    """
    async with open_call(call) as opened, opened.response.chunks() as pieces:
        rest = bytearray()
        async for piece in pieces:
            rest += piece
            if b"\n" in piece:
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    await _give(call, bytes(line), each)
            if len(rest) > MAX_LINE_BYTES:
                raise malformed(call.provider, f"a line is longer than {MAX_LINE_BYTES} bytes", bytes(rest[:1000]))
        await _give(call, bytes(rest), each)


async def _give(call: HttpCall, line: bytes, each: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    if not line.strip():
        return
    try:
        document = loads_lenient(line)
    except JsonTextError as error:
        raise malformed(call.provider, f"expected a line of JSON ({error})", line[:1000]) from error
    if not isinstance(document, dict):
        raise malformed(call.provider, "expected a line with a JSON object", line[:1000])
    await each(document)


async def send_without_answer(call: HttpCall) -> None:
    """Make a call whose answer says nothing.

    Raises:
        AdapterError: The call failed.
    """
    async with open_call(call) as opened:
        await opened.response.read(_SMALL)
