"""Embeddings: concurrent batches, returned in order, with one retry budget, and no finished vector lost."""

from __future__ import annotations

import gc
import signal
import weakref
from contextlib import suppress

import pytest
import trio

import allm
from allm import fake
from allm.providers import FakeEmbeddings

RETRY = allm.RetryPolicy(max_attempts=3, base_delay=1, jitter=0)


def engine(adapter=None, **fields):
    return allm.Engine(embedding_adapter=adapter or FakeEmbeddings(batch_limit=2), **{"retry": RETRY, **fields})


def texts(count):
    return [f"text {index}" for index in range(count)]


def failure(**fields):
    return fake.error(allm.AdapterError("no", **{"reason": "invalid_request", **fields}))


def indexes(response):
    return [embedding.index for embedding in response.embeddings]


async def test_one_text():
    """One text gives one vector."""
    response = await allm.embed(engine(FakeEmbeddings(vectors={"red": [1, 0.5]})), "red")
    assert response.vectors == ((1.0, 0.5),)
    assert response.embeddings[0].dimensions == 2


async def test_many_texts_are_sent_in_batches_and_come_in_their_order(autojump_clock):
    """Vectors are in the order of the texts, and usage is the sum."""
    adapter = FakeEmbeddings(batch_limit=2, script=[[fake.delay(3)], [fake.delay(1)], [fake.delay(2)]])
    response = await allm.embed(engine(adapter), texts(5), dimensions=3)
    assert [request.inputs for request in adapter.requests] == [
        ("text 0", "text 1"),
        ("text 2", "text 3"),
        ("text 4",),
    ]
    assert indexes(response) == [0, 1, 2, 3, 4]
    alone = FakeEmbeddings()
    for text, vector in zip(texts(5), response.vectors, strict=True):
        assert (await allm.embed(engine(alone), text, dimensions=3)).vectors == (vector,)
    assert response.usage.input_tokens == sum(request.usage.input_tokens for request in [response])
    assert response.usage.input_tokens == 10
    assert response.model == "fake"
    assert trio.current_time() == 3


@pytest.mark.parametrize(("limit", "seconds"), [(1, 4), (2, 2), (4, 1)])
async def test_at_most_so_many_requests_at_once(autojump_clock, limit, seconds):
    """`max_concurrency` bounds the requests in flight."""
    adapter = FakeEmbeddings(batch_limit=1, script=[[fake.delay(1)]] * 4)
    await allm.embed(engine(adapter), texts(4), max_concurrency=limit)
    assert trio.current_time() == seconds


async def test_batch_size_is_an_upper_bound():
    """The provider's own limit still applies."""
    adapter = FakeEmbeddings(batch_limit=3)
    await allm.embed(engine(adapter), texts(4), batch_size=2)
    await allm.embed(engine(adapter), texts(4), batch_size=50)
    assert [len(request.inputs) for request in adapter.requests] == [2, 2, 3, 1]


async def test_an_adapter_without_limits_gets_a_hundred():
    """Without limits of its own an adapter gets batches of 100, as documented."""

    class Plain:
        provider = "plain"
        requires_model = False

        def __init__(self):
            self.sizes = []

        def prepare(self, request, options):
            self.sizes.append(len(request.inputs))
            return request

        async def send(self, prepared):
            return allm.EmbeddingResponse(embeddings=[allm.Embedding(i, [i]) for i, _ in enumerate(prepared.inputs)])

    adapter = Plain()
    await allm.embed(engine(adapter), texts(150))
    assert adapter.sizes == [100, 50]


async def test_stream_hands_batches_over_in_order(autojump_clock):
    """Each embedding is in one batch, and the result has only the usage left."""
    adapter = FakeEmbeddings(batch_limit=2, script=[[fake.delay(3)], [fake.delay(1)], [fake.delay(2)]])
    async with allm.stream_embed(engine(adapter), iter(texts(5))) as batches:
        seen = [indexes(batch) async for batch in batches]
        assert (batches.done, batches.total) == (5, None)
    assert seen == [[0, 1], [2, 3], [4]]
    assert indexes(batches.result()) == []
    assert batches.result().usage.input_tokens == 10


