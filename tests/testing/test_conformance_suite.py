"""The suite finds broken adapters: each adapter here breaks one rule, and the case for that rule fails."""

from __future__ import annotations

import itertools
import socket
from typing import ClassVar

import attrs
import pytest
import trio

import allm
from allm.providers import Fake, OpenAI
from allm.testing import Reply, StreamAdapterConformance

COUNTER = itertools.count()


class Sound:
    """Passes everything on."""

    provider = "openai"

    def __init__(self, setup):
        self.setup = setup
        self.inner = OpenAI(api_key=setup.api_key, base_url=f"{setup.base_url}/v1", endpoint="chat_completions")

    def prepare(self, request, options):
        return self.inner.prepare(request, options)

    async def stream(self, prepared, emit):
        async def changed(*events):
            await emit(*self.change(events))

        await self.inner.stream(prepared, changed)

    def change(self, events):
        return events


class ShowsTheKey(Sound):
    def __repr__(self):
        return f"ShowsTheKey({self.setup.api_key})"


class HasNoName(Sound):
    provider = "Open AI"


class UsesTheNetwork(Sound):
    def prepare(self, request, options):
        socket.getaddrinfo("localhost", 80)
        return super().prepare(request, options)


class Counts(Sound):
    def prepare(self, request, options):
        call = super().prepare(request, options)
        return attrs.evolve(call, headers={**call.headers, "x-id": str(next(COUNTER))})


class ChangesTheRequest(Sound):
    def prepare(self, request, options):
        for tool in request.tools:
            tool.schema["additionalProperties"] = False
        return super().prepare(request, options)


class SendsForeignData(Sound):
    def prepare(self, request, options):
        call = super().prepare(request, options)
        return attrs.evolve(call, body=call.body + repr(request.messages).encode())


class KeepsTheKeyInTheUrl(Sound):
    def prepare(self, request, options):
        call = super().prepare(request, options)
        return attrs.evolve(call, url=f"{call.url}?key={self.setup.api_key}")


class IgnoresTheKeyOfTheCall(Sound):
    def prepare(self, request, options):
        return super().prepare(request, attrs.evolve(options, api_key=None))


class TakesAnyToolChoice(Sound):
    def prepare(self, request, options):
        return super().prepare(attrs.evolve(request, tool_choice=None), options)


class NeedsNoKey(Sound):
    def __init__(self, setup):
        super().__init__(attrs.evolve(setup, api_key=setup.api_key or "default"))


class RepairsTheKey(Sound):
    def __init__(self, setup):
        key = (setup.api_key or "").splitlines()
        super().__init__(attrs.evolve(setup, api_key=key[0] if key else None))


class Fails(Sound):
    async def stream(self, prepared, emit):
        raise allm.AdapterError("no")


class LosesUsage(Sound):
    def change(self, events):
        return [event for event in events if not isinstance(event, allm.UsageReported)]


class HidesTheStart(Sound):
    def change(self, events):
        return [event for event in events if not isinstance(event, allm.MessageStarted)]


class LosesCompletions(Sound):
    def change(self, events):
        return [event for event in events if not isinstance(event, (allm.TextCompleted, allm.ToolCallCompleted))]


class ReadsLatin1(Sound):
    def change(self, events):
        def wrong(event):
            if isinstance(event, allm.TextDelta):
                return attrs.evolve(event, delta=event.delta.encode().decode("latin-1"))
            return event

        return [wrong(event) for event in events if not isinstance(event, allm.TextCompleted)]


class SaysStop(Sound):
    def change(self, events):
        last = events[-1]
        if isinstance(last, allm.MessageCompleted):
            return [*events[:-1], attrs.evolve(last, finish_reason="stop")]
        return events


class WaitsForTheEnd(Sound):
    async def stream(self, prepared, emit):
        everything = []

        async def keep(*events):
            everything.extend(events)

        await self.inner.stream(prepared, keep)
        await emit(*everything)


class DoesNotWaitForTheReader(Sound):
    async def stream(self, prepared, emit):
        async with trio.open_nursery() as nursery:

            async def hand_over(*events):
                nursery.start_soon(emit, *events)
                await trio.lowlevel.checkpoint()

            await self.inner.stream(prepared, hand_over)


class ReadsAhead(Sound):
    async def stream(self, prepared, emit):
        send, receive = trio.open_memory_channel(float("inf"))

        async def read():
            async with send:
                await self.inner.stream(prepared, lambda *events: send.send(events))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            async for events in receive:
                await emit(*events)


class RetriesByItself(Sound):
    async def stream(self, prepared, emit):
        for _ in range(2):
            try:
                return await self.inner.stream(prepared, emit)
            except allm.AdapterError:
                await trio.lowlevel.checkpoint()
        return await self.inner.stream(prepared, emit)


class TakesAnEndForSuccess(Sound):
    async def stream(self, prepared, emit):
        try:
            await self.inner.stream(prepared, emit)
        except allm.AdapterError:
            await emit(allm.MessageCompleted(allm.assistant(""), "stop"))

    def change(self, events):
        if isinstance(events[-1], allm.Failed):
            return [*events[:-1], allm.MessageCompleted(allm.assistant(""), "stop")]
        return events


