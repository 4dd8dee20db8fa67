"""The fields of log records: what a line says, as values, for structured logs."""

from __future__ import annotations

from typing import Any

from allm.data.errors import AllmError

__all__ = ["log_fields"]

_OF_ERROR = ("provider", "model", "reason", "status", "request_id", "retry_after", "host")


def log_fields(error: AllmError | None = None, **facts: Any) -> dict[str, Any]:
    """The `extra` of a log line: what is known, each name with `allm_` before it.

    A name of a record may be given once, and programs add some of their own, such as `request_id`.
    """
    known = {name: getattr(error, name, None) for name in _OF_ERROR} if error is not None else {}
    return {f"allm_{name}": value for name, value in (known | facts).items() if value is not None}
