"""Recorded responses, replayed over loopback HTTP in several splits, fold to the expected result."""

from __future__ import annotations

import pytest

import allm
from allm.testing import Reply, WireServer
from wire_corpus import CORPUS, cases, differences

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


@pytest.mark.skipif(not CASES, reason=f"no recorded responses at {CORPUS}")
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("api", "case"), CASES, ids=[f"{api}-{case.folder.name}" for api, case in CASES])
async def test_recorded_response_folds_to_expected(api, case, cut):
    """As recorded, in one piece, byte by byte and in 7-byte pieces: the same result."""
    async with WireServer() as server:
        server.add(Reply.recorded(case.folder, chunks=CUTS[cut]))
        engine = allm.Engine(adapter=ADAPTERS[api](server), model="requested-model", retry=None)
        response = await allm.generate(engine, "hello")
    assert differences(response, case.expected) == []
