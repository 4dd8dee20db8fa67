"""`allm generate`: one response, or one turn with tools, printed as it arrives."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TextIO, assert_never, final

import attrs
import trio

import allm
from allm.cli.answer import Form, Result, notes_on, problem_of, sources_of, text_of, thread_of
from allm.cli.asked_turn import AskedTurn
from allm.cli.call_notes import CallNotes
from allm.cli.chat_screen import TurnScreen
from allm.cli.exit_codes import FAILURE, SUCCESS
from allm.cli.log import Conversation
from allm.cli.markdown_text import MarkdownText
from allm.cli.terminal import Terminal
from allm.cli.text_display import PlainText, TextDisplay
from allm.cli.usage_note import usage_line
from allm.data.atomic_write import write_whole
from allm.session import SessionStream

__all__ = ["Generation"]


Events = allm.EventStream[allm.Response] | allm.EventStream[allm.ChatResult] | SessionStream[allm.ChatResult]


@final
@attrs.define(eq=False, kw_only=True)
class Generation:
    """One call, or with tools one turn, whose answer is printed.

    With tools the answer is the last response. At a terminal the earlier ones are shown too; elsewhere only the answer
    goes to standard output, so that a program that reads it gets nothing else.

    Attributes:
        keyboard: Where the user is asked before a tool runs; None: tools run without a question.
        conversation: Where the conversation is kept; None for nowhere.
    """

    engine: allm.Engine
    messages: tuple[allm.Message, ...]
    options: allm.CallOptions
    terminal: Terminal
    form: Form = attrs.field(factory=Form)
    keyboard: TextIO | None = None
    conversation: Conversation | None = None
    _live: bool = attrs.field(init=False)  # the text is printed as it arrives
    _begun: int = attrs.field(default=0, init=False)  # `stdout.taken` when the current response began
    _step_ended: bool = attrs.field(default=False, init=False)
    _events: Events | None = attrs.field(default=None, init=False)
    _blocks: set[str] = attrs.field(factory=set[str], init=False)
    _turn: TurnScreen = attrs.field(init=False)
    _display: TextDisplay = attrs.field(init=False)
    _notes: CallNotes | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        form = self.form
        whole = form.as_json or form.extract is not None or form.output is not None or not form.stream
        shows_turn = self.terminal.stdout.isatty() and not form.alone
        self._live = not whole and (shows_turn or not self.engine.tools)
        self._turn = TurnScreen(self.terminal)
        stdout = self.terminal.stdout
        renders = self._live and form.markdown and stdout.styled
        self._display = MarkdownText(stdout) if renders else PlainText(stdout)

    def run(self) -> int:
        """Print the answer and return the exit code.

        Raises:
            AllmError: The call is invalid; nothing was sent or printed.
            KeyboardInterrupt: Ctrl-C, after everything that arrived was printed.
            OSError: The output failed.
        """
        provider = getattr(self.engine.adapter, "provider", "")
        with CallNotes(self.terminal, provider) if self.form.verbose else nullcontext() as self._notes:
            try:
                result = trio.run(self._stream)
            except KeyboardInterrupt:
                if self._events is not None:  # on standard output, as a file gets whole answers only
                    result = self._events.result()
                    self._print(result)
                    self._keep(result)
                raise
            try:
                return self._finished(result)
            finally:  # also where it cannot be printed
                self._keep(result)

    async def _stream(self) -> Result:
        if self.keyboard is not None:
            return await self._ask(self.keyboard)
        call = allm.stream if self.engine.tools else allm.stream_generate
        async with call(self.engine, self.messages, **self.options) as events:
            await self._show_all(events)
        return events.result()

    async def _ask(self, keyboard: TextIO) -> allm.ChatResult:
        """Run the turn, and ask before each tool.

        Raises:
            KeyboardInterrupt: The user has stopped it.
        """
        turn = AskedTurn(
            engine=self.engine,
            messages=self.messages,
            options=self.options,
            terminal=self.terminal,
            keyboard=keyboard,
            show=self._show_all,
        )
        result = await turn.run()
        if turn.stopped:
            raise KeyboardInterrupt
        return result

    async def _show_all(self, events: Events) -> None:
        self._events = events
        async for event in events:
            if self._notes is not None:
                self._notes.event(event)
            await self._show(event)

    async def _show(self, event: allm.Event) -> None:
        if isinstance(event, allm.OrchestrationEvent):
            self._display.end()
            await self._turn.event(event)
            self._step_ended = self._step_ended or isinstance(event, allm.StepCompleted)
            return
        if self._step_ended:
            self._step_ended = False
            self._begun = self.terminal.stdout.taken
            self._blocks.clear()
        await self._response(event)

    async def _response(self, event: allm.AdapterEvent) -> None:  # noqa: C901  # one case for each kind
        match event:
            case allm.ToolCallCompleted() if self.engine.tools:
                await self._turn.event(event)
            case allm.TextDelta(id, text):
                self._blocks.add(id)
                await self._text(text)
            case allm.TextCompleted(id, text):
                if id not in self._blocks:  # it arrived without deltas
                    await self._text(text)
            case allm.ReasoningDelta(id, text) if self.form.reasoning:
                self._blocks.add(id)
                await self._thought(text)
            case allm.ReasoningCompleted(id, text) if self.form.reasoning:
                await self._thought(text if id not in self._blocks else "")
                self.terminal.stderr.end_line()
            case allm.ReasoningDelta() | allm.ReasoningCompleted() | allm.ProviderPartCompleted() | allm.RawChunk():
                pass
            case allm.HostedCallStarted() | allm.HostedCallCompleted() | allm.ImageCompleted():
                pass  # `notes_on` has them
            case allm.ToolCallStarted() | allm.ToolCallDelta() | allm.ToolCallCompleted():
                pass  # `notes_on` has them
            case (
                allm.MessageStarted()
                | allm.UsageReported()
                | allm.CitationAdded()
                | allm.MessageCompleted()
                | allm.Failed()
            ):
                pass  # `run` shows how it ended
            case _:
                assert_never(event)

    async def _text(self, text: str) -> None:
        if self._live:
            self.terminal.stderr.end_line()
            await self.terminal.stdout.ready()
            self._display.show(text)

    async def _thought(self, text: str) -> None:
        if self.terminal.stdout.isatty():  # a file or a pipe gets the response unchanged
            self._display.end()
        await self.terminal.stderr.ready()
        self.terminal.stderr.show(text, dim=True)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _finished(self, result: Result) -> int:
        response = result if isinstance(result, allm.Response) else result.final_response
        problem = problem_of(result)
        if problem is None and self.form.output is not None:
            self._save(self.form.output, text_of(result, self.form))
        else:
            self._print(result)
        if problem is None and response is not None and not self.form.as_json:
            for source in sources_of(response.message):
                self.terminal.line(source, dim=True)
            for note in notes_on(response, self.form, tools=bool(self.engine.tools)):
                self.terminal.line(f"Note: {note}")
        if self._notes is not None and isinstance(result, allm.Response):
            self._notes.response(result)
        if self.form.usage:
            self.terminal.line(usage_line(result.usage), dim=True)
        if problem is not None:
            self.terminal.line(f"Error: {problem}")
            return FAILURE
        return SUCCESS

    def _keep(self, result: Result) -> None:
        """Write the conversation to the log, with what there is of an answer that ended early."""
        if self.conversation is not None:
            session = allm.Session(thread=thread_of(self.messages, result), status="completed")
            trio.run(self.conversation.keep, session, result.usage)

    def _print(self, result: Result) -> None:
        """Print the answer as far as it is not printed yet."""
        stdout = self.terminal.stdout
        if self._live:
            self._display.show(result.output_text[stdout.taken - self._begun :])
            self._display.end()
        else:
            stdout.show(text_of(result, self.form))
        self.terminal.stderr.end_line()

    def _save(self, output: Path, answer: str) -> None:
        try:
            write_whole(output, answer.encode("utf-8", "replace"))
        except OSError:
            self.terminal.stdout.show(answer)  # it was paid for
            raise
        if self.terminal.stderr.isatty():
            self.terminal.line(f"saved to {output}", dim=True)
