"""allm: provider-neutral calls to large language models, on Trio.

Example::

    async with allm.stream_generate(engine, "Tell me a joke") as events:
        async for piece in events.text():
            print(piece, end="", flush=True)
"""

from __future__ import annotations

import importlib
import types
from typing import TYPE_CHECKING, Any

from allm._public_names import MODULES, PLACES
from allm._version import __version__

if TYPE_CHECKING:
    from allm import (
        adapters,
        aio,
        blocking,
        caches,
        compact,
        fake,
        files,
        hosted,
        keys,
        mcp,
        models,
        providers,
        render,
        session,
        telemetry,
        testing,
        web,
    )
    from allm.data.audio import Audio
    from allm.data.bulk import BulkError, BulkItem, BulkReason
    from allm.data.cache import Cache, CacheContents
    from allm.data.citation import Citation, SourcePlace
    from allm.data.content import (
        AudioPart,
        CachePoint,
        DocumentPart,
        HostedCall,
        ImagePart,
        Part,
        ProviderPart,
        ReasoningPart,
        TextPart,
        ToolCall,
        VideoPart,
        cache_point,
    )
    from allm.data.document import Document, Video
    from allm.data.embedding import (
        Embedding,
        EmbeddingAdapterError,
        EmbeddingInput,
        EmbeddingRequest,
        EmbeddingResponse,
        EncodingFormat,
    )
    from allm.data.errors import (
        AdapterError,
        AdapterReason,
        AllmError,
        BudgetExceeded,
        BudgetReason,
        EngineError,
        EngineReason,
        ImageAdapterError,
        OptionError,
        OptionReason,
        Path as ErrorPath,
        Problem,
        SessionError,
        SessionReason,
        StreamError,
        StreamReason,
        ToolError,
        ToolReason,
        ValidationError,
    )
    from allm.data.events import (
        AdapterEvent,
        AskUserRequested,
        ChatCompleted,
        CitationAdded,
        Event,
        Failed,
        HostedCallCompleted,
        HostedCallStarted,
        ImageCompleted,
        MessageCompleted,
        MessagesAdded,
        MessageStarted,
        OrchestrationEvent,
        ProviderPartCompleted,
        RawChunk,
        ReasoningCompleted,
        ReasoningDelta,
        StepCompleted,
        TextCompleted,
        TextDelta,
        ToolCallCompleted,
        ToolCallDelta,
        ToolCallStarted,
        ToolExecutionCompleted,
        ToolExecutionStarted,
        ToolHalted,
        ToolProgress,
        ToolResultEncoded,
        UsageReported,
    )
    from allm.data.file_ref import FileRef
    from allm.data.image import Image
    from allm.data.image_request import (
        ImageOperation,
        ImageRequest,
        ImageRequestFields,
        ImageResponse,
        ImageUsage,
        image_request,
    )
    from allm.data.json.codec import from_json, to_json
    from allm.data.logprobs import TokenLogprob
    from allm.data.media import Media, SourceKind
    from allm.data.message import Message, Role, Thread, assistant, system, user
    from allm.data.moderation import ModerationInput, ModerationRequest, ModerationResponse, ModerationResult
    from allm.data.openai_messages import messages_from_openai
    from allm.data.request import JsonSchema, Request, RequestFields, ResponseFormat, ToolChoice, json_schema, request
    from allm.data.rerank import RerankRequest, RerankResponse, RerankResult
    from allm.data.response import FinishReason, Response, UnwrapError, UnwrapReason, Usage
    from allm.data.results import (
        ChatResult,
        FinalizeReport,
        HaltCause,
        HaltedReason,
        HandlerHalted,
        ManualCalls,
        PendingQuestion,
        StepResult,
        ToolFailed,
        UserAsked,
    )
    from allm.data.session import Session, SessionConflict, SessionStatus
    from allm.data.speech import Granularity, Speech, SpeechRequest, Transcription, TranscriptionRequest
    from allm.data.step_changes import StepChanges, StepChangesDict
    from allm.data.token_count import TokenCount
    from allm.data.tool import tool_result
    from allm.data.tool_control import AskUser, Halt
    from allm.data.transcript_parts import TranscriptionPart
    from allm.data.transcription_events import (
        TranscriptionCompleted,
        TranscriptionDelta,
        TranscriptionEvent,
        TranscriptionSegment,
    )
    from allm.data.validation import validate
    from allm.execution.chat import chat, step, stream, stream_step
    from allm.execution.classify import Classification, Question, classify
    from allm.execution.generate import generate, stream_generate, unwrap
    from allm.execution.options import CallOptions, Input, defaults, set_defaults
    from allm.execution.services.embedding_stream import EmbeddingStream, Progress as OnProgress
    from allm.execution.services.embeddings import EmbeddingInputs, embed, stream_embed
    from allm.execution.services.images import ImageOptions, edit_image, generate_image, image_variations
    from allm.execution.services.model_list import list_models
    from allm.execution.services.moderation import moderate
    from allm.execution.services.reranking import rerank
    from allm.execution.services.service import UnaryOptions
    from allm.execution.services.speech import SpeechOptions, SpeechStream, stream_synthesize, synthesize
    from allm.execution.services.tokens import count_tokens
    from allm.execution.services.transcription import TranscriptionOptions, transcribe
    from allm.execution.services.transcription_stream import TranscriptionStream, stream_transcribe
    from allm.execution.stream.block import StreamBlock
    from allm.execution.stream.event_stream import EventStream
    from allm.execution.stream.folds import StreamCollector
    from allm.execution.warm_up import warm_up
    from allm.http.answer_limits import AnswerLimits
    from allm.http.client import HttpClient
    from allm.http.fetch import fetch_image
    from allm.runs.bulk import ShardReport, bulk, run_shard
    from allm.runs.run import BulkRun
    from allm.runtime.adapters import ToolExecutor, ToolResultEncoder
    from allm.runtime.budgets import Budget, Remaining, Spending, budget
    from allm.runtime.call_options import BeforeStep, Compact, HaltWhen, OnEvent, OnToolError, StepInput
    from allm.runtime.costs import price
    from allm.runtime.engine import Engine, EngineFields
    from allm.runtime.engine_group import EngineGroup, MovesOn, fallback, hedge
    from allm.runtime.limiter import Limiter, LimiterPlace
    from allm.runtime.rate_limit import RateLimit, RateStatistics
    from allm.runtime.retry import RetryPolicy
    from allm.runtime.tool_calls import Tool, ToolContext
    from allm.runtime.tool_loading import Toolset
    from allm.runtime.tools import tool

