"""The vendors' finish reasons and what each of them means: one table for all wire formats.

Vendors document their own words, but gateways and servers pass on those of the model behind them, in any spelling:
`MAX_TOKENS` appears in Chat Completions, `stop` in Anthropic's format. So only the letters of a word are compared.
Decoders have their own vendor's words beside them, as it spells them, and ask here about all others.

Sources: https://platform.openai.com/docs/api-reference/chat/object (OpenAI),
https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons (Anthropic),
https://ai.google.dev/api/generate-content#FinishReason (Gemini; `MODEL_ARMOR` is Vertex AI's),
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (Bedrock),
https://docs.cohere.com/reference/chat (Cohere), https://docs.z.ai/api-reference/llm/chat-completion (Z.ai),
https://api-docs.deepseek.com/api/create-chat-completion (DeepSeek), https://docs.mistral.ai/api (Mistral), watsonx.ai,
Together, vLLM, llama.cpp and text-generation-inference from recorded responses.
"""

from __future__ import annotations

import re

from allm.data.errors import AdapterReason
from allm.data.response import FinishReason

__all__ = ["failure_of", "finish_reason_of"]

_NOT_A_LETTER = re.compile(r"[^a-z]+")

_WORDS: dict[FinishReason, str] = {
    "stop": "stop stopped end ended end_turn eos eos_token eos_token_found end_of_text end_of_sequence stop_sequence"
    " stop_token stop_word word complete completed completion done finish finished success normal natural",
    "tool_calls": "tool_calls tool_call tool_use tool_uses tools tool function_call function_calls functions",
    "length": "length max_length max_tokens max_tokens_reached max_new_tokens max_output_tokens max_completion_tokens"
    " output_limit output_length output_token_limit token_limit tokens_limit limit error_limit model_length"
    " context_length context_length_exceeded context_window context_window_exceeded context_limit"
    " model_context_window_exceeded model_context_length_exceeded",
    "content_filter": "content_filter content_filtered content_policy content_policy_violation policy_violation safety"
    " recitation language blocklist blocked prohibited_content spii model_armor image_safety image_prohibited_content"
    " image_recitation guardrail guardrails guardrail_intervened moderation sensitive refusal error_toxic",
    "error": "error errored failed failure fail internal_error server_error network_error timeout time_limit"
    " insufficient_system_resource abort aborted cancel cancelled canceled user_cancel malformed_function_call"
    " malformed_tool_call malformed_tool_use malformed_response malformed_model_output unexpected_tool_call"
    " too_many_tool_calls missing_thought_signature",
}


def _letters(word: str) -> str:
    return _NOT_A_LETTER.sub("", word.lower())


_MEANING: dict[str, FinishReason] = {
    _letters(word): reason for reason, words in _WORDS.items() for word in words.split()
}

_FAILURES: dict[str, AdapterReason] = {
    "timeout": "timeout",
    "timelimit": "timeout",
    "insufficientsystemresource": "overloaded",
    "malformedfunctioncall": "malformed_tool_call",
    "malformedtoolcall": "malformed_tool_call",
    "malformedtooluse": "malformed_tool_call",
    "unexpectedtoolcall": "malformed_tool_call",
    "toomanytoolcalls": "malformed_tool_call",
    "malformedresponse": "malformed_response",
    "malformedmodeloutput": "malformed_response",
    "missingthoughtsignature": "invalid_request",
}
"""The error reasons of words that tell what failed."""


def finish_reason_of(word: str | None) -> FinishReason:
    """Return the finish reason that a service's word means: `other` for an unknown word or None.

    The word may have a type prefix (`FinishReason.STOP`, `FINISH_REASON_STOP`) or a cause (`content_filter: SAFETY`, as
    Gemini's endpoint for Chat Completions sends it).
    """
    return _MEANING.get(_known(word), "other")


def failure_of(word: str | None) -> AdapterReason:
    """Return the error reason for a word whose finish reason is `error`."""
    return _FAILURES.get(_known(word), "provider_unavailable")


def _known(word: str | None) -> str:
    """Return the word's letters as the tables have them; "" for an unknown word."""
    whole = word or ""
    for part in (whole, whole.rpartition(".")[2], *whole.split(":")):
        letters = _letters(part)
        for candidate in (letters, letters.removeprefix("finishreason"), letters.removeprefix("stopreason")):
            if candidate in _MEANING:
                return candidate
    return ""
