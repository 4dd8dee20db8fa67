"""Edit what the user types at a terminal: pasted and multi-line text, history, completion, an external editor."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import final

import attrs
import trio
from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application, run_in_terminal
from prompt_toolkit.completion import Completer
from prompt_toolkit.data_structures import Size
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output as Display
from prompt_toolkit.shortcuts import CompleteStyle

from allm.cli.exit_codes import TERMINATED
from allm.cli.terminal import Output, Terminal
from allm.execution.nurseries import start_task

__all__ = ["LineEditor", "is_unfinished", "message_of"]

_QUOTES = '"""'
_PAIR = 2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGWINCH] if sys.platform != "win32" else []))


def is_unfinished(text: str) -> bool:
    r"""Whether Enter begins a new line: after a backslash at the end, or inside of `\"\"\"`, unless they are closed."""
    if text.lstrip().startswith(_QUOTES):
        return text.count(_QUOTES) == 1  # a program that is pasted may begin with a docstring, and end with anything
    return text.endswith("\\")


def message_of(text: str) -> str:
    r"""The text that is meant by what was typed: without the `\"\"\"` around it."""
    whole = text.strip()
    if whole.startswith(_QUOTES) and whole.endswith(_QUOTES) and whole.count(_QUOTES) == _PAIR:
        return whole[len(_QUOTES) : -len(_QUOTES)].strip("\n")
    return text


@final
@attrs.define(eq=False, kw_only=True)
class LineEditor:
    """Reads messages with prompt_toolkit, which runs in a worker thread with an asyncio loop of its own.

    Trio goes on meanwhile, so idle connections are closed and tools can keep tasks. Signals reach the main thread only,
    which hands them to the editor: however a read ends, the editor has restored the terminal.

    Attributes:
        display: The stream of the terminal on which a line is edited.
        history: What was entered in earlier chats and in this one.
        cleared: Whether Ctrl-C has discarded a text during the last read.
    """

    terminal: Terminal
    display: Output
    completer: Completer | None = None
    history: History = attrs.field(factory=InMemoryHistory)
    cleared: bool = attrs.field(default=False, init=False)

    async def read(
        self, prompt: str, *, default: str = "", in_editor: bool = False, remember: bool = True
    ) -> str | None:
        """What the user enters, which may have several lines; None for Ctrl-D.

        Args:
            prompt: Shown in front of it.
            default: A text to begin with.
            in_editor: Whether to begin in the user's editor, as Ctrl-X Ctrl-E does.
            remember: Whether it belongs to the history, and has completion.

        Raises:
            KeyboardInterrupt: Ctrl-C on an empty line.
            SystemExit: SIGTERM, after the terminal was restored.
        """
        self.terminal.stdout.end_line()
        self.terminal.stderr.end_line()
        self.cleared = False
        session = self._session(remember=remember)
        try:
            begin = session.default_buffer.open_in_editor if in_editor else None
            text = await _run(session.app, partial(session.prompt, prompt, default=default), begin)
        except EOFError:
            return None
        # Bytes that are no text arrive as lone surrogates, which cannot be sent as JSON.
        return message_of(text.encode("utf-8", "replace").decode())

    def _session(self, *, remember: bool) -> PromptSession[str]:
        return PromptSession(
            completer=self.completer if remember else None,
            # Candidates below the line, as a shell shows them: a menu would scroll the screen to make room for itself.
            complete_style=CompleteStyle.READLINE_LIKE,
            complete_while_typing=False,
            history=self.history if remember else InMemoryHistory(),
            key_bindings=_keys(self._discard),
            multiline=True,
            prompt_continuation=lambda width, _line, _wraps: " " * width,
            enable_open_in_editor=remember,
            tempfile_suffix=".md",
            output=_display(self.display),
        )

    def _discard(self, event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if not buffer.text:
            event.app.exit(exception=KeyboardInterrupt())
            return
        event.app.clipboard.set_text(buffer.text)  # Ctrl-Y brings it back
        buffer.reset()
        self.cleared = True


def _display(output: Output) -> Display | None:
    if sys.platform == "win32":
        return None  # the console, which the editor finds by itself
    from prompt_toolkit.output.vt100 import Vt100_Output

    def size() -> Size:
        columns, rows = output.size
        return Size(rows=rows, columns=columns)

    # It is not asked where the cursor is: over a slow connection the reply would end up in the text.
    return Vt100_Output(output.stream, size, term=os.environ.get("TERM"), enable_cpr=False)


def _keys(discard: Callable[[KeyPressEvent], None]) -> KeyBindings:
    keys = KeyBindings()

    def enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if not is_unfinished(buffer.text):
            buffer.validate_and_handle()
            return
        if buffer.document.is_cursor_at_the_end and buffer.text.endswith("\\"):
            buffer.delete_before_cursor()
        buffer.newline(copy_margin=False)

    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    typing = has_focus(DEFAULT_BUFFER)  # and not searching in the history
    keys.add("c-c", filter=typing)(discard)
    keys.add("enter", filter=typing)(enter)
    keys.add("escape", "enter", filter=typing)(new_line)
    if sys.platform != "win32":
        keys.add("c-z")(_suspend)
    return keys


def _suspend(_: KeyPressEvent) -> None:
    """Suspend the program and those that it is piped to. Only the main thread stops in the middle of this call.

    Another one would go on for a moment, and take the terminal from the shell again.
    """
    run_in_terminal(lambda: trio.from_thread.run_sync(os.kill, 0, signal.SIGTSTP))


async def _run(app: Application[str], prompt: Callable[..., str], begin: Callable[[], object] | None) -> str:
    """Run the editor in a thread. SIGINT does what Ctrl-C on an empty line does, and SIGTERM ends the program.

    Args:
        app: The editor.
        prompt: Runs it.
        begin: What it does first.
    """
    if threading.current_thread() is not threading.main_thread():
        return await trio.to_thread.run_sync(partial(prompt, pre_run=begin))
    received: set[int] = set()
    result: list[str] = []
    failure: BaseException | None = None

    def started() -> None:  # in the editor's thread
        if received:  # before it could be told
            app.exit(exception=KeyboardInterrupt())
        elif begin is not None:
            begin()

    with trio.open_signal_receiver(*_SIGNALS) as signals:
        async with trio.open_nursery() as nursery:
            start_task(nursery, _obey, signals, app, received)
            try:
                result.append(await trio.to_thread.run_sync(partial(prompt, pre_run=started)))
            except (Exception, KeyboardInterrupt) as error:  # raised below, outside the nursery, so not in a group
                failure = error
            nursery.cancel_scope.cancel()
    if signal.SIGTERM in received:
        raise SystemExit(TERMINATED)
    if failure is not None:
        raise failure
    return result[0]


async def _obey(signals: AsyncIterator[int], app: Application[str], received: set[int]) -> None:
    async for number in signals:
        if number in {signal.SIGINT, signal.SIGTERM}:
            received.add(number)
            _in_its_loop(app, lambda: app.exit(exception=KeyboardInterrupt()))
        else:
            _in_its_loop(app, lambda: _draw_anew(app))


def _draw_anew(app: Application[str]) -> None:
    """Draw the line for the new size of the window."""
    app.renderer.erase(leave_alternate_screen=False)
    app.invalidate()


def _in_its_loop(app: Application[str], work: Callable[[], None]) -> None:
    """Do something to the editor, which runs in another thread."""
    loop = app.loop

    def done() -> None:
        with suppress(Exception):  # it has ended meanwhile
            work()

    if loop is not None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(done)
