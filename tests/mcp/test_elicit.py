"""Questions of servers to the user, while the call waits (2025) or with another call (2026)."""

from __future__ import annotations

import functools
import json

import pytest
import trio

import allm
from allm import fake
from allm.mcp.sdk import sdk
from allm.providers import Fake
from allm.testing import no_leaks
from mcp_servers import connected, raw, stdio


async def answered(server, tool, arguments, on_elicit):
    async with no_leaks(), connected(server, on_elicit=on_elicit) as tools:
        return await tools[tool].run(arguments)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [({"size": "L"}, {"action": "accept", "content": {"size": "L"}}), (None, {"action": "decline"})],
)
async def test_a_function_answers_within_the_call(answer, expected):
    """With the content of the form, or None for a user who declines."""
    asked: list[allm.mcp.Elicitation] = []

    async def on_elicit(question):
        asked.append(question)
        await trio.lowlevel.checkpoint()
        return answer

    assert json.loads(await answered(raw("asks"), "echo", {}, on_elicit)) == expected
    [question] = asked
    assert question.message == "Which size?"
    assert question.server == "raw"
    assert list(question.schema["properties"]) == ["size"]


async def test_a_function_that_raises_fails_the_call():
    """With its own words."""

    def refuse(_question):
        raise ValueError("no such user")

    with pytest.raises(allm.ToolError, match="could not be answered: no such user"):
        await answered(raw("asks"), "echo", {}, refuse)


async def test_an_answer_that_is_no_form_fails_the_call():
    """It is not sent."""
    with pytest.raises(allm.ToolError, match="could not be answered"):
        await answered(raw("asks"), "echo", {}, lambda _question: {"size": {"nested": True}})


async def test_without_a_function_the_turn_halts_with_the_question():
    """The user's answer goes back with the model's next call."""
    answer = [{"action": "accept", "content": {"size": "L"}}]
    adapter = Fake(
        scripts=[
            [fake.tool_call("echo", {"text": "shirt"}, id="c1")],
            [fake.tool_call("echo", {"text": "shirt", "user_answers": answer}, id="c2")],
            [fake.text("Ordered.")],
        ]
    )
    with trio.fail_after(30):
        async with no_leaks(), allm.mcp.connect(raw("asks")) as toolset:
            engine = allm.Engine(adapter=adapter, tools=[toolset])
            session, result = await allm.session.start(engine, "Order a shirt.")
            assert result.halted_reason == "ask_user"
            assert result.pending_question == "Which size?\n- size (S | L)"
            assert result.pending_questions[0].hints["mcp_server"] == "raw"
            session, result = await allm.session.reply(engine, session, "Large, please.")

    assert result.output_text == "Ordered."
    first, second, _ = adapter.requests
    assert "user_answers" not in first.tools[0].schema["properties"]
    assert second.tools[0].schema["properties"]["user_answers"]["type"] == "array"
    assert json.loads(result.steps[0].tool_results[0].text) == {"action": "accept", "content": {"size": "L"}}


async def test_a_user_may_decline():
    """The server is told."""
    async with connected(raw("asks")) as tools:
        assert isinstance(await tools["echo"].run({}), allm.AskUser)
        declined = await tools["echo"].run({"user_answers": [{"action": "decline"}]})

    assert json.loads(declined) == {"action": "decline"}


@pytest.mark.parametrize("answers", ["yes", [], ["yes"], [{"action": "maybe"}]])
async def test_answers_of_no_use_ask_again_or_cancel(answers):
    """A model may send anything; the call ends."""
    async with connected(raw("asks")) as tools:
        with trio.move_on_after(1):
            assert isinstance(await tools["echo"].run({"user_answers": answers}), allm.AskUser)


async def test_questions_of_several_calls_at_once_of_a_server_of_2025(tmp_path):
    """Nothing says whose they are: those are cancelled, and from then on the calls run one by one."""
    ended: list[object] = []
    marker = tmp_path / "marker"
    marker.touch()

    async def run(tool, answers):
        ended.append(await tool.run({"user_answers": answers}))

    async with connected(raw("asks", marker)) as tools:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(run, tools["echo"], [{"action": "decline"}])
            while marker.read_text().count("cancelled") < 3:  # this server answers a cancelled question with nothing
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert ended == []
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for size in ("S", "L"):
                    answer = {"action": "accept", "content": {"size": size}}
                    nursery.start_soon(run, tools["echo"], [answer])
    assert sorted(json.loads(text)["content"]["size"] for text in ended) == ["L", "S"]


@pytest.mark.parametrize("version", ["2026", "2025"])
async def test_the_sdks_server_asks_twice(version, monkeypatch):
    """The answers go back in the order of the questions; both ways, in both versions of the protocol."""
    if version == "2025":
        monkeypatch.setattr(sdk().client, "Client", functools.partial(sdk().client.Client, mode="legacy"))
    answers: list[dict[str, object]] = []
    async with no_leaks():
        async with connected(stdio()) as tools:
            for size in ("L", "M"):
                asked = await tools["order"].run({"what": "shirt", "user_answers": answers})
                assert asked.question.endswith("\n- size (string): Size")
                answers.append({"action": "accept", "content": {"size": size}})
            assert "second shirt" in asked.question
            assert await tools["order"].run({"what": "shirt", "user_answers": answers}) == "shirt: L and M"
        async with connected(stdio(), on_elicit=lambda _question: {"size": "S"}) as tools:
            assert await tools["order"].run({"what": "shirt"}) == "shirt: S and S"
