"""What Tab completes in a chat: commands, the names of files, and models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import final

from prompt_toolkit.completion import CompleteEvent, Completer, Completion as Candidate, PathCompleter
from prompt_toolkit.document import Document

__all__ = ["Completion"]

_TAKE_FILES = ("/file ", "/save ", "/save --force ")
_TAKE_MODELS = ("/model ", "/retry ")


@final
class Completion(Completer):
    """Completes the name of a command at the start of a line, and what the command takes."""

    def __init__(self, commands: Sequence[str], models: Callable[[], Sequence[str]] = tuple) -> None:
        """Complete these commands, and the models that `models` finds when they are asked for."""
        self._commands = commands
        self._models = models
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Candidate]:
        """The candidates for the text before the cursor."""
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        if " " not in text:
            yield from _matching(self._commands, text)
        elif any(text.startswith(word) for word in _TAKE_FILES):
            word = next(word for word in reversed(_TAKE_FILES) if text.startswith(word))
            rest = text[len(word) :]
            yield from self._paths.get_completions(Document(rest, len(rest)), complete_event)
        elif any(text.startswith(word) for word in _TAKE_MODELS):
            yield from _models(self._models(), text.partition(" ")[2])


def _models(names: Sequence[str], start: str) -> Iterator[Candidate]:
    """The models of a provider once its name is there; before, the providers, and names without one."""
    if ":" not in start:
        names = sorted({name.partition(":")[0] + ":" * (":" in name) for name in names})
    yield from _matching(names, start)


def _matching(names: Iterable[str], start: str) -> Iterator[Candidate]:
    for name in names:
        if name.startswith(start):
            yield Candidate(name, start_position=-len(start))