async def test_nothing_is_sent_before_the_first_batch_is_asked_for():
    """Entering and leaving the block sends nothing."""
    adapter = FakeEmbeddings()
    adapter.send = None  # would fail
    async with allm.stream_embed(engine(FakeEmbeddings()), texts(3)) as batches:
        await trio.testing.wait_all_tasks_blocked()
        assert batches.done == 0
    assert batches.result() == allm.EmbeddingResponse()


async def test_until_done_after_some_batches():
    """`until_done` returns the rest."""
    async with allm.stream_embed(engine(), texts(7), max_concurrency=1) as batches:
        first = await anext(batches)
        rest = await batches.until_done()
    assert indexes(first) == [0, 1]
    assert indexes(rest) == [2, 3, 4, 5, 6]


async def test_batches_after_a_cancelled_until_done(autojump_clock):
    """After a cancelled `until_done` the batches can still be read one by one."""
    adapter = FakeEmbeddings(batch_limit=1, script=[[fake.delay(1)], [fake.delay(9)], [fake.delay(1)]])
    async with allm.stream_embed(engine(adapter), texts(6), max_concurrency=2) as batches:
        with trio.move_on_after(5):
            await batches.until_done()
        assert indexes(batches.result()) == [0, 2, 3, 4, 5]
        assert [indexes(batch) async for batch in batches] == [[index] for index in range(6)]


@pytest.mark.parametrize("way", ["break", "exception", "deadline", "deadline inside"])
async def test_leaving_half_way_keeps_what_is_done(autojump_clock, way):
    """Leaving ends every request at once, and the body's exception comes out as itself."""
    adapter = FakeEmbeddings(batch_limit=1, script=[[fake.delay(1)], [fake.delay(50)], [fake.delay(2)]])
    with trio.CancelScope() as scope:
        try:
            async with allm.stream_embed(engine(adapter), texts(3)) as batches:
                assert indexes(await anext(batches)) == [0]
                await trio.sleep(2)
                if way == "exception":
                    {}["mine"]
                if way == "deadline":
                    scope.deadline = trio.current_time() + 1
                if way == "deadline inside":
                    with trio.move_on_after(1):
                        await anext(batches)
                elif way == "deadline":
                    await anext(batches)
        except KeyError:
            assert way == "exception"
    assert trio.current_time() < 10
    assert indexes(batches.result()) == [2]
    assert (batches.done, batches.total) == (2, 3)
    assert batches.result().usage.input_tokens == 4
    assert trio.lowlevel.current_statistics().tasks_living < 8


@pytest.mark.parametrize("seconds", range(12))
async def test_whenever_it_is_cancelled_each_embedding_is_handed_over_once(autojump_clock, seconds):
    """Each embedding is in one batch or in the result."""
    delays = [[fake.delay(delay)] for delay in (3, 1, 4, 1, 5, 2, 6)]
    handed = []

    async def told(done, total):
        await trio.sleep(0.5)

    with trio.move_on_at(seconds + 0.25):
        adapter = FakeEmbeddings(batch_limit=1, script=delays)
        block = allm.stream_embed(engine(adapter), texts(7), max_concurrency=2, on_progress=told)
        async with block as batches:
            async for batch in batches:
                handed += indexes(batch)
                await trio.sleep(0.5)
    assert handed == list(range(len(handed)))
    left = indexes(batches.result())
    assert sorted(handed + left) == sorted(set(handed + left))
    assert len(handed) + len(left) == batches.done
    assert batches.result().usage.input_tokens == (2 * batches.done or None)


