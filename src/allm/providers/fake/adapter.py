"""`Fake`: an adapter that plays scripts instead of asking anyone. No key, no model, no network."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, final, get_args

import attrs
import trio

from allm.adapters import (
    AdapterOptions,
    Companion,
    Emit,
    MessageBuilder,
    Origin,
    UnaryAdapter,
    call_user,
    check_cache,
    dumps,
    parse_arguments,
    wrong_type,
)
from allm.data.content import HostedCall, ImagePart
from allm.data.errors import AdapterError, Problem, ValidationError
from allm.data.events import (
    AdapterEvent,
    CitationAdded,
    Failed,
    HostedCallCompleted,
    HostedCallStarted,
    ImageCompleted,
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
    CitationItem,
    Delay,
    ErrorItem,
    Finish,
    HostedCallItem,
    ImageItem,
    PreflightError,
    Raw,
    Reasoning,
    ScriptItem,
    Text,
    ToolCallDeltaItem,
    ToolCallItem,
    Trouble,
    UsageItem,
)

if TYPE_CHECKING:
    from allm.models import ModelInfo
    from allm.providers.fake.beside import Beside
    from allm.providers.fake.caches import FakeCaches

__all__ = ["Fake"]

Script = tuple[ScriptItem, ...]
_LAST_ITEMS = (ErrorItem, Finish)


@attrs.define(eq=False)
class _FakeCall:
    """A call, and its script; without one, the function is asked when the call runs."""

    request: Request
    script: Script | None
    answer: Awaitable[Any] | None = None
    attempts: int = 0


@final
class Fake:
    """Plays one script per call, in order, or asks a function for each answer. The cursor belongs to the instance.

        Fake(script=[fake.text("Hello")])                      # one call
        Fake(scripts=[[fake.tool_call("now")], [fake.text("Noon.")]])     # two
        Fake(respond=lambda request: request.messages[-1].text.upper())   # as many as there are

    A retry of the same call plays the next script, or the same one again when none is left; a function is asked again.

    Args:
        script: The items of one call.
        scripts: A script for each call.
        respond: A function of the `Request`, sync or async, that returns a text or the items of the answer. What a sync
            function raises comes out of the call as it is. An async one runs while the call does, so what it raises is
            a failure of the provider: an `AllmError` as it is, anything else as the cause of an `AdapterError`.
        tokens: What `allm.count_tokens` gives: a number, or a function of the `Request`; None: an estimate.
        models: What `allm.list_models` gives: ids, or a `ModelInfo` for each.
        trouble: What becomes of requests for counts, lists and files, one list of `fake.delay(...)` and
            `fake.error(...)` for each in the order they are sent; those after it succeed at once.

    Attributes:
        requests: What was asked, in order.

    Raises:
        ValidationError: A script that could not be played: not a list of `allm.fake` items, items after the end; or
            more than one of the three.
    """

    provider = "fake"
    requires_model = False

    def __init__(
        self,
        script: Iterable[ScriptItem] | None = None,
        *,
        scripts: Iterable[Iterable[ScriptItem]] | None = None,
        respond: Callable[[Request], str | Sequence[ScriptItem] | Awaitable[str | Sequence[ScriptItem]]] | None = None,
        tokens: int | Callable[[Request], int] | None = None,
        models: Iterable[str | ModelInfo] = ("fake",),
        trouble: Iterable[Sequence[Trouble]] = (),
    ) -> None:
        if [script, scripts, respond].count(None) < 2:  # noqa: PLR2004  (of three, at most one is given)
            problem = Problem(("script",), "with_scripts", "give Fake one of script=, scripts= and respond=, not both")
            raise ValidationError([problem], reason="invalid_script")
        if respond is not None and not callable(respond):
            problem = wrong_type(("respond",), respond, "a function of a Request; script= takes the items themselves")
            raise ValidationError([problem], reason="invalid_script")
        given = [script] if script is not None else list(scripts or ())
        self._scripts = [_checked(entry, f"script {index} of Fake", index) for index, entry in enumerate(given)]
        self._next = 0
        self._respond = respond
        self.requests: list[Request] = []
        self._caches: FakeCaches | None = None
        self._services = (tokens, models, trouble)
        self._beside: Beside | None = None

    @property
    def files(self) -> dict[str, bytes]:
        """The files that `allm.files` has uploaded, by their ids."""
        return {} if self._beside is None else {id: content for id, (_, content) in self._beside.kept.items()}

    def companion(self, service: Companion) -> UnaryAdapter[Any, Any] | None:
        """Counts of tokens, the list of models, files and caches, in memory."""
        if service == "caches":
            return self._own_caches()
        if self._beside is None:
            from allm.providers.fake.beside import Beside, listed_models
            from allm.providers.fake.scripted_failures import Troubles

            tokens, models, trouble = self._services
            self._beside = Beside(listed_models(models), tokens, Troubles(trouble))
        return self._beside.companion(service)

    def _own_caches(self) -> FakeCaches:
        if self._caches is None:
            from allm.providers.fake.caches import FakeCaches

            self._caches = FakeCaches()
        return self._caches

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

    def defers_tools(self, _request: Request, _options: AdapterOptions) -> bool:
        """Scripts may call any tool."""
        return True

    def hosts_tools(self, _request: Request, _options: AdapterOptions) -> bool:
        """Scripts may have the calls of any."""
        return True

    def prepare(self, request: Request, options: AdapterOptions) -> _FakeCall:
        """Take the next script, or ask the function for it.

        Raises:
            ValidationError, AdapterError: The call goes on from a cache that this `Fake` has not.
            AdapterError: `no_scripted_response`: every script has been played.
            AllmError: The script begins with `fake.preflight_error(...)`.
            ValidationError: The function returned what could not be played.
            Exception: The function raised it.
        """
        if (cache := options.cached_content) is not None:
            check_cache(cache, Origin(self.provider))
            self._own_caches().found(cache.name)
        self.requests.append(request)
        if self._respond is not None:
            # An async function is asked once the call runs: of one that never runs, the coroutine would be left over.
            if inspect.iscoroutinefunction(self._respond):
                return _FakeCall(request, None)
            answer = self._respond(request)
            if inspect.isawaitable(answer):
                return _FakeCall(request, None, answer)
            script: Script | None = _answered(answer)
        else:
            script = self._take()
        if script is None:
            raise AdapterError(
                f"Fake has no script for call number {len(self.requests)}: it was given {len(self._scripts) or 'none'}",
                reason="no_scripted_response",
                provider=self.provider,
            ).advised(". Each call of a model takes one, as each step of a turn does: scripts=[[...], [...]]")
        _check_preflight(script)
        return _FakeCall(request, script)

    def prepare_again(self, prepared: _FakeCall, request: Request, _options: AdapterOptions) -> _FakeCall:
        """The same call with a changed request, such as a lower `max_tokens`: it has its script already."""
        self.requests[:] = [request if known is prepared.request else known for known in self.requests]
        prepared.request = request
        return prepared

    def _take(self) -> Script | None:
        if self._next >= len(self._scripts):
            return None
        self._next += 1
        return self._scripts[self._next - 1]

    async def stream(self, prepared: _FakeCall, emit: Emit) -> None:
        """Play the script."""
        prepared.attempts += 1
        await trio.lowlevel.checkpoint()
        script = await self._script_of(prepared)
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

    async def _script_of(self, call: _FakeCall) -> Script:
        """The script of this attempt."""
        if call.script is not None and call.attempts == 1:
            return call.script
        if self._respond is None:
            return self._take() or call.script or ()
        respond, answer = self._respond, call.answer
        call.answer = None
        script = _answered(await call_user(lambda: respond(call.request) if answer is None else answer))
        _check_preflight(script)
        return script


def _answered(answer: Any) -> Script:
    """What a function returned, as a script."""
    return (Text(answer),) if isinstance(answer, str) else _checked(answer, "what respond= of Fake returned")


def _check_preflight(script: Script) -> None:
    if script and isinstance(script[0], PreflightError):
        raise script[0].error


def _checked(script: Any, what: str, *place: int) -> Script:
    items = tuple(script) if isinstance(script, Sequence) and not isinstance(script, (str, bytes)) else None
    kinds = get_args(ScriptItem)
    if items is None or not all(isinstance(item, kinds) for item in items):
        sentence = "is not a list of items made with allm.fake, such as [fake.text('hi')]"
        problem = Problem(("scripts", *place), "invalid_script", sentence)
        raise ValidationError([problem], reason="invalid_script", message=f"{what} {sentence}")
    for position, item in enumerate(items):
        if isinstance(item, PreflightError) and position:
            sentence = "preflight_error has to be the first item"
        elif isinstance(item, (*_LAST_ITEMS, PreflightError)) and position < len(items) - 1:
            sentence = f"items are left over after {type(item).__name__}, which ends the answer"
        else:
            continue
        problem = Problem(("scripts", *place, position), "invalid_script", sentence)
        raise ValidationError([problem], reason="invalid_script", message=f"{what}: {sentence}")
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
        # A call that is complete says all that the events before it did.
        for event in events[-1:] if isinstance(item, ToolCallItem) else events:
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

    def _citation(self, item: CitationItem) -> list[AdapterEvent]:
        return [CitationAdded(self._block_id("text"), item.citation)]

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

    def _hosted_call(self, item: HostedCallItem) -> list[AdapterEvent]:
        call_id = item.id or f"hosted_{self._count}"
        self._block = ""
        self._count += 1
        data = {"type": "hosted_call", "id": call_id, "kind": item.kind}
        begun = HostedCall(call_id, item.kind, "in_progress", item.input, provider="fake")
        done = attrs.evolve(begun, status=item.status, output=item.output, data=data)
        return [HostedCallStarted(call_id, begun), HostedCallCompleted(call_id, done)]

    def _image(self, item: ImageItem) -> list[AdapterEvent]:
        self._block = ""
        self._count += 1
        return [ImageCompleted(f"image-{self._count - 1}", ImagePart(item.image))]

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
    CitationItem: _Player._citation,
    Reasoning: _Player._reasoning,
    ToolCallItem: _Player._tool_call,
    ToolCallDeltaItem: _Player._tool_call_delta,
    HostedCallItem: _Player._hosted_call,
    ImageItem: _Player._image,
    UsageItem: _Player._usage,
    Raw: _Player._raw,
    ErrorItem: _Player._error,
    Finish: _Player._finish,
}
