"""Costs: arithmetic, which prices apply, and that folding the events gives the costs of the response."""

from __future__ import annotations

import importlib.util
from datetime import UTC, date, datetime

import pytest

import allm
from allm import fake, models
from allm.data.events import MessageCompleted, MessageStarted, UsageReported
from allm.models import ModelInfo, Prices
from allm.runtime import costs, service_costs

HAS_GENAI_PRICES = importlib.util.find_spec("genai_prices") is not None


@pytest.fixture(autouse=True)
def _nothing_put_in():
    yield
    models.clear()


@pytest.fixture
def without_genai_prices(monkeypatch):
    """Use only our own prices, even if genai-prices is installed."""
    monkeypatch.setattr(costs, "_genai_prices", lambda: None)


def priced(model="alpha", provider="test", **counts):
    """The usage of a response of `model` that reports these counts."""
    [event] = costs.Pricing(provider, model, datetime(2026, 11, 21, tzinfo=UTC)).on(
        (UsageReported(allm.Usage(**counts)),)
    )
    return event.usage


def put(**prices):
    models.put(ModelInfo(provider="test", id="alpha", prices=Prices(**{"input": 2, "output": 10, **prices})))


def in_dollars(usage):
    return usage.input_cost, usage.output_cost, usage.total_cost


# --- arithmetic -------------------------------------------------------------------------------------------------------


def test_prices_are_for_a_million_tokens():
    """Input and output are priced separately and added up."""
    put()
    assert in_dollars(priced(input_tokens=1_000_000, output_tokens=100_000)) == (2.0, 1.0, 3.0)


def test_cached_tokens_are_priced_as_cached():
    """They are part of the prompt's count and are not charged twice."""
    put(cached_input=0.2)
    usage = priced(input_tokens=1_000_000, cached_input_tokens=600_000, output_tokens=0)
    assert in_dollars(usage) == (0.4 * 2 + 0.6 * 0.2, 0.0, 0.92)


def test_cache_writes_have_their_own_prices():
    """Next to cached tokens in one prompt, and by how long the cache keeps them."""
    put(cached_input=0.2, cache_write=2.5, cache_write_1h=4)
    counts = {"input_tokens": 1_000_000, "cached_input_tokens": 300_000, "cache_write_input_tokens": 200_000}
    assert priced(**counts).input_cost == pytest.approx(0.5 * 2 + 0.3 * 0.2 + 0.2 * 2.5)
    usage = priced(**counts, extra={"ephemeral_1h_input_tokens": 150_000, "ephemeral_5m_input_tokens": 50_000})
    assert usage.input_cost == pytest.approx(0.5 * 2 + 0.3 * 0.2 + 0.05 * 2.5 + 0.15 * 4)


def test_without_a_cache_price_cached_tokens_cost_the_input_price():
    """A provider without a discount has no price for cached tokens."""
    put()
    usage = priced(input_tokens=1_000_000, cached_input_tokens=300_000, cache_write_input_tokens=300_000)
    assert usage.input_cost == 2.0


def test_reasoning_is_not_counted_twice():
    """Output tokens include reasoning."""
    put()
    with_reasoning = priced(input_tokens=1, output_tokens=1000, reasoning_tokens=900)
    assert with_reasoning.output_cost == priced(input_tokens=1, output_tokens=1000).output_cost == 0.01


def test_costs_are_exact():
    """There are no rounding errors of binary fractions, which sums would accumulate."""
    put(input=0.1, output=0.7)
    assert in_dollars(priced(input_tokens=3, output_tokens=3)) == (3e-07, 2.1e-06, 2.4e-06)


def test_long_prompts_cost_more():
    """The size of the prompt selects the prices of input and output."""
    bands = [Prices(input=2, output=10), Prices(input=4, output=20, above=1000)]
    models.put(ModelInfo(provider="test", id="alpha", prices=bands))
    assert in_dollars(priced(input_tokens=1000, output_tokens=1000)) == (0.002, 0.01, 0.012)
    assert in_dollars(priced(input_tokens=2000, output_tokens=1000)) == (0.008, 0.02, 0.028)
    assert in_dollars(priced(output_tokens=1000)) == (None, None, None)


