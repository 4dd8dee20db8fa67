"""What the log says of a failed call: one WARNING for the call that the program made, and INFO for each retry.

A tool may call a model itself, and its failure is then the tool's to handle: the calls inside a call are logged at
DEBUG. So a program that looks at no result still sees each failure, and sees it once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from allm.data.errors import AdapterError, AllmError
from allm.runtime import telemetry
from allm.runtime.log_fields import log_fields

__all__ = [
    "is_inner",
    "log_failed_inputs",
    "log_failure",
    "log_member",
    "log_retry",
    "name_model",
]

logger: logging.Logger = logging.getLogger("allm")

is_inner: ContextVar[bool] = ContextVar("allm_is_inner_call", default=False)
"""Whether the calls made here are parts of something that reports their failures itself."""


def log_failure(what: str, error: AllmError, span: telemetry.Span | None = None, **facts: Any) -> None:
    """Log the final failure of a call.

    Args:
        what: The name of the call, such as `generate`.
        span: Its telemetry span.
        facts: Further fields of the record.
    """
    level = logging.DEBUG if is_inner.get() else logging.WARNING
    fields = log_fields(error, call=what, span_id=None if span is None else span.id, **facts)
    logger.log(level, "%s failed: %s", what, _on_one_line(error), extra=fields)


def log_failed_inputs(reasons: Mapping[str, int], asked: int) -> None:
    """Log how many inputs of a bulk run have failed, if any; each by itself is logged at DEBUG.

    Args:
        reasons: How often they failed for each reason.
        asked: How many inputs were asked.
    """
    if reasons:
        level = logging.DEBUG if is_inner.get() else logging.WARNING
        counts = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items(), key=lambda each: -each[1]))
        failed = sum(reasons.values())
        logger.log(level, "bulk: %d of %d inputs failed: %s", failed, asked, counts, extra=log_fields(call="bulk"))


def log_retry(
    attempt: int,
    error: AdapterError,
    delay: float,
    span: telemetry.Span | None,
    level: int = logging.INFO,
    **facts: Any,
) -> None:
    """Log that a request failed and is sent again after `delay` seconds; `facts` are further fields of the record."""
    fields = log_fields(error, attempt=attempt, delay=delay, span_id=None if span is None else span.id, **facts)
    text = "request %d failed: %s; trying again in %.2f s"
    logger.log(level, text, attempt, _on_one_line(error), delay, extra=fields)


def log_member(name: str, error: AllmError, span: telemetry.Span | None) -> None:
    """Log at DEBUG that one of several engines that stand for one has failed."""
    fields = log_fields(error, span_id=None if span is None else span.id)
    logger.debug("%s failed, as one of several engines: %s", name, _on_one_line(error), extra=fields)


def _on_one_line(error: AllmError) -> str:
    return " ".join(str(error).split())  # a provider's message may have any number of lines


def name_model(error: AllmError | None, model: str | None) -> None:
    """Add the name of the called model to an error that does not have it yet."""
    if isinstance(error, AdapterError):
        error.model = error.model or model
