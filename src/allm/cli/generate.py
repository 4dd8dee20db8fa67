"""`allm generate`: one response, printed as it arrives."""

from __future__ import annotations

from typing import assert_never, final

import attrs
import trio

import allm
from allm.cli.exit_codes import FAILURE, SUCCESS, describe
from allm.cli.terminal import Terminal

__all__ = ["Generation"]


@final
@attrs.define(eq=False, kw_only=True)
class Generation:
    """One call, whose response is printed as it arrives.

    Attributes:
        as_json: Print the whole response as one JSON document at the end.
        show_reasoning: Print the model's reasoning on standard error.
    """

    engine: allm.Engine
    request: allm.Request
    options: allm.CallOptions
    terminal: Terminal
    as_json: bool = False
    show_reasoning: bool = False
    _events: allm.EventStream[allm.Response] | None = attrs.field(default=None, init=False)
    _blocks: set[str] = attrs.field(factory=set[str], init=False)

    def run(self) -> int:
        """Print the response and return the exit code.

        Raises:
            AllmError: The call is invalid; nothing was sent or printed.
            KeyboardInterrupt: Ctrl-C, after everything that arrived was printed.
            OSError: The output failed.
        """
        try:
            response = trio.run(self._stream)
        except KeyboardInterrupt:
            if self._events is not None:
                self._finish(self._events.result())
            raise
        self._finish(response)
        if response.error is not None:
            self.terminal.line(f"Error: {describe(response.error)}")
            return FAILURE
        if not self.as_json:
            self._notes(response)
        return SUCCESS

    async def _stream(self) -> allm.Response:
        async with allm.stream_generate(self.engine, self.request, **self.options) as events:
            self._events = events
            async for event in events:
                if not self.as_json:
                    await self._show(event)
        return events.result()

    async def _show(self, event: allm.Event) -> None:
        if isinstance(event, allm.OrchestrationEvent):
            return  # no tools run here
        match event:
            case allm.TextDelta(id, text):
                self._blocks.add(id)
                await self._text(text)
            case allm.TextCompleted(id, text):
                if id not in self._blocks:  # it arrived without deltas
                    await self._text(text)
            case allm.ReasoningDelta(id, text) if self.show_reasoning:
                self._blocks.add(id)
                await self._thought(text)
            case allm.ReasoningCompleted(id, text) if self.show_reasoning:
                await self._thought(text if id not in self._blocks else "")
                self.terminal.stderr.end_line()
            case allm.ReasoningDelta() | allm.ReasoningCompleted() | allm.ProviderPartCompleted() | allm.RawChunk():
                pass
            case allm.ToolCallStarted() | allm.ToolCallDelta() | allm.ToolCallCompleted() | allm.ImageCompleted():
                pass  # `_notes` shows them
            case allm.MessageStarted() | allm.UsageReported() | allm.MessageCompleted() | allm.Failed():
                pass  # `run` shows how it ended
            case _:
                assert_never(event)

    async def _text(self, text: str) -> None:
        self.terminal.stderr.end_line()
        await self.terminal.stdout.ready()
        self.terminal.stdout.show(text)

    async def _thought(self, text: str) -> None:
        if self.terminal.stdout.isatty():  # a file or a pipe gets the response unchanged
            self.terminal.stdout.end_line()
        await self.terminal.stderr.ready()
        self.terminal.stderr.show(text, dim=True)

    def _finish(self, response: allm.Response) -> None:
        """Print the rest of what has arrived."""
        stdout = self.terminal.stdout
        if self.as_json:
            stdout.show(allm.to_json(response) + "\n")
        else:
            stdout.show(response.output_text[stdout.taken :])
            stdout.end_line()
            self.terminal.stderr.end_line()

    def _notes(self, response: allm.Response) -> None:
        """Print notes on what the text does not show."""
        for call in response.tool_calls:
            self.terminal.line(f"Note: the model calls {call.name}, but no tools run here; --json shows the call")
        if response.message.images:
            self.terminal.line(f"Note: the response has images ({len(response.message.images)}); --json shows them")
        if response.finish_reason in {"length", "content_filter", "other"}:
            reason = response.raw_finish_reason or response.finish_reason
            self.terminal.line(f"Note: the response ended early, with finish reason {reason!r}")