def test_prices_are_those_of_the_day(without_genai_prices):
    """A price that has not started does not apply."""
    bands = [Prices(input=2, output=10), Prices(input=4, output=20, starts=date(2026, 11, 22))]
    models.put(ModelInfo(provider="test", id="alpha", prices=bands))
    assert priced(input_tokens=1000).input_cost == 0.002


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, (None, None, None)),
        ({"input_tokens": 10}, (2e-05, None, None)),
        ({"output_tokens": 10}, (None, 1e-04, None)),
        ({"input_tokens": 0, "output_tokens": 0}, (0.0, 0.0, 0.0)),
        ({"input_tokens": 10, "cached_input_tokens": 11, "output_tokens": 10}, (None, 1e-04, None)),
        ({"input_tokens": 10, "output_tokens": 10, "total_cost": 0.5}, (None, None, 0.5)),
    ],
    ids=["nothing", "input", "output", "zero", "contradiction", "reported"],
)
def test_unknown_costs_are_none(counts, expected):
    """Never 0, and no total of a part; a cost that the provider reported is left alone."""
    put()
    assert in_dollars(priced(**counts)) == expected


def test_the_cost_of_an_unknown_model_is_none():
    """None, not 0."""
    assert in_dollars(priced("nobody-knows", "openai", input_tokens=10, output_tokens=10)) == (None, None, None)


# --- in a call --------------------------------------------------------------------------------------------------------


class Adapter:
    """Emits the given events, each as a burst of its own."""

    def __init__(self, *events, provider="test"):
        self.events = events
        self.provider = provider

    def prepare(self, request, options):
        return request

    async def stream(self, prepared, emit):
        for event in self.events:
            await emit(event)


def used(**counts):
    return UsageReported(allm.Usage(**counts))


def done(model=None):
    return MessageCompleted(allm.assistant("x"), "stop", model=model)


def engine(*events, model="alpha", **fields):
    return allm.Engine(adapter=Adapter(*events), model=model, **fields)


def two_prices():
    put()
    models.put(ModelInfo(provider="test", id="beta", prices=Prices(input=1, output=1)))


async def test_the_model_that_ran_sets_the_price():
    """A router may respond with another model than the requested one."""
    two_prices()
    response = await allm.generate(engine(MessageStarted(model="beta"), used(input_tokens=1_000_000), done()), "hi")
    assert response.usage.input_cost == 1.0


async def test_the_requested_model_sets_the_price_if_the_response_names_none():
    """Some services leave out the model's name."""
    two_prices()
    response = await allm.generate(engine(MessageStarted(), used(input_tokens=1_000_000), done()), "hi")
    assert response.usage.input_cost == 2.0


async def test_the_model_may_be_named_at_the_end():
    """The price is then set just before the response ends."""
    two_prices()
    events = [MessageStarted(), used(input_tokens=1_000_000, output_tokens=0), done("beta")]
    response = await allm.generate(engine(*events), "hi")
    assert (response.model, response.usage.total_cost) == ("beta", 1.0)


async def test_an_unknown_model_that_ran_has_no_price():
    """The price of the requested model is not used instead."""
    put()
    response = await allm.generate(engine(MessageStarted(model="other"), used(input_tokens=10), done("other")), "hi")
    assert response.usage == allm.Usage(input_tokens=10)


async def test_counts_in_several_reports_add_up():
    """A provider may report the prompt first and the output last; cached tokens may come with either."""
    put(cached_input=0.2)
    pieces = [used(input_tokens=1000, cached_input_tokens=500), used(output_tokens=1), used(output_tokens=100)]
    response = await allm.generate(engine(MessageStarted(model="alpha"), *pieces, done()), "hi")
    assert in_dollars(response.usage) == (0.0011, 0.001, 0.0021)


