"""The types that users rely on. Checked by mypy and pyright (`nox -s typing`), never run."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from typing import Any, Literal, assert_never, assert_type

import attrs
import httpx
from typing_extensions import TypeForm

import allm
from allm.providers import (
    Anthropic,
    Fake,
    FakeEmbeddings,
    FakeImages,
    FakeModeration,
    FakeSpeech,
    FakeTranscription,
    Gemini,
    GeminiEmbeddings,
    GeminiImages,
    GeminiTranscription,
    OpenAI,
    OpenAIEmbeddings,
    OpenAIImages,
    OpenAIModeration,
    OpenAISpeech,
    OpenAITranscription,
    VoyageEmbeddings,
)


@attrs.frozen
class Person:
    """A type for `response_format`."""

    name: str


class Weather:
    """A tool executor, a result encoder and an adapter, without any base class of the library."""

    provider = "weather"

    async def execute(self, tool: allm.Tool, tool_call: allm.ToolCall, context: allm.ToolContext) -> str:
        """Execute the tool call."""
        return f"{tool.name}, {tool_call.id}, {context.session_id}"

    def encode(self, value: object) -> str:
        """Encode the result for the model."""
        return repr(value)

    def prepare(self, request: allm.Request, options: allm.AdapterOptions) -> str:
        """Prepare the call."""
        return f"{request.model}, {options.request_id}"

    async def stream(self, prepared: str, emit: allm.Emit) -> None:
        """Emit the response."""
        await emit(allm.TextDelta("0", prepared))


async def results_have_exact_types(engine: allm.Engine) -> None:
    """A call returns a `Response`, directly or as the result of its stream."""
    assert_type(await allm.generate(engine, "Hello", temperature=0.5), allm.Response)
    async with allm.stream_generate(engine, [allm.user("Hello")], model="any") as events:
        assert_type(events, allm.EventStream[allm.Response])
        async for event in events:
            assert_type(event, allm.Event)
        async for text in events.text():
            assert_type(text, str)
        assert_type(await events.until_done(), allm.Response)
    assert_type(events.result(), allm.Response)
    assert_type(allm.unwrap(events.result()), str)


async def a_class_reaches_the_result(engine: allm.Engine) -> None:
    """`parsed()` returns the class in `response_format`, for a call and for its stream."""
    response = await allm.generate(engine, "Who?", response_format=Person, temperature=0.5)
    assert_type(response, allm.Response[Person])
    assert_type(response.parsed(), Person)
    assert_type(response.parsed(int), int)
    async with allm.stream_generate(engine, "Who?", response_format=Person) as events:
        assert_type(events, allm.EventStream[allm.Response[Person]])
        assert_type((await events.until_done()).parsed(), Person)
    step = await allm.step(engine, "Who?", response_format=Person)
    assert_type(step, allm.StepResult[Person])
    assert_type(step.response.parsed(), Person)
    async with allm.stream_step(engine, "Who?", response_format=Person) as step_events:
        assert_type(step_events.result(), allm.StepResult[Person])
    result = await allm.chat(engine, "Who?", response_format=Person, max_turns=3)
    assert_type(result, allm.ChatResult[Person])
    assert_type(result.parsed(), Person)
    assert_type(result.final_response, allm.Response[Person] | None)
    assert_type(result.steps, tuple[allm.StepResult[Person], ...])
    async with allm.stream(engine, "Who?", response_format=Person) as chat_events:
        assert_type(chat_events.result(), allm.ChatResult[Person])


class Mood(enum.Enum):
    """An enum whose members are choices."""

    GOOD = "good"
    BAD = "bad"


async def choices_reach_the_answers(engine: allm.Engine) -> None:
    """Questions of one type have answers of that type; for several choices they are tuples."""
    result = await allm.classify(engine, "Hello", {"urgent": ["yes", "no"], "tone": ("calm", "angry")})
    assert_type(result["urgent"], str)
    assert_type(result, allm.Classification[str])
    assert_type(result.usage, allm.Usage)
    assert_type((await allm.classify(engine, "Hello", {"mood": Mood}, temperature=0))["mood"], Mood)
    assert_type((await allm.classify(engine, "Hello", {"score": range(1, 6)}, probabilities=False))["score"], int)
    assert_type((await allm.classify(engine, "Hello", {"spam": bool}))["spam"], bool)
    topics = allm.Question({"bug": "broken", "wish": "missing"}, "What is it about?", several=True)
    assert_type(topics, allm.Question[tuple[str, ...]])
    assert_type(allm.Question(Mood, "How is it?"), allm.Question[Mood])
    assert_type((await allm.classify(engine, "Hello", {"topics": topics}))["topics"], tuple[str, ...])


async def items_have_the_type_of_the_list(engine: allm.Engine) -> None:
    """`elements()` gives the items of a list of any kind, or of the type that is passed; snapshots are anything."""
    async with allm.stream_generate(engine, "Who?", response_format=list[Person]) as events:
        assert_type(events.elements(), AsyncIterator[Person])
        assert_type(events.partial_output(raise_on_error=False), AsyncIterator[Any])
    async with allm.stream(engine, "Who?", response_format=tuple[Person, ...]) as turn:
        assert_type(turn.elements(raise_on_error=False), AsyncIterator[Person])
    async with allm.stream_step(engine, "Who?", response_format=set[str]) as step:
        assert_type(step.elements(), AsyncIterator[str])
    wanted: TypeForm[frozenset[str] | None] = TypeForm(frozenset[str] | None)
    async with allm.stream_generate(engine, "Who?", response_format=wanted) as optional:
        assert_type(optional.elements(), AsyncIterator[str])
    async with allm.session.stream_start(engine, "Who?", response_format=list[Person]) as session:
        assert_type(session.elements(), AsyncIterator[Person])
        assert_type(session.elements(str), AsyncIterator[str])
    async with allm.stream_generate(engine, "Who?", response_format=Person) as one:
        assert_type(one.elements(), AsyncIterator[Any])
    async with allm.stream_generate(engine, "Who?") as anything:
        assert_type(anything.elements(), AsyncIterator[Any])
        assert_type(anything.elements(Person), AsyncIterator[Person])
        assert_type(anything.elements(Person | Literal["none"]), AsyncIterator[Person | Literal["none"]])


async def without_a_class_the_output_is_anything(engine: allm.Engine, options: allm.CallOptions) -> None:
    """A call without a class, or with another format, needs no type argument."""
    schema = allm.json_schema("person", {"type": "object"})
    assert_type(await allm.generate(engine, "Who?"), allm.Response[Any])
    assert_type(await allm.generate(engine, "Who?", response_format="json"), allm.Response[Any])
    assert_type(await allm.generate(engine, "Who?", response_format=schema), allm.Response[Any])
    assert_type(await allm.generate(engine, "Who?", response_format={"type": "text"}), allm.Response[Any])
    assert_type((await allm.chat(engine, "Who?", **options)).final_response, allm.Response | None)
    assert_type((await allm.generate(engine, "Who?")).parsed(), Any)


async def any_type_reaches_the_result(engine: allm.Engine, response: allm.Response) -> None:
    """Lists, generics, Literals and unions in every call; in a session, `TypeForm(...)` helps mypy to see those."""
    people = await allm.generate(engine, "Who?", response_format=list[Person])
    assert_type(people.parsed(), list[Person])
    by_name = await allm.chat(engine, "Who?", response_format=dict[str, Person])
    assert_type(by_name.parsed(), dict[str, Person])
    assert_type((await allm.generate(engine, "How many?", response_format=int)).parsed(), int)
    verdict = await allm.generate(engine, "Well?", response_format=Literal["yes", "no"])
    assert_type(verdict.parsed(), Literal["yes", "no"])
    someone = await allm.chat(engine, "Who?", response_format=Person | None)
    assert_type(someone.parsed(), Person | None)
    either: TypeForm[Person | int] = Person | int
    assert_type((await allm.generate(engine, "Who?", response_format=either)).parsed(), Person | int)
    async with allm.stream_generate(engine, "Well?", response_format=Literal[1, 2], output_mode="tool") as events:
        assert_type(await events.until_done(), allm.Response[Literal[1, 2]])
    async with allm.stream(engine, "Who?", response_format=Person | int) as turn:
        assert_type((await turn.until_done()).parsed(), Person | int)
    async with allm.stream_step(engine, "Who?", response_format=list[Person] | None) as step:
        assert_type((await step.until_done()).response.parsed(), list[Person] | None)
    assert_type((await allm.step(engine, "Who?", response_format=Literal["a"])).response.parsed(), Literal["a"])
    started = await allm.session.start(engine, "Who?", response_format=TypeForm(Person | None))
    assert_type(started[1].parsed(), Person | None)
    assert_type(response.parsed(list[Person]), list[Person])
    assert_type(response.parsed(Literal["yes", "no"]), Literal["yes", "no"])
    assert_type(response.parsed(Person | None), Person | None)


async def a_class_may_be_given_or_not(engine: allm.Engine, wanted: type[Person] | str | None) -> None:
    """A format known only at run time has one type; a response of a class is also a plain response."""
    assert_type(await allm.generate(engine, "Who?", response_format=wanted), allm.Response[Person])
    anything: allm.Response = await allm.generate(engine, "Who?", response_format=Person)
    broader: allm.Response[object] = await allm.generate(engine, "Who?", response_format=Person)
    assert_type(allm.unwrap(anything) + allm.unwrap(broader), str)


async def a_class_reaches_the_result_of_a_session(engine: allm.Engine, lease: allm.session.SessionLease) -> None:
    """Sessions keep the class, both as values and in a store."""
    started = await allm.session.start(engine, "Who?", response_format=Person)
    assert_type(started, tuple[allm.Session, allm.ChatResult[Person]])
    session, _ = started
    replied = await allm.session.reply(engine, session, "?", response_format=Person)
    assert_type(replied, tuple[allm.Session, allm.ChatResult[Person]])
    continued = await allm.session.continue_(engine, session, response_format=Person)
    assert_type(continued, tuple[allm.Session, allm.ChatResult[Person]])
    stepped = await allm.session.step(engine, session, response_format=Person)
    assert_type(stepped, tuple[allm.Session, allm.StepResult[Person]])
    block = allm.session.stream_reply(engine, session, "?", response_format=Person)
    assert_type(block, allm.StreamBlock[allm.session.SessionStream[allm.ChatResult[Person]]])
    async with block as events:
        assert_type(events.outcome(), tuple[allm.Session, allm.ChatResult[Person]])
    assert_type(await lease.start(engine, "?", response_format=Person), allm.ChatResult[Person])
    assert_type(await lease.reply(engine, "?", response_format=Person), allm.ChatResult[Person])
    assert_type(await lease.continue_(engine, response_format=Person), allm.ChatResult[Person])
    assert_type(await lease.resume(engine, response_format=Person), allm.ChatResult[Person])
    assert_type(await lease.step(engine, response_format=Person), allm.StepResult[Person])
    async with lease.stream_step(engine, response_format=Person) as step_events:
        assert_type(await step_events.until_done(), allm.StepResult[Person])
    assert_type(allm.session.StreamReducer(session).outcome(), tuple[allm.Session, allm.ChatResult])
    assert_type(allm.session.StreamReducer(session, "step").outcome(), tuple[allm.Session, allm.StepResult])


async def streams_are_opened_with_exact_types(engine: allm.Engine, session: allm.Session) -> None:
    """Each block has its own type of stream."""
    assert_type(allm.stream(engine, "Hello"), allm.StreamBlock[allm.EventStream[allm.ChatResult]])
    assert_type(allm.stream_embed(engine, "Hello"), allm.StreamBlock[allm.EmbeddingStream])
    async with allm.stream_synthesize(engine, "Hello", voice="alloy") as speech:
        assert_type(speech, allm.SpeechStream)
        async for piece in speech:
            assert_type(piece, bytes)
    async with allm.session.stream_reply(engine, session, "Hello") as events:
        assert_type(events, allm.session.SessionStream[allm.ChatResult])
        assert_type(await events.until_done(), allm.ChatResult)
    async with allm.session.stream_step(engine, session) as step:
        assert_type(step.outcome(), tuple[allm.Session, allm.StepResult])


async def blocks_are_not_streams(engine: allm.Engine) -> None:
    """A block used without `async with` is a type error."""
    async for _ in allm.stream_generate(engine, "Hello"):  # type: ignore[attr-defined]
        pass
    await allm.stream_embed(engine, "Hello")  # type: ignore[misc]
    with allm.stream_synthesize(engine, "Hello"):  # type: ignore[attr-defined]
        pass


async def embeddings_have_exact_types(engine: allm.Engine, texts: list[str]) -> None:
    """Embeddings at once and batch by batch; moderation."""
    response = await allm.embed(engine, texts, dimensions=256, task_type="query", request_timeout=60)
    assert_type(response, allm.EmbeddingResponse)
    assert_type(response.vectors, tuple[tuple[float, ...], ...])
    await allm.embed(engine, ["a", ("b", allm.Image.from_file("c.png"))])
    async with allm.stream_embed(engine, (text for text in texts), on_progress=print) as batches:
        async for batch in batches:
            assert_type(batch, allm.EmbeddingResponse)
            for embedding in batch.embeddings:
                assert_type(embedding.vector, tuple[float, ...])
        assert_type(await batches.until_done(), allm.EmbeddingResponse)
    assert_type(batches.result(), allm.EmbeddingResponse)
    assert_type((await allm.moderate(engine, texts)).flagged, bool)


def embedding_adapters_fit() -> list[allm.adapters.EmbeddingAdapter]:
    """The bundled adapters are what an engine takes."""
    return [OpenAIEmbeddings(), GeminiEmbeddings(), VoyageEmbeddings(), FakeEmbeddings()]


def adapters_fit() -> list[allm.adapters.StreamAdapter]:
    """The bundled adapters are what an engine takes."""
    return [OpenAI(), Fake(script=[allm.fake.text("Hello"), allm.fake.finish("length")])]


def whatever_has_the_methods_fits() -> list[allm.Engine]:
    """An engine takes bundled adapters and classes without a base class."""
    return [
        allm.Engine(adapter=OpenAI(), image_adapter=OpenAIImages(), embedding_adapter=OpenAIEmbeddings()),
        allm.Engine(
            moderation_adapter=OpenAIModeration(),
            speech_adapter=OpenAISpeech(),
            transcription_adapter=OpenAITranscription(),
            http_client=httpx.AsyncClient(),
        ),
        allm.Engine(adapter=Gemini(), image_adapter=GeminiImages(), transcription_adapter=GeminiTranscription()),
        allm.Engine(adapter=Anthropic(), embedding_adapter=VoyageEmbeddings()),
        allm.Engine(adapter=Fake(), image_adapter=FakeImages(), embedding_adapter=FakeEmbeddings()),
        allm.Engine(
            moderation_adapter=FakeModeration(),
            speech_adapter=FakeSpeech(),
            transcription_adapter=FakeTranscription(),
        ),
        allm.Engine(adapter=Weather(), tool_executor=Weather(), tool_result_encoder=Weather()),
        allm.Engine.from_model("openai:gpt-5.4", on_tool_error="halt", tools=[allm.Tool("a", "A.")]),
        allm.Engine(on_tool_error=lambda call, error: f"{call.name}: {error.message}"),
        allm.Engine().with_params({"seed": 7}, temperature=0, response_format=Person),
    ]


def needs_approval(tool: allm.Tool, call: allm.ToolCall) -> bool:
    """A policy of a set."""
    return tool.name == "pay" and bool(call.arguments)


async def tool_sets(engine: allm.Engine, weather: allm.Tool) -> tuple[allm.Tool, ...]:
    """Made from tools or a loader of either kind, and given wherever tools are."""

    async def load() -> list[allm.Tool]:
        return [weather]

    shop = allm.Toolset(load).prefixed("shop_").renamed({"shop_a": "b"}).filtered(lambda tool: not tool.manual)
    shop = shop.filtered(["b"]).approval(needs_approval).approval(["b"]).approval().limited(2, timeout=5).compact()
    for given in (shop, allm.Toolset([weather]).deferred(), allm.Toolset(lambda: (weather,))):
        allm.Engine(tools=[given, weather]).with_tools(given).with_params(tools=[given])
        allm.request("Hello", tools=[given])
        allm.Request([allm.user("Hello")], tools=[given])
        await allm.chat(engine, "Hello", tools=[given, weather])
        await allm.chat(engine, "Hello", before_step=lambda step: allm.StepChanges(tools=[shop, *step.tools]))
    shop.forget()
    return await shop.load()


async def on_event(event: allm.Event) -> None:
    """An observer may accept a wider type than events, and may be async."""


async def halts(step: allm.StepResult) -> bool:
    """A `halt_when` may be async."""
    return step.done


def before_step(step: allm.StepInput) -> allm.StepChanges | None:
    """May answer with a value or nothing."""
    return allm.StepChanges(tools=step.tools[:1], messages="Hurry.") if step.last is not None else None


async def before_step_later(step: allm.StepInput) -> allm.StepChangesDict:
    """Or with a dict, and be async."""
    return {"model": step.model, "tools": [], "messages": [allm.user("Hurry.")]}


async def changed_steps(engine: allm.Engine) -> None:
    """Functions and lambdas; a stream takes messages of the user."""
    function: allm.BeforeStep = before_step
    for asked in (before_step, before_step_later, function):
        await allm.chat(engine, "Hello", before_step=asked)
    await allm.chat(engine, "Hello", before_step=lambda step: {"instructions": f"Step {step.index}"})
    async with allm.stream(engine, "Hello", before_step=None) as events:
        events.send_user("Hurry.")
    async with allm.session.stream_start(engine, "Hello") as turn:
        turn.send_user(allm.user("Hurry."))


async def tests_of_an_application(engine: allm.Engine) -> None:
    """A fake answers with a function, and every engine has it."""

    async def later(request: allm.Request) -> str:
        return request.messages[-1].text

    answering = Fake(respond=lambda request: [allm.fake.text(request.messages[-1].text)])
    with allm.testing.override_engine(adapter=answering, retry=None):
        await allm.chat(engine, "Hello")
    with allm.testing.override_engine(adapter=Fake(respond=later)):
        await allm.chat(engine, "Hello")


async def functions_as_options(engine: allm.Engine, given: allm.Input) -> allm.ChatResult:
    """Options take functions and lambdas, sync and async; aliases annotate wrappers of the calls."""
    halt_when: allm.HaltWhen = halts
    shown: allm.OnEvent = on_event
    await allm.chat(engine, given, halt_when=lambda step: "Zug" in step.response.output_text, on_event=print)
    with allm.defaults(on_tool_error=lambda call, error: "halt", tool_choice="auto"):
        return await allm.chat(engine, given, halt_when=halt_when, on_event=shown)


def events_are_closed(event: allm.AdapterEvent) -> str | None:
    """A `match` over the events of a response needs no default; a forgotten case is a type error."""
    match event:
        case allm.MessageStarted() | allm.MessageCompleted() | allm.UsageReported() | allm.RawChunk():
            return event.__class__.__name__
        case allm.TextDelta(delta=text) | allm.ReasoningDelta(delta=text) | allm.ToolCallDelta(arguments_delta=text):
            return text
        case allm.TextCompleted() | allm.ReasoningCompleted():
            return event.text
        case allm.ToolCallStarted() | allm.ToolCallCompleted():
            return event.name
        case allm.ProviderPartCompleted():
            return event.part.provider
        case allm.HostedCallStarted() | allm.HostedCallCompleted():
            return event.call.kind
        case allm.CitationAdded():
            return event.citation.url
        case allm.ImageCompleted():
            return event.part.image.mime_type
        case allm.Failed():
            return event.error.message
        case _:
            assert_never(event)


def halts_are_closed(result: allm.ChatResult) -> allm.HaltedReason:
    """The same holds for what halts a turn; each has its reason."""
    match result.halt:
        case None:
            return result.halted_reason
        case allm.UserAsked(questions):
            assert_type(questions, tuple[allm.PendingQuestion, ...])
        case allm.ToolFailed():
            assert_type(result.halt.error, allm.ToolError)
        case allm.HandlerHalted():
            assert_type(result.halt.result, str)
        case allm.ManualCalls(calls):
            assert_type(calls, tuple[allm.ToolCall, ...])
        case _:
            assert_never(result.halt)
    return result.halt.reason


def parts_are_closed(part: allm.Part) -> str:
    """The same holds for the parts of a message."""
    match part:
        case allm.TextPart() | allm.ReasoningPart():
            return part.text
        case allm.ImagePart() | allm.DocumentPart() | allm.AudioPart() | allm.VideoPart():
            return "file"
        case allm.ToolCall():
            return part.name
        case allm.CachePoint():
            return part.ttl or ""
        case allm.HostedCall():
            return part.kind
        case allm.ProviderPart():
            return part.provider
        case _:
            assert_never(part)


def values_go_to_json_and_back(thread: allm.Thread) -> allm.Thread:
    """`from_json` returns the class it is given."""
    return allm.from_json(allm.to_json(thread), allm.Thread)
