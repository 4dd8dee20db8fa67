"""Recorded responses, replayed over loopback HTTP in several splits, fold to the expected result."""

from __future__ import annotations

import json

import pytest

import allm
from allm.testing import Reply, WireServer
from recorded_calls import chat_adapter, model_of
from recordings import CHAT, CHECKS, LEFT_ASIDE, RECORDINGS, WRONG, check_of, every_folder, name_of
from wire_corpus import CORPUS, cases, differences, folded

CUTS = {"recorded": "recorded", "whole": None, "1-byte": 1, "7-byte": 7}
APIS = (
    "openai_chat",
    "openai_responses",
    "anthropic_messages",
    "gemini",
    "bedrock",
    "anthropic_on_bedrock",
    "cohere",
)
CASES = [(api, case) for api in APIS for case in cases(api)]


@pytest.mark.skipif(not CASES, reason=f"no recorded answers at {CORPUS} and {RECORDINGS}")
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("api", "case"), CASES, ids=[case.name for _, case in CASES])
async def test_recorded_answer_folds_to_expected(api, case, cut):
    """As recorded, in one piece, byte by byte and in 7-byte pieces: the same result."""
    async with WireServer() as server:
        server.add(Reply.recorded(case.folder, chunks=CUTS[cut]))
        adapter = chat_adapter(case.url, server.base_url)
        engine = allm.Engine(adapter=adapter, model=model_of(case.folder), retry=None)
        response = await allm.generate(engine, "hello")
    assert differences(response, case.expected) == []


def objects_in(value):
    """Every object of a JSON value, at any depth."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects_in(item)


FOLDERS = frozenset(every_folder())
WHOLE = [
    case
    for _, case in CASES
    if case.folder in FOLDERS and not case.recorded["stream"] and case.recorded["kind"] == "chat"
]


@pytest.mark.skipif(not WHOLE, reason=f"no recorded answers at {RECORDINGS}")
@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
async def test_hosted_calls_are_what_the_body_says(case):
    """Each is kept as the item that it was, and was asked for what stands in it."""
    async with WireServer() as server:
        server.add(Reply.recorded(case.folder))
        adapter = chat_adapter(case.url, server.base_url)
        engine = allm.Engine(adapter=adapter, model=model_of(case.folder), retry=None)
        message = (await allm.generate(engine, "hello")).message
    items = list(objects_in(json.loads((case.folder / "response.body").read_bytes())))
    hosted = [part for part in message.parts if isinstance(part, allm.HostedCall) and part.data]
    assert all(part.data in items for part in hosted)
    texts = json.dumps(items)
    texts += texts.replace('\\"', '"')  # what was asked for may be JSON in a text
    for call in message.hosted_calls:
        assert all(json.dumps(value) in texts for value in (call.input or {}).values() if isinstance(value, str))


@pytest.mark.skipif(not CASES, reason=f"no recorded answers at {CORPUS} and {RECORDINGS}")
def test_every_expectation_is_compared_or_left_aside():
    """A key of the second set that nothing reads would be an expectation that is never checked."""
    compared = folded(allm.StreamCollector().response()).keys()
    files = RECORDINGS.glob("*/*/expected.json")
    keys = {key for path in files if (found := json.loads(path.read_bytes()))["kind"] in CHAT for key in found}
    assert keys <= compared | LEFT_ASIDE.keys()
    names = {case.name for _, case in CASES}
    assert not RECORDINGS.exists() or names >= WRONG.keys()


def test_every_recording_belongs_to_a_check():
    """None is passed over, whatever its topic."""
    of_no_check = [name_of(folder) for folder in every_folder() if check_of(folder) not in {*APIS, *CHECKS.values()}]
    assert of_no_check == []