async def test_a_cancelled_embed_leaves_nothing_running(autojump_clock):
    """After a cancellation the engine's limiter has no borrowers."""
    limiter = trio.CapacityLimiter(2)
    adapter = FakeEmbeddings(batch_limit=1, script=[[fake.delay(50)]] * 3)
    with trio.move_on_after(1):
        await allm.embed(engine(adapter, limiter=limiter), texts(3))
    assert limiter.borrowed_tokens == 0
    assert trio.current_time() == 1


async def test_a_failed_batch_ends_the_others_and_brings_what_is_done(autojump_clock):
    """The error, not in a group, has the finished embeddings and counts."""
    adapter = FakeEmbeddings(batch_limit=2, script=[[fake.delay(9)], [fake.delay(1)], [fake.delay(2), failure()]])
    with pytest.raises(allm.EmbeddingAdapterError, match="no") as caught:
        await allm.embed(engine(adapter), texts(6))
    error = caught.value
    assert indexes(error.partial) == [2, 3]
    assert (error.completed_inputs, error.completed_batches) == (2, 1)
    assert error.partial.usage.input_tokens == 4
    assert error.reason == "invalid_request"
    assert trio.current_time() == 2
    assert allm.from_json(allm.to_json(error)) == error


async def test_failures_at_the_same_moment():
    """Of several failures at once the first is raised."""

    class Together:
        provider = "together"
        requires_model = False
        batch_limits = FakeEmbeddings(batch_limit=1).batch_limits

        def __init__(self):
            self.event, self.waiting = trio.Event(), 0

        def prepare(self, request, options):
            return request.inputs[0]

        async def send(self, prepared):
            self.waiting += 1
            if self.waiting == 3:
                self.event.set()
            await self.event.wait()
            raise allm.AdapterError(prepared, reason="invalid_request")

    with pytest.raises(allm.EmbeddingAdapterError, match="text"):
        await allm.embed(engine(Together()), texts(3))


async def test_a_stream_gives_the_batches_before_the_failed_one(autojump_clock):
    """Batches before the failed one are read first, then the error is raised."""
    adapter = FakeEmbeddings(
        batch_limit=1, script=[[fake.delay(1)], [fake.delay(3), failure()], [fake.delay(2)], [fake.delay(9)]]
    )
    seen = []
    async with allm.stream_embed(engine(adapter), texts(4)) as batches:
        await trio.sleep(5)
        for _ in range(2):
            with pytest.raises(allm.EmbeddingAdapterError) as caught:
                async for batch in batches:
                    seen += indexes(batch)
    assert seen == [0]
    assert indexes(caught.value.partial) == [2]
    assert caught.value.completed_inputs == 2


async def test_one_trouble_of_many_requests_is_charged_once(autojump_clock):
    """Concurrent requests that hit one rate limit use up one retry."""
    busy = [fake.delay(1), failure(reason="rate_limited", retry_after=7)]
    adapter = FakeEmbeddings(batch_limit=1, script=[busy, busy, busy, busy, [failure(reason="overloaded")]])
    response = await allm.embed(engine(adapter), texts(4))
    assert len(response.embeddings) == 4
    assert trio.current_time() == 10


async def test_nothing_is_sent_while_the_call_pauses(autojump_clock):
    """During a retry pause no further batches are sent."""
    adapter = FakeEmbeddings(batch_limit=1, script=[[fake.delay(1)], [failure(reason="overloaded", retry_after=5)]])
    await allm.embed(engine(adapter), texts(4), max_concurrency=2)
    assert trio.current_time() == 5


async def test_the_budget_of_retries_is_that_of_the_whole_call(autojump_clock):
    """The retries are for the whole call, not for each batch."""
    adapter = FakeEmbeddings(
        batch_limit=1, script=[[failure(reason="overloaded")], [], [failure(reason="timeout")]] * 2
    )
    with pytest.raises(allm.EmbeddingAdapterError) as caught:
        await allm.embed(engine(adapter), texts(9), max_concurrency=1)
    assert caught.value.reason == "overloaded"
    assert indexes(caught.value.partial) == [0]


