"""The types that users rely on. Read by mypy and pyright (`nox -s typing`), never run."""

from __future__ import annotations

from typing import assert_never, assert_type

import allm
from allm.providers import (
    Fake,
    FakeEmbeddings,
    GeminiEmbeddings,
    OpenAI,
    OpenAIEmbeddings,
    VoyageEmbeddings,
)


async def results_have_exact_types(engine: allm.Engine) -> None:
    """A call gives a `Response`, whole or as the result of its stream."""
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


async def embeddings_have_exact_types(engine: allm.Engine, texts: list[str]) -> None:
    """At once and batch by batch; a verdict, too."""
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


def events_are_closed(event: allm.AdapterEvent) -> str | None:
    """A `match` over the events of an answer needs no default; one that forgets a case is found here."""
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
        case allm.Failed():
            return event.error.message
        case _:
            assert_never(event)


def parts_are_closed(part: allm.Part) -> str:
    """The same for the parts of a message."""
    match part:
        case allm.TextPart() | allm.ReasoningPart():
            return part.text
        case allm.ImagePart():
            return "image"
        case allm.ToolCall():
            return part.name
        case allm.ProviderPart():
            return part.provider
        case _:
            assert_never(part)


def values_go_to_json_and_back(thread: allm.Thread) -> allm.Thread:
    """`from_json` gives what it was asked for."""
    return allm.from_json(allm.to_json(thread), allm.Thread)
