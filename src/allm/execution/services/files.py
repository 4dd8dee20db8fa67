"""`allm.files`: files that a provider keeps, for prompts that name them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Unpack, cast

import attrs
import trio

from allm.data.errors import AdapterError, OptionError, Problem
from allm.data.file_ref import FileRef
from allm.data.media import Media
from allm.data.problems import refuse
from allm.execution.services.companions import CompanionService, all_pages, deleted
from allm.execution.services.embedding_stream import Progress
from allm.execution.services.service import UnaryOptions
from allm.execution.services.unary import UnaryCall, resolve_unary
from allm.http.jumping_clock import in_thread
from allm.runtime import telemetry
from allm.runtime.engine import Engine
from allm.runtime.file_store import FileContent, FileDelete, FileGet, FileRequest, StoredFile, Upload
from allm.runtime.option_table import seal
from allm.runtime.pages import PageRequest
from allm.runtime.silence import Silence

__all__ = ["delete", "download", "get", "list", "read", "upload"]

_FILES: CompanionService[Any, Any] = CompanionService(
    name="files",
    noun="files",
    span="files",
    request_type=Upload,
    arguments=frozenset({"expires_in", "filename", "on_progress", "purpose"}),
)
_READY_SECONDS = 600
"""How long a provider may look at a file: Google takes seconds for most videos, and minutes for one of two hours."""
_FIRST_WAIT, _LONGEST_WAIT, _GROWTH = 1.0, 10.0, 1.5
_MOST_BYTES = 256 * 1024 * 1024


async def upload(
    engine: Engine,
    source: Media | bytes | str | os.PathLike[str],
    *,
    filename: str | None = None,
    expires_in: float | None = None,
    purpose: str | None = None,
    on_progress: Progress | None = None,
    **options: Unpack[UnaryOptions],
) -> FileRef:
    """Upload a file to the engine's provider, and wait until it can be used.

        file = await allm.files.upload(engine, "report.pdf")
        question = allm.user("Summarise", allm.Document.from_upload(file))

    A file on disk is read while it is sent, and is never in memory as a whole.

    Args:
        engine: An engine with the provider's adapter; it needs no model.
        source: A path, bytes, or a `Document`, `Image`, `Audio` or `Video` with its content.
        filename: Its name for the provider; default: that of the source.
        expires_in: After how many seconds the provider deletes it; default: as the provider does.
        purpose: For OpenAI and its copies; default: `user_data`, for prompts.
        on_progress: Called with `(sent, total)`, in bytes, after each piece; may be async. After a failure the provider
            may want all of it again, and `sent` begins anew.
        options: See `UnaryOptions`; `first_event_timeout` is the longest time without a piece that is sent.

    Raises:
        AdapterError: The provider failed, could not be reached in time, or cannot use the file. If it may have stored
            the file all the same, the upload is not repeated.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    if on_progress is not None and not callable(on_progress):
        what = f"option on_progress is {type(on_progress).__name__}; expected a function of (sent, total)"
        raise OptionError(what, reason="invalid_type", option="on_progress")
    call = resolve_unary(_FILES, engine, options)
    sent = Upload.of(source, filename, expires_in, purpose, on_progress)
    prepared = call.prepare(sent)
    with call.running(operation="upload", size=sent.size) as span:
        stored: StoredFile | None = None
        reached = 0
        while stored is None:
            try:
                stored = await call.attempt(
                    partial(call.adapter.send, prepared), span, prepared=prepared, silence=sent.limit
                )
            except AdapterError:
                if sent.failure is not None and not isinstance(sent.failure, AdapterError):
                    raise sent.failure from None
                raise
            if stored is not None or sent.stored > reached:  # what brings an upload on has all its retries
                reached = sent.stored
                call.begin_anew()
        stored = await _ready(call, stored, span)
    file = stored.file
    return attrs.evolve(
        file,
        filename=file.filename or sent.filename,
        mime_type=file.mime_type or sent.mime_type,
        size=sent.size if file.size is None else file.size,
    )


async def _ready(call: UnaryCall[Any, Any], stored: StoredFile, span: telemetry.Span) -> StoredFile:
    """Wait until the provider has looked at the file.

    Raises:
        AdapterError: It could not use it, or takes too long.
    """
    pause, provider, file = _FIRST_WAIT, call.adapter.provider, stored.file
    with trio.move_on_after(_READY_SECONDS):
        while stored.state == "processing":
            await trio.sleep(pause)
            pause = min(pause * _GROWTH, _LONGEST_WAIT)
            prepared = call.prepare(FileGet(file.id))
            stored = await call.attempt(partial(call.adapter.send, prepared), span, prepared=prepared)
            call.begin_anew()
    if stored.state == "failed":
        what = f"{provider} cannot use the file {file.id!r}: {stored.problem or 'it does not say why'}"
        raise AdapterError(what, reason="invalid_request", provider=provider)
    if stored.state == "processing":
        what = f"{provider} was not ready with the file {file.id!r} within {_READY_SECONDS} s"
        raise AdapterError(what, reason="timeout", provider=provider).advised("; allm.files.get tells later")
    return stored


async def _asked(call: UnaryCall[Any, Any], ask: Callable[[str], FileRequest], file: FileRef | str) -> Any:
    prepared = call.prepare(ask(_id_of(call, file)))
    with call.running() as span:
        return await call.attempt(partial(call.adapter.send, prepared), span, prepared=prepared)


