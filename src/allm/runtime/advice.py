"""Warnings for the operator of a program: one for each process, model and key, however many calls there are."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from allm.runtime import catalog

__all__ = ["advise", "forget_advice", "warn_of_shutdown"]

logger: logging.Logger = logging.getLogger("allm")

NEAR = timedelta(days=60)
"""How long before a model's shutdown the warning starts: early enough for a release, late enough to be acted upon."""

_given: set[tuple[str, str, str]] = set()


def advise(provider: str, model: str, key: str, message: str, *args: object) -> None:
    """Log `message` as a WARNING, unless one was logged for this model and key before."""
    if (provider, model, key) not in _given:
        _given.add((provider, model, key))
        logger.warning(message, *args)


def forget_advice() -> None:
    """Allow all warnings to be logged again, for tests."""
    _given.clear()


def warn_of_shutdown(provider: str, model: str | None) -> None:
    """Warn about a model whose announced shutdown is near or past."""
    info = catalog.lookup(provider, model) if model else None
    if info is None or model is None or info.shutdown is None:
        return
    today = datetime.now(UTC).date()
    if today >= info.shutdown - NEAR:
        what = "was to be shut down" if today >= info.shutdown else "will be shut down"
        text = "model %r of %s %s on %s; use another one (allm.models.lookup has the date)"
        advise(provider, model, "shutdown", text, model, provider, what, info.shutdown)
