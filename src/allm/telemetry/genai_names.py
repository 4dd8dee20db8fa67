"""Names of the OpenTelemetry conventions for generative AI, version 1.41.1 of the semantic conventions.

They are all in development, and the package with the constants marks them as deprecated because they are moving to a
repository of their own; so they are written down here.
"""

from __future__ import annotations

__all__ = [
    "DURATION_BUCKETS",
    "OPERATIONS",
    "PROVIDERS",
    "SCHEMA_URL",
    "TOKEN_BUCKETS",
    "finish_reason",
]

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.1"

OPERATIONS = {
    "chat": "invoke_agent",
    "generate": "chat",
    "model_call": "chat",
    "tool": "execute_tool",
    "embed": "embeddings",
    "image": "generate_content",
    "speech": "generate_content",
    "transcription": "transcription",
    "moderation": "moderation",
    "rerank": "rerank",
}
"""`gen_ai.operation.name` of our spans; the conventions have no name for the last three."""

PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}
"""`gen_ai.provider.name` where it is not our own name."""

DURATION_BUCKETS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
"""Of all durations, in seconds."""
TOKEN_BUCKETS = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]


def finish_reason(ours: str) -> str:
    """The word of the conventions for a finish reason."""
    return "tool_call" if ours == "tool_calls" else ours