async def test_a_retry_that_is_not_charged_can_be_refused(autojump_clock):
    """An error that is not retryable fails at once, also beside a retryable one."""
    adapter = FakeEmbeddings(
        batch_limit=1,
        script=[[fake.delay(0.2), failure(reason="overloaded")], [fake.delay(0.5), failure(reason="quota_exhausted")]],
    )
    with pytest.raises(allm.EmbeddingAdapterError) as caught:
        await allm.embed(engine(adapter), texts(2))
    assert caught.value.reason == "quota_exhausted"
    assert trio.current_time() == 0.5


async def test_the_time_limit_is_that_of_the_whole_call(autojump_clock):
    """The limit applies to all requests together; finished embeddings are kept."""
    adapter = FakeEmbeddings(batch_limit=1, script=[[fake.delay(2)]] * 9)
    with pytest.raises(allm.EmbeddingAdapterError, match="request_timeout") as caught:
        await allm.embed(engine(adapter), texts(9), max_concurrency=2, request_timeout=5)
    assert trio.current_time() == 5
    assert indexes(caught.value.partial) == [0, 1, 2, 3]
    assert caught.value.reason == "timeout"


async def test_inputs_are_read_as_they_are_needed():
    """An endless generator is read only as far as batches are in flight or waiting."""
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield f"text {taken}"

    async with allm.stream_embed(engine(), endless(), batch_size=1, max_concurrency=3) as batches:
        assert taken == 1
        for count in range(1, 20):
            await anext(batches)
            await trio.testing.wait_all_tasks_blocked()
            assert taken <= count + 6


async def test_an_async_iterable_is_read_as_it_is_needed(autojump_clock):
    """An async generator is closed with the block, however it ends."""
    taken, closed = 0, 0

    async def endless():
        nonlocal taken, closed
        try:
            with trio.CancelScope():
                while True:
                    await trio.sleep(1)
                    taken += 1
                    yield f"text {taken}"
        finally:
            closed += 1

    for way in ("break", "exception", "deadline"):
        taken = 0
        with trio.move_on_after(25), suppress(KeyError):
            async with allm.stream_embed(engine(), endless(), batch_size=1, max_concurrency=3) as batches:
                assert (taken, batches.total) == (0, None)
                for count in range(1, 20 if way != "deadline" else 99):
                    assert indexes(await anext(batches)) == [count - 1]
                    await trio.sleep(0.1)
                    assert taken <= count + 6
                if way == "exception":
                    raise KeyError
    assert closed == 3


async def test_an_async_iterable_with_an_end(autojump_clock):
    """It gives the same as a list; an empty one or an exception in it is an error."""

    async def source(items, error=None):
        for item in items:
            yield item
        if error is not None:
            raise error

    response = await allm.embed(engine(), source(texts(5)), on_progress=lambda done, total: None)
    assert response == await allm.embed(engine(), texts(5))
    with pytest.raises(allm.ValidationError, match="nothing to embed"):
        await allm.embed(engine(), source([]))
    with pytest.raises(allm.ValidationError, match=r"inputs\[3\]"):
        await allm.embed(engine(), source([*texts(3), 4]))
    with pytest.raises(ZeroDivisionError):
        await allm.embed(engine(), source(texts(3), ZeroDivisionError()))

    class Failing:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await allm.embed(engine(), Failing())


async def test_batches_do_not_pile_up():
    """While the consumer streams, no more batches than the window are in memory."""
    alive, most = weakref.WeakSet(), 0

    class Counting:
        provider = "counting"
        requires_model = False
        batch_limits = FakeEmbeddings(batch_limit=10).batch_limits

        def prepare(self, request, options):
            return request.inputs

        async def send(self, prepared):
            await trio.lowlevel.checkpoint()
            values = [Tracked(index, [1.0, 2.0]) for index, _ in enumerate(prepared)]
            alive.add(values[0])
            return allm.EmbeddingResponse(embeddings=values)

    async with allm.stream_embed(engine(Counting()), (f"t{index}" for index in range(10_000))) as batches:
        count = 0
        async for batch in batches:
            count += len(batch.embeddings)
            gc.collect(0)
            most = max(most, len(alive))
            del batch
    assert count == 10_000
    assert 1 <= most <= 2 * 4 + 1