class UnmasksTheKey(Sound):
    async def stream(self, prepared, emit):
        try:
            await self.inner.stream(prepared, emit)
        except allm.AdapterError as error:
            error.message = error.message.replace("***", self.setup.api_key)
            raise


class RemembersTheLastCall(Sound):
    def prepare(self, request, options):
        self.last = super().prepare(request, options)
        return self.last

    async def stream(self, prepared, emit):
        await super().stream(self.last, emit)


class LeavesAConnectionOpen(Sound):
    kept: ClassVar = []

    async def stream(self, prepared, emit):
        port = int(self.setup.base_url.rpartition(":")[2])
        self.kept.append(socket.create_connection(("127.0.0.1", port)))
        await super().stream(prepared, emit)


class OpensAConnectionForEachCall(Sound):
    def prepare(self, request, options):
        call = super().prepare(request, options)
        return attrs.evolve(call, headers={**call.headers, "connection": "close"})


BROKEN = [
    (HasNoName, "adapter_has_the_protocol_and_a_provider_name"),
    (ShowsTheKey, "prepared_call_hides_the_key"),
    (UsesTheNetwork, "prepare_sends_nothing"),
    (Counts, "prepare_gives_the_same_for_the_same_request"),
    (ChangesTheRequest, "prepare_leaves_the_request_unchanged"),
    (ChangesTheRequest, "request_is_unchanged_by_the_call"),
    (SendsForeignData, "parts_of_another_provider_are_accepted"),
    (KeepsTheKeyInTheUrl, "prepared_call_hides_the_key"),
    (KeepsTheKeyInTheUrl, "key_goes_into_a_header_and_that_of_the_call_wins"),
    (IgnoresTheKeyOfTheCall, "key_goes_into_a_header_and_that_of_the_call_wins"),
    (TakesAnyToolChoice, "unknown_tool_choice_is_rejected"),
    (NeedsNoKey, "missing_key_is_an_error_before_anything_is_sent"),
    (RepairsTheKey, "invalid_key_is_an_error_before_anything_is_sent"),
    (Fails, "text_arrives"),
    (LosesUsage, "usage_is_reported"),
    (HidesTheStart, "text_arrives"),
    (LosesCompletions, "text_arrives"),
    (LosesCompletions, "several_tool_calls_arrive"),
    (ReadsLatin1, "any_character_arrives_unchanged"),
    (SaysStop, "finish_reasons_are_distinguished"),
    (WaitsForTheEnd, "events_arrive_while_the_response_is_generated"),
    (WaitsForTheEnd, "silence_in_the_middle_is_a_timeout"),
    (DoesNotWaitForTheReader, "emit_is_awaited"),
    (ReadsAhead, "slow_reader_slows_the_server"),
    (RetriesByItself, "adapter_does_not_retry_by_itself"),
    (TakesAnEndForSuccess, "truncated_response_is_never_a_success"),
    (TakesAnEndForSuccess, "errors_are_distinguished"),
    (UnmasksTheKey, "key_is_never_shown"),
    (RemembersTheLastCall, "concurrent_calls_do_not_mix"),
    (LeavesAConnectionOpen, "cancel_at_every_checkpoint"),
    (OpensAConnectionForEachCall, "second_call_uses_the_connection_of_the_first"),
]


def suite_of(adapter):
    class Suite(StreamAdapterConformance):
        wire_format = "openai"

        def make_adapter(self, setup):
            return adapter(setup)

    return Suite()


@pytest.fixture(autouse=True)
def _close_what_was_left_open():
    yield
    while LeavesAConnectionOpen.kept:
        LeavesAConnectionOpen.kept.pop().close()


