"""Embeddings: the request, one vector, and the response.

Vectors are stored packed. One of 1536 numbers takes 6 kB as 32-bit floats and 12 kB as 64-bit ones, but 49 kB as a
tuple of Python floats; for a hundred thousand vectors that is the difference between 0.6 and 5 GB.
"""

from __future__ import annotations

import base64
import importlib
import sys
from array import array
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any, ClassVar, Literal, cast

import attrs

from allm.data.attrs_classes import frozen
from allm.data.errors import AdapterError
from allm.data.image import Image
from allm.data.problems import mapping_field
from allm.data.response import Usage

__all__ = [
    "Embedding",
    "EmbeddingInput",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "EncodingFormat",
    "dump_embedding",
    "embedding_of",
    "load_embedding",
    "unpack",
]

EmbeddingInput = str | Image | tuple[str | Image, ...]
"""A text; for multimodal models also an image, or several texts and images that are embedded as one vector."""

EncodingFormat = Literal["float", "base64"]

PACKED = frozenset("fdbB")
"""Type codes of `array`: 32-bit and 64-bit floats, and the integers of quantized vectors."""


def _packed(values: Any) -> array[float]:
    if isinstance(values, array) and values.typecode in PACKED:
        return values[:]
    if isinstance(values, str | bytes | bytearray):
        raise TypeError(f"a vector is an iterable of numbers, not {type(values).__name__}")
    return array("d", values)


@frozen(eq=False, repr=False)
class Embedding:
    """One vector.

    Attributes:
        index: The position of its input in the request, from 0.

    Accepts any numbers: an `array` of type code `f`, `d`, `b` or `B` keeps its type, anything else becomes doubles.
    """

    index: int
    _values: array[float] = attrs.field(alias="vector", converter=_packed)

    @property
    def vector(self) -> tuple[float, ...]:
        """The numbers, as a new tuple each time; `buffer` has the stored ones."""
        return tuple(self._values)

    @property
    def buffer(self) -> memoryview:
        """A read-only view of the stored numbers, without a copy, as for `numpy.asarray(embedding.buffer)`."""
        return memoryview(self._values).toreadonly()

    @property
    def dimensions(self) -> int:
        """The length of the vector."""
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Embedding):
            return NotImplemented
        return self.index == other.index and self._values == other._values

    def __hash__(self) -> int:
        return hash((self.index, self.vector))

    def __repr__(self) -> str:
        return f"Embedding(index={self.index}, vector=<{self.dimensions} numbers>)"


def embedding_of(index: int, vector: array[float]) -> Embedding:
    """An embedding that keeps a packed vector as it is, which nobody may change then: `Embedding` makes a copy.

    Args:
        index: The position of its input in the request.
        vector: As `vector_of` returns it.
    """
    made = object.__new__(Embedding)
    object.__setattr__(made, "index", index)
    object.__setattr__(made, "_values", vector)
    return made


