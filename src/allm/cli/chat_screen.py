"""The output of a turn of `allm chat`: the response on standard output, everything else on standard error."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, assert_never, final

import attrs

import allm
from allm.cli.answer import sources_of
from allm.cli.exit_codes import describe
from allm.cli.hosted_line import hosted_line
from allm.cli.markdown_text import MarkdownText
from allm.cli.terminal import Terminal
from allm.cli.text_display import PlainText, TextDisplay

__all__ = ["TurnScreen", "call_text", "short"]

LONGEST = 100  # most characters of a value in a line
LONGEST_ARGUMENT = 40  # most characters of one argument


def short(text: str, limit: int = LONGEST) -> str:
    """`text` in one line, cut with `...` if it is longer than `limit` characters."""
    line = " ".join(text[: 8 * limit].split())  # cut first: a result may have megabytes
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def call_text(call: allm.ToolCall, name: str | None = None) -> str:
    """A call in Python's notation: `weather(city="Zug", days=2)`."""
    if call.arguments is None:
        arguments = short(call.raw_arguments or "")
    else:
        pairs = [f"{key}={short(_json(value), LONGEST_ARGUMENT)}" for key, value in call.arguments.items()]
        arguments = short(", ".join(pairs))
    return f"{name or call.name}({arguments})"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


@final
@attrs.define(eq=False)
class TurnScreen:
    """Shows the events of one turn as they arrive."""

    _terminal: Terminal
    plain: bool = attrs.field(default=True, kw_only=True)
    reasoning: bool = attrs.field(default=False, kw_only=True)
    _display: TextDisplay = attrs.field(init=False)
    _streamed: set[str] = attrs.field(factory=set[str], init=False)  # blocks whose text arrived as deltas
    _shown: int = attrs.field(default=0, init=False)  # characters of this step's text that were shown
    _names: dict[str, str] = attrs.field(factory=dict[str, str], init=False)  # by call id
    _asked: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)  # of hosted calls
    _counts: Counter[str] = attrs.field(factory=Counter[str], init=False)

    def __attrs_post_init__(self) -> None:
        stdout = self._terminal.stdout
        self._display = MarkdownText(stdout) if stdout.styled and not self.plain else PlainText(stdout)

    async def event(self, event: allm.Event) -> None:
        """Show one event."""
        if isinstance(event, allm.OrchestrationEvent):
            self._orchestration(event)
        else:
            await self._response(event)

    async def _response(self, event: allm.AdapterEvent) -> None:  # noqa: C901  # one case for each kind
        match event:
            case allm.TextDelta(id, text):
                self._streamed.add(id)
                await self._text(text)
            case allm.TextCompleted(id, text):
                if id not in self._streamed:  # it arrived without deltas
                    await self._text(text)
            case allm.ToolCallCompleted(id, name):
                self._number(id, name)
            case allm.ImageCompleted(_, part):
                self._line(f"* an image ({part.image.mime_type or 'by its URL'})")
            case allm.HostedCallCompleted(id, call):
                asked = self._asked.pop(id, None) or call.input
                self._line(hosted_line(call, asked))
            case allm.HostedCallStarted(id, call):
                self._asked[id] = call.input
            case allm.ReasoningDelta() | allm.ReasoningCompleted():
                await self._thought(event)
            case allm.ProviderPartCompleted() | allm.RawChunk():
                pass  # not for the reader
            case allm.ToolCallStarted() | allm.ToolCallDelta() | allm.MessageStarted() | allm.UsageReported():
                pass
            case allm.CitationAdded() | allm.MessageCompleted() | allm.Failed():
                pass  # `ended` shows how the turn ended
            case _:
                assert_never(event)

    def _orchestration(self, event: allm.OrchestrationEvent) -> None:
        match event:
            case allm.ToolExecutionStarted(call):
                self._line(f"* {call_text(call, self._name(call))}")
            case allm.ToolProgress(call, payload):
                self._line(f"- {self._name(call)}: {short(payload if isinstance(payload, str) else _json(payload))}")
            case allm.ToolExecutionCompleted(call, error=error):
                if error is not None:
                    self._line(f"- {self._name(call)} failed: {short(error.problem)}")
            case allm.ToolResultEncoded(call, message):
                if not message.is_error:
                    self._line(f"- {self._name(call)} = {short(message.text)}")
            case allm.StepCompleted():
                self._next_step()
            case allm.MessagesAdded():
                pass  # what the user types waits for the end of the turn
            case allm.AskUserRequested() | allm.ToolHalted() | allm.ChatCompleted():
                pass  # `ended` shows how the turn ended
            case _:
                assert_never(event)

    def ended(self, result: allm.ChatResult) -> None:
        """Show text that is not on the screen yet, and how the turn ended."""
        last = result.final_response
        if result.halted_reason in {"cancelled", "error"} and last is not None:
            self._display.show(last.output_text[self._shown :])
        self._display.end()
        if result.pending_question is not None:
            self._display.show(result.pending_question)
            self._display.end()
        for source in () if last is None else sources_of(last.message):
            self._terminal.line(source, dim=True)
        note = _note(result)
        if note:
            self._terminal.line(note)

    async def _text(self, text: str) -> None:
        self._terminal.stderr.end_line()
        await self._terminal.stdout.ready()
        self._shown += len(text)
        self._display.show(text)

    async def _thought(self, event: allm.ReasoningDelta | allm.ReasoningCompleted) -> None:
        if not self.reasoning:
            return
        self._display.end()
        stderr = self._terminal.stderr
        await stderr.ready()
        if isinstance(event, allm.ReasoningDelta):
            self._streamed.add(event.id)
            stderr.show(event.delta, dim=True)
            return
        if event.id not in self._streamed:  # it arrived without deltas
            stderr.show(event.text, dim=True)
        stderr.end_line()

    def _line(self, text: str) -> None:
        self._display.end()
        self._terminal.line(text, dim=True)

    def _number(self, id: str, name: str) -> None:
        """Number the calls of one tool, in the model's order and not in the order in which they start."""
        self._counts[name] += 1
        count = self._counts[name]
        self._names[id] = name if count == 1 else f"{name}#{count}"

    def _name(self, call: allm.ToolCall) -> str:
        return self._names.get(call.id, call.name)

    def _next_step(self) -> None:
        self._streamed.clear()
        self._names.clear()
        self._shown = 0
        self._display.end()


def _note(result: allm.ChatResult) -> str:
    """How the turn ended, in a line, unless its text makes that clear."""
    last, reason = result.final_response, result.halted_reason
    if result.error is not None:
        return f"Error: {describe(result.error)}"
    if reason == "cancelled":
        return "interrupted"
    if reason == "max_turns":
        return f"Note: stopped after {len(result.steps)} model calls (--max-turns); say anything to go on"
    ended = None if last is None else last.raw_finish_reason or last.finish_reason
    if reason == "incomplete" or (last is not None and last.finish_reason in {"length", "content_filter"}):
        return f"Note: the answer ended early, with finish reason {ended!r}"
    match result.halt:
        case allm.HandlerHalted():
            return f"Note: a tool ended the turn: {result.halt.reason}"
        case allm.ManualCalls(hosted_calls=waiting) if waiting:
            return "Note: the provider waits for an approval or a screenshot, which a program gives"
        case allm.UserAsked() | allm.ManualCalls() | allm.ToolFailed() | None:
            return ""
        case _:
            assert_never(result.halt)