@pytest.mark.parametrize(("adapter", "case"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_broken_adapter_is_found(adapter, case):
    """The case for the broken rule fails with a message."""
    suite = suite_of(adapter)
    with pytest.raises(AssertionError) as caught:
        getattr(suite, f"test_{case}")()
    assert str(caught.value)


@pytest.mark.parametrize("case", sorted({case for _, case in BROKEN}))
def test_sound_adapter_passes(case):
    """The same case passes for a correct adapter."""
    getattr(suite_of(Sound), f"test_{case}")()


class OfResponses(Sound):
    def __init__(self, setup):
        super().__init__(setup)
        self.inner = OpenAI(api_key=setup.api_key, base_url=f"{setup.base_url}/v1", endpoint="responses")


class DropsFiles(OfResponses):
    def prepare(self, request, options):
        last = request.messages[-1]
        kept = [part for part in last.parts if isinstance(part, allm.TextPart)]
        return self.inner.prepare(attrs.evolve(request, messages=[allm.Message("user", kept)]), options)


class DropsHostedCalls(OfResponses):
    def prepare(self, request, options):
        messages = [
            attrs.evolve(message, content=[part for part in message.parts if not isinstance(part, allm.HostedCall)])
            for message in request.messages
        ]
        return self.inner.prepare(attrs.evolve(request, messages=messages), options)


class HidesHostedCalls(OfResponses):
    hidden = (allm.HostedCallCompleted, allm.HostedCall)

    async def stream(self, prepared, emit):
        async def changed(*events):
            kept = [event for event in events if not isinstance(event, self.hidden)]
            await emit(*[self.without(event) for event in kept])

        await self.inner.stream(prepared, changed)

    def without(self, event):
        if not isinstance(event, allm.MessageCompleted):
            return event
        kept = [part for part in event.message.parts if not isinstance(part, self.hidden)]
        return attrs.evolve(event, message=attrs.evolve(event.message, content=kept))


class HidesImages(HidesHostedCalls):
    hidden = (allm.ImageCompleted, allm.ImagePart)


class ForgetsCitedTexts(OfResponses):
    def prepare(self, request, options):
        messages = [message for message in request.messages if message.role == "user"]
        return self.inner.prepare(attrs.evolve(request, messages=messages), options)


@pytest.mark.parametrize(
    ("adapter", "case"),
    [
        (DropsFiles, "files_are_sent_or_refused"),
        (DropsHostedCalls, "what_ran_at_the_provider_goes_back"),
        (HidesHostedCalls, "what_ran_at_the_provider_is_no_call_for_the_caller"),
        (HidesImages, "an_image_of_the_answer_is_a_part"),
        (ForgetsCitedTexts, "a_text_with_citations_goes_back"),
    ],
)
def test_content_that_gets_lost_is_found(adapter, case):
    """The case passes for a correct adapter, and fails for one that drops the content."""

    class Suite(StreamAdapterConformance):
        wire_format = "openai_responses"

        def make_adapter(self, setup):
            return made(setup)

    made = OfResponses
    getattr(Suite(), f"test_{case}")()
    made = adapter
    with pytest.raises(AssertionError):
        getattr(Suite(), f"test_{case}")()


@pytest.mark.parametrize("wire", ["openai", "cohere"])
def test_a_format_without_hosted_calls_says_so(wire):
    """A script with one would else be played without it, and the test would test nothing."""
    with pytest.raises(ValueError, match=r"cannot send Image"):
        Reply.script("anthropic", [allm.fake.image(allm.Image.from_bytes(b"x"))])
    with pytest.raises(ValueError, match=r"cannot send HostedCallItem\(kind='web_search'"):
        Reply.script(wire, [allm.fake.hosted_call("web_search", {"query": "x"})])


def test_what_an_adapter_lacks_is_skipped_with_its_reason():
    """A skipped case shows the reason."""

    class Suite(StreamAdapterConformance):
        lacks = {"http": "plays in memory"}  # noqa: RUF012

        def make_adapter(self, setup):
            return Fake(scripts=setup.scripts)

    with pytest.raises(pytest.skip.Exception, match="lacks http: plays in memory"):
        Suite().test_response_cut_at_every_byte()


def test_case_leaves_out_what_the_provider_lacks():
    """Without `stream_errors` no case plays an error inside the stream."""
    suite = suite_of(Sound)
    type(suite).lacks = {"stream_errors": "closes the connection instead"}
    suite.test_key_is_never_shown()


class PlainText:
    """An adapter for a provider with text only, without HTTP, and with a comparable prepared call."""

    provider = "plain"

    def __init__(self, setup):
        self.words = [item.text for script in setup.scripts[:1] for item in script]

    def prepare(self, request, options):
        return request.messages[-1].text

    async def stream(self, prepared, emit):
        message = allm.assistant("".join(self.words))
        await emit(allm.MessageStarted())
        await emit(*[allm.TextDelta("text", word) for word in self.words])
        await emit(allm.TextCompleted("text", message.text), allm.MessageCompleted(message, "stop"))


@pytest.mark.parametrize(
    "case",
    [
        "prepare_gives_the_same_for_the_same_request",
        "parts_of_another_provider_are_accepted",
        "conversation_of_another_provider_can_continue",
        "every_prefix_of_the_events_is_a_valid_response",
        "cancel_at_every_checkpoint",
    ],
)
def test_adapter_that_lacks_nearly_everything_passes_the_rest(case):
    """The samples use only the provider's capabilities."""

    class Suite(StreamAdapterConformance):
        lacks: ClassVar = dict.fromkeys(["http", "tools", "reasoning", "usage"], "is but plain text")

        def make_adapter(self, setup):
            return PlainText(setup)

    getattr(Suite(), f"test_{case}")()


@pytest.mark.parametrize("lacks", [{"htpp": "misspelt"}, {"http": ""}])
def test_capabilities_are_checked(lacks):
    """A misspelt capability or an empty reason fails."""

    class Suite(StreamAdapterConformance):
        def make_adapter(self, setup):
            return Fake(scripts=setup.scripts)

    Suite.lacks = lacks
    with pytest.raises(AssertionError):
        Suite().test_declared_capabilities_are_known_and_have_reasons()


def test_missing_hooks_are_named():
    """The error says which hook to define."""
    with pytest.raises(NotImplementedError, match="make_adapter"):
        StreamAdapterConformance().test_prepare_sends_nothing()
    suite = suite_of(Sound)
    type(suite).wire_format = None
    with pytest.raises(NotImplementedError, match="make_reply"):
        suite.test_text_arrives()
