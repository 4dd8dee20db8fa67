"""allm: provider-neutral calls to large language models, on Trio.

Example::

    async with allm.stream_generate(engine, "Tell me a joke") as events:
        async for piece in events.text():
            print(piece, end="", flush=True)
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from allm import fake as fake, keys as keys, models as models, telemetry as telemetry
from allm._version import __version__ as __version__
from allm.data.audio import (
    Audio as Audio,
    Granularity as Granularity,
    Speech as Speech,
    SpeechRequest as SpeechRequest,
    Transcription as Transcription,
    TranscriptionPart as TranscriptionPart,
    TranscriptionRequest as TranscriptionRequest,
)
from allm.data.content import (
    ImagePart as ImagePart,
    Part as Part,
    ProviderPart as ProviderPart,
    ReasoningPart as ReasoningPart,
    TextPart as TextPart,
    ToolCall as ToolCall,
)
from allm.data.embedding import (
    Embedding as Embedding,
    EmbeddingAdapterError as EmbeddingAdapterError,
    EmbeddingInput as EmbeddingInput,
    EmbeddingRequest as EmbeddingRequest,
    EmbeddingResponse as EmbeddingResponse,
    EncodingFormat as EncodingFormat,
)
from allm.data.errors import (
    AdapterError as AdapterError,
    AdapterReason as AdapterReason,
    AllmError as AllmError,
    EngineError as EngineError,
    EngineReason as EngineReason,
    ImageAdapterError as ImageAdapterError,
    OptionError as OptionError,
    OptionReason as OptionReason,
    Path as ErrorPath,
    Problem as Problem,
    SessionError as SessionError,
    SessionReason as SessionReason,
    StreamError as StreamError,
    StreamReason as StreamReason,
    ToolError as ToolError,
    ToolReason as ToolReason,
    UnwrapError as UnwrapError,
    UnwrapReason as UnwrapReason,
    ValidationError as ValidationError,
)
from allm.data.events import (
    AdapterEvent as AdapterEvent,
    AskUserRequested as AskUserRequested,
    ChatCompleted as ChatCompleted,
    Event as Event,
    Failed as Failed,
    ImageCompleted as ImageCompleted,
    MessageCompleted as MessageCompleted,
    MessagesAdded as MessagesAdded,
    MessageStarted as MessageStarted,
    OrchestrationEvent as OrchestrationEvent,
    ProviderPartCompleted as ProviderPartCompleted,
    RawChunk as RawChunk,
    ReasoningCompleted as ReasoningCompleted,
    ReasoningDelta as ReasoningDelta,
    StepCompleted as StepCompleted,
    TextCompleted as TextCompleted,
    TextDelta as TextDelta,
    ToolCallCompleted as ToolCallCompleted,
    ToolCallDelta as ToolCallDelta,
    ToolCallStarted as ToolCallStarted,
    ToolExecutionCompleted as ToolExecutionCompleted,
    ToolExecutionStarted as ToolExecutionStarted,
    ToolHalted as ToolHalted,
    ToolProgress as ToolProgress,
    ToolResultEncoded as ToolResultEncoded,
    UsageReported as UsageReported,
)
from allm.data.image import Image as Image, SourceKind as SourceKind
from allm.data.image_request import (
    ImageOperation as ImageOperation,
    ImageRequest as ImageRequest,
    ImageRequestFields as ImageRequestFields,
    ImageResponse as ImageResponse,
    ImageUsage as ImageUsage,
    image_request as image_request,
)
from allm.data.json.codec import from_json as from_json, to_json as to_json
from allm.data.logprobs import TokenLogprob as TokenLogprob
from allm.data.message import (
    Message as Message,
    Role as Role,
    Thread as Thread,
    assistant as assistant,
    system as system,
    user as user,
)
from allm.data.moderation import (
    ModerationInput as ModerationInput,
    ModerationRequest as ModerationRequest,
    ModerationResponse as ModerationResponse,
    ModerationResult as ModerationResult,
)
from allm.data.openai_messages import messages_from_openai as messages_from_openai
from allm.data.request import (
    JsonSchema as JsonSchema,
    Request as Request,
    RequestFields as RequestFields,
    ResponseFormat as ResponseFormat,
    ToolChoice as ToolChoice,
    json_schema as json_schema,
    request as request,
)
from allm.data.response import FinishReason as FinishReason, Response as Response, Usage as Usage
from allm.data.results import (
    ChatResult as ChatResult,
    FinalizeReport as FinalizeReport,
    HaltCause as HaltCause,
    HaltedReason as HaltedReason,
    HandlerHalted as HandlerHalted,
    ManualCalls as ManualCalls,
    PendingQuestion as PendingQuestion,
    StepResult as StepResult,
    ToolFailed as ToolFailed,
    UserAsked as UserAsked,
)
from allm.data.session import Session as Session, SessionConflict as SessionConflict, SessionStatus as SessionStatus
from allm.data.step_changes import StepChanges as StepChanges, StepChangesDict as StepChangesDict
from allm.data.tool import Tool as Tool, tool_result as tool_result
from allm.data.tool_control import AskUser as AskUser, Halt as Halt
from allm.data.validation import validate as validate
from allm.execution.chat import chat as chat, step as step, stream as stream, stream_step as stream_step
from allm.execution.generate import generate as generate, stream_generate as stream_generate, unwrap as unwrap
from allm.execution.options import (
    CallOptions as CallOptions,
    Input as Input,
    defaults as defaults,
    set_defaults as set_defaults,
)
from allm.execution.services.embedding_stream import EmbeddingStream as EmbeddingStream, Progress as OnProgress
from allm.execution.services.embeddings import (
    EmbeddingInputs as EmbeddingInputs,
    embed as embed,
    stream_embed as stream_embed,
)
from allm.execution.services.images import (
    ImageOptions as ImageOptions,
    edit_image as edit_image,
    generate_image as generate_image,
    image_variations as image_variations,
)
from allm.execution.services.moderation import moderate as moderate
from allm.execution.services.service import UnaryOptions as UnaryOptions
from allm.execution.services.speech import (
    SpeechOptions as SpeechOptions,
    SpeechStream as SpeechStream,
    stream_synthesize as stream_synthesize,
    synthesize as synthesize,
)
from allm.execution.services.transcription import TranscriptionOptions as TranscriptionOptions, transcribe as transcribe
from allm.execution.stream.block import StreamBlock as StreamBlock
from allm.execution.stream.event_stream import EventStream as EventStream
from allm.execution.stream.folds import StreamCollector as StreamCollector
from allm.execution.warm_up import warm_up as warm_up
from allm.http.answer_limits import AnswerLimits as AnswerLimits
from allm.http.client import HttpClient as HttpClient
from allm.http.fetch import fetch_image as fetch_image
from allm.runtime.adapters import ToolExecutor as ToolExecutor, ToolResultEncoder as ToolResultEncoder
from allm.runtime.batches import BatchLimits as BatchLimits
from allm.runtime.call_options import (
    BeforeStep as BeforeStep,
    HaltWhen as HaltWhen,
    OnEvent as OnEvent,
    OnToolError as OnToolError,
    StepInput as StepInput,
)
from allm.runtime.engine import Engine as Engine, EngineFields as EngineFields
from allm.runtime.retry import RetryPolicy as RetryPolicy
from allm.runtime.tool_calls import ToolContext as ToolContext
from allm.runtime.tools import tool as tool

if TYPE_CHECKING:
    from allm import adapters as adapters, providers as providers, session as session, testing as testing

__all__ = [
    "AdapterError",
    "AdapterEvent",
    "AdapterReason",
    "AllmError",
    "AnswerLimits",
    "AskUser",
    "AskUserRequested",
    "Audio",
    "BeforeStep",
    "CallOptions",
    "ChatCompleted",
    "ChatResult",
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
    "EngineReason",
    "ErrorPath",
    "Event",
    "EventStream",
    "Failed",
    "FinalizeReport",
    "FinishReason",
    "Granularity",
    "Halt",
    "HaltCause",
    "HaltWhen",
    "HaltedReason",
    "HandlerHalted",
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
    "ManualCalls",
    "Message",
    "MessageCompleted",
    "MessageStarted",
    "MessagesAdded",
    "ModerationInput",
    "ModerationRequest",
    "ModerationResponse",
    "ModerationResult",
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
    "RawChunk",
    "ReasoningCompleted",
    "ReasoningDelta",
    "ReasoningPart",
    "Request",
    "RequestFields",
    "Response",
    "ResponseFormat",
    "RetryPolicy",
    "Role",
    "Session",
    "SessionConflict",
    "SessionError",
    "SessionReason",
    "SessionStatus",
    "SourceKind",
    "Speech",
    "SpeechOptions",
    "SpeechRequest",
    "SpeechStream",
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
    "Transcription",
    "TranscriptionOptions",
    "TranscriptionPart",
    "TranscriptionRequest",
    "UnaryOptions",
    "UnwrapError",
    "UnwrapReason",
    "Usage",
    "UsageReported",
    "UserAsked",
    "ValidationError",
    "__version__",
    "adapters",
    "assistant",
    "chat",
    "defaults",
    "edit_image",
    "embed",
    "fake",
    "fetch_image",
    "from_json",
    "generate",
    "generate_image",
    "image_request",
    "image_variations",
    "json_schema",
    "keys",
    "messages_from_openai",
    "models",
    "moderate",
    "providers",
    "request",
    "session",
    "set_defaults",
    "step",
    "stream",
    "stream_embed",
    "stream_generate",
    "stream_step",
    "stream_synthesize",
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
]

_LAZY = frozenset({"adapters", "providers", "session", "testing"})


def _name_this_module() -> None:
    """Set `__module__` of exceptions and functions to `allm`, so that a traceback reads `allm.AdapterError`.

    attrs classes keep theirs, because their annotations are resolved in the module that it names.
    """
    for name in __all__:
        value = globals().get(name)
        if inspect.isfunction(value) or (inspect.isclass(value) and issubclass(value, BaseException)):
            value.__module__ = __name__


_name_this_module()


def __getattr__(name: str) -> Any:
    """Import a package on first access, which keeps `import allm` light."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    """The names of the packages too that are not imported yet."""
    return sorted({*globals(), *_LAZY})
