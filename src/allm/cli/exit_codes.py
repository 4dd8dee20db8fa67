"""Exit codes, and error messages of one line on standard error instead of tracebacks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import final

from allm.cli.shell_advice import describe as describe
from allm.cli.terminal import Terminal
from allm.data.errors import AllmError
from allm.execution.failures import is_inner

__all__ = ["BROKEN_PIPE", "FAILURE", "INTERRUPTED", "SUCCESS", "TERMINATED", "exit_code_of"]

SUCCESS = 0
FAILURE = 1
INTERRUPTED = 130  # 128 + SIGINT, the convention of shells
BROKEN_PIPE = 141  # 128 + SIGPIPE
TERMINATED = 143  # 128 + SIGTERM


def exit_code_of(terminal: Terminal, command: Callable[[], int]) -> int:
    """Run `command`, report an exception in one line, and return the exit code."""
    try:
        try:
            return _run(terminal, command)
        except AllmError as error:
            terminal.line(f"Error: {describe(error)}")
            return FAILURE
        except KeyboardInterrupt:
            terminal.line("interrupted")
            return INTERRUPTED
    except KeyboardInterrupt:  # a second Ctrl-C, while the first was being reported
        return INTERRUPTED
    except BrokenPipeError:
        terminal.stdout.close_quietly()
        return BROKEN_PIPE
    except OSError as error:
        terminal.stderr.show(f"Error: {error.strerror or error}\n")
        return FAILURE


def _run(terminal: Terminal, command: Callable[[], int]) -> int:
    token = is_inner.set(True)  # failures are reported here, so the log need not
    logger, notes = logging.getLogger("allm"), _Notes(terminal)
    if not any(isinstance(handler, _Notes) for handler in logger.handlers):  # a command runs in the group's own
        logger.addHandler(notes)
    try:
        return command()
    finally:
        logger.removeHandler(notes)
        is_inner.reset(token)


@final
class _Notes(logging.Handler):
    """The library's warnings, as lines on standard error; they never break a line that is being written."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        """Show a warning."""
        self._terminal.line(f"Note: {record.getMessage()}", dim=True)
