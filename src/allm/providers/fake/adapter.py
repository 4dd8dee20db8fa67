"""`Fake`: an adapter that plays scripts instead of asking anyone. No key, no model, no network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, final, get_args

import attrs
import trio

from allm.adapters import AdapterOptions, Emit, MessageBuilder, dumps, parse_arguments
from allm.data.errors import AdapterError, Problem, ValidationError
from allm.data.events import (
    AdapterEvent,
    Failed,
    MessageCompleted,
    MessageStarted,
    RawChunk,
    ReasoningDelta,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from allm.data.request import Request
from allm.data.response import FinishReason
from allm.data.script import (
    Delay,
    ErrorItem,
    Finish,
    PreflightError,
    Raw,
    Reasoning,
    ScriptItem,
    Text,
    ToolCallDeltaItem,
    ToolCallItem,
    UsageItem,
)

__all__ = ["Fake"]

Script = tuple[ScriptItem, ...]
_LAST_ITEMS = (ErrorItem, Finish)


@attrs.define(eq=False)
class _FakeCall:
    script: Script
    attempts: int = 0


@final
class Fake:
    """Plays one script per call, in order. The cursor belongs to the instance.

        Fake(script=[fake.text("Hello")])                      # one call
        Fake(scripts=[[fake.tool_call("now")], [fake.text("Noon.")]])     # two

    A retry of the same call plays the next script, or the same one again when none is left.

    Attributes:
        requests: What was asked, in order.

    Raises:
        ValidationError: A script that could not be played: not a list of `allm.fake` items, items after the end.
    """

    provider = "fake"
    requires_model = False

    def __init__(
        self, script: Iterable[ScriptItem] | None = None, *, scripts: Iterable[Iterable[ScriptItem]] | None = None
    ) -> None:
        if script is not None and scripts is not None:
            problem = Problem(("script",), "with_scripts", "give Fake either script= or scripts=, not both")
            raise ValidationError([problem], reason="invalid_script")
        given = [script] if script is not None else list(scripts or ())
        self._scripts = [_checked(entry, index) for index, entry in enumerate(given)]
        self._next = 0
        self.requests: list[Request] = []

    @property
    def remaining(self) -> int:
        """How many scripts have not been played."""
        return len(self._scripts) - self._next

    def assert_exhausted(self) -> None:
        """Check, at the end of a test, that every script was played.

        Raises:
            AssertionError: Some were not.
        """
        if self.remaining:
            raise AssertionError(f"{self.remaining} of {len(self._scripts)} scripts were not played")

    def prepare(self, request: Request, _options: AdapterOptions) -> _FakeCall:
        """Take the next script.

        Raises:
            AdapterError: `no_scripted_response`: every script has been played.
            AllmError: The script begins with `fake.preflight_error(...)`.
        """
        self.requests.append(request)
        script = self._take()
        if script is None:
            raise AdapterError(
                f"Fake has played all of its {len(self._scripts)} scripts and is asked for one more; this is call "
                f"number {len(self.requests)}: add a script for it",
                reason="no_scripted_response",
                provider=self.provider,
            )
        if script and isinstance(script[0], PreflightError):
            raise script[0].error
        return _FakeCall(script)

    def _take(self) -> Script | None:
        if self._next >= len(self._scripts):
            return None
        self._next += 1
        return self._scripts[self._next - 1]

    async def stream(self, prepared: _FakeCall, emit: Emit) -> None:
        """Play the script."""
        prepared.attempts += 1
        script = (self._take() or prepared.script) if prepared.attempts > 1 else prepared.script
        await trio.lowlevel.checkpoint()
        player = _Player()
        if not (script and isinstance(script[0], (Delay, ErrorItem))):
            await emit(player.start())
        for item in script:
            if isinstance(item, Delay):
                await trio.sleep(item.seconds)
                continue
            events = player.play(item)
            if events:
                await emit(*events)
            if isinstance(item, _LAST_ITEMS):
                return
        await emit(*player.finish(None))


def _checked(script: Any, index: int) -> Script:
    items = tuple(script) if isinstance(script, Sequence) and not isinstance(script, (str, bytes)) else None
    kinds = get_args(ScriptItem)
    if items is None or not all(isinstance(item, kinds) for item in items):
        sentence = "is not a list of items made with allm.fake, such as [fake.text('hi')]"
        problem = Problem(("scripts", index), "invalid_script", sentence)
        raise ValidationError([problem], reason="invalid_script", message=f"script {index} of Fake {sentence}")
    for position, item in enumerate(items):
        if isinstance(item, PreflightError) and position:
            sentence = "preflight_error has to be the first item"
        elif isinstance(item, (*_LAST_ITEMS, PreflightError)) and position < len(items) - 1:
            sentence = f"items are left over after {type(item).__name__}, which ends the answer"
        else:
            continue
        problem = Problem(("scripts", index, position), "invalid_script", sentence)
        raise ValidationError([problem], reason="invalid_script", message=f"script {index} of Fake: {sentence}")
    return items


@attrs.define(eq=False)
class _Player:
    """Script items as events. Text items in a row are one block; any other content ends it."""

    _assembly: MessageBuilder = attrs.field(factory=MessageBuilder, init=False)
    _started: bool = False
    _block: str = ""
    _count: int = 0

    def start(self) -> AdapterEvent:
        self._started = True
        return MessageStarted(id="fake", model="fake")

    def play(self, item: ScriptItem) -> list[AdapterEvent]:
        events = _PLAYERS[type(item)](self, item)
        if not self._started and not isinstance(item, ErrorItem):
            events.insert(0, self.start())
        for event in events:
            self._assembly.add(event)
        return events

    def finish(self, reason: FinishReason | None) -> list[AdapterEvent]:
        reason = reason or ("tool_calls" if self._assembly.has_tool_calls() else "stop")
        events = self._assembly.complete()
        if not self._started:
            events.insert(0, self.start())
        return [*events, MessageCompleted(self._assembly.message(), reason, raw_finish_reason=reason)]

    def _block_id(self, kind: str) -> str:
        if not self._block.startswith(kind):
            self._block = f"{kind}-{self._count}"
            self._count += 1
        return self._block

    def _text(self, item: Text) -> list[AdapterEvent]:
        return [TextDelta(self._block_id("text"), item.text)]

    def _reasoning(self, item: Reasoning) -> list[AdapterEvent]:
        return [ReasoningDelta(self._block_id("reasoning"), item.text)]

    def _tool_call(self, item: ToolCallItem) -> list[AdapterEvent]:
        call_id = item.id or f"call_{self._count}"
        self._block = ""
        self._count += 1
        raw = item.raw_arguments if item.raw_arguments is not None else dumps(dict(item.arguments)).decode()
        return [
            ToolCallStarted(call_id, item.name),
            ToolCallDelta(call_id, raw),
            ToolCallCompleted(call_id, item.name, parse_arguments(raw), raw),
        ]

    def _tool_call_delta(self, item: ToolCallDeltaItem) -> list[AdapterEvent]:
        self._block = ""
        return [ToolCallDelta(item.id, item.text)]

    def _usage(self, item: UsageItem) -> list[AdapterEvent]:
        return [UsageReported(item.usage)]

    def _raw(self, item: Raw) -> list[AdapterEvent]:
        return [RawChunk(item.kind, item.payload)]

    def _error(self, item: ErrorItem) -> list[AdapterEvent]:
        return [Failed(item.error)]

    def _finish(self, item: Finish) -> list[AdapterEvent]:
        return self.finish(item.reason)


_PLAYERS: dict[type, Callable[[_Player, Any], list[AdapterEvent]]] = {
    Text: _Player._text,
    Reasoning: _Player._reasoning,
    ToolCallItem: _Player._tool_call,
    ToolCallDeltaItem: _Player._tool_call_delta,
    UsageItem: _Player._usage,
    Raw: _Player._raw,
    ErrorItem: _Player._error,
    Finish: _Player._finish,
}