async def test_folding_the_events_by_hand_gives_the_costs_too():
    """Costs are in the events, so every fold of them is the same."""
    put()
    events_of = engine(MessageStarted(model="alpha"), used(input_tokens=10), used(output_tokens=5), done())
    fold = allm.StreamCollector()
    async with allm.stream_generate(events_of, "hi") as events:
        async for event in events:
            fold.add(event)
            assert fold.response() == events.result()
    assert fold.response() == await allm.generate(events_of, "hi")
    assert fold.response().usage.total_cost == 7e-05


@pytest.mark.parametrize(
    "options", [{"service_tier": "flex"}, {"speed": "fast"}, {"inference_geo": "us"}, {"service_tier": ["odd"]}]
)
async def test_a_special_tariff_has_no_price(options):
    """The catalog has only standard prices."""
    put()
    alpha = engine(MessageStarted(model="alpha"), used(input_tokens=10), done())
    assert (await allm.generate(alpha, "hi", options=options)).usage.input_cost is None
    assert (await allm.generate(alpha, "hi", options={"service_tier": "default"})).usage.input_cost == 2e-05


@pytest.mark.parametrize(
    ("asked", "served", "cost"),
    [
        ("flex", "default", 2e-05),
        ("auto", "default", 2e-05),
        (None, "on_demand", 2e-05),
        (None, "ON_DEMAND", 2e-05),
        ("auto", "standard", 2e-05),
        ("flex", None, None),
        ("auto", "priority", None),
        (None, "batch", None),
        ("default", "PROVISIONED_THROUGHPUT", None),
    ],
)
async def test_the_tier_that_served_the_response_decides(asked, served, cost):
    """The requested tier counts only if the response does not name one."""
    put()
    usage = UsageReported(allm.Usage(input_tokens=10), service_tier=served)
    answer = engine(MessageStarted(model="alpha"), usage, done())
    response = await allm.generate(answer, "hi", service_tier=asked)
    assert (response.usage.input_cost, response.service_tier) == (cost, served)


@pytest.mark.parametrize(("extra", "cost"), [({"speed": "fast"}, None), ({"inference_geo": "us"}, None), ({}, 2e-05)])
async def test_region_and_speed_are_part_of_the_tariff(extra, cost):
    """A workspace may set them, so that the request does not show them."""
    put()
    answer = engine(MessageStarted(model="alpha"), used(input_tokens=10, extra=extra), done())
    assert (await allm.generate(answer, "hi")).usage.input_cost == cost


@pytest.mark.parametrize(
    "late",
    [
        [UsageReported(allm.Usage(output_tokens=5), service_tier="priority"), done()],
        [MessageCompleted(allm.assistant("x"), "stop", service_tier="priority")],
    ],
    ids=["with the last counts", "at the end"],
)
async def test_a_late_tariff_removes_the_costs(late):
    """They had been computed for the standard tariff."""
    put()
    response = await allm.generate(engine(MessageStarted(model="alpha"), used(input_tokens=10), *late), "hi")
    assert (in_dollars(response.usage), response.service_tier) == ((None, None, None), "priority")
    assert response.usage.input_tokens == 10


async def test_reported_costs_are_kept():
    """A later report without costs does not replace them with an estimate; one with costs does."""
    put()
    first, counts = used(input_tokens=1000, total_cost=0.5), used(input_tokens=1000, output_tokens=5)
    response = await allm.generate(engine(MessageStarted(model="alpha"), first, counts, done()), "hi")
    assert in_dollars(response.usage) == (None, None, 0.5)
    answer = [MessageStarted(model="alpha"), counts, used(output_tokens=9, total_cost=0.0), done()]
    assert in_dollars((await allm.generate(engine(*answer), "hi")).usage) == (None, None, 0.0)


SOUND = {"input_audio_tokens": 400_000}


