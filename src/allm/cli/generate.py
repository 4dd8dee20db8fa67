"""`allm generate`: one response, or one turn with tools, printed as it arrives."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Literal, TextIO, assert_never, final

import attrs
import trio

import allm
from allm.cli.asked_turn import AskedTurn
from allm.cli.call_notes import CallNotes
from allm.cli.chat_screen import TurnScreen
from allm.cli.code_block import code_blocks
from allm.cli.exit_codes import FAILURE, SUCCESS, describe
from allm.cli.log import Conversation
from allm.cli.terminal import Terminal
from allm.cli.usage_note import usage_line
from allm.data.atomic_write import write_whole
from allm.session import SessionStream

__all__ = ["Form", "Generation"]


@attrs.frozen(kw_only=True)
class Form:
    """How the answer is printed.

    Attributes:
        as_json: The whole response, or the result of the turn, as one JSON document at the end.
        extract: The first or last code block alone.
        output: The file for the answer; None: standard output.
        stream: Print the answer as it arrives, where it is printed as it is.
        reasoning: Print the model's reasoning on standard error.
        usage: Print tokens and cost on standard error.
        verbose: Print retries, times and ids there.
    """

    as_json: bool = False
    extract: Literal["first", "last"] | None = None
    output: Path | None = None
    stream: bool = True
    reasoning: bool = False
    usage: bool = False
    verbose: bool = False


Result = allm.Response | allm.ChatResult
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
    _notes: CallNotes | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        form = self.form
        whole = form.as_json or form.extract is not None or form.output is not None or not form.stream
        self._live = not whole and (not self.engine.tools or self.terminal.stdout.isatty())
        self._turn = TurnScreen(self.terminal)

    def run(self) -> int:
        """Print the answer and return the exit code.

        Raises:
            AllmError: The call is invalid; nothing was sent or printed.
            KeyboardInterrupt: Ctrl-C, after everything that arrived was printed.
            OSError: The output failed.
        """
        with CallNotes(self.terminal) if self.form.verbose else nullcontext() as self._notes:
            try:
                result = trio.run(self._stream)
            except KeyboardInterrupt:
                if self._events is not None:  # on standard output, as a file gets whole answers only
                    result = self._events.result()
                    self._print(result)
                    self._keep(result)
                raise
            code = self._finished(result)
            self._keep(result)
            return code

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
            await self._turn.event(event)
            self._step_ended = self._step_ended or isinstance(event, allm.StepCompleted)
            return
        if self._step_ended:
            self._step_ended = False
            self._begun = self.terminal.stdout.taken
            self._blocks.clear()
        await self._response(event)

    async def _response(self, event: allm.AdapterEvent) -> None:
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
            case allm.ToolCallStarted() | allm.ToolCallDelta() | allm.ToolCallCompleted() | allm.ImageCompleted():
                pass  # `_add_notes` shows them
            case allm.MessageStarted() | allm.UsageReported() | allm.MessageCompleted() | allm.Failed():
                pass  # `run` shows how it ended
            case _:
                assert_never(event)

    async def _text(self, text: str) -> None:
        if self._live:
            self.terminal.stderr.end_line()
            await self.terminal.stdout.ready()
            self.terminal.stdout.show(text)

    async def _thought(self, text: str) -> None:
        if self.terminal.stdout.isatty():  # a file or a pipe gets the response unchanged
            self.terminal.stdout.end_line()
        await self.terminal.stderr.ready()
        self.terminal.stderr.show(text, dim=True)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _finished(self, result: Result) -> int:
        response = result if isinstance(result, allm.Response) else result.final_response
        problem = _problem(result)
        if problem is None and self.form.output is not None:
            self._save(self.form.output, self._answer(result))
        else:
            self._print(result)
        if problem is None and response is not None and not self.form.as_json:
            self._add_notes(response)
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
        if self.conversation is None:
            return
        if isinstance(result, allm.Response):
            thread = allm.Thread([*self.messages, *([result.message] if result.message.parts else [])])
        else:
            thread = result.thread
        trio.run(self.conversation.keep, allm.Session(thread=thread, status="completed"), result.usage)

    def _answer(self, result: Result) -> str:
        """The whole answer in its form, as it goes into a file."""
        if self.form.as_json:
            return allm.to_json(result) + "\n"
        text = result.output_text
        if self.form.extract is not None:
            blocks = code_blocks(text)
            if blocks:
                return blocks[0 if self.form.extract == "first" else -1]
        return text if text.endswith("\n") or not text else f"{text}\n"

    def _print(self, result: Result) -> None:
        """Print the answer as far as it is not printed yet."""
        stdout = self.terminal.stdout
        if self._live:
            stdout.show(result.output_text[stdout.taken - self._begun :])
            stdout.end_line()
        else:
            stdout.show(self._answer(result))
        self.terminal.stderr.end_line()

    def _save(self, output: Path, answer: str) -> None:
        try:
            write_whole(output, answer.encode("utf-8", "replace"))
        except OSError:
            self.terminal.stdout.show(answer)  # it was paid for
            raise
        if self.terminal.stderr.isatty():
            self.terminal.line(f"saved to {output}", dim=True)

    def _add_notes(self, response: allm.Response) -> None:
        """Print notes on what the text does not show."""
        line = self.terminal.line
        if self.form.extract is not None and not code_blocks(response.output_text):
            line("Note: the answer has no code block; all of it is printed")
        if not self.engine.tools:
            for call in response.tool_calls:
                line(f"Note: the model calls {call.name}, but no tools run here; --json shows the call")
        if response.message.images:
            line(f"Note: the response has images ({len(response.message.images)}); --json shows them")
        if response.finish_reason in {"length", "content_filter", "other"}:
            reason = response.raw_finish_reason or response.finish_reason
            line(f"Note: the response ended early, with finish reason {reason!r}")


def _problem(result: Result) -> str | None:
    """Why there is no whole answer; None if there is one."""
    if result.error is not None:
        return describe(result.error)
    if isinstance(result, allm.Response):
        return None
    names = ", ".join(dict.fromkeys(call.name for call in result.manual_tool_calls))
    match result.halted_reason:
        case "max_turns":
            return f"the model still calls tools after {len(result.steps)} model calls; --max-turns allows more"
        case "ask_user":
            return f"a tool asks: {result.pending_question} Put the answer into the prompt, or use allm chat"
        case "manual_tool_calls":
            return f"the calls of {names} wait for their results, which allm chat takes"
        case _:
            return None
