"""Recorded responses, replayed over loopback HTTP in several splits, fold to the expected result."""

from __future__ import annotations

import json

import pytest

import allm
from allm.testing import Reply, WireServer
from recordings import CHAT, LEFT_ASIDE, RECORDINGS, WRONG
from wire_corpus import CORPUS, cases, differences, folded

CUTS = {"recorded": "recorded", "whole": None, "1-byte": 1, "7-byte": 7}


def openai_chat(server):
    return allm.providers.OpenAI(api_key="test", base_url=server.url("openai"), endpoint="chat_completions")


def anthropic(server):
    return allm.providers.Anthropic(api_key="test", base_url=server.url("anthropic"))


def gemini(server):
    return allm.providers.Gemini(api_key="test", base_url=server.url("gemini"))


def openai_responses(server):
    return allm.providers.OpenAI(api_key="test", base_url=server.url("openai"), endpoint="responses")


ADAPTERS = {
    "openai_chat": openai_chat,
    "openai_responses": openai_responses,
    "anthropic_messages": anthropic,
    "gemini": gemini,
}
CASES = [(api, case) for api in ADAPTERS for case in cases(api)]


@pytest.mark.skipif(not CASES, reason=f"no recorded answers at {CORPUS} and {RECORDINGS}")
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("api", "case"), CASES, ids=[case.name for _, case in CASES])
async def test_recorded_answer_folds_to_expected(api, case, cut):
    """As recorded, in one piece, byte by byte and in 7-byte pieces: the same result."""
    async with WireServer() as server:
        server.add(Reply.recorded(case.folder, chunks=CUTS[cut]))
        engine = allm.Engine(adapter=ADAPTERS[api](server), model="requested-model", retry=None)
        response = await allm.generate(engine, "hello")
    assert differences(response, case.expected) == []


@pytest.mark.skipif(not CASES, reason=f"no recorded answers at {CORPUS} and {RECORDINGS}")
def test_every_expectation_is_compared_or_left_aside():
    """A key of the second set that nothing reads would be an expectation that is never checked."""
    compared = folded(allm.StreamCollector().response()).keys()
    files = RECORDINGS.glob("*/*/expected.json")
    keys = {key for path in files if (found := json.loads(path.read_bytes()))["kind"] in CHAT for key in found}
    of_other_formats = {"frames", "x_amzn_errortype"}  # Amazon's
    assert keys <= compared | LEFT_ASIDE.keys() | of_other_formats
    names = {case.name for _, case in CASES}
    assert not RECORDINGS.exists() or names >= WRONG.keys()