@pytest.mark.parametrize(
    ("prices", "counts", "expected"),
    [
        ({}, {"extra": SOUND}, (None, 1.0, None)),
        ({"input_audio": 40}, {"extra": SOUND}, (0.6 * 2 + 0.4 * 40, 1.0, 18.2)),
        (
            {"input_audio": 40, "cached_input": 0.2, "cached_input_audio": 4},
            {"cached_input_tokens": 300_000, "extra": {**SOUND, "cache_audio_read_tokens": 100_000}},
            (0.4 * 2 + 0.3 * 40 + 0.2 * 0.2 + 0.1 * 4, 1.0, 14.24),
        ),
        ({"input_audio": 40}, {"extra": {"input_audio_tokens": 1_000_001}}, (None, 1.0, None)),
        ({}, {"extra": {"input_image_tokens": 400_000}}, (2.0, 1.0, 3.0)),
        ({"input_image": 5}, {"extra": {"input_image_tokens": 400_000}}, (0.6 * 2 + 0.4 * 5, 1.0, 4.2)),
        ({}, {"extra": {"output_image_tokens": 10}}, (2.0, None, None)),
        ({}, {"extra": {"output_audio_tokens": 10}}, (2.0, None, None)),
        ({"output_image": 30}, {"extra": {"output_image_tokens": 50_000}}, (2.0, 0.5 + 1.5, 4.0)),
        ({"output_audio": 80}, {"extra": {"output_audio_tokens": 100_000}}, (2.0, 8.0, 10.0)),
        ({"output_audio": 80}, {"extra": {"output_audio_tokens": 100_001}}, (2.0, None, None)),
        ({}, {"extra": {"input_audio_tokens": 0, "output_image_tokens": "many"}}, (2.0, 1.0, 3.0)),
    ],
)
def test_audio_and_images_have_their_own_prices(prices, counts, expected):
    """Without them the cost is None, since text is cheaper. Images in a prompt cost the same as text."""
    put(**prices)
    usage = priced(**{"input_tokens": 1_000_000, "output_tokens": 100_000, **counts})
    assert in_dollars(usage) == pytest.approx(expected)


async def test_an_adapter_without_a_name_has_no_prices():
    """The call works all the same."""
    response = await allm.generate(
        allm.Engine(adapter=Adapter(used(input_tokens=1), done(), provider=None), model="alpha"), "hi"
    )
    assert response.usage == allm.Usage(input_tokens=1)


async def test_a_failed_response_costs_what_was_reported():
    """Its tokens are charged."""
    put()
    error = allm.AdapterError("gone", reason="network_error")
    response = await allm.generate(
        engine(MessageStarted(model="alpha"), used(input_tokens=10), allm.Failed(error)), "hi"
    )
    assert response.error == error
    assert response.usage.input_cost == 2e-05


async def test_a_turn_adds_its_steps_up():
    """The usage of a chat has the costs of all its model calls."""
    models.put(ModelInfo(provider="fake", id="fake", prices=Prices(input=2, output=10)))
    counts = fake.usage(input_tokens=100, output_tokens=10)
    scripts = [[fake.tool_call("now"), counts], [fake.text("Noon."), counts]]
    clock = allm.Tool("now", "The time.", {"type": "object"}, handler=lambda _: "12:00")
    result = await allm.chat(allm.Engine(adapter=allm.providers.Fake(scripts=scripts)), "When?", tools=[clock])
    assert [step.response.usage.total_cost for step in result.steps] == [0.0003, 0.0003]
    assert result.usage.total_cost == 0.0006


