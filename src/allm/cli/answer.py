"""The answer of `allm generate` as a text: the form it is printed in, what is told beside it, and why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import attrs

import allm
from allm.cli.code_block import code_blocks
from allm.cli.exit_codes import describe
from allm.cli.terminal import visible

__all__ = ["Form", "Result", "notes_on", "problem_of", "sources_of", "text_of", "thread_of"]

_NOT_RUN = "the turn ended before this call ran"


@attrs.frozen(kw_only=True)
class Form:
    """How the answer is printed.

    Attributes:
        as_json: The whole response, or the result of the turn, as one JSON document at the end.
        extract: The first or last code block alone.
        output: The file for the answer; None: standard output.
        alone: Of a turn with tools print the last response alone, at a terminal too.
        markdown: Render the answer where it is shown at a terminal.
        stream: Print the answer as it arrives, where it is printed as it is.
        reasoning: Print the model's reasoning on standard error.
        usage: Print tokens and cost on standard error.
        verbose: Print retries, times and ids there.
    """

    as_json: bool = False
    extract: Literal["first", "last"] | None = None
    output: Path | None = None
    alone: bool = False
    markdown: bool = False
    stream: bool = True
    reasoning: bool = False
    usage: bool = False
    verbose: bool = False


Result = allm.Response | allm.ChatResult


def text_of(result: Result, form: Form) -> str:
    """The whole answer in its form, as it goes into a file."""
    if form.as_json:
        return allm.to_json(result) + "\n"
    text = result.output_text
    if form.extract is not None:
        blocks = code_blocks(text)
        if blocks:
            return blocks[0 if form.extract == "first" else -1]
    return text if text.endswith("\n") or not text else f"{text}\n"


def notes_on(response: allm.Response, form: Form, *, tools: bool) -> Iterator[str]:
    """What the text of an answer does not show."""
    if form.extract is not None and not code_blocks(response.output_text):
        yield "the answer has no code block; all of it is printed"
    if not tools:
        for call in response.tool_calls:
            yield f"the model calls {call.name}, but no tools run here; --json shows the call"
    if response.message.images:
        yield f"the response has images ({len(response.message.images)}); --json shows them"
    if response.finish_reason in {"length", "content_filter", "other"}:
        reason = response.raw_finish_reason or response.finish_reason
        yield f"the response ended early, with finish reason {reason!r}"


def sources_of(message: allm.Message) -> Iterator[str]:
    """A line for each source that an answer names, in the order of their first mention."""
    named = dict.fromkeys((cited.url or cited.file_id or "", cited.title or "") for cited in message.citations)
    for number, (place, title) in enumerate(named, start=1):
        yield visible(" ".join(filter(None, (f"[{number}]", title, place if place != title else ""))))


def thread_of(messages: Iterable[allm.Message], result: Result) -> allm.Thread:
    """The conversation after the answer, in which it can go on: a call that has no result is given one."""
    if isinstance(result, allm.Response):
        said = [result.message] if result.message.parts else []
        thread = allm.Thread([*messages, *said])
    else:
        thread = result.thread
    ended = {message.tool_call_id for message in thread.messages}
    calls = [call for message in thread.messages for call in message.tool_calls if call.id not in ended]
    return allm.Thread([*thread.messages, *[allm.tool_result(call.id, _NOT_RUN, is_error=True) for call in calls]])


def problem_of(result: Result) -> str | None:
    """Why there is no whole answer; None if there is one."""
    if result.error is not None:
        return describe(result.error)
    if isinstance(result, allm.Response):
        return None
    match result.halted_reason:
        case "max_turns":
            return f"the model still calls tools after {len(result.steps)} model calls; --max-turns allows more"
        case "ask_user":
            return f"a tool asks: {result.pending_question} Answer with --continue, or use allm chat"
        case "manual_tool_calls":
            if result.pending_hosted_calls:
                kinds = ", ".join(dict.fromkeys(call.kind for call in result.pending_hosted_calls))
                return f"the provider's calls of {kinds} wait for an approval or a screenshot, which a program gives"
            names = ", ".join(dict.fromkeys(call.name for call in result.manual_tool_calls))
            return f"the calls of {names} wait for their results, which allm chat takes"
        case _:
            return None