class Tracked:
    """A stand-in for an embedding that supports weak references."""

    def __init__(self, index, values):
        self.index, self._values, self.dimensions = index, values, len(values)


async def test_progress_is_told_after_each_batch(autojump_clock):
    """`on_progress`, sync or async, is called after each batch, with a total if it is known."""
    for total, given in ((5, texts(5)), (5, dict.fromkeys(texts(5)).keys()), (None, iter(texts(5)))):
        seen = []
        await allm.embed(engine(), given, on_progress=lambda *counts: seen.append(counts))  # noqa: B023
        assert [done for done, _ in seen] == [2, 4, 5]
        assert {of for _, of in seen} == {total}

    async def slowly(done, total):
        await trio.sleep(1)
        seen.append(done)

    seen.clear()
    async with allm.stream_embed(engine(), texts(4), on_progress=slowly) as batches:
        assert [indexes(batch) async for batch in batches] == [[0, 1], [2, 3]]
    assert seen == [2, 4]


async def test_what_on_progress_raises_comes_out_as_itself():
    """An exception of `on_progress` is raised, and its batch is not lost."""

    def fail(done, total):
        raise KeyError(done)

    with pytest.raises(KeyError):
        await allm.embed(engine(), texts(4), on_progress=fail)
    async with allm.stream_embed(engine(), texts(4), on_progress=fail) as batches:
        with pytest.raises(KeyError):
            await anext(batches)
    assert 0 in indexes(batches.result())


async def test_what_the_iterable_raises_comes_out_as_itself():
    """Also an exception group; the stream still has the finished embeddings."""

    def source():
        yield from texts(3)
        raise ExceptionGroup("mine", [ValueError("x")])

    with pytest.raises(ExceptionGroup, match="mine"):
        await allm.embed(engine(), source())
    async with allm.stream_embed(engine(), source(), batch_size=1, max_concurrency=1) as batches:
        with pytest.raises(ExceptionGroup, match="mine"):
            await batches.until_done()
    assert indexes(batches.result()) == [0, 1, 2]


async def test_a_bad_input_far_down_an_iterable_is_found_when_it_is_reached():
    """The error has its position."""
    with pytest.raises(allm.ValidationError, match=r"inputs\[3\]") as caught:
        await allm.embed(engine(), iter([*texts(3), None]))
    assert caught.value.errors == ((("inputs", 3), "invalid_type"),)


