"""`warm_up`: load before the first call what it would load."""

from __future__ import annotations

import importlib

from allm.data.errors import EngineError
from allm.execution.options import in_effect
from allm.http.jumping_clock import in_thread
from allm.http.transport import warm
from allm.runtime import catalog
from allm.runtime.adapters import AdapterOptions
from allm.runtime.costs import load_prices
from allm.runtime.engine import Engine
from allm.runtime.engine_group import leaves_of
from allm.runtime.http_adapter import HttpAdapter
from allm.runtime.registry import SERVICES

__all__ = ["warm_up"]


async def warm_up(engine: Engine) -> None:
    """Load what the first calls of an engine need: parts of allm, the HTTP library, certificates, and the catalog.

    That takes from a tenth of a second to a second, in a thread, so that nothing else waits for it. Nothing is sent.
    Without it, the first call of the process does the same, and takes so much longer. A model on this machine is
    started.

    Raises:
        EngineError: `invalid_engine`: it is no engine. `invalid_environment`: a variable about proxies or certificates.
            What a call would raise if a local model is not there.
        AdapterError: A local model cannot be started.
    """
    for one in leaves_of(in_effect(engine)):
        await _warm_up(one)


async def _warm_up(engine: Engine) -> None:
    names = ("", *(f"{service}_" for service in SERVICES))
    models = {name: getattr(engine, f"{name}model") for name in names if getattr(engine, f"{name}adapter") is not None}
    adapters = [getattr(engine, f"{name}adapter") for name in models]

    def load() -> None:
        for part in _PARTS:
            importlib.import_module(part)
        catalog.bundled()
        for adapter in adapters:
            load_prices(str(getattr(adapter, "provider", "")))

    await in_thread(load)
    for adapter in adapters:
        if isinstance(adapter, HttpAdapter) and not (adapter.http_client or engine.http_client):
            try:
                url = adapter.find_base_url(AdapterOptions())
            except EngineError:  # known only with the model, as at Azure; a call says what is missing
                url = _ANYWHERE
            await warm(url)
    for adapter, model in zip(adapters, models.values(), strict=True):
        if (begin := getattr(adapter, "warm_up", None)) is not None:  # what it would do besides loading
            await begin(model)


_PARTS = (
    "allm.data.types.structure",  # tools, and answers of a type
    "allm.execution.chat",
    "allm.execution.generate",
    "allm.execution.stream.output",
    "allm.runtime.tools",
)
"""What calls import when they first need it; the modules that these import come with them."""
_ANYWHERE = "https://localhost"
