"""allm: one workflow, any language model, on Trio.

    async with allm.stream_generate(engine, "Tell me a joke") as events:
        async for piece in events.text():
            print(piece, end="", flush=True)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from allm import fake as fake
from allm import keys as keys
from allm import telemetry as telemetry
from allm._version import __version__ as __version__
from allm.data.build import assistant as assistant
from allm.data.build import json_schema as json_schema
from allm.data.build import request as request
from allm.data.build import system as system
from allm.data.build import tool_result as tool_result
from allm.data.build import user as user
from allm.data.codec import from_json as from_json
from allm.data.codec import to_json as to_json
from allm.data.content import ImagePart as ImagePart
from allm.data.content import Part as Part
from allm.data.content import ProviderPart as ProviderPart
from allm.data.content import ReasoningPart as ReasoningPart
from allm.data.content import TextPart as TextPart
from allm.data.content import ToolCall as ToolCall
from allm.data.errors import AdapterError as AdapterError
from allm.data.errors import AdapterReason as AdapterReason
from allm.data.errors import AllmError as AllmError
from allm.data.errors import EmbeddingAdapterError as EmbeddingAdapterError
from allm.data.errors import EngineError as EngineError
from allm.data.errors import ImageAdapterError as ImageAdapterError
from allm.data.errors import OptionError as OptionError
from allm.data.errors import SessionError as SessionError
from allm.data.errors import StreamError as StreamError
from allm.data.errors import ToolError as ToolError
from allm.data.errors import UnwrapError as UnwrapError
from allm.data.errors import ValidationError as ValidationError
from allm.data.events import AdapterEvent as AdapterEvent
from allm.data.events import AskUserRequested as AskUserRequested
from allm.data.events import ChatCompleted as ChatCompleted
from allm.data.events import Event as Event
from allm.data.events import Failed as Failed
from allm.data.events import MessageCompleted as MessageCompleted
from allm.data.events import MessageStarted as MessageStarted
from allm.data.events import OrchestrationEvent as OrchestrationEvent
from allm.data.events import ProviderPartCompleted as ProviderPartCompleted
from allm.data.events import RawChunk as RawChunk
from allm.data.events import ReasoningCompleted as ReasoningCompleted
from allm.data.events import ReasoningDelta as ReasoningDelta
from allm.data.events import StepCompleted as StepCompleted
from allm.data.events import TextCompleted as TextCompleted
from allm.data.events import TextDelta as TextDelta
from allm.data.events import ToolCallCompleted as ToolCallCompleted
from allm.data.events import ToolCallDelta as ToolCallDelta
from allm.data.events import ToolCallStarted as ToolCallStarted
from allm.data.events import ToolExecutionCompleted as ToolExecutionCompleted
from allm.data.events import ToolExecutionStarted as ToolExecutionStarted
from allm.data.events import ToolHalted as ToolHalted
from allm.data.events import ToolProgress as ToolProgress
from allm.data.events import ToolResultEncoded as ToolResultEncoded
from allm.data.events import UsageReported as UsageReported
from allm.data.image import Image as Image
from allm.data.message import Message as Message
from allm.data.message import Role as Role
from allm.data.outcomes import AskUser as AskUser
from allm.data.outcomes import Halt as Halt
from allm.data.request import JsonSchema as JsonSchema
from allm.data.request import Request as Request
from allm.data.response import FinishReason as FinishReason
from allm.data.response import Response as Response
from allm.data.response import Usage as Usage
from allm.data.results import ChatResult as ChatResult
from allm.data.results import HaltedReason as HaltedReason
from allm.data.results import StepResult as StepResult
from allm.data.thread import Thread as Thread
from allm.data.tool import Tool as Tool
from allm.data.validate import validate as validate
from allm.execution.chat import chat as chat
from allm.execution.chat import step as step
from allm.execution.chat import stream as stream
from allm.execution.chat import stream_step as stream_step
from allm.execution.collector import StreamCollector as StreamCollector
from allm.execution.event_stream import EventStream as EventStream
from allm.execution.options import CallOptions as CallOptions
from allm.execution.options import defaults as defaults
from allm.execution.options import set_defaults as set_defaults
from allm.execution.runner import generate as generate
from allm.execution.runner import stream_generate as stream_generate
from allm.execution.runner import unwrap as unwrap
from allm.execution.stream_runner import StreamBlock as StreamBlock
from allm.runtime.engine import Engine as Engine
from allm.runtime.ports import AdapterOptions as AdapterOptions
from allm.runtime.ports import Emit as Emit
from allm.runtime.ports import StreamAdapter as StreamAdapter
from allm.runtime.ports import ToolExecutor as ToolExecutor
from allm.runtime.ports import ToolResultEncoder as ToolResultEncoder
from allm.runtime.retry import RetryPolicy as RetryPolicy
from allm.runtime.retry import parse_retry_after as parse_retry_after
from allm.runtime.tools import ToolContext as ToolContext
from allm.runtime.tools import tool as tool

if TYPE_CHECKING:
    from allm import providers as providers
    from allm import testing as testing

__all__ = [
    "AdapterError",
    "AdapterEvent",
    "AdapterOptions",
    "AdapterReason",
    "AllmError",
    "AskUser",
    "AskUserRequested",
    "CallOptions",
    "ChatCompleted",
    "ChatResult",
    "EmbeddingAdapterError",
    "Emit",
    "Engine",
    "EngineError",
    "Event",
    "EventStream",
    "Failed",
    "FinishReason",
    "Halt",
    "HaltedReason",
    "Image",
    "ImageAdapterError",
    "ImagePart",
    "JsonSchema",
    "Message",
    "MessageCompleted",
    "MessageStarted",
    "OptionError",
    "OrchestrationEvent",
    "Part",
    "ProviderPart",
    "ProviderPartCompleted",
    "RawChunk",
    "ReasoningCompleted",
    "ReasoningDelta",
    "ReasoningPart",
    "Request",
    "Response",
    "RetryPolicy",
    "Role",
    "SessionError",
    "StepCompleted",
    "StepResult",
    "StreamAdapter",
    "StreamBlock",
    "StreamCollector",
    "StreamError",
    "TextCompleted",
    "TextDelta",
    "TextPart",
    "Thread",
    "Tool",
    "ToolCall",
    "ToolCallCompleted",
    "ToolCallDelta",
    "ToolCallStarted",
    "ToolContext",
    "ToolError",
    "ToolExecutionCompleted",
    "ToolExecutionStarted",
    "ToolExecutor",
    "ToolHalted",
    "ToolProgress",
    "ToolResultEncoded",
    "ToolResultEncoder",
    "UnwrapError",
    "Usage",
    "UsageReported",
    "ValidationError",
    "__version__",
    "assistant",
    "chat",
    "defaults",
    "fake",
    "from_json",
    "generate",
    "json_schema",
    "keys",
    "parse_retry_after",
    "providers",
    "request",
    "set_defaults",
    "step",
    "stream",
    "stream_generate",
    "stream_step",
    "system",
    "telemetry",
    "testing",
    "to_json",
    "tool",
    "tool_result",
    "unwrap",
    "user",
    "validate",
]

_LAZY = frozenset({"providers", "testing"})


def __getattr__(name: str) -> Any:
    """Packages that `import allm` leaves alone until they are named."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
