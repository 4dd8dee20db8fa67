"""`allm embed`: print the embedding of each text as a line of JSON."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, TextIO, final

import attrs
import click
import trio

import allm
from allm.cli.exit_codes import SUCCESS
from allm.cli.interrupts import run_until_interrupted
from allm.cli.terminal import Terminal
from allm.data.json.text import dumps

__all__ = ["Embedding", "texts_of"]


@final
@attrs.define(eq=False, kw_only=True)
class Embedding:
    """One embedding call and its output.

    Attributes:
        request: The request without its texts.
        total: The number of texts, if known.
        output: The output file; None is standard output.
    """

    engine: allm.Engine
    texts: Iterable[str]
    request: allm.EmbeddingRequest
    batch_size: int | None
    total: int | None
    output: Path | None
    terminal: Terminal
    _pending: deque[str] = attrs.field(factory=deque[str], init=False)  # texts that were read but not yet written
    _written: int = attrs.field(default=0, init=False)
    _finished: bool = attrs.field(default=False, init=False)

    def run(self) -> int:
        """Embed the texts and write each batch in order.

        Raises:
            AllmError: The call is invalid, or the provider failed. Earlier lines are written.
            KeyboardInterrupt: Ctrl-C, after whole lines.
            click.UsageError: The input is not text.
            OSError: The output failed.
        """
        block = allm.stream_embed(
            self.engine,
            self._reading(),
            dimensions=self.request.dimensions,
            task_type=self.request.task_type,
            options=self.request.options,
            batch_size=self.batch_size,
            on_progress=self._progress if self._shows_progress() else None,
        )

        async def work() -> None:
            with nullcontext() if self.output is None else self.output.open("wb") as file:
                async with block as batches:
                    async for batch in batches:
                        await self._write(batch, file)
            self._finished = True

        try:
            trio.run(run_until_interrupted, work)
        finally:
            self.terminal.stderr.end_line()
        if not self._finished:
            self.terminal.line(f"{self._written} texts were embedded and written")
            raise KeyboardInterrupt
        return SUCCESS

    def _reading(self) -> Iterator[str]:
        for text in self.texts:
            self._pending.append(text)
            yield text

    async def _write(self, batch: allm.EmbeddingResponse, file: IO[bytes] | None) -> None:
        for embedding in batch.embeddings:
            text = self._pending.popleft()
            line = dumps({"index": embedding.index, "text": text, "embedding": embedding.vector}) + b"\n"
            if file is not None:
                file.write(line)
            else:
                await self.terminal.stdout.ready()
                self.terminal.stdout.show(line.decode())
            self._written += 1
        if file is not None:
            file.flush()

    def _shows_progress(self) -> bool:
        on_screen = self.output is None and self.terminal.stdout.isatty()  # the lines themselves show the progress
        return self.terminal.stderr.isatty() and not on_screen

    def _progress(self, done: int, _total: int | None) -> None:
        of = "" if self.total is None else f" of {self.total}"
        self.terminal.stderr.write(f"\r{done}{of} texts")


def texts_of(arguments: tuple[str, ...], file: str | None, stdin: TextIO) -> tuple[Iterable[str], int | None]:
    """The texts and their number: the arguments, or the lines of a file that are not blank.

    A file on disk is read as needed. A pipe or a device may block, so it is read to its end first.

    Raises:
        click.UsageError: Neither or both were given, or the file cannot be read.
    """
    if arguments and file is not None:
        raise click.UsageError("Give texts or a --file of them, not both.")
    if arguments:
        return arguments, len(arguments)
    if file is None and stdin.isatty():
        raise click.UsageError("Missing argument 'TEXT': give texts, or --file, or pipe lines in.")
    if file is None or file == "-":
        lines: Iterable[Any] = list(getattr(stdin, "buffer", stdin))
        return _texts(lines, "Standard input"), None
    path = Path(file)
    try:
        return _texts(_lines_of(path) if path.is_file() else path.read_bytes().splitlines(), file), None
    except OSError as error:
        raise click.BadParameter(f"cannot read {path}: {error.strerror}", param_hint="'--file'") from error


def _lines_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _texts(lines: Iterable[bytes | str], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            text = line if isinstance(line, str) else line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise click.UsageError(f"{name}, line {number}, is not UTF-8 text ({error.reason}).") from error
        text = text.strip()
        if text:
            yield text