@pytest.mark.parametrize(
    ("inputs", "errors"),
    [
        ("", [(("inputs", 0), "empty")]),
        ([], [(("inputs",), "empty")]),
        (iter([]), [(("inputs",), "empty")]),
        (["a", "", 3, ()], [(("inputs", 1), "empty"), (("inputs", 2), "invalid_type"), (("inputs", 3), "empty")]),
        ([("a", ("b",))], [(("inputs", 0), "invalid_type")]),
        (iter([""]), [(("inputs", 0), "empty")]),
        (5, [(("inputs",), "invalid_type")]),
        (b"bytes", [(("inputs",), "invalid_type")]),
        ({"a": 1}, [(("inputs",), "invalid_type")]),
        (allm.EmbeddingRequest({"a": 1}.values), [(("inputs",), "invalid_type")]),
        (
            allm.EmbeddingRequest("a", dimensions=0, task_type=4, encoding_format="hex", user="u"),
            [
                (("dimensions",), "must_be_positive"),
                (("task_type",), "invalid_type"),
                (("encoding_format",), "unknown"),
            ],
        ),
        (allm.EmbeddingRequest("a", dimensions=1.5), [(("dimensions",), "invalid_type")]),
    ],
)
async def test_bad_inputs_are_one_error_before_anything_is_sent(inputs, errors):
    """One error has every problem of a list or a request."""
    adapter = FakeEmbeddings()
    with pytest.raises(allm.ValidationError) as caught:
        await allm.embed(engine(adapter), inputs)
    assert list(caught.value.errors) == errors
    assert adapter.requests == []


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"dimension": 3}, allm.OptionError, "'dimensions'"),
        ({"temperature": 1}, allm.OptionError, "expected one of"),
        ({"batch_size": 0}, allm.ValidationError, "greater than 0"),
        ({"batch_size": "2"}, allm.OptionError, "expected int"),
        ({"max_concurrency": None}, allm.OptionError, "expected int"),
        ({"max_concurrency": -1}, allm.ValidationError, "greater than 0"),
        ({"on_progress": 4}, allm.OptionError, "function"),
        ({"dimensions": -1}, allm.ValidationError, "dimensions is -1; expected"),
    ],
)
async def test_bad_options_are_refused_at_the_call(options, error, match):
    """Invalid options are rejected by the call, not at the first batch."""
    with pytest.raises(error, match=match):
        allm.stream_embed(engine(), "text", **options)


async def test_who_embeds_has_to_be_known():
    """An adapter and a model are required; those for chat are never used."""
    with pytest.raises(allm.EngineError, match="expected an Engine"):
        await allm.embed("engine", "text")
    with pytest.raises(allm.EngineError, match="embedding_adapter"):
        await allm.embed(allm.Engine(adapter=allm.providers.Fake(), model="m"), "text")
    adapter = FakeEmbeddings()
    adapter.requires_model = True
    with pytest.raises(allm.EngineError, match="embedding_model") as caught:
        await allm.embed(engine(adapter, model="chat"), "text")
    assert caught.value.reason == "missing_model"


async def test_options_come_from_the_usual_places():
    """Options of the call win over the request, and that over the engine."""
    adapter = FakeEmbeddings()
    request = allm.EmbeddingRequest(
        "text", model="of request", dimensions=4, task_type="query", options={"a": 1, "b": 1}, metadata={"mine": 1}
    )
    asked = engine(adapter, embedding_model="of engine")
    await allm.embed(asked, request)
    await allm.embed(asked, request, model="of call", dimensions=5, task_type="document", options={"b": 2})
    await allm.embed(asked, "text")
    first, second, third = adapter.requests
    assert (first.model, first.dimensions, first.task_type, first.options) == (
        "of request",
        4,
        "query",
        {"a": 1, "b": 1},
    )
    assert (second.model, second.dimensions, second.task_type) == ("of call", 5, "document")
    assert second.options == {"a": 1, "b": 2}
    assert first.metadata == {"mine": 1}
    assert third.model == "of engine"


@pytest.mark.parametrize("answer", [[0], [0, 0], [1, 2], [0, 1, 2], "no response"])
async def test_an_answer_that_does_not_fit_its_request_is_refused(answer):
    """A wrong number of vectors is an error."""

    class Odd:
        provider = "odd"
        requires_model = False

        def prepare(self, request, options):
            return None

        async def send(self, prepared):
            if isinstance(answer, str):
                return answer
            return allm.EmbeddingResponse(embeddings=[allm.Embedding(index, [1.0]) for index in answer])

    with pytest.raises(allm.EmbeddingAdapterError):
        await allm.embed(engine(Odd(), retry=None), texts(2))


