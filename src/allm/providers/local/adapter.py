"""The adapter of local models: OpenAI's, at the address of a server that is there when it is needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, final

import attrs

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
from allm.providers.local.run_use import in_thread_of_its_own, running
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
_CONTEXT_SIZE = 4096  # tokens: 90 MB for a small model, half a gigabyte and more for those of the usual size
_PARALLEL_CALLS = 2
_MOST_TOKENS = 2**31 - 1


def _count(_adapter: Any, attribute: Any, value: Any) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise EngineError(
            f"Local({attribute.name}=...) is {value!r}; expected a whole number from 1", reason="invalid_engine"
        )


def _setting(name: str, given: int | None) -> int | None:
    """A setting of the adapter, else that of the environment.

    Raises:
        EngineError: `invalid_environment`: the variable has no such number.
    """
    variable = f"ALLM_LOCAL_{name.upper()}"
    text = "" if given is not None else os.environ.get(variable, "").strip()
    if text and not (text.isdecimal() and int(text)):
        raise EngineError(f"{variable} is {text!r}; expected a whole number from 1", reason="invalid_environment")
    return int(text) if text else given


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
        context_size: The most tokens that one conversation may have, its answer included; None: 4096. Memory grows with
            it.
        parallel_calls: How many responses are computed at once; None: 2. Further calls wait. Memory grows with it.
        threads: How many threads compute; None: half as many as there are processors, from 1 to 8. More are a little
            faster on an idle machine, and many times slower where other programs want the processors too.

    Where one of them is None, the environment is asked first: ALLM_LOCAL_CONTEXT_SIZE, ALLM_LOCAL_PARALLEL_CALLS,
    ALLM_LOCAL_THREADS.

    Raises:
        EngineError: `invalid_engine`: a number below 1.
    """

    context_size: int | None = attrs.field(default=None, validator=_count)
    parallel_calls: int | None = attrs.field(default=None, validator=_count)
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
                "a local model has no address; a llama.cpp server of your own is llamacpp:MODEL",
                reason="invalid_base_url",
            ).advised(", with base_url=")
        server = self._server(request.model)
        # The key and the client of the application are for servers elsewhere.
        options = attrs.evolve(options, api_key=None, http_client=None)
        return _LocalCall(call=_AT_SERVER.prepare(request, options), server=server)

    async def warm_up(self, model: str | None) -> None:
        """Start the server of a model.

        Raises:
            EngineError: As `prepare`.
            AdapterError: `provider_unavailable`: it does not start, and why.
        """
        await running(self._server(model))

    def _server(self, model: str | None) -> ServerSettings:
        check_installed()
        path = file_of(model or "")
        known = KNOWN.get(path.stem) if path.parent == folder().resolve() else None
        context_size = _setting("context_size", self.context_size) or _CONTEXT_SIZE
        parallel_calls = _setting("parallel_calls", self.parallel_calls) or _PARALLEL_CALLS
        if context_size * parallel_calls > _MOST_TOKENS:
            raise EngineError(
                f"context_size {context_size} times parallel_calls {parallel_calls} are more tokens than llama.cpp can "
                f"count; expected {_MOST_TOKENS} at most in all",
                reason="invalid_engine",
            )
        return ServerSettings(
            model=path,
            context_size=context_size,
            parallel_calls=parallel_calls,
            threads=_setting("threads", self.threads) or usual_threads(),
            sampling=None if known is None else (known.temperature, known.top_p),
        )

    async def stream(self, prepared: _LocalCall, emit: Emit) -> None:
        """Start the server if it does not run, make the call and emit its events."""
        server, url = await running(prepared.server)
        address = join_url(f"{url}/v1", "/chat/completions")
        credential = Credential(_AT_SERVER.vendor.key_header, server.key)
        try:
            await stream_events(attrs.evolve(prepared.call, url=address, credential=credential), emit)
        except AdapterError as error:
            if error.reason == "context_length_exceeded":
                error.message += "; a larger ALLM_LOCAL_CONTEXT_SIZE in the environment allows more"
                error.args = (error.message,)
            if error.reason not in {"network_error", "stream_truncated"}:
                raise
            broken = error
        else:
            return
        raise await _explained(broken, server)


_AT_SERVER = OpenAI(preset=_PRESET, base_url=_SOMEWHERE)


async def _explained(error: AdapterError, server: Server) -> AdapterError:
    """The error of a connection that broke: that the server's process has ended, if that is why."""
    why = await in_thread_of_its_own(server.ended, _ENDED_SECONDS)
    if why is None:
        return error
    explained = AdapterError(
        f"the local model ended while it was used: {why}",
        reason="provider_unavailable" if error.reason == "network_error" else "stream_truncated",
        provider=_PRESET.name,
        host=error.host,
    )
    explained.__cause__ = error
    return explained
