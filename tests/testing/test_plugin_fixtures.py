"""The fixtures `fake_engine` and `cassette`, with pytest-trio, with anyio's plugin, and in tests without a loop."""

from __future__ import annotations

import json

import pytest

from allm import fake
from allm.blocking.blocks import BlockingBlock
from allm.testing import Reply, WireServer
from pytest_runs import MARKS, run_pytest

KEY = "sk-canary-0123456789"
HEADER = """
import asyncio
import os

import pytest

import allm
import allm.aio
import allm.blocking
from allm import fake

marked = MARK


@pytest.fixture
def anyio_backend():
    return "trio"

"""
ENGINES = """
@marked
async def test_played(fake_engine):
    engine = fake_engine("One", [fake.text("Two"), fake.usage(input_tokens=1)], tools=[])
    assert (await allm.generate(engine, "hi")).output_text == "One"
    assert (await allm.generate(engine, "hi")).output_text == "Two"
    assert len(engine.adapter.requests) == 2


@marked
async def test_left_over(fake_engine):
    engine = fake_engine("One", "Two")
    assert (await allm.generate(engine, "hi")).output_text == "One"


@marked
async def test_may_be_left_over(fake_engine):
    fake_engine("One", all_played=False)


@marked
async def test_asked(fake_engine):
    engine = fake_engine(respond=lambda request: request.messages[-1].text.upper())
    assert (await allm.generate(engine, "hi")).output_text == "HI"


@marked
async def test_own_failure(fake_engine):
    fake_engine("One")
    raise LookupError("mine")


def test_sync(fake_engine):
    assert allm.blocking.generate(fake_engine("One"), "hi").output_text == "One"
    fake_engine("Two")


def test_both(fake_engine):
    fake_engine("One", respond=str)


def test_adapter(fake_engine):
    fake_engine("One", adapter=None)
"""
TAPED = """
QUESTION = os.environ.get("QUESTION", "hi")


def engine():
    adapter = allm.providers.OpenAI(base_url=os.environ["PROVIDER"], endpoint="chat_completions")
    return allm.Engine(adapter=adapter, model="m")


@marked
async def test_async(cassette, no_leaks):
    assert (await allm.generate(engine(), QUESTION)).output_text == "Hello"


@marked
async def test_two_calls(cassette):
    for _ in range(1 if "ONCE" in os.environ else 2):
        assert (await allm.generate(engine(), "hi")).output_text == "Hello"


class TestMethods:
    @marked
    @pytest.mark.parametrize("name", ["a/b", "a-b"])
    async def test_method(self, name, cassette):
        assert (await allm.generate(engine(), name)).output_text == "Hello"


def test_sync(cassette):
    assert allm.blocking.generate(engine(), "hi").output_text == "Hello"


def test_asyncio(cassette):
    assert asyncio.run(allm.aio.generate(engine(), "hi")).output_text == "Hello"


@pytest.mark.skipif("trio" in str(marked), reason="it runs everything")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_on_asyncio(cassette):
    assert (await allm.aio.generate(engine(), "hi")).output_text == "Hello"


@marked
async def test_hides_its_failure(cassette):
    response = await allm.generate(engine(), QUESTION)
    assert response.output_text in ("Hello", "")


@marked
async def test_fails(cassette):
    await allm.generate(engine(), "hi")
    assert 1 == 2


@marked
async def test_asks_nobody(cassette):
    pass
"""
SOUND = {"test_async", "test_two_calls", "test_method", "test_sync", "test_asyncio", "test_hides_its_failure"}


@pytest.fixture(scope="module", params=MARKS)
def engines(request, tmp_path_factory):
    """The outcomes of the tests with `fake_engine`."""
    return run_pytest(tmp_path_factory.mktemp("tests"), (HEADER + ENGINES).replace("MARK", MARKS[request.param]))


def test_scripts_are_played(engines):
    """Texts, items, fields of the engine, and a function; in any kind of test."""
    assert {name for name, outcome in engines.items() if outcome is None} == {
        "test_played",
        "test_may_be_left_over",
        "test_asked",
    }


