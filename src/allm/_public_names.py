"""Where the public names of `allm` are: what `allm.__getattr__` imports when one is first used."""

from __future__ import annotations

__all__ = ["MODULES", "PLACES"]

MODULES = frozenset(
    {
        *("adapters", "aio", "blocking", "caches", "compact", "fake", "files", "hosted", "keys", "mcp", "models"),
        *("providers", "render"),
        *("session", "telemetry", "testing", "web"),
    }
)
"""Public names that are modules."""

_NAMES = {
    "data.audio": "Audio",
    "data.bulk": "BulkError BulkItem BulkReason",
    "data.cache": "Cache CacheContents",
    "data.citation": "Citation SourcePlace",
    "data.content": (
        "AudioPart CachePoint DocumentPart HostedCall ImagePart Part ProviderPart ReasoningPart TextPart ToolCall "
        "VideoPart cache_point"
    ),
    "data.document": "Document Video",
    "data.embedding": (
        "Embedding EmbeddingAdapterError EmbeddingInput EmbeddingRequest EmbeddingResponse EncodingFormat"
    ),
    "data.errors": (
        "AdapterError AdapterReason AllmError BudgetExceeded BudgetReason EngineError EngineReason ImageAdapterError "
        "OptionError OptionReason "
        "Path:ErrorPath Problem SessionError SessionReason StreamError StreamReason ToolError ToolReason "
        "ValidationError"
    ),
    "data.events": (
        "AdapterEvent AskUserRequested ChatCompleted CitationAdded Event Failed HostedCallCompleted "
        "HostedCallStarted ImageCompleted MessageCompleted MessagesAdded MessageStarted OrchestrationEvent "
        "ProviderPartCompleted RawChunk ReasoningCompleted ReasoningDelta StepCompleted TextCompleted TextDelta "
        "ToolCallCompleted ToolCallDelta ToolCallStarted "
        "ToolExecutionCompleted ToolExecutionStarted ToolHalted ToolProgress ToolResultEncoded UsageReported"
    ),
    "data.file_ref": "FileRef",
    "data.image": "Image",
    "data.image_request": "ImageOperation ImageRequest ImageRequestFields ImageResponse ImageUsage image_request",
    "data.json.codec": "from_json to_json",
    "data.logprobs": "TokenLogprob",
    "data.media": "Media SourceKind",
    "data.message": "Message Role Thread assistant system user",
    "data.moderation": "ModerationInput ModerationRequest ModerationResponse ModerationResult",
    "data.openai_messages": "messages_from_openai",
    "data.request": "JsonSchema Request RequestFields ResponseFormat ToolChoice json_schema request",
    "data.rerank": "RerankRequest RerankResponse RerankResult",
    "data.response": "FinishReason Response UnwrapError UnwrapReason Usage",
    "data.results": (
        "ChatResult FinalizeReport HaltCause HaltedReason HandlerHalted ManualCalls PendingQuestion StepResult "
        "ToolFailed UserAsked"
    ),
    "data.session": "Session SessionConflict SessionStatus",
    "data.speech": "Granularity Speech SpeechRequest Transcription TranscriptionRequest",
    "data.step_changes": "StepChanges StepChangesDict",
    "data.token_count": "TokenCount",
    "data.tool": "tool_result",
    "data.tool_control": "AskUser Halt",
    "data.transcript_parts": "TranscriptionPart",
    "data.transcription_events": ("TranscriptionCompleted TranscriptionDelta TranscriptionEvent TranscriptionSegment"),
    "data.validation": "validate",
    "execution.chat": "chat step stream stream_step",
    "execution.classify": "Classification Question classify",
    "execution.generate": "generate stream_generate unwrap",
    "execution.options": "CallOptions Input defaults set_defaults",
    "execution.services.embedding_stream": "EmbeddingStream Progress:OnProgress",
    "execution.services.embeddings": "EmbeddingInputs embed stream_embed",
    "execution.services.images": "ImageOptions edit_image generate_image image_variations",
    "execution.services.model_list": "list_models",
    "execution.services.moderation": "moderate",
    "execution.services.reranking": "rerank",
    "execution.services.service": "UnaryOptions",
    "execution.services.speech": "SpeechOptions SpeechStream stream_synthesize synthesize",
    "execution.services.tokens": "count_tokens",
    "execution.services.transcription": "TranscriptionOptions transcribe",
    "execution.services.transcription_stream": "TranscriptionStream stream_transcribe",
    "execution.stream.block": "StreamBlock",
    "execution.stream.event_stream": "EventStream",
    "execution.stream.folds": "StreamCollector",
    "execution.warm_up": "warm_up",
    "http.answer_limits": "AnswerLimits",
    "http.client": "HttpClient",
    "http.fetch": "fetch_image",
    "runs.bulk": "ShardReport bulk run_shard",
    "runs.run": "BulkRun",
    "runtime.adapters": "ToolExecutor ToolResultEncoder",
    "runtime.budgets": "Budget Remaining Spending budget",
    "runtime.call_options": "BeforeStep Compact HaltWhen OnEvent OnToolError StepInput",
    "runtime.costs": "price",
    "runtime.engine": "Engine EngineFields",
    "runtime.engine_group": "EngineGroup MovesOn fallback hedge",
    "runtime.limiter": "Limiter LimiterPlace",
    "runtime.rate_limit": "RateLimit RateStatistics",
    "runtime.retry": "RetryPolicy",
    # Tools and sets come with what runs and loads them, which the values themselves do not import.
    "runtime.tool_calls": "Tool ToolContext",
    "runtime.tool_loading": "Toolset",
    "runtime.tools": "tool",
}
"""The names by module. One that has another name there is written `there:public`."""

PLACES = {
    name.rpartition(":")[2]: (f"allm.{module}", name.partition(":")[0])
    for module, names in _NAMES.items()
    for name in names.split()
}
"""The module of each public name, and its name there."""
