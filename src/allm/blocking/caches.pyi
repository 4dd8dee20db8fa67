# Made by scripts/blocking_stubs.py from the signatures of allm.caches.

from typing import Unpack

from allm.data.cache import Cache
from allm.execution.options import Input
from allm.execution.services.caches import CacheOptions
from allm.execution.services.service import UnaryOptions
from allm.runtime.engine import Engine

def create(
    engine: Engine,
    messages: Input,
    *,
    expires_in: float | None = None,
    expires_at: float | None = None,
    display_name: str | None = None,
    **options: Unpack[CacheOptions],
) -> Cache: ...
def delete(engine: Engine, cache: Cache | str, **options: Unpack[UnaryOptions]) -> None: ...
def get(engine: Engine, cache: Cache | str, **options: Unpack[UnaryOptions]) -> Cache: ...
def list(engine: Engine, **options: Unpack[UnaryOptions]) -> tuple[Cache, ...]: ...
def update(
    engine: Engine,
    cache: Cache | str,
    *,
    expires_in: float | None = None,
    expires_at: float | None = None,
    **options: Unpack[UnaryOptions],
) -> Cache: ...
