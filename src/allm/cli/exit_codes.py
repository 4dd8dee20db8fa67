"""How a command ends: exit codes, and one clear line on standard error instead of a traceback."""

from __future__ import annotations

from collections.abc import Callable

from allm.cli.terminal import Terminal
from allm.data.errors import AllmError

__all__ = ["BROKEN_PIPE", "FAILURE", "INTERRUPTED", "SUCCESS", "describe", "settle"]

SUCCESS = 0
FAILURE = 1
INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
BROKEN_PIPE = 141  # 128 + SIGPIPE, same


def settle(terminal: Terminal, command: Callable[[], int]) -> int:
    """Run `command`, and turn how it ends into an exit code."""
    try:
        try:
            return command()
        except AllmError as error:
            terminal.line(f"Error: {describe(error)}")
            return FAILURE
        except KeyboardInterrupt:
            terminal.line("interrupted")
            return INTERRUPTED
    except KeyboardInterrupt:  # once more, while the first one was being reported
        return INTERRUPTED
    except BrokenPipeError:
        terminal.stdout.close_quietly()
        return BROKEN_PIPE
    except OSError as error:
        terminal.stderr.show(f"Error: {error.strerror or error}\n")
        return FAILURE


def describe(error: AllmError) -> str:
    """The message, with what a provider's support asks for."""
    facts = [error.reason]
    for name, label in (("status", "HTTP"), ("request_id", "request")):
        value = getattr(error, name, None)
        if value is not None:
            facts.append(f"{label} {value}")
    return f"{error.message} [{', '.join(facts)}]"
