"""The catalog: which row a model id finds, what a row contains, and that the file of rows is distributed."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections import Counter
from datetime import date
from importlib import resources

import attrs
import pytest

import allm
from allm import models
from allm.models import ModelInfo, Prices
from allm.runtime import catalog

TODAY = date(2026, 11, 21)


@pytest.fixture(autouse=True)
def _nothing_put_in():
    yield
    models.clear()


def put(*ids, provider="test", **facts):
    for model in ids:
        models.put(ModelInfo(provider=provider, id=model, **facts))


def found(model, provider="test"):
    info = models.lookup(provider, model)
    return info and info.id


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "row"),
    [
        ("alpha", "alpha"),
        ("Alpha", "alpha"),
        (" models/alpha ", "alpha"),
        ("alpha-2026-01-31", "alpha"),
        ("alpha-20260131", "alpha"),
        ("alpha@20260131", "alpha"),
        ("alpha-001", "alpha"),
        ("alpha-mini", "alpha-mini"),
        ("alpha-mini-2026-01-31", "alpha-mini"),
        ("alpha-2025-12-01", "alpha-2025-12-01"),
    ],
)
def test_a_model_is_found_by_its_id_and_by_its_snapshots(asked, row):
    """Each vendor's form of snapshot ids is understood, and a row of the snapshot itself takes precedence."""
    put("alpha", "alpha-mini", "alpha-2025-12-01")
    assert found(asked) == row


@pytest.mark.parametrize("asked", ["", "alph", "alpha-max", "alpha-2", "alpha-12345678", "beta", "x-alpha", "alpha-"])
def test_a_similar_name_is_another_model(asked):
    """A common beginning of two names says nothing about prices."""
    put("alpha")
    assert found(asked) is None


def test_the_longest_prefix_counts():
    """Among prefix rows the most specific one wins, and an exact id wins over all of them."""
    put("ft:alpha*", "ft:alpha-mini:*", "ft:alpha-mini:acme:x")
    assert found("ft:alpha:acme:y") == "ft:alpha*"
    assert found("ft:alpha-mini:acme:y") == "ft:alpha-mini:*"
    assert found("ft:alpha-mini:acme:x") == "ft:alpha-mini:acme:x"


def test_providers_have_separate_rows():
    """The same id at another provider has another row, or no row."""
    put("alpha", provider="one")
    assert found("alpha", "one") == "alpha"
    assert found("alpha", "two") is None


def test_unknown_is_none():
    """An unknown model or provider gives None, not an error."""
    assert models.lookup("openai", "gpt-99-imaginary") is None
    assert models.lookup("nobody", "gpt-5.4") is None


def test_put_replaces_a_bundled_row_until_cleared():
    """An application's own row takes precedence over the bundled one."""
    bundled = models.lookup("openai", "gpt-5.4")
    mine = attrs.evolve(bundled, vision=False, prices=Prices(input=1, output=2))
    models.put(mine)
    assert models.lookup("openai", "gpt-5.4-2026-03-05") == mine
    models.clear()
    assert models.lookup("openai", "gpt-5.4-2026-03-05") == bundled


@pytest.mark.parametrize("field", ["provider", "id"])
@pytest.mark.parametrize(("value", "tag"), [("", "empty"), ("*", "empty"), (None, "invalid_type")])
def test_a_row_needs_a_provider_and_an_id(field, value, tag):
    """A row that would match every model is refused."""
    with pytest.raises(allm.ValidationError, match=field) as caught:
        ModelInfo(**{"provider": "test", "id": "alpha", field: value})
    assert caught.value.errors == (((field,), tag),)


# --- prices of a row --------------------------------------------------------------------------------------------------


def test_prices_change_on_a_day():
    """The newest prices that have started apply; future ones do not."""
    old, new = Prices(input=1, output=2), Prices(input=3, output=4, starts=date(2026, 12, 1))
    info = ModelInfo(provider="test", id="alpha", prices=[new, old])
    assert info.prices_for(10, date(2026, 11, 30)) is old
    assert info.prices_for(10, date(2026, 12, 1)) is new


def test_prices_change_with_the_size_of_the_prompt():
    """A long prompt changes the price of all its tokens; a prompt of unknown size has no price."""
    short, long = Prices(input=1, output=2), Prices(input=3, output=4, above=1000)
    info = ModelInfo(provider="test", id="alpha", prices=[short, long])
    assert info.prices_for(1000, TODAY) is short
    assert info.prices_for(1001, TODAY) is long
    assert info.prices_for(None, TODAY) is None


def test_a_single_price_needs_no_prompt_size():
    """Output can be priced before the prompt has been counted."""
    only = Prices(input=1, output=2)
    assert ModelInfo(provider="test", id="alpha", prices=only).prices_for(None, TODAY) is only


