"""The transport of a server on standard input and output: its process, and what it says.

The SDK's own transport of this kind reads a line of any length into memory, with work that grows with its square, and
its standard error goes to ours or to a file. So this one runs the process on Trio: lines have a limit, the end of
standard error is kept for messages, and it is known how the process ended.

https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#stdio: messages are lines of JSON; anything
else on standard output is a fault of the server; standard error is free for logs. To shut down, the client closes the
server's input, waits, and then ends it by signals (basic/lifecycle#stdio).
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.problems import shown
from allm.execution.nurseries import nursery_boundary, start_task
from allm.mcp.lines import Lines, LongLine
from allm.mcp.sdk import Sdk
from allm.mcp.servers import StdioServer

__all__ = ["MAX_MESSAGE_BYTES", "Tail", "stdio_transport"]

logger: logging.Logger = logging.getLogger("allm.mcp")

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Longest message of a server. Twice the longest text that a conversation takes, for images in base64 beside it."""

_MOST_UNREAD = 10_000
"""Messages that may wait for a server to read them. One that asks without end and reads nothing would fill memory."""

_GRACE = 1.0
"""Seconds that a process has to end once its input is closed, and again once it was told to end by a signal."""

_LAST_WORDS = 0.5
"""Seconds to wait for the exit status of a process that has closed its output."""

_CHUNK = 64 * 1024
_TAIL_BYTES = 2000
"""Bytes of standard error that an error shows: the end of a traceback, with the exception."""

_ID = re.compile(rb'"id"\s*:\s*(\d+|"[^"\\]{1,100}")\s*(?:,|\}\s*\Z)')


@define(eq=False)
class Tail:
    """The end of what a server wrote to standard error."""

    _text: bytes = attrs.field(default=b"", init=False)

    def add(self, chunk: bytes) -> None:
        """Keep the end of it."""
        self._text = (self._text + chunk)[-_TAIL_BYTES:]

    def __str__(self) -> str:
        return self._text.decode("utf-8", "replace").strip()


@asynccontextmanager
async def stdio_transport(
    server: StdioServer, sdk: Sdk, tail: Tail, ended: Callable[[str], None]
) -> AsyncGenerator[tuple[Any, Any]]:
    """Run the server while the block runs; gives the streams that the SDK reads and writes.

    Args:
        tail: Takes what the server writes to standard error.
        ended: Called with how the server ended, as the predicate of a sentence, if it did so by itself.

    Raises:
        OSError: The program cannot be started.
    """
    try:
        process = await _started(server, sdk)
    except OSError as error:
        ended(f"cannot be started: {_why_not(server, error)}")
        raise
    # The SDK waits under a shield until a message is taken, so there is always room: a server that reads nothing holds
    # up nobody. Towards the SDK there is none, so that a server that floods us is not read.
    to_sdk, from_server = sdk.anyio.create_memory_object_stream(0)
    to_server, from_sdk = sdk.anyio.create_memory_object_stream(math.inf)
    pipes = _Pipes(server.name, process, sdk, ended, to_server)
    try:
        async with nursery_boundary() as nursery:
            start_task(nursery, pipes.read, to_sdk, name="allm mcp stdout")
            start_task(nursery, pipes.write, from_sdk, name="allm mcp stdin")
            start_task(nursery, pipes.keep, tail, name="allm mcp stderr")
            try:
                yield from_server, to_server
            finally:
                pipes.is_closing = True
                with trio.CancelScope(shield=True):  # bounded by four times _GRACE
                    await _ended(process)
                    with trio.move_on_after(_GRACE):
                        await pipes.kept.wait()
                nursery.cancel_scope.cancel()
    finally:
        for stream in (to_sdk, from_server, to_server, from_sdk):
            stream.close()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _GRACE):
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    await trio.aclose_forcefully(pipe)


