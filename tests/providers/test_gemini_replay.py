"""What comes back from Gemini goes back to Gemini: the same signatures on the same parts."""

from __future__ import annotations

import json

import pytest

import allm
from allm import Request
from allm.http.sse import SSEDecoder
from allm.providers.gemini.decode import GeminiDecoder
from allm.providers.gemini.encode import encode
from allm.providers.openai.chat_encode import encode as encode_openai
from allm.runtime.adapters import AdapterOptions
from gemini_wire import SIGNATURE, answer, call, chunk, text, thought
from request_types import check_gemini
from wire_corpus import CORPUS, cases

OTHER = "b3RoZXI="


def body(*messages, model="gemini-3.5-flash"):
    """The request that carries on after `messages`."""
    return encode(Request((allm.user("?"), *messages), model=model), AdapterOptions())


def test_a_turn_with_thoughts_calls_and_text_goes_back_as_it_came():
    """Also after a round trip through JSON."""
    first = answer(
        chunk(thought("Let me ", thoughtSignature=SIGNATURE)),
        chunk(thought("see.")),
        chunk(text("I will "), text("look.", thoughtSignature=OTHER)),
        chunk(call("weather", {"city": "Ulm"}, id="w1", signature=SIGNATURE), call("clock", {}, id="c1")),
        chunk(text("", thoughtSignature=OTHER), finish="STOP"),
    )
    thread = allm.Thread((first.message,)).add(
        allm.tool_result("c1", "12:00"), allm.tool_result("w1", '{"sky": "blue"}')
    )
    thread = allm.from_json(allm.to_json(thread), allm.Thread)

    sent = body(*thread.messages)
    assert sent["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "Let me ", "thought": True, "thoughtSignature": SIGNATURE},
                {"text": "see.", "thought": True},
                {"text": "I will "},
                {"text": "look.", "thoughtSignature": OTHER},
                {
                    "functionCall": {"name": "weather", "args": {"city": "Ulm"}, "id": "w1"},
                    "thoughtSignature": SIGNATURE,
                },
                {"functionCall": {"name": "clock", "args": {}, "id": "c1"}},
                {"text": "", "thoughtSignature": OTHER},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"sky": "blue"}, "id": "w1"}},
                {"functionResponse": {"name": "clock", "response": {"result": "12:00"}, "id": "c1"}},
            ],
        },
    ]


def test_made_up_ids_do_not_go_back():
    """Two calls that came without ids are told apart here by ids that Gemini never sees."""
    first = answer(chunk(call("clock", {"at": "Ulm"}), call("clock", {"at": "Rom"}), finish="STOP"))
    one, two = first.tool_calls
    sent = body(first.message, allm.tool_result(two.id, "13"), allm.tool_result(one.id, "12"), model="gemini-2.0-flash")

    assert sent["contents"][1]["parts"] == [call("clock", {"at": "Ulm"}), call("clock", {"at": "Rom"})]
    results = [part["functionResponse"]["response"] for part in sent["contents"][2]["parts"]]
    assert results == [{"result": "12"}, {"result": "13"}]
    assert "id" not in json.dumps(sent)


def test_an_id_that_was_made_unique_goes_back_as_it_was():
    """A gateway that numbers the calls of each answer from 0 gets its own numbers back."""
    first = answer(chunk(call("clock", {}, id="0"), finish="STOP"), decoder=GeminiDecoder(taken=frozenset({"0"})))
    [made] = first.tool_calls
    sent = body(first.message, allm.tool_result(made.id, "12"))

    assert made.id != "0"
    assert sent["contents"][1]["parts"][0]["functionCall"]["id"] == "0"
    assert sent["contents"][2]["parts"][0]["functionResponse"]["id"] == "0"


def test_another_vendor_gets_nothing_of_gemini():
    """A conversation can move on: no signature, no thought, no id of Gemini's in OpenAI's request."""
    first = answer(
        chunk(thought("Secret.")),
        chunk({"executableCode": {"code": "1"}}, call("clock", {}, id="c1", signature=SIGNATURE)),
        chunk(text("", thoughtSignature=SIGNATURE), finish="STOP"),
    )
    messages = (allm.user("?"), first.message, allm.tool_result("c1", "12"))
    sent = encode_openai(Request(messages, model="gpt"), AdapterOptions())

    assert SIGNATURE not in json.dumps(sent)
    assert "Secret." not in json.dumps(sent)
    assert sent["messages"][1]["tool_calls"][0]["function"] == {"name": "clock", "arguments": "{}"}


def wire_parts(data):
    """The parts of the first candidate of a recorded answer."""
    if data[:1] in b"[{":
        document = json.loads(data)
        chunks = document if isinstance(document, list) else [document]
    else:
        reader = SSEDecoder()
        chunks = [json.loads(event) for _, event in (*reader.feed(data), *reader.close())]
    for one in chunks:
        for candidate in one.get("candidates", ()):
            yield from candidate.get("content", {}).get("parts", ())


def signed(parts):
    """What is signed, and how."""
    return [
        (sorted(part.keys() - {"thoughtSignature", "thought"}), part.get("text"), part["thoughtSignature"])
        for part in parts
        if "thoughtSignature" in part
    ]


RECORDED = [case for case in cases("gemini") if case.expected["outcome"] == "ok"]


def continued(case):
    """The parts of a recorded answer, its message, and the request that carries on after it."""
    parts = list(wire_parts((case.folder / "response.body").read_bytes()))
    message = answer(*(chunk(part) for part in parts), chunk(finish="STOP")).message
    results = [allm.tool_result(made.id, "done") for made in message.tool_calls]
    return parts, message, body(message, *results, model="gemini-2.5-flash")


@pytest.mark.skipif(not RECORDED, reason=f"no recorded answers at {CORPUS}")
@pytest.mark.parametrize("case", RECORDED, ids=[case.name for case in RECORDED])
def test_recorded_answers_go_back_as_they_came(case):
    """Every signature is on a part of the same kind with the same text, in the same order."""
    parts, message, sent = continued(case)

    replayed = [part for content in sent["contents"][1:2] for part in content["parts"]]
    assert signed(replayed) == signed(parts)
    assert [part["functionCall"]["name"] for part in replayed if "functionCall" in part] == [
        made.name for made in message.tool_calls
    ]


@pytest.mark.skipif(not RECORDED, reason=f"no recorded answers at {CORPUS}")
@pytest.mark.parametrize("case", RECORDED, ids=[case.name for case in RECORDED])
def test_google_would_accept_its_answers_back(case):
    """The request after a recorded answer fits the types that Google publishes."""
    check_gemini(continued(case)[2])