__all__ = [
    "AdapterError",
    "AdapterEvent",
    "AdapterReason",
    "AllmError",
    "AnswerLimits",
    "AskUser",
    "AskUserRequested",
    "Audio",
    "AudioPart",
    "BeforeStep",
    "Budget",
    "BudgetExceeded",
    "BudgetReason",
    "BulkError",
    "BulkItem",
    "BulkReason",
    "BulkRun",
    "Cache",
    "CacheContents",
    "CachePoint",
    "CallOptions",
    "ChatCompleted",
    "ChatResult",
    "Citation",
    "CitationAdded",
    "Classification",
    "Compact",
    "Document",
    "DocumentPart",
    "Embedding",
    "EmbeddingAdapterError",
    "EmbeddingInput",
    "EmbeddingInputs",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "EmbeddingStream",
    "EncodingFormat",
    "Engine",
    "EngineError",
    "EngineFields",
    "EngineGroup",
    "EngineReason",
    "ErrorPath",
    "Event",
    "EventStream",
    "Failed",
    "FileRef",
    "FinalizeReport",
    "FinishReason",
    "Granularity",
    "Halt",
    "HaltCause",
    "HaltWhen",
    "HaltedReason",
    "HandlerHalted",
    "HostedCall",
    "HostedCallCompleted",
    "HostedCallStarted",
    "HttpClient",
    "Image",
    "ImageAdapterError",
    "ImageCompleted",
    "ImageOperation",
    "ImageOptions",
    "ImagePart",
    "ImageRequest",
    "ImageRequestFields",
    "ImageResponse",
    "ImageUsage",
    "Input",
    "JsonSchema",
    "Limiter",
    "LimiterPlace",
    "ManualCalls",
    "Media",
    "Message",
    "MessageCompleted",
    "MessageStarted",
    "MessagesAdded",
    "ModerationInput",
    "ModerationRequest",
    "ModerationResponse",
    "ModerationResult",
    "MovesOn",
    "OnEvent",
    "OnProgress",
    "OnToolError",
    "OptionError",
    "OptionReason",
    "OrchestrationEvent",
    "Part",
    "PendingQuestion",
    "Problem",
    "ProviderPart",
    "ProviderPartCompleted",
    "Question",
    "RateLimit",
    "RateStatistics",
    "RawChunk",
    "ReasoningCompleted",
    "ReasoningDelta",
    "ReasoningPart",
    "Remaining",
    "Request",
    "RequestFields",
    "RerankRequest",
    "RerankResponse",
    "RerankResult",
    "Response",
    "ResponseFormat",
    "RetryPolicy",
    "Role",
    "Session",
    "SessionConflict",
    "SessionError",
    "SessionReason",
    "SessionStatus",
    "ShardReport",
    "SourceKind",
    "SourcePlace",
    "Speech",
    "SpeechOptions",
    "SpeechRequest",
    "SpeechStream",
    "Spending",
    "StepChanges",
    "StepChangesDict",
    "StepCompleted",
    "StepInput",
    "StepResult",
    "StreamBlock",
    "StreamCollector",
    "StreamError",
    "StreamReason",
    "TextCompleted",
    "TextDelta",
    "TextPart",
    "Thread",
    "TokenCount",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolCallCompleted",
    "ToolCallDelta",
    "ToolCallStarted",
    "ToolChoice",
    "ToolContext",
    "ToolError",
    "ToolExecutionCompleted",
    "ToolExecutionStarted",
    "ToolExecutor",
    "ToolFailed",
    "ToolHalted",
    "ToolProgress",
    "ToolReason",
    "ToolResultEncoded",
    "ToolResultEncoder",
    "Toolset",
    "Transcription",
    "TranscriptionCompleted",
    "TranscriptionDelta",
    "TranscriptionEvent",
    "TranscriptionOptions",
    "TranscriptionPart",
    "TranscriptionRequest",
    "TranscriptionSegment",
    "TranscriptionStream",
    "UnaryOptions",
    "UnwrapError",
    "UnwrapReason",
    "Usage",
    "UsageReported",
    "UserAsked",
    "ValidationError",
    "Video",
    "VideoPart",
    "__version__",
    "adapters",
    "aio",
    "assistant",
    "blocking",
    "budget",
    "bulk",
    "cache_point",
    "caches",
    "chat",
    "classify",
    "compact",
    "count_tokens",
    "defaults",
    "edit_image",
    "embed",
    "fake",
    "fallback",
    "fetch_image",
    "files",
    "from_json",
    "generate",
    "generate_image",
    "hedge",
    "hosted",
    "image_request",
    "image_variations",
    "json_schema",
    "keys",
    "list_models",
    "mcp",
    "messages_from_openai",
    "models",
    "moderate",
    "price",
    "providers",
    "render",
    "request",
    "rerank",
    "run_shard",
    "session",
    "set_defaults",
    "step",
    "stream",
    "stream_embed",
    "stream_generate",
    "stream_step",
    "stream_synthesize",
    "stream_transcribe",
    "synthesize",
    "system",
    "telemetry",
    "testing",
    "to_json",
    "tool",
    "tool_result",
    "transcribe",
    "unwrap",
    "user",
    "validate",
    "warm_up",
    "web",
]


def __getattr__(name: str) -> Any:
    """Import what a name stands for when it is first used: a program loads the parts that it uses."""
    if name in MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, there = PLACES[name]
    value = getattr(importlib.import_module(module), there)
    if isinstance(value, types.FunctionType):
        value.__module__ = __name__  # its public name, in tracebacks and when it is pickled
    return globals().setdefault(name, value)


def __dir__() -> list[str]:
    """All public names, those that are not imported yet too."""
    return sorted({*globals(), *__all__})