def test_scripts_that_are_left_over(engines):
    """They fail the test itself, unless it failed already; mistakes say what to write."""
    assert engines["test_left_over"].startswith("failure: AssertionError: 1 of 2 scripts were not played")
    assert engines["test_sync"].startswith("failure: AssertionError: 1 of 1 scripts were not played")
    assert engines["test_own_failure"].startswith("failure: LookupError: mine")
    assert "scripts or respond=, not both" in engines["test_both"]
    assert "use allm.Engine" in engines["test_adapter"]


@pytest.fixture
def run(request, tmp_path):
    """Runs the tests with `cassette`, against a provider if it is given."""
    tests = (HEADER + TAPED).replace("MARK", MARKS[request.param])

    def run(*options, url="http://127.0.0.1:9/v1", **variables):
        return run_pytest(tmp_path, tests, *options, **{"PROVIDER": url, "OPENAI_API_KEY": "", **variables})

    run.folder = tmp_path / "cassettes" / "test_it"
    return run


@pytest.fixture
def provider():
    """A provider that always says the same."""
    with BlockingBlock(WireServer(Reply.script("openai", [fake.text("Hello")])), lambda server, _: server) as server:
        yield server


def passed(outcomes):
    return {name for name, outcome in outcomes.items() if outcome is None}


@pytest.mark.parametrize("run", MARKS, indirect=True)
def test_recorded_and_replayed(run, provider):
    """One flag records; without it there is no network and no key. No key is in the files."""
    url = provider.url("openai")
    missing = run()
    assert passed(missing) == set()
    assert "there is no recorded traffic for this test" in missing["test_async"]
    assert "pytest --allm-record-new 'test_it.py::TestMethods::test_method[a" in missing["test_method"]

    recorded = run("--allm-record", url=url, OPENAI_API_KEY=KEY)
    assert passed(recorded) - {"test_on_asyncio"} == SOUND
    assert "made no request to record" in recorded["test_asks_nobody"]
    count = len(provider.requests)
    files = sorted(path.name for path in run.folder.iterdir())
    assert files[:2] == ["TestMethods.test_method-a-b-3b6b7ed5.json", "TestMethods.test_method-a-b.json"]
    assert "test_fails.json" not in files
    assert "test_two_calls.json" in files
    assert not any(KEY in path.read_text("utf-8") for path in run.folder.iterdir())

    replayed = run(url=url)
    assert passed(replayed) == passed(recorded)
    assert len(provider.requests) == count


@pytest.mark.parametrize("run", ["pytest-trio"], indirect=True)
def test_what_no_longer_fits(run, provider):
    """Another request, hidden or not, and one that is not made any more: what differs, and how to record it again."""
    url = provider.url("openai")
    run("--allm-record", url=url, OPENAI_API_KEY=KEY)
    before = (run.folder / "test_async.json").read_text("utf-8")
    outcomes = run(url=url, QUESTION="what?", ONCE="1")
    for name in ("test_async", "test_hides_its_failure"):
        assert "nothing was recorded for POST" in outcomes[name]
        assert 'body.messages[0].content is "hi" there and "what?" here' in outcomes[name]
        assert f"pytest --allm-record 'test_it.py::{name}'" in outcomes[name]
    assert "recorded but not requested: POST" in outcomes["test_two_calls"]
    assert "pytest --allm-record 'test_it.py::test_two_calls'" in outcomes["test_two_calls"]

    (run.folder / "test_sync.json").unlink()
    outcomes = run("--allm-record-new", url=url, OPENAI_API_KEY=KEY, QUESTION="what?")
    assert outcomes["test_sync"] is None
    assert outcomes["test_async"] is not None
    assert (run.folder / "test_async.json").read_text("utf-8") == before


@pytest.mark.parametrize("run", ["anyio"], indirect=True)
def test_recorded_again(run, provider):
    """A recording is replaced by another one."""
    url = provider.url("openai")
    for question in ("hi", "what?"):
        outcomes = run(
            "--allm-record", "-k", "test_async and not asyncio", url=url, OPENAI_API_KEY=KEY, QUESTION=question
        )
        assert outcomes == {"test_async": None}
        [exchange] = json.loads((run.folder / "test_async.json").read_text("utf-8"))["exchanges"]
        assert exchange["request"]["body"]["messages"] == [{"role": "user", "content": question}]
