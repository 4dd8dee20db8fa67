"""The catalog of models: `lookup`, `put`, `clear` (see `allm.runtime.catalog`)."""

from allm.runtime.catalog import (
    ModelInfo as ModelInfo,
    Prices as Prices,
    clear as clear,
    lookup as lookup,
    put as put,
)

__all__ = ["ModelInfo", "Prices", "clear", "lookup", "put"]
