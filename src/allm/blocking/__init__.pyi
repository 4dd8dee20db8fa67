# Made by scripts/blocking_stubs.py from the signatures of allm.

from contextlib import AbstractContextManager
from typing import Any, overload

from allm.blocking import caches as caches, files as files, session as session
from allm.blocking.blocks import EventsBlock
from allm.blocking.calls import run as run

__all__ = [
    "bulk",
    "caches",
    "chat",
    "classify",
    "count_tokens",
    "edit_image",
    "embed",
    "fetch_image",
    "files",
    "generate",
    "generate_image",
    "image_variations",
    "list_models",
    "moderate",
    "rerank",
    "run",
    "run_shard",
    "session",
    "step",
    "stream",
    "stream_embed",
    "stream_generate",
    "stream_step",
    "stream_synthesize",
    "stream_transcribe",
    "synthesize",
    "transcribe",
    "warm_up",
]
import os
from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable, Mapping
from typing import Literal, Unpack

from typing_extensions import TypeForm

from allm.data.audio import Audio
from allm.data.classification import Classification, Question
from allm.data.embedding import EmbeddingResponse
from allm.data.image import Image
from allm.data.image_request import ImageRequest, ImageResponse
from allm.data.moderation import ModerationInput, ModerationRequest, ModerationResponse
from allm.data.rerank import RerankRequest, RerankResponse
from allm.data.response import OutputT, Response
from allm.data.results import ChatResult, StepResult
from allm.data.speech import Speech, SpeechRequest, Transcription, TranscriptionRequest
from allm.data.token_count import TokenCount
from allm.execution.classify import AnswerT
from allm.execution.options import CallOptions, Input
from allm.execution.services.embedding_stream import Progress
from allm.execution.services.embeddings import EmbeddingInputs
from allm.execution.services.images import ImageOptions
from allm.execution.services.service import UnaryOptions
from allm.execution.services.speech import SpeechOptions
from allm.execution.services.transcription import TranscriptionOptions
from allm.runs.bulk import ShardReport, T
from allm.runs.run import BulkRun
from allm.runtime.call_options import OtherOptions
from allm.runtime.catalog import ModelInfo
from allm.runtime.engine import Engine

