"""What recorded clients sent back of an answer is what we send back of it."""

from __future__ import annotations

import json

import pytest

import allm
from allm.adapters import AdapterOptions
from allm.http.sse import SSEDecoder
from recorded_calls import chat_adapter, model_of
from recordings import RECORDINGS, check_of, every_folder, name_of

BASE = "http://vendor.test"


def body_of(folder):
    body = json.loads((folder / "request.json").read_text(encoding="utf-8"))["body"]
    return body if isinstance(body, dict) else {}


def adapter_of(folder):
    url = json.loads((folder / "request.json").read_text(encoding="utf-8"))["url"]
    return chat_adapter(url, BASE)


def _chat(content):
    choice = {"index": 0, "message": {"role": "assistant", **content}, "finish_reason": "stop"}
    return {"id": "1", "object": "chat.completion", "choices": [choice]}


def _responses(items):
    return {"id": "resp_1", "object": "response", "status": "completed", "output": items}


def _anthropic(content):
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn"}


def _gemini(parts):
    return {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}


def _bedrock(content):
    return {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "end_turn"}


ANSWERS = {
    "openai_chat": _chat,
    "openai_responses": _responses,
    "anthropic_messages": _anthropic,
    "anthropic_on_bedrock": _anthropic,
    "gemini": _gemini,
    "bedrock": _bedrock,
}


_ECHOED = {"logprobs": [], "status": "completed"}
"""What some clients echo and no service needs, where it says nothing."""


def said(value):
    """Without what is only echoed."""
    if isinstance(value, list):
        return [said(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: said(item) for name, item in value.items() if name not in _ECHOED or item != _ECHOED[name]}


def turns(check, body):
    """The assistant's turns in a request, in its own words."""
    if check == "openai_responses":
        given = body.get("input")
        runs = [[]]
        for item in given if isinstance(given, list) else ():
            from_user = item.get("role") in {"user", "system", "developer"} or str(item.get("type")).endswith("_output")
            runs.append([]) if from_user else runs[-1].append(item)
        return [run for run in runs if run]
    if check == "gemini":
        return [turn["parts"] for turn in body.get("contents", ()) if turn.get("role") == "model"]
    found = [message for message in body.get("messages", ()) if message["role"] == "assistant"]
    if check == "openai_chat":
        return [{name: value for name, value in message.items() if name != "role"} for message in found]
    return [message["content"] for message in found if isinstance(message["content"], list)]


def replayed(folder, document):
    """The assistant's turn that we send back of an answer."""
    decoder = decoder_of(folder)
    return sent_back(folder, decoder.decode_document(document)[-1].message)


def decoder_of(folder):
    prepared = adapter_of(folder).prepare(allm.request("Hi", model=model_of(folder)), AdapterOptions())
    decoder = prepared.new_decoder()
    decoder.begin({})
    return decoder


def streamed(folder):
    """The message of a recorded stream."""
    decoder, body = decoder_of(folder), (folder / "response.body").read_bytes()
    return [event for name, data in SSEDecoder().feed(body) for event in decoder.decode(name, data)][-1].message


def sent_back(folder, message):
    """The assistant's turn in the request after this message."""
    message = allm.from_json(allm.to_json(message))
    results = [allm.tool_result(call.id, "ok") for call in message.tool_calls]
    request = allm.request([allm.user("Hi"), message, *results, allm.user("Go on")], model=model_of(folder))
    prepared = adapter_of(folder).prepare(request, AdapterOptions())
    [turn] = turns(check_of(folder), json.loads(prepared.body))
    return turn


CASES = [
    pytest.param(folder, number, id=f"{name_of(folder)}-{number}")
    for folder in every_folder()
    if check_of(folder) in ANSWERS
    for number in range(len(turns(check_of(folder), body_of(folder))))
]


@pytest.mark.skipif(not CASES, reason="the recordings are not here")
@pytest.mark.parametrize(("folder", "number"), CASES)
def test_an_assistants_turn_goes_back_as_it_came(folder, number):
    """Block for block, whoever sent it first."""
    check = check_of(folder)
    sent = turns(check, body_of(folder))[number]
    assert said(replayed(folder, ANSWERS[check](sent))) == said(sent)


def test_a_streamed_answer_goes_back_as_its_client_sent_it():
    """Of the one pair of recordings that are two turns of a conversation."""
    folder = RECORDINGS / "server_tools" / "anthropic_web_fetch"
    if not folder.exists():
        pytest.skip("the recordings are not here")
    [sent] = turns("anthropic_messages", body_of(folder.with_name("anthropic_web_fetch_replay_turn")))
    assert sent_back(folder, streamed(folder)) == sent
