"""`allm generate`: its request and its output."""

from __future__ import annotations

import io
import json
import re
import sys

import pytest

import allm
from allm import fake
from allm.runtime.fitting import forget_advice
from allm.testing import Reply

ANSWER = [fake.text("Four legs, one tail."), fake.usage(input_tokens=3, output_tokens=5)]
PIXEL = b"\x89PNG\r\n\x1a\n and so on"


def piped(monkeypatch, data):
    """Let `data` be standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


async def test_the_answer_is_all_there_is_on_standard_output(server, to_server, allm_main):
    """The text and one line end; standard error is empty."""
    server.add(Reply.script("openai", ANSWER))

    assert await allm_main("generate", "What is a cat?", *to_server) == (0, "Four legs, one tail.\n", "")

    [request] = server.requests
    assert request.json()["messages"] == [{"role": "user", "content": "What is a cat?"}]
    assert request.json()["model"] == "scripted"


async def test_options_reach_the_provider(server, to_server, allm_main, tmp_path):
    """Every option is in the request."""
    server.add(Reply.script("openai", ANSWER))
    (tmp_path / "a cat.json").write_text('{"type": "object"}')
    (tmp_path / "cat.png").write_bytes(PIXEL)
    options = ["--system", "Be brief.", "--temperature", "0.5", "--max-tokens", "9", "--reasoning", "low"]
    options += ["--option", "seed=7", "--option", "user=me", "--option", 'stop=["a"]', "--option", "note=a=b"]
    options += ["--schema", str(tmp_path / "a cat.json"), "--image", str(tmp_path / "cat.png")]
    options += ["--image", "https://example.com/cat.png", "--image", "data:image/png;base64,aGk="]

    code, _, errors = await allm_main("generate", "What is it?", *options, *to_server)

    assert (code, errors) == (0, "")
    body = server.requests[0].json()
    instruction, question = body["messages"]
    expected = {"temperature": 0.5, "max_tokens": 9, "reasoning_effort": "low"}
    expected |= {"seed": 7, "user": "me", "stop": ["a"], "note": "a=b"}
    assert expected.items() <= body.items()
    assert instruction == {"role": "system", "content": "Be brief."}
    assert body["response_format"]["json_schema"]["name"] == "a_cat"
    assert body["response_format"]["json_schema"]["schema"]["type"] == "object"
    assert question["content"][0] == {"type": "text", "text": "What is it?"}
    urls = [part["image_url"]["url"] for part in question["content"][1:]]
    assert urls[0].startswith("data:image/png;base64,iVBORw0KGgo")
    assert urls[1:] == ["https://example.com/cat.png", "data:image/png;base64,aGk="]


@pytest.mark.parametrize("argument", [["-"], []])
async def test_the_prompt_can_be_piped_in(server, to_server, allm_main, monkeypatch, argument):
    """Standard input is read as UTF-8 in any locale, if the prompt is `-` or left out."""
    server.add(Reply.script("openai", ANSWER))
    piped(monkeypatch, "Was heißt 猫?\n".encode())

    code, *_ = await allm_main("generate", *argument, *to_server)

    assert code == 0
    assert server.requests[0].json()["messages"][0]["content"] == "Was heißt 猫?\n"


async def test_json_is_the_whole_response(server, to_server, allm_main):
    """`--json` prints a document that `from_json` reads."""
    server.add(Reply.script("openai", ANSWER))

    code, output, errors = await allm_main("generate", "?", "--json", *to_server)

    response = allm.from_json(output, allm.Response)
    assert (code, errors) == (0, "")
    assert (response.output_text, response.finish_reason) == ("Four legs, one tail.", "stop")
    assert response.usage.output_tokens == 5


async def test_reasoning_can_be_shown(server, to_server, allm_main):
    """`--show-reasoning` prints the reasoning on standard error."""
    server.add(Reply.script("openai", [fake.reasoning("A pet."), *ANSWER]))

    printed = await allm_main("generate", "?", "--show-reasoning", *to_server)

    assert printed == (0, "Four legs, one tail.\n", "A pet.\n")


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_failure_in_the_middle_keeps_the_text(server, to_server, allm_main, as_json):
    """The partial text is printed, then the error in one line; exit code 1."""
    server.add(
        Reply.script("openai", [fake.text("Four"), fake.error(allm.AdapterError("cut", reason="network_error"))])
    )

    code, output, errors = await allm_main("generate", "?", *to_server, *["--json"] * as_json)

    assert code == 1
    if as_json:
        response = allm.from_json(output, allm.Response)
        assert (response.output_text, response.error.reason) == ("Four", "stream_truncated")
    else:
        assert output == "Four\n"
    assert errors.startswith("Error: ")
    assert "stream_truncated" in errors
    assert errors.count("\n") == 1


async def test_a_refused_call_is_one_line(server, to_server, allm_main):
    """An HTTP error is shown with status and request id, without an empty response."""
    server.add(Reply.error("openai", 401, message="Bad key.\nTry another."))

    code, output, errors = await allm_main("generate", "?", *to_server)

    assert (code, output) == (1, "")
    assert errors.startswith("Error: Bad key. Try another. (provider openai, model ")
    assert errors.count("\n") == 1


async def test_a_missing_key_is_one_line(server, to_server, allm_main, monkeypatch):
    """An invalid call is reported before anything is sent."""
    monkeypatch.delenv("OPENAI_API_KEY")

    code, output, errors = await allm_main("generate", "?", *to_server)

    assert (code, output, server.requests) == (1, "", [])
    assert "OPENAI_API_KEY" in errors
    assert errors.count("\n") == 1


async def test_the_model_can_come_from_the_environment(server, allm_main, monkeypatch):
    """ALLM_MODEL is used if `--model` is left out."""
    server.add(Reply.script("openai", ANSWER))
    monkeypatch.setenv("ALLM_MODEL", "openai:from-the-environment")

    code, *_ = await allm_main("generate", "?", "--base-url", server.url("openai"))

    assert code == 0
    assert server.requests[0].json()["model"] == "from-the-environment"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--model"),
        (["-m", "nobody:x"], "--model"),
        (["-m", "openai:x", "--base-url", "ftp://x"], "--base-url"),
        (["-m", "fake:x", "--base-url", "http://x"], "fake has no base URL"),
        (["-m", "openai:x", "--schema", "{folder}/missing.json"], "--schema"),
        (["-m", "openai:x", "--schema", "{folder}/broken.json"], "--schema"),
        (["-m", "openai:x", "--schema", "{folder}/list.json"], "not a JSON Schema"),
        (["-m", "openai:x", "--image", "{folder}/missing.png"], "--image"),
        (["-m", "openai:x", "--image", "{folder}/list.json"], "--image"),
        (["-m", "openai:x", "--image", "data:," + "x" * 999], "xxx...: not a base64 data URI"),
        (["-m", "openai:x", "--option", "seed"], "--option"),
        (["-m", "openai:x", "--option", "=7"], "--option"),
        (["-m", "openai:x", "--max-tokens", "0"], "--max-tokens"),
        (["-m", "openai:x", "-"], "PROMPT"),
    ],
)
async def test_wrong_usage_is_told_and_is_exit_code_2(allm_main, tmp_path, arguments, says):
    """The error is named before anything is sent."""
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    arguments = [argument.replace("{folder}", str(tmp_path)) for argument in arguments]

    code, output, errors = await allm_main("generate", "?", *arguments)

    assert (code, output) == (2, "")
    assert says in errors


async def test_a_prompt_can_come_from_any_stream(server, to_server, allm_main, monkeypatch):
    """Also from a text stream that replaced standard input."""
    server.add(Reply.script("openai", ANSWER))
    monkeypatch.setattr(sys, "stdin", io.StringIO("What is a cat?"))

    code, *_ = await allm_main("generate", *to_server)

    assert code == 0
    assert server.requests[0].json()["messages"][0]["content"] == "What is a cat?"


@pytest.mark.parametrize(("data", "says"), [(b" \n", "empty"), (b"\xff\xfe", "not UTF-8")])
async def test_a_piped_prompt_has_to_be_text(allm_main, monkeypatch, data, says):
    """Empty or undecodable input is a usage error."""
    piped(monkeypatch, data)

    code, _, errors = await allm_main("generate", "-m", "openai:x")

    assert code == 2
    assert says in errors


async def test_a_terminal_is_not_waited_for(allm_main, monkeypatch, terminal):
    """Without a prompt and a pipe it is a usage error."""
    monkeypatch.setattr(sys, "stdin", terminal.stdin)

    code, _, errors = await allm_main("generate", "-m", "openai:x")

    assert code == 2
    assert "PROMPT" in errors


async def test_streams_that_were_closed_are_empty(server, to_server, allm_main, monkeypatch):
    """The command works with closed streams (`<&- >&- 2>&-`)."""
    server.add(Reply.script("openai", ANSWER))
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)

    code, *_ = await allm_main("generate", "?", *to_server)

    assert code == 0
    assert json.loads(server.requests[0].body)["messages"]


async def test_a_warning_is_a_note_on_a_line_of_its_own(server, allm_main):
    """Such as of a model that will be shut down; nothing else writes the log to standard error."""
    forget_advice()
    server.add(Reply.script("openai", ANSWER))
    command = ["generate", "?", "--model", "openai:gpt-3.5-turbo", "--base-url", server.url("openai")]

    code, output, errors = await allm_main(*command)

    assert (code, output) == (0, "Four legs, one tail.\n")
    assert re.fullmatch(r"Note: model 'gpt-3.5-turbo' of openai w.* shut down on .*; use another one\n", errors)
