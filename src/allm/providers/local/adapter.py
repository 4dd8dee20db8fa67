"""The adapter of local models: OpenAI's, at the address of a server that is there when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import attrs
import trio

from allm.adapters import (
    Adapter,
    AdapterOptions,
    Credential,
    Emit,
    OutputMode,
    StreamAdapter,
    StreamCall,
    ToolMode,
    explains_settings,
    join_url,
    own_servers,
    stream_events,
)
from allm.data.errors import AdapterError, EngineError
from allm.data.request import Request
from allm.providers import OpenAI, Preset
from allm.providers.local.run_use import running
from allm.providers.local.server import Server, ServerSettings, check_installed
from allm.providers.local.threads import usual_threads
from allm.providers.local.weights import KNOWN, file_of, folder, has_tools

__all__ = ["Local"]

_PRESET = Preset(
    name="local",
    key_required=False,
    standard_tier=None,
    reasoning_field="reasoning_content",
    most_logprobs=20,
    sends_done=True,
)
_SOMEWHERE = "http://127.0.0.1:1/v1"
"""Stands for the address in a prepared call: what it is, is known once the server runs."""
own_servers.add("http://127.0.0.1:1")
_ENDED_SECONDS = 0.5


def _count(_adapter: Any, attribute: Any, value: Any) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise EngineError(
            f"Local({attribute.name}=...) is {value!r}; expected a whole number from 1", reason="invalid_engine"
        )


@attrs.frozen(kw_only=True)
class _LocalCall:
    """A prepared call, and the server that it is for."""

    call: StreamCall
    server: ServerSettings


@final
@explains_settings
@attrs.frozen(kw_only=True)
class Local(Adapter, StreamAdapter):
    """A model on this machine, run by llama.cpp (extra `local`): no key, no network.

    `Engine.from_model("local:smollm2-135m")` has the weights that `allm models pull smollm2-135m` fetches, and
    `"local:/path/to/model.gguf"` those of a file. A call never fetches any.

    The first call starts a server for the model, in a process of its own. It listens on loopback only, with a random
    key, serves all calls with the same settings, and ends with the last Trio run that has used it.

    Args:
        context_size: The most tokens that one conversation may have, its answer included. Memory grows with it.
        parallel_calls: How many responses are computed at once; further calls wait. Memory grows with it.
        threads: How many threads compute; None: half as many as there are processors, from 1 to 8. More are a little
            faster on an idle machine, and many times slower where other programs want the processors too.

    Raises:
        EngineError: `invalid_engine`: a number below 1.
    """

    context_size: int = attrs.field(default=4096, validator=_count)
    parallel_calls: int = attrs.field(default=2, validator=_count)
    threads: int | None = attrs.field(default=None, validator=_count)

    @property
    def provider(self) -> str:
        """`"local"`."""
        return _PRESET.name

    @property
    def most_logprobs(self) -> int:
        """How many of the likeliest tokens the server gives log probabilities of."""
        return _PRESET.most_logprobs

    def output_modes(self, _request: Request, _options: AdapterOptions) -> Sequence[OutputMode]:
        """The server holds every model to a schema, by a grammar."""
        return ("native", "prompted")

    def tool_modes(self, request: Request, _options: AdapterOptions) -> Sequence[ToolMode]:
        """By the model's chat template: one that knows no tools gets them in its instructions, and a grammar."""
        try:
            native = has_tools(file_of(request.model or ""))
        except (EngineError, OSError):  # `prepare` says what is missing
            native = False
        return ("native", "prompted") if native else ("prompted",)

    def prepare(self, request: Request, options: AdapterOptions) -> _LocalCall:
        """The call for `request`; nothing is started yet.

        Raises:
            EngineError: `missing_model`: no weights of that name, or at that path. `invalid_environment`: llama.cpp is
                not installed. `invalid_base_url`: a local model has no address.
            ValidationError: What cannot be sent; all problems at once.
        """
        if options.base_url is not None:
            raise EngineError(
                "a model in this process is at no address; a llama.cpp server of your own is llamacpp:MODEL",
                reason="invalid_base_url",
            ).advised(", with base_url=")
        check_installed()
        path = file_of(request.model or "")
        known = KNOWN.get(path.stem) if path.parent == folder().resolve() else None
        server = ServerSettings(
            model=path,
            context_size=self.context_size,
            parallel_calls=self.parallel_calls,
            threads=self.threads or usual_threads(),
            sampling=None if known is None else (known.temperature, known.top_p),
        )
        # The key and the client of the application are for servers elsewhere.
        options = attrs.evolve(options, api_key=None, http_client=None)
        return _LocalCall(call=_AT_SERVER.prepare(request, options), server=server)

    async def stream(self, prepared: _LocalCall, emit: Emit) -> None:
        """Start the server if it does not run, make the call and emit its events."""
        server, url = await running(prepared.server)
        address = join_url(f"{url}/v1", "/chat/completions")
        credential = Credential(_AT_SERVER.vendor.key_header, server.key)
        try:
            await stream_events(attrs.evolve(prepared.call, url=address, credential=credential), emit)
        except AdapterError as error:
            if error.reason not in {"network_error", "stream_truncated"}:
                raise
            explained = await _explained(error, server)
            if explained is error:
                raise
            raise explained from error


_AT_SERVER = OpenAI(preset=_PRESET, base_url=_SOMEWHERE)


async def _explained(error: AdapterError, server: Server) -> AdapterError:
    """The error of a connection that broke: that the server's process has ended, if that is why."""
    why = await trio.to_thread.run_sync(server.ended, _ENDED_SECONDS, abandon_on_cancel=True)
    if why is None:
        return error
    return AdapterError(
        f"the local model ended while it was used: {why}",
        reason="provider_unavailable" if error.reason == "network_error" else "stream_truncated",
        provider=_PRESET.name,
        host=error.host,
    )