def test_without_a_price_the_result_is_none():
    """Before the first prices start, and without prices, the result is None."""
    later = ModelInfo(provider="test", id="alpha", prices=Prices(input=1, output=2, starts=date(2027, 1, 1)))
    assert later.prices_for(1, TODAY) is None
    assert ModelInfo(provider="test", id="alpha").prices_for(1, TODAY) is None


# --- the bundled rows -------------------------------------------------------------------------------------------------

KNOWN = [
    ("openai", "gpt-5.4"),
    ("anthropic", "claude-sonnet-4-6"),
    ("gemini", "gemini-3.5-flash"),
    ("groq", "openai/gpt-oss-120b"),
]


@pytest.mark.parametrize(("provider", "model"), KNOWN)
def test_current_models_are_known(provider, model):
    """Each vendor's current models have limits, capabilities and prices."""
    info = models.lookup(provider, model)
    assert info.tools
    assert info.reasoning
    assert info.context_window > info.output_limit > 1000
    assert info.prices_for(1000, TODAY) is not None


def test_ids_in_responses_are_known():
    """The ids that vendors put into responses find the row of the requested model."""
    for provider, asked, answered in [
        ("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("anthropic", "claude-haiku-4-5", "claude-haiku-4-5-20251001"),
        ("gemini", "gemini-2.0-flash", "gemini-2.0-flash-001"),
    ]:
        assert models.lookup(provider, answered) == models.lookup(provider, asked)


@pytest.mark.parametrize("info", catalog.bundled(), ids=lambda info: f"{info.provider}-{info.id}")
def test_rows_are_sane(info):
    """No facts of a row contradict each other, and no price is wrong by a factor of a million."""
    assert info.output_limit is None or 0 < info.output_limit < (info.context_window or 1_000_000)
    for prices in info.prices:
        assert 0 < prices.input <= prices.output < 1000
        assert prices.cached_input is None or prices.cached_input <= prices.input
        assert prices.cache_write is None or prices.input <= prices.cache_write <= (prices.cache_write_1h or 1000)
    if info.json_schema is False:
        assert not info.json_schema_with_tools


def test_rows_are_unique():
    """No two rows have the same provider and id."""
    assert Counter((info.provider, info.id) for info in catalog.bundled()).most_common(1)[0][1] == 1


def test_the_file_names_its_sources():
    """The file states the date of its figures and their sources."""
    data = json.loads(resources.files("allm.runtime").joinpath("models.json").read_text("utf-8"))
    assert date.fromisoformat(data["as_of"]) >= TODAY
    assert "genai-prices" in data["sources"]


def test_the_distribution_contains_the_file():
    """The wheel contains the data, not only the checkout: CI runs this on the built wheel."""
    distribution = importlib.metadata.distribution("allm-trio")
    editable = json.loads(distribution.read_text("direct_url.json") or "{}").get("dir_info", {}).get("editable")
    if editable:
        pytest.skip("an editable installation lists no files: nox -s tests installs the wheel")
    assert "allm/runtime/models.json" in {file.as_posix() for file in distribution.files}


def test_output_limits():
    """Adapters whose API requires a limit get the model's own, or None."""
    assert models.lookup("anthropic", "claude-haiku-4-5-20251001").output_limit == 64_000
    assert models.lookup("anthropic", "claude-imaginary") is None


def test_importing_allm_does_not_read_the_file():
    """The rows are parsed at the first lookup."""
    program = "import allm; from allm.runtime import catalog; print(catalog.bundled.cache_info().currsize)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "0"


HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
ARN = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/"


@pytest.mark.parametrize(
    ("asked", "row"),
    [
        (HAIKU, HAIKU),
        (f"us.{HAIKU}", HAIKU),
        (f"eu.{HAIKU}", HAIKU),
        (f"{ARN}eu.{HAIKU}", HAIKU),
        (f"arn:aws:bedrock:eu-west-1::foundation-model/{HAIKU}", HAIKU),
        (f"global.{HAIKU}", f"global.{HAIKU}"),
        (f"{ARN}global.{HAIKU}", f"global.{HAIKU}"),
    ],
)
def test_a_model_of_bedrock_is_found_by_its_profiles(asked, row):
    """A geography's profile costs what the model does; the global one may have prices of its own."""
    found = catalog.lookup("bedrock", asked)
    assert found.id == row
    assert found.prices


def test_an_arn_that_names_no_model_is_not_known():
    """An application's own profile may be of any model."""
    assert catalog.lookup("bedrock", "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc") is None
    assert catalog.lookup("bedrock", "us.anthropic.claude-unheard-of") is None


def test_what_is_no_model_is_not_put_in():
    """A name alone says nothing of a model."""
    with pytest.raises(allm.ValidationError, match="info is str; expected a ModelInfo"):
        allm.models.put("gpt-5.4")
