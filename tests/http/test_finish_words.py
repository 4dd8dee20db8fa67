"""Finish reasons of all vendors, on any wire format."""

from __future__ import annotations

import pytest

from allm.adapters import finish_reason_of
from allm.http.finish_words import failure_of

WORDS = {
    "stop": "stop STOP eos end end_turn stop_sequence COMPLETE eos_token FinishReason.STOP FINISH_REASON_STOP",
    "tool_calls": "tool_calls tool_use function_call function_calls TOOL_CALL toolUse",
    "length": "length max_tokens MAX_TOKENS model_length maxTokens max_output_tokens model_context_window_exceeded",
    "content_filter": "content_filter SAFETY RECITATION guardrail_intervened sensitive ERROR_TOXIC refusal MODEL_ARMOR",
    "error": "error ERROR network_error insufficient_system_resource timeout abort MALFORMED_FUNCTION_CALL cancelled",
    "other": "OTHER pause_turn compaction FINISH_REASON_UNSPECIFIED whatever",
}


@pytest.mark.parametrize(("word", "meaning"), [(word, key) for key, words in WORDS.items() for word in words.split()])
def test_a_word_means_the_same_in_any_spelling(word, meaning):
    """Only the letters of a word count."""
    assert finish_reason_of(word) == meaning


def test_a_word_with_its_cause():
    """In the form of Gemini's endpoint for Chat Completions; the more specific half is used too."""
    assert finish_reason_of("content_filter: RECITATION") == "content_filter"
    assert finish_reason_of("function_call_filter: MALFORMED_FUNCTION_CALL") == "error"
    assert failure_of("function_call_filter: MALFORMED_FUNCTION_CALL") == "malformed_tool_call"


def test_no_word_means_other():
    """The content of the response decides then."""
    assert finish_reason_of(None) == finish_reason_of("") == "other"
    assert failure_of(None) == failure_of("error") == "provider_unavailable"
    assert failure_of("TIMEOUT") == "timeout"