def _input(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _inputs(value: Any) -> Any:
    if isinstance(value, str | Image):
        return (value,)
    if not isinstance(value, Iterable) or isinstance(value, bytes | bytearray | Mapping):
        return value
    return tuple(_input(item) for item in value)


def _shown(inputs: Any) -> str:
    return f"<{len(inputs)} inputs>" if isinstance(inputs, tuple) else repr(inputs)


@frozen
class EmbeddingRequest:
    """A request for embeddings. Fields left at None are filled from the call's options, then the engine.

    Attributes:
        inputs: Texts; a single one need not be in a list.
        dimensions: Length of the vectors, if the model supports a choice.
        task_type: The purpose of the vectors: `query` or `document` with every provider; Gemini knows more.
        encoding_format: How the numbers are sent: `float` or `base64`. Both give the same vectors.
        user: An id of your end user, for the provider's abuse detection (OpenAI).
        options: Fields merged over the provider's request body; they win over all others.
    """

    inputs: tuple[EmbeddingInput, ...] = attrs.field(converter=_inputs, repr=_shown)
    model: str | None = attrs.field(default=None, kw_only=True)
    dimensions: int | None = attrs.field(default=None, kw_only=True)
    task_type: str | None = attrs.field(default=None, kw_only=True)
    encoding_format: EncodingFormat | None = attrs.field(default=None, kw_only=True)
    user: str | None = attrs.field(default=None, kw_only=True)
    options: dict[str, Any] = mapping_field()
    metadata: dict[str, Any] = mapping_field()


def _texts(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(texts)


def _by_index(embeddings: Iterable[Embedding]) -> tuple[Embedding, ...]:
    return tuple(sorted(embeddings, key=attrgetter("index")))


@frozen(kw_only=True)
class EmbeddingResponse:
    """The vectors of a call, or of a batch of it.

    Attributes:
        embeddings: In the order of the inputs, each with its index; a partial response has gaps.
        usage: The sum over all requests of the call.
        model: The model that responded, as the provider names it.
        request_ids: The provider's ids of the HTTP requests that gave these embeddings.
    """

    embeddings: tuple[Embedding, ...] = attrs.field(
        default=(), converter=_by_index, repr=lambda embeddings: f"<{len(embeddings)} embeddings>"
    )
    usage: Usage = attrs.field(factory=Usage)
    model: str | None = None
    request_ids: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    metadata: dict[str, Any] = mapping_field()

    @property
    def vectors(self) -> tuple[tuple[float, ...], ...]:
        """The vectors as tuples, in the order of the inputs."""
        return tuple(embedding.vector for embedding in self.embeddings)

    def to_numpy(self) -> Any:
        """The vectors as the rows of a numpy array, in the type they were received in (mostly `float32`).

        Raises:
            ImportError: numpy is not installed.
            ValueError: The vectors differ in length.
        """
        try:
            numpy = importlib.import_module("numpy")
        except ImportError as error:
            raise ImportError("to_numpy() needs numpy: pip install numpy; `vectors` has the same numbers") from error
        if not self.embeddings:
            return numpy.empty((0, 0), dtype=numpy.float32)
        return numpy.stack([numpy.asarray(embedding.buffer) for embedding in self.embeddings])


def unpack(text: str, typecode: str) -> array[float]:
    """Decode base64 text of little-endian numbers.

    Raises:
        ValueError: Not base64 text, or its length is not a multiple of the number's size.
    """
    values: array[float] = array(cast("Literal['f']", typecode))
    values.frombytes(base64.b64decode(text, validate=True))
    if sys.byteorder == "big":
        values.byteswap()
    return values


def dump_embedding(embedding: Embedding) -> dict[str, Any]:
    """Encode the vector as base64 text of its little-endian numbers: exact, and a third as long as a list."""
    values = embedding._values
    little = values[:]
    if sys.byteorder == "big":
        little.byteswap()
    text = base64.b64encode(little.tobytes()).decode("ascii")
    return {"index": embedding.index, "vector": {"type": values.typecode, "base64": text}}


def load_embedding(value: Any, _: Any = None) -> Embedding:
    """Decode a value that `dump_embedding` wrote.

    Raises:
        KeyError, TypeError, ValueError: It is anything else.
    """
    if not isinstance(value, dict) or not isinstance(value["vector"], dict):
        raise TypeError("expected an object with an index and a vector")
    index, vector = value["index"], value["vector"]
    if type(index) is not int or vector["type"] not in PACKED:
        raise ValueError(f"expected an index and a vector of type {', '.join(sorted(PACKED))}")
    return embedding_of(index, unpack(vector["base64"], vector["type"]))


class EmbeddingAdapterError(AdapterError):
    """An embedding call failed at the provider.

    Attributes:
        partial: The finished embeddings, each with the index of its input, without those that were already read from
            the stream.
        completed_inputs: The number of finished inputs.
        completed_batches: The number of finished requests.
    """

    fields: ClassVar[tuple[str, ...]] = (*AdapterError.fields, "partial", "completed_inputs", "completed_batches")

    def __init__(
        self,
        message: str,
        *,
        partial: EmbeddingResponse | None = None,
        completed_inputs: int = 0,
        completed_batches: int = 0,
        **fields: Any,
    ) -> None:
        super().__init__(message, **fields)
        self.partial = partial
        self.completed_inputs = completed_inputs
        self.completed_batches = completed_batches