async def test_embeddings_have_the_cost_of_their_input():
    """Each batch and the total have a cost; with images it is None, since their tokens cost more."""
    models.put(ModelInfo(provider="fake", id="vectors", prices=Prices(input=2, output=0)))
    engine = allm.Engine(embedding_adapter=allm.providers.FakeEmbeddings(batch_limit=1), embedding_model="vectors")
    response = await allm.embed(engine, ["four", "four and four"])
    assert response.usage.input_tokens == 5
    assert response.usage.input_cost == response.usage.total_cost == pytest.approx(1e-05)
    assert (await allm.embed(engine, allm.Image.from_bytes(b"x"))).usage.total_cost is None
    assert (await allm.embed(engine, "text", model="other")).usage.total_cost is None
    assert service_costs.embedding_usage("fake", "vectors", allm.Usage(total_tokens=1000)).input_cost == 0.002
    assert service_costs.embedding_usage("fake", "vectors", allm.Usage()) == allm.Usage()


# --- genai-prices -----------------------------------------------------------------------------------------------------

needs_genai_prices = pytest.mark.skipif(not HAS_GENAI_PRICES, reason="genai-prices is not installed: extra `prices`")
COUNTS = {
    "input_tokens": 100_000,
    "cached_input_tokens": 40_000,
    "cache_write_input_tokens": 30_000,
    "output_tokens": 5000,
    "reasoning_tokens": 4000,
    "extra": {"ephemeral_1h_input_tokens": 10_000},
}


@needs_genai_prices
@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "gpt-4o-2024-08-06"), ("anthropic", "claude-haiku-4-5-20251001"), ("gemini", "gemini-2.5-pro")],
)
def test_genai_prices_and_the_catalog_agree(provider, model, monkeypatch):
    """For models whose prices have settled, both give the same figure."""
    theirs = priced(model, provider, **COUNTS)
    monkeypatch.setattr(costs, "_genai_prices", lambda: None)
    assert in_dollars(theirs) == in_dollars(priced(model, provider, **COUNTS))
    assert theirs.total_cost is not None


@needs_genai_prices
def test_genai_prices_knows_more_services(monkeypatch):
    """It is asked first, including about providers that the catalog has no rows for."""
    counts = {"input_tokens": 1000, "output_tokens": 10}
    assert priced("openai/gpt-4o-mini", "openrouter", **counts).total_cost is not None
    monkeypatch.setattr(costs, "_genai_prices", lambda: None)
    assert priced("openai/gpt-4o-mini", "openrouter", **counts).total_cost is None


@needs_genai_prices
def test_genai_prices_knows_embeddings():
    """Embedding models have no price for output."""
    usage = service_costs.embedding_usage("openai", "text-embedding-3-small", allm.Usage(input_tokens=1_000_000))
    assert usage.total_cost == pytest.approx(0.02)


@needs_genai_prices
def test_own_prices_take_precedence_over_genai_prices():
    """An application knows what it pays."""
    models.put(ModelInfo(provider="openai", id="gpt-4o", prices=Prices(input=1, output=1)))
    assert priced("gpt-4o-2024-08-06", "openai", input_tokens=1_000_000).input_cost == 1.0


class Stub:
    """A stand-in for genai-prices with our own prices."""

    input_audio_mtok = output_audio_mtok = output_image_mtok = None

    def __init__(self, input_mtok=1, output_mtok=1, raises=None, **prices):
        self.input_mtok, self.output_mtok, self.raises = input_mtok, output_mtok, raises
        vars(self).update(prices)
        self.asked = []

    class Usage(dict):
        """Its counts."""

    @property
    def model_price(self):
        return self

    input_price, output_price = 7, 8

    def calc_price(self, usage, model, **where):
        self.asked.append((dict(usage), model, where))
        if self.raises:
            raise self.raises
        return self


def test_genai_prices_gets_its_own_terms(monkeypatch):
    """Its provider names, inclusive counts, cache writes by how long they are kept, and the time of the call."""
    stub = Stub()
    monkeypatch.setattr(costs, "_genai_prices", lambda: stub)
    assert in_dollars(priced("gemini-x", "gemini", **COUNTS)) == (7.0, 8.0, 15.0)
    [(counts, model, where)] = stub.asked
    assert counts == {
        "input_tokens": 100_000,
        "output_tokens": 5000,
        "cache_read_tokens": 40_000,
        "cache_write_tokens": 30_000,
        "cache_write_1h_tokens": 10_000,
    }
    assert (model, where["provider_id"]) == ("gemini-x", "google")
    assert where["genai_request_timestamp"].tzinfo is UTC