def _id_of(call: UnaryCall[Any, Any], file: FileRef | str) -> str:
    """The id of a file, which the provider has to know.

    Raises:
        ValidationError: `invalid_type`, `foreign_upload`.
    """
    if isinstance(file, str):
        return file
    provider = call.adapter.provider
    if not isinstance(file, FileRef):
        what = f"is {type(file).__name__}; expected a FileRef or the id of a file"
        refuse([Problem(("file",), "invalid_type", what)], reason="invalid_options")
    if file.provider != provider:
        what = f"{file.id!r} is kept by {file.provider}, and {provider} does not know it; use an engine of its provider"
        refuse([Problem(("file",), "foreign_upload", what)], reason="invalid_options")
    return file.id


async def get(engine: Engine, file: FileRef | str, **options: Unpack[UnaryOptions]) -> FileRef:
    """Ask what the provider knows of a file.

    Args:
        engine: An engine with the adapter of the provider that keeps it.
        file: The file, or its id.
        options: See `UnaryOptions`.

    Raises:
        AdapterError: The provider failed; `not_found`: there is no such file, or not any more.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    stored: StoredFile = await _asked(resolve_unary(_FILES, engine, options), FileGet, file)
    return stored.file


async def list(engine: Engine, **options: Unpack[UnaryOptions]) -> tuple[FileRef, ...]:  # noqa: A001  (allm.files.list)
    """List the files that the provider keeps for this key.

    Args:
        engine: An engine with the provider's adapter.
        options: See `UnaryOptions`.

    Raises:
        AdapterError: The provider failed, or could not be reached in time.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    return await all_pages(resolve_unary(_FILES, engine, options), PageRequest)


async def delete(engine: Engine, file: FileRef | str, **options: Unpack[UnaryOptions]) -> None:
    """Delete a file at its provider.

    Args:
        engine: An engine with the adapter of the provider that keeps it.
        file: The file, or its id.
        options: See `UnaryOptions`.

    Raises:
        AdapterError: The provider failed; `not_found`: there is no such file.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    call = resolve_unary(_FILES, engine, options)
    await deleted(call, FileDelete(_id_of(call, file)))


async def read(
    engine: Engine, file: FileRef | str, *, max_bytes: int = _MOST_BYTES, **options: Unpack[UnaryOptions]
) -> bytes:
    """Read a file that the provider gives back: mostly what a model or a batch has made, not one's own uploads.

    Args:
        engine: An engine with the adapter of the provider that keeps it.
        file: The file, or its id.
        max_bytes: The largest file that is taken into memory; `download` writes one of any size to disk.
        options: See `UnaryOptions`.

    Raises:
        AdapterError: The provider failed, does not give the file back, or it is too large.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    call = resolve_unary(_FILES, engine, options)
    content = bytearray()

    async def keep(piece: bytes) -> None:
        await trio.lowlevel.checkpoint()
        content.extend(piece)
        if len(content) > max_bytes:
            what = f"the file is longer than {max_bytes} bytes"
            raise AdapterError(what, reason="answer_too_large").advised(": allm.files.download writes it to disk")

    await _receive(call, file, content.clear, keep)
    return bytes(content)


async def download(
    engine: Engine, file: FileRef | str, path: str | os.PathLike[str], **options: Unpack[UnaryOptions]
) -> Path:
    """Write a file that the provider gives back to disk, bit by bit; what is at `path` is replaced when all has come.

    Args:
        engine: An engine with the adapter of the provider that keeps it.
        file: The file, or its id.
        path: Where to.
        options: See `UnaryOptions`.

    Raises:
        AdapterError: The provider failed, or does not give the file back; nothing was written.
        OSError: The file cannot be written.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    call = resolve_unary(_FILES, engine, options)
    target = Path(path)
    unfinished = target.with_name(f".{secrets.token_hex(8)}.unfinished")
    try:
        with await in_thread(lambda: unfinished.open("xb"), abandon=False) as output:

            async def keep(piece: bytes) -> None:
                await in_thread(lambda: output.write(piece), abandon=False)

            def begin() -> None:
                output.seek(0)
                output.truncate()

            await _receive(call, file, begin, keep)
        unfinished.replace(target)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return target


async def _receive(
    call: UnaryCall[Any, Any], file: FileRef | str, begin: Callable[[], Any], keep: Callable[[bytes], Awaitable[None]]
) -> None:
    """Give the bytes of a file to `keep`, piece by piece, and call `begin` before each attempt."""
    prepared = call.prepare(FileContent(_id_of(call, file)))
    silence, adapter = Silence(), cast("Any", call.adapter)  # `UnaryAdapter` has no `open`
    failure: OSError | None = None

    async def work() -> None:
        nonlocal failure
        async with adapter.open(prepared) as opened, opened.response.chunks() as pieces:
            try:
                begin()
                async for piece in pieces:
                    silence.moved()
                    await keep(piece)
            except OSError as error:  # of the disk; it is no failure of the provider
                failure = error

    with call.running(operation="download") as span:
        await call.attempt(work, span, prepared=prepared, silence=silence.limit)
    if failure is not None:
        raise failure
