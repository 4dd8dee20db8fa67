"""Ways out of a full context, for the option `compact`: `keep_last_turns`, `summarize`."""

from allm.execution.compact import keep_last_turns as keep_last_turns, summarize as summarize

__all__ = ["keep_last_turns", "summarize"]