async def _started(server: StdioServer, sdk: Sdk) -> trio.Process:
    environment = {**sdk.stdio.get_default_environment(), **server.env}
    # Windows finds only programs that end in .exe, while npx is a batch file.
    found = shutil.which(server.command, path=environment.get("PATH")) if os.name == "nt" else None
    return await trio.lowlevel.open_process(
        [found or server.command, *server.args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=server.cwd,
        start_new_session=os.name != "nt",  # a group of its own: Ctrl-C is not for it, and its children end with it
    )


def _why_not(server: StdioServer, error: OSError) -> str:
    if not isinstance(error, FileNotFoundError):
        return error.strerror or str(error)
    if server.cwd is not None and not Path(server.cwd).is_dir():
        return f"there is no folder {os.fspath(server.cwd)!r} (cwd)"
    return f"there is no program {server.command!r}: install it, or give its whole path"


@define(eq=False)
class _Pipes:
    """The tasks that move messages between the pipes of a process and the streams of the SDK."""

    name: str
    process: trio.Process
    sdk: Sdk
    ended: Callable[[str], None]
    to_server: Any
    is_closing: bool = attrs.field(default=False, init=False)
    kept: trio.Event = attrs.field(factory=trio.Event, init=False)
    _has_warned: bool = attrs.field(default=False, init=False)

    async def read(self, to_sdk: Any) -> None:
        output = self.process.stdout
        assert output is not None  # noqa: S101  (a pipe was asked for)
        lines = Lines(MAX_MESSAGE_BYTES)
        end: str | None = None
        try:
            while end is None and (chunk := await output.receive_some(_CHUNK)):
                for line in lines.feed(bytes(chunk)):
                    item = self._refused(line) if isinstance(line, LongLine) else self._message(line)
                    if self.to_server.statistics().current_buffer_used > _MOST_UNREAD:
                        item = f"does not read what it is sent ({_MOST_UNREAD:,} messages wait)"
                    if isinstance(item, str):
                        end = item
                        break
                    if item is not None:
                        await to_sdk.send(item)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except (self.sdk.anyio.BrokenResourceError, self.sdk.anyio.ClosedResourceError):
            with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                while await output.receive_some(_CHUNK):  # nobody reads it, but the server may have to write it to end
                    pass
            return
        if not self.is_closing:
            self.ended(end or await self._how_it_ended())
        to_sdk.close()

    async def write(self, from_sdk: Any) -> None:
        into = self.process.stdin
        assert into is not None  # noqa: S101  (a pipe was asked for)
        try:
            async for item in from_sdk:
                await into.send_all(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            if not self.is_closing:
                self.ended(await self._how_it_ended("closed its standard input"))
        finally:
            from_sdk.close()

    async def keep(self, tail: Tail) -> None:
        """Read standard error to its end, so that a server that writes without end is not held up."""
        errors = self.process.stderr
        assert errors is not None  # noqa: S101  (a pipe was asked for)
        try:
            with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                while chunk := await errors.receive_some(_CHUNK):
                    tail.add(bytes(chunk))
        finally:
            self.kept.set()

    def _message(self, line: bytes) -> Any:
        if not line.strip():
            return None
        types = self.sdk.types
        try:
            message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            if not self._has_warned:
                self._has_warned = True
                what = "MCP server %r writes to its standard output what is not a message, which is skipped: %s"
                logger.warning(what, self.name, shown(line[:200].decode("utf-8", "replace")))
            return None
        return self.sdk.message.SessionMessage(message)

    def _refused(self, line: LongLine) -> Any:
        """The answer in place of one that is too long; the end of the connection if it is not known whose it is."""
        what = f"{line.size:,} bytes in one message, and {MAX_MESSAGE_BYTES:,} are taken"
        found = _ID.search(line.head) or _ID.search(line.tail)
        if found is None:
            return f"sent {what}"
        error = self.sdk.types.ErrorData(code=self.sdk.types.INTERNAL_ERROR, message=f"it sent {what}; ask for less")
        answer = self.sdk.types.JSONRPCError(jsonrpc="2.0", id=json.loads(found[1]), error=error)
        return self.sdk.message.SessionMessage(answer)

    async def _how_it_ended(self, otherwise: str = "closed its standard output") -> str:
        with trio.move_on_after(_LAST_WORDS):
            status = await self.process.wait()
            if status < 0:
                with suppress(ValueError):
                    return f"was ended by {signal.Signals(-status).name}"
            return f"ended with exit status {status}"
        return otherwise


async def _ended(process: trio.Process) -> None:
    """Close its input, and end it and its children by signals if it does not end by itself."""
    if process.stdin is not None:
        await process.stdin.aclose()
    with trio.move_on_after(_GRACE):
        await process.wait()
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        with trio.move_on_after(_GRACE):
            await process.wait()
    # Also where it has ended: children that it left in its group have no other end.
    _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
    with trio.move_on_after(_GRACE):
        await process.wait()


def _signal(process: trio.Process, number: signal.Signals) -> None:
    with suppress(OSError):  # there is nobody left
        if sys.platform != "win32":
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