@overload
def bulk(
    engine: Engine,
    requests: Iterable[Any] | AsyncIterable[Any],
    *,
    call: Callable[..., Awaitable[T]],
    limit: int | None = None,
    journal: str | os.PathLike[str] | None = None,
    run: str = "run",
    key: Callable[[int, Any], Any] | None = None,
    ordered: bool = False,
    budget: float | None = None,
    attempts: int = 4,
    max_failures: int | None = None,
    retry: Literal["retryable", "all"] = "retryable",
    changed: Literal["error", "rerun"] = "error",
    replay: bool = True,
    dedupe: bool = False,
    within: float | None = None,
    via: Literal["batch"] | None = None,
    on_progress: Callable[[BulkRun[Any]], Any] | None = None,
    **options: Any,
) -> AbstractContextManager[Any]: ...
@overload
def bulk(
    engine: Engine,
    requests: Iterable[Any] | AsyncIterable[Any],
    *,
    call: None = None,
    limit: int | None = None,
    journal: str | os.PathLike[str] | None = None,
    run: str = "run",
    key: Callable[[int, Any], Any] | None = None,
    ordered: bool = False,
    budget: float | None = None,
    attempts: int = 4,
    max_failures: int | None = None,
    retry: Literal["retryable", "all"] = "retryable",
    changed: Literal["error", "rerun"] = "error",
    replay: bool = True,
    dedupe: bool = False,
    within: float | None = None,
    via: Literal["batch"] | None = None,
    on_progress: Callable[[BulkRun[Any]], Any] | None = None,
    **options: Any,
) -> AbstractContextManager[Any]: ...
@overload
def chat(
    engine: Engine, thread: Input, *, response_format: TypeForm[OutputT], **options: Unpack[OtherOptions]
) -> ChatResult[OutputT]: ...
@overload
def chat(engine: Engine, thread: Input, **options: Unpack[CallOptions[OutputT]]) -> ChatResult[OutputT]: ...
@overload
def classify(
    engine: Engine,
    request: Input,
    questions: Mapping[str, Question[AnswerT] | Iterable[AnswerT] | type[AnswerT]],
    *,
    probabilities: bool | None = ...,
    **options: Unpack[CallOptions],
) -> Classification[AnswerT]: ...
@overload
def classify(
    engine: Engine,
    request: Input,
    questions: Mapping[str, Any],
    *,
    probabilities: bool | None = ...,
    **options: Unpack[CallOptions],
) -> Classification[Any]: ...
def count_tokens(engine: Engine, messages: Input, **options: Unpack[CallOptions[Any]]) -> TokenCount: ...
def edit_image(
    engine: Engine,
    images: Image | Iterable[Image],
    prompt: str,
    *,
    mask: Image | None = None,
    **options: Unpack[ImageOptions],
) -> ImageResponse: ...
def embed(
    engine: Engine,
    inputs: EmbeddingInputs,
    *,
    dimensions: int | None = None,
    task_type: str | None = None,
    batch_size: int | None = None,
    max_concurrency: int = ...,
    on_progress: Progress | None = None,
    **options: Unpack[UnaryOptions],
) -> EmbeddingResponse: ...
def fetch_image(
    image: Image | str,
    *,
    max_bytes: int = ...,
    types: Collection[str] = ...,
    timeout: float = 30.0,
    max_redirects: int = ...,
    allow_hosts: Collection[str] = (),
) -> Image: ...
@overload
def generate(
    engine: Engine, request: Input, *, response_format: TypeForm[OutputT], **options: Unpack[OtherOptions]
) -> Response[OutputT]: ...
@overload
def generate(engine: Engine, request: Input, **options: Unpack[CallOptions[OutputT]]) -> Response[OutputT]: ...
def generate_image(engine: Engine, prompt: str | ImageRequest, **options: Unpack[ImageOptions]) -> ImageResponse: ...
def image_variations(engine: Engine, image: Image, **options: Unpack[ImageOptions]) -> ImageResponse: ...
def list_models(engine: Engine, **options: Unpack[UnaryOptions]) -> tuple[ModelInfo, ...]: ...
def moderate(
    engine: Engine,
    inputs: ModerationInput | Iterable[ModerationInput] | ModerationRequest,
    **options: Unpack[UnaryOptions],
) -> ModerationResponse: ...
def rerank(
    engine: Engine,
    query: str | RerankRequest,
    documents: Iterable[str] = (),
    *,
    top_n: int | None = None,
    **options: Unpack[UnaryOptions],
) -> RerankResponse: ...
def run_shard(
    engine: Engine,
    requests: Iterable[Any] | AsyncIterable[Any],
    *,
    journal: str | os.PathLike[str],
    run: str,
    first: int = 0,
    call: Callable[..., Awaitable[Any]] = ...,
    limit: int = 64,
    key: Callable[[int, Any], Any] | None = None,
    budget: float | None = None,
    attempts: int = 4,
    max_failures: int | None = None,
    retry: Literal["retryable", "all"] = "retryable",
    changed: Literal["error", "rerun"] = "error",
    on_progress: Callable[[BulkRun[Any]], Any] | None = None,
    **options: Any,
) -> ShardReport: ...
@overload
def step(
    engine: Engine, thread: Input, *, response_format: TypeForm[OutputT], **options: Unpack[OtherOptions]
) -> StepResult[OutputT]: ...
@overload
def step(engine: Engine, thread: Input, **options: Unpack[CallOptions[OutputT]]) -> StepResult[OutputT]: ...
@overload
def stream(
    engine: Engine, thread: Input, *, response_format: TypeForm[OutputT], **options: Unpack[OtherOptions]
) -> EventsBlock[ChatResult[OutputT]]: ...
@overload
def stream(
    engine: Engine, thread: Input, **options: Unpack[CallOptions[OutputT]]
) -> EventsBlock[ChatResult[OutputT]]: ...
def stream_embed(
    engine: Engine,
    inputs: EmbeddingInputs,
    *,
    dimensions: int | None = None,
    task_type: str | None = None,
    batch_size: int | None = None,
    max_concurrency: int = ...,
    on_progress: Progress | None = None,
    **options: Unpack[UnaryOptions],
) -> AbstractContextManager[Any]: ...
@overload
def stream_generate(
    engine: Engine, request: Input, *, response_format: TypeForm[OutputT], **options: Unpack[OtherOptions]
) -> EventsBlock[Response[OutputT]]: ...
@overload
def stream_generate(
    engine: Engine, request: Input, **options: Unpack[CallOptions[OutputT]]
) -> EventsBlock[Response[OutputT]]: ...
@overload
def stream_step(
    engine: Engine, thread: Input, *, response_format: TypeForm[OutputT], **options: Unpack[OtherOptions]
) -> EventsBlock[StepResult[OutputT]]: ...
@overload
def stream_step(
    engine: Engine, thread: Input, **options: Unpack[CallOptions[OutputT]]
) -> EventsBlock[StepResult[OutputT]]: ...
def stream_synthesize(
    engine: Engine, text: str | SpeechRequest | AsyncIterable[str], **options: Unpack[SpeechOptions]
) -> AbstractContextManager[Any]: ...
def stream_transcribe(
    engine: Engine,
    audio: Audio | str | os.PathLike[str] | TranscriptionRequest,
    **options: Unpack[TranscriptionOptions],
) -> AbstractContextManager[Any]: ...
def synthesize(
    engine: Engine, text: str | SpeechRequest | AsyncIterable[str], **options: Unpack[SpeechOptions]
) -> Speech: ...
def transcribe(
    engine: Engine,
    audio: Audio | str | os.PathLike[str] | TranscriptionRequest,
    **options: Unpack[TranscriptionOptions],
) -> Transcription: ...
def warm_up(engine: Engine) -> None: ...
