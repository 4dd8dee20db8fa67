"""Tests of code that makes its own engine: other adapters for every engine in a context."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Unpack

from allm.execution.options import overrides
from allm.runtime.engine import Engine, EngineFields

__all__ = ["override_engine"]


@contextmanager
def override_engine(**fields: Unpack[EngineFields]) -> Generator[None]:
    """Replace fields of every engine that is used in this context and in tasks started from it.

        with allm.testing.override_engine(adapter=Fake(script=[allm.fake.text("Hello")])):
            await code_that_makes_its_own_engine()

    A call uses the engine in effect where it is made or its stream is opened, to its end, and the model calls of its
    tools do so too. Blocks nest: an inner one goes before an outer one, field by field. What is not named stays as the
    engine has it; `deny_network` keeps that from reaching anyone.

    Args:
        fields: Fields of `Engine`, such as `adapter`, `embedding_adapter`, `retry`.

    Raises:
        EngineError, TypeError: What an `Engine` refuses.
    """
    made = Engine(**fields)
    values = {name: getattr(made, name) for name in fields}
    token = overrides.set({**(overrides.get() or {}), **values})
    try:
        yield
    finally:
        overrides.reset(token)