def test_genai_prices_gets_audio_and_image_counts(monkeypatch):
    """In its terms; if cached audio is not reported separately, cached tokens count as text."""
    stub = Stub(input_audio_mtok=1, output_image_mtok=1)
    monkeypatch.setattr(costs, "_genai_prices", lambda: stub)
    extra = {"input_audio_tokens": 5, "input_image_tokens": 4, "output_image_tokens": 3}
    assert priced("m", "gemini", input_tokens=10, output_tokens=3, extra=extra).total_cost == 15.0
    [(counts, _, _)] = stub.asked
    assert counts.items() >= {**extra, "cache_audio_read_tokens": 0, "cache_image_read_tokens": 0}.items()


@pytest.mark.parametrize("kind", ["input_audio", "output_audio", "output_image"])
def test_genai_prices_without_a_price_for_a_modality_is_not_used(monkeypatch, kind):
    """It would count these tokens as text."""
    monkeypatch.setattr(costs, "_genai_prices", Stub)
    usage = priced("m", "gemini", input_tokens=10, output_tokens=3, extra={f"{kind}_tokens": 3})
    assert usage.total_cost is None


def test_genai_prices_is_loaded_before_the_response(monkeypatch):
    """Its import is slow; a provider that it does not cover does not load it."""
    loaded = []
    monkeypatch.setattr(costs, "_genai_prices", lambda: loaded.append(1))
    request = allm.request("hi", model="alpha")
    assert costs.Pricing.of_call(Adapter(provider="test"), request) is not None
    assert not loaded
    assert costs.Pricing.of_call(Adapter(provider="openai"), request) is not None
    assert loaded


@pytest.mark.parametrize("stub", [Stub(raises=LookupError()), Stub(raises=ValueError()), Stub(input_mtok=None)])
def test_the_catalog_is_used_if_genai_prices_has_no_price(monkeypatch, stub):
    """For an unknown model, unsupported counts, and a missing price that it would count as 0."""
    monkeypatch.setattr(costs, "_genai_prices", lambda: stub)
    usage = priced("gpt-4o", "openai", input_tokens=1_000_000, output_tokens=0)
    assert in_dollars(usage) == (2.5, 0.0, 2.5)


@pytest.mark.parametrize("missing", ["input_tokens", "output_tokens"])
def test_missing_counts_are_not_free(monkeypatch, missing):
    """genai-prices treats a missing count as 0."""
    monkeypatch.setattr(costs, "_genai_prices", Stub)
    counts = {"input_tokens": 10, "output_tokens": 10}
    del counts[missing]
    usage = priced("gpt-4o", "openai", **counts)
    assert usage.total_cost is None
    assert (usage.input_cost is None) == (missing == "input_tokens")


def test_without_the_package_genai_prices_is_skipped(monkeypatch):
    """The package is optional."""
    costs._genai_prices.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "genai_prices", None)
    assert costs._genai_prices() is None
    costs._genai_prices.cache_clear()
    monkeypatch.undo()
    assert (costs._genai_prices() is not None) == HAS_GENAI_PRICES


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("openai:gpt-5.4", allm.Usage()), "usage"),
        ((allm.Usage(), allm.Usage()), "model"),
        ((allm.Usage(), "x"), "model"),
    ],
)
def test_a_price_of_something_else(arguments, path):
    """The error names the argument, also where the two were swapped."""
    with pytest.raises(allm.ValidationError, match=f"{path} is .*; expected") as caught:
        allm.price(*arguments)
    assert [where for where, _ in caught.value.errors] == [(path,)]