@pytest.mark.parametrize(
    ("lengths", "dimensions", "reason"),
    [
        ([[2, 3]], None, "malformed_response"),
        ([[2, 2], [3, 3]], None, "malformed_response"),
        ([[4, 4], [4, 2]], 4, "unsupported_feature"),
        ([[16, 16]], 8, "unsupported_feature"),
    ],
)
async def test_vectors_of_other_lengths_are_refused(lengths, dimensions, reason):
    """Vectors of different lengths, or of another length than asked for, are an error."""
    with pytest.raises(allm.EmbeddingAdapterError, match="numbers") as caught:
        await allm.embed(engine(Lengths(lengths)), texts(4), dimensions=dimensions, batch_size=2, max_concurrency=1)
    assert caught.value.reason == reason
    assert indexes(caught.value.partial) == list(range(2 * (len(lengths) - 1)))


async def test_vectors_of_bits_have_an_eighth_of_the_numbers():
    """A bit vector with an eighth as many bytes matches `dimensions`."""
    response = await allm.embed(engine(Lengths([[32, 32]])), texts(2), dimensions=256)
    assert [embedding.dimensions for embedding in response.embeddings] == [32, 32]


class Lengths:
    """Responds to each request with vectors of the given lengths."""

    provider = "odd"
    requires_model = False

    def __init__(self, lengths):
        self.lengths = iter(lengths)

    def prepare(self, request, options):
        return None

    async def send(self, prepared):
        await trio.lowlevel.checkpoint()
        answer = enumerate(next(self.lengths))
        return allm.EmbeddingResponse(embeddings=[allm.Embedding(index, [1.0] * length) for index, length in answer])


async def test_many_mistakes_are_a_short_message():
    """The message stays short with 100,000 invalid inputs; the error has them all."""
    with pytest.raises(allm.ValidationError, match="token ids") as caught:
        await allm.embed(engine(), list(range(100_000)))
    assert len(caught.value.errors) == 100_000
    assert len(str(caught.value)) < 3000
    assert "and 99980 more" in str(caught.value)


async def test_misuse_says_what_to_do(autojump_clock):
    """A block not entered, already left, or with two readers is a clear error."""
    block = allm.stream_embed(engine(), texts(2))
    with pytest.raises(allm.StreamError, match="async with"):
        aiter(block)
    async with block as batches:
        pass
    for use in (lambda: anext(batches), batches.until_done):
        with pytest.raises(allm.StreamError) as caught:
            await use()
        assert caught.value.reason == "closed"
    adapter = FakeEmbeddings(script=[[fake.delay(1)]])
    async with trio.open_nursery() as nursery, allm.stream_embed(engine(adapter), texts(2)) as batches:
        nursery.start_soon(trio.sleep, 1)
        await anext(batches)

        async def second():
            with pytest.raises(allm.StreamError, match="one reader"):
                await anext(batches)

        async with trio.open_nursery() as inner:
            inner.start_soon(second)


async def test_telemetry_has_one_span_for_the_call(autojump_clock):
    """The span has the model, the usage and the number of inputs."""
    events = []
    detach = allm.telemetry.attach(events.append)
    try:
        await allm.embed(engine(), texts(5), model="m")
        with pytest.raises(allm.EmbeddingAdapterError):
            await allm.embed(engine(FakeEmbeddings(script=[[failure()]])), "text")
        with trio.move_on_after(1):
            await allm.embed(engine(FakeEmbeddings(script=[[fake.delay(5)]])), "text")
    finally:
        detach()
    assert [(event.name, event.phase) for event in events] == [
        ("embed", phase) for phase in ("start", "stop", "start", "exception", "start", "stop")
    ]
    assert events[0].attributes["model"] == "m"
    assert (events[1].attributes["inputs"], events[1].attributes["usage"].input_tokens) == (5, 10)
    assert events[-1].attributes["outcome"] == "cancelled"


def test_ctrl_c_comes_out_as_itself():
    """A KeyboardInterrupt in any task comes out as itself."""

    class Interrupted:
        provider = "interrupted"
        requires_model = False

        def prepare(self, request, options):
            return request

        async def send(self, prepared):
            await trio.lowlevel.checkpoint()
            signal.raise_signal(signal.SIGINT)
            await trio.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        trio.run(allm.embed, engine(Interrupted()), "text")
