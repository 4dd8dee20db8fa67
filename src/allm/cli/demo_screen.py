"""The output of the demo. Rich leaves escape codes out if the output is not a terminal."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add
from typing import IO, assert_never, cast, final

import attrs
from rich.console import Console
from rich.text import Text

import allm
from allm.cli.terminal import Output

__all__ = ["Screen", "sequence"]

INDENT = 4  # columns
LABEL = 11  # columns


@final
@attrs.define(eq=False)
class Screen:
    """Writes the output of the demo, from top to bottom."""

    _output: Output
    _console: Console = attrs.field(init=False)
    _pieces: set[str] = attrs.field(factory=set[str], init=False)  # calls whose arguments arrived as deltas

    def __attrs_post_init__(self) -> None:
        self._console = Console(file=cast("IO[str]", self._output), force_terminal=self._output.styled, highlight=False)

    def opening(self, url: str) -> None:
        """Show what the demo is."""
        self._console.print(f"A scripted model answers at [bold]{url}[/]: no key, no network.")

    def format(self, title: str) -> None:
        """Begin the scenes of a wire format."""
        self._console.print()
        self._console.rule(f"[bold]{title}[/]", align="left", style="dim", characters="-")

    def question(self, number: int, title: str, question: str) -> None:
        """Begin a scene."""
        self._pieces.clear()
        self._console.print(f"\n[bold cyan]{number}  {title}[/]")
        self._indented(Text(f"> {question}", "dim"))
        self._console.print(" " * INDENT, end="")

    def event(self, event: allm.Event) -> None:
        """Show one event."""
        if isinstance(event, allm.OrchestrationEvent):
            self._orchestration(event)
        else:
            self._response(event)

    def _response(self, event: allm.AdapterEvent) -> None:
        match event:
            case allm.TextDelta(_, delta):
                self._piece(delta)
            case allm.ToolCallStarted(_, name):
                self._piece(f"{name} ", "bold yellow")
            case allm.ToolCallDelta(id, delta):
                self._pieces.add(id)
                self._piece(delta, "yellow")
            case allm.ToolCallCompleted(id, arguments=arguments):
                if id not in self._pieces:  # they arrived without deltas
                    self._piece(json.dumps(arguments, separators=(",", ":")), "yellow")
            case allm.MessageStarted() | allm.TextCompleted() | allm.ImageCompleted() | allm.UsageReported():
                pass  # already on the screen, or in the summary
            case allm.ReasoningDelta() | allm.ReasoningCompleted() | allm.ProviderPartCompleted() | allm.RawChunk():
                pass  # not in the script
            case allm.HostedCallStarted() | allm.HostedCallCompleted():
                pass  # not in the script
            case allm.CitationAdded() | allm.MessageCompleted() | allm.Failed():
                pass  # `ended` shows how the scene ended
            case _:
                assert_never(event)

    def _orchestration(self, event: allm.OrchestrationEvent) -> None:
        match event:
            case allm.ToolResultEncoded(message=message):
                self._piece(f"\n-> {message.text}\n", "yellow")
            case allm.ToolExecutionStarted() | allm.ToolExecutionCompleted() | allm.ToolProgress():
                pass  # the result is shown
            case allm.AskUserRequested() | allm.ToolHalted() | allm.MessagesAdded():
                pass  # not in the script
            case allm.StepCompleted() | allm.ChatCompleted():
                pass  # `ended` shows how the scene ended
            case _:
                assert_never(event)

    def ended(self, result: allm.ChatResult) -> None:
        """Show how a scene ended."""
        self._output.end_line()
        response = result.final_response
        if response is None or response.error is None:
            ending = Text.assemble(("halted_reason ", "dim"), (result.halted_reason, "green"))
        else:
            kept = len(response.output_text)
            ending = Text.assemble(
                (f"{type(response.error).__name__} {response.error.reason}", "bold red"),
                (f": {response.error.message}\n", "red"),
                (f"kept: the {kept} characters that arrived before", "dim"),
            )
        self._indented(ending)

    def note(self, text: str) -> None:
        """Show how a response of a real model ended."""
        self._output.end_line()
        self._indented(Text(text, "green"))

    def summary(self, seen: Iterable[tuple[str, Sequence[allm.Event]]], usages: Iterable[allm.Usage]) -> None:
        """Show the events that the program saw, and the provider's token counts."""
        self._console.print("\n[bold]What the program saw[/], as the library's events:")
        for label, events in seen:
            self._indented(Text(sequence(events)), label)
        total = reduce(add, usages)
        self._indented(Text(f"{total.input_tokens} input tokens, {total.output_tokens} output tokens"), "usage")

    def compared(self, *, same: bool) -> None:
        """Show whether the program saw the same events as with the first format."""
        verdict = Text("the same events as above", "green") if same else Text("NOT the events above", "bold red")
        self._console.print("\n[bold]What the program saw[/]:", end=" ")
        self._console.print(verdict)

    def closing(self, command: str, others: Sequence[str], model: str | None = None, *, as_scripted: bool) -> None:
        """Show what to do next.

        Args:
            command: How to run the program.
            others: The formats that were not played.
            model: The local model that was played.
        """
        if as_scripted:
            if others:
                self._next(f"The same in the other wire formats ({', '.join(others)})", f"{command} demo --format all")
            if model is not None:
                self._next("A conversation with the model on this machine", f"{command} chat --model local:{model}")
            self._next("With a key of yours", f"{command} generate --model openai:gpt-5.4-mini 'Hello'")
        else:
            self._console.print("\n[bold red]Not every response ended as scripted.[/]")

    def _next(self, what: str, command: str) -> None:
        self._console.print(f"\n{what}:", soft_wrap=True)
        self._console.print(Text(f"    {command}", "bold"), soft_wrap=True)  # one line, to be copied

    def _indented(self, text: Text, label: str = "") -> None:
        """Print wrapped text, with `label` before its first line."""
        margin = INDENT + LABEL if label else INDENT
        front = f"{'':{INDENT}}{label:{LABEL}}" if label else " " * margin
        for line in text.wrap(self._console, max(self._console.width - margin, LABEL)):
            line.rstrip()
            self._console.print(Text.assemble((front, "cyan"), line), soft_wrap=True)
            front = " " * margin

    def _piece(self, text: str, style: str = "") -> None:
        self._console.print(Text(text.replace("\n", "\n" + " " * INDENT), style), end="", soft_wrap=True)


def sequence(events: Sequence[allm.Event]) -> str:
    """The names of the events in order, with consecutive events of one kind named once.

    The number of deltas, and when usage is reported, differ between providers and are left out.
    """
    names = [type(event).__name__ for event in events if not isinstance(event, allm.UsageReported)]
    return " > ".join(name for name, _ in itertools.groupby(names))
