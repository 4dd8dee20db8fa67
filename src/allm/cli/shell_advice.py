"""What can be done about an error in a shell, where the library's own advice is for those who write Python.

An error says what happened in `problem`, without that advice; the rest is made here of its reason and its facts.
"""

from __future__ import annotations

from allm.data.errors import AdapterError, AllmError, EngineError, SessionError, ValidationError
from allm.data.remedies import REMEDIES, WAITING, with_facts

__all__ = ["describe", "in_shell_words"]

_REMEDIES = {
    **REMEDIES,
    "rate_limited": "wait and try again",
    "authentication_failed": "check the key: allm keys shows where it comes from",
    "invalid_request": "change what the provider objects to: the prompt, an option, or --base-url",
    "not_found": "check the name of the model and --base-url: allm models lists the known ones",
    "context_length_exceeded": "send less: fewer files, a shorter conversation, or a model with more context",
    "timeout": "try again, or use another model",
    "network_error": "check the network, --base-url and the proxy settings (HTTPS_PROXY, NO_PROXY)",
    "stream_truncated": "the connection ended early: try again",
    "no_scripted_response": "the provider fake has answers in tests only: use another one",
}
_LOCAL = ("127.", "localhost", "[::1]")
_OPTIONS = {
    "temperature": "--temperature",
    "max_tokens": "--max-tokens",
    "reasoning_effort": "--reasoning",
    "reasoning_summary": "--show-reasoning",
    "response_format": "--schema",
    "tools": "--tools",
    "messages": "-a",
    "options": "--option",
}
"""Where in a request something is, and the option that puts it there. Wrong in a message are attachments."""


def describe(error: AllmError) -> str:
    """What happened, the facts that a provider's support asks for, and what to do."""
    if isinstance(error, AdapterError):
        return with_facts(error.problem, error, _remedy(error))
    return f"{in_shell_words(error)} [{error.reason}]"


def in_shell_words(error: AllmError) -> str:
    """What happened, and what to do, without other facts."""
    advice = ""
    if isinstance(error, EngineError):
        advice = _for_engine(error)
    elif isinstance(error, ValidationError):
        advice = _for_request(error)
    elif isinstance(error, SessionError) and error.reason == "unreadable":
        advice = "allm sessions delete removes it"
    return f"{error.problem}; {advice}" if advice else error.problem


def _remedy(error: AdapterError) -> str | None:
    if error.reason == "network_error" and (error.host or "").startswith(_LOCAL):
        return f"start the server at {error.host}, or name another one with --base-url"
    return _REMEDIES.get(error.reason) if error.retryable or error.reason not in WAITING else None


def _for_engine(error: EngineError) -> str:
    exports = " or ".join(f"export {name}=..." for name in error.variables)
    if error.reason == "missing_key" and error.provider is not None:
        return " or ".join(filter(None, (exports, f"allm keys set {error.provider}")))
    if error.reason == "invalid_base_url" and error.provider is not None:
        return " or ".join(filter(None, ("--base-url URL", exports)))
    return ""


def _for_request(error: ValidationError) -> str:
    """What to leave out, where the model cannot take it."""
    places = [str(path[0]) for path, tag in error.errors if tag.startswith("unsupported_") and path]
    if any(tag == "conflicts_with_thinking" for _, tag in error.errors):
        places.append("reasoning_effort")
    options = list(dict.fromkeys(_OPTIONS[place] for place in places if place in _OPTIONS))
    return f"leave out {' and '.join(options)}, or use another model" if options else ""
