"""Hosted calls that wait for the caller: a turn halts with them, and a typed answer goes back in the vendor's words."""

from __future__ import annotations

import itertools
import json

import pytest

import allm
from allm import fake, hosted
from allm.providers import Fake
from allm.testing import Reply, WireServer
from recordings import RECORDINGS
from request_types import check_openai_responses

ASKED = {"server": "shop", "name": "pay", "arguments": {"amount": 5}}
PAY = fake.hosted_call("mcp", ASKED, id="mcpr_1", status="requires_action")
CLICK = fake.hosted_call(
    "computer",
    {"actions": [{"type": "click", "button": "left", "x": 1, "y": 2}]},
    id="call_1",
    status="requires_action",
)
SHOP = hosted.mcp("https://shop.example/mcp", name="shop", approval="always")
PNG = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
IMAGES = [
    PNG,
    allm.Image.from_url("https://x.example/a.png"),
    allm.Image.from_upload(allm.FileRef(id="file-1", provider="openai")),
]
CHECK = {"id": "sc_1", "code": "malicious_instructions", "message": "The page gives orders."}


def openai(server):
    adapter = allm.providers.OpenAI(api_key="k", base_url=server.url("openai_responses"), endpoint="responses")
    return allm.Engine(adapter=adapter, model="m", retry=None)


def replies(*scripts):
    return [Reply.script("openai_responses", script) for script in scripts]


def bodies(server):
    return [request.json() for request in server.requests]


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (hosted.approve, {"approve": True}),
        (hosted.deny, {"approve": False}),
        (lambda call: hosted.deny(call, "Too much."), {"approve": False, "reason": "Too much."}),
    ],
)
async def test_an_approval(answer, sent):
    """The turn halts with the call, the answer follows the request for it, and later requests begin the same."""
    async with WireServer() as server:
        server.add(*replies([PAY], [fake.text("Paid.")], [fake.text("Bye.")]))
        engine = openai(server).with_tools(SHOP)
        result = await allm.chat(engine, "Pay 5.")
        [call] = result.pending_hosted_calls
        assert result.halted_reason == "manual_tool_calls"
        assert result.halt == allm.ManualCalls([], hosted_calls=[call])
        assert (call.id, call.kind, call.input) == ("mcpr_1", "mcp", ASKED)
        thread = result.thread.add(allm.user(answer(call)))
        result = await allm.chat(engine, thread)
        assert (result.halted_reason, result.output_text, result.pending_hosted_calls) == ("completed", "Paid.", ())
        await allm.chat(engine, result.thread.add(allm.user("Bye.")))
        first, second, third = (body["input"] for body in bodies(server))
    assert first == second[:1]
    assert [item["type"] for item in second[1:]] == ["mcp_approval_request", "mcp_approval_response"]
    assert second[2] == {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", **sent}
    assert third[: len(second)] == second


@pytest.mark.parametrize("image", IMAGES, ids=["bytes", "url", "file"])
async def test_a_screenshot(image):
    """A computer's call is answered by what its screen shows, by the id that pairs them."""
    async with WireServer() as server:
        server.add(*replies([CLICK], [CLICK], [fake.text("Done.")]))
        engine = openai(server).with_tools(hosted.computer())
        result = await allm.chat(engine, "Click.")
        for _ in range(2):
            [call] = result.pending_hosted_calls
            assert call.input["actions"][0]["type"] == "click"
            result = await allm.chat(engine, result.thread.add(allm.user(hosted.screenshot(call, image))))
        assert result.output_text == "Done."
        requests = [body["input"] for body in bodies(server)]
    for before, after in itertools.pairwise(requests):
        assert after[: len(before)] == before
    *_, call, answer = requests[1]
    source = {"file_id": "file-1"} if image.upload else {"image_url": image.url or image.to_data_uri()}
    assert (call["type"], call["id"]) == ("computer_call", "cu_call_1")
    assert answer == {
        "type": "computer_call_output",
        "call_id": call["call_id"],
        "output": {"type": "computer_screenshot", **source},
    }


async def test_safety_checks_of_a_screenshot():
    """Each has to be acknowledged before an answer is made, and goes back."""
    asked = {"action": {"type": "screenshot"}, "pending_safety_checks": [CHECK]}
    async with WireServer() as server:
        server.add(*replies([fake.hosted_call("computer", asked, status="requires_action")], [fake.text("Done.")]))
        engine = openai(server)
        response = await allm.generate(engine, "Look.")
        [call] = response.pending_hosted_calls
        with pytest.raises(allm.ValidationError, match=r"lacks safety checks .*The page gives orders"):
            hosted.screenshot(call, PNG)
        answer = hosted.screenshot(call, PNG, acknowledged=call.input["pending_safety_checks"])
        await allm.generate(engine, [allm.user("Look."), response.message, allm.user(answer)])
        assert bodies(server)[1]["input"][-1]["acknowledged_safety_checks"] == [CHECK]


async def test_a_call_of_a_computer_without_a_screenshot_is_refused():
    """Before it is sent, with what to do; one that was answered by hand is answered."""
    async with WireServer() as server:
        server.add(*replies([CLICK], [fake.text("Done.")]))
        engine = openai(server)
        response = await allm.generate(engine, "Click.")
        messages = [allm.user("Click."), response.message]
        with pytest.raises(allm.ValidationError, match=r"without an answer.*allm\.hosted\.screenshot") as caught:
            await allm.generate(engine, [*messages, allm.user("Well?")])
        assert caught.value.errors == ((("messages", 1, "content", 0), "unanswered_call"),)
        by_hand = {"type": "computer_call_output", "call_id": "call_1"}
        by_hand["output"] = {"type": "computer_screenshot", "file_id": "file-1"}
        await allm.generate(engine, [*messages, allm.user(allm.ProviderPart("openai", by_hand))])
        assert bodies(server)[1]["input"][-1] == by_hand


async def test_in_a_session():
    """What waits is known to whoever loads the session, and a reply has the answer; so is a denial of another call."""
    other = fake.hosted_call("mcp", {**ASKED, "arguments": {"amount": 500}}, id="mcpr_2", status="requires_action")
    async with WireServer() as server, allm.session.open_store("memory://") as store:
        server.add(*replies([PAY, other], [fake.text("Paid.")]))
        async with store.turn("a") as turn:
            await turn.start(openai(server), "Pay 5 and 500.")
        session, _ = await store.load("a")
        assert allm.from_json(allm.to_json(session)) == session
        small, large = session.pending_hosted_calls
        assert [call.input["arguments"] for call in (small, large)] == [{"amount": 5}, {"amount": 500}]
        half = allm.session.append(session, allm.user(hosted.deny(large, "No.")))
        assert half.pending_hosted_calls == (small,)
        async with store.turn("a") as turn:
            result = await turn.reply(openai(server), allm.user(hosted.approve(small), hosted.deny(large)))
        assert result.output_text == "Paid."
        session, _ = await store.load("a")
        assert session.pending_hosted_calls == ()
        assert allm.from_json(allm.to_json(session)) == session
        sent = bodies(server)[1]["input"]
    assert [(item["approval_request_id"], item["approve"]) for item in sent[3:]] == [
        ("mcpr_1", True),
        ("mcpr_2", False),
    ]


async def test_beside_tools_of_the_caller():
    """Those run, and the turn halts before the model is called again; calls left to the caller are beside them."""

    @allm.tool
    def double(n: int) -> int:
        """Double."""
        return 2 * n

    script = [PAY, fake.tool_call("double", {"n": 3}, id="c1")]
    async with WireServer() as server:
        server.add(*replies(script, [fake.text("Paid.")], script))
        engine = openai(server)
        result = await allm.chat(engine, "Pay 5.", tools=[double])
        [call] = result.pending_hosted_calls
        assert [message.text for message in result.steps[0].tool_results] == ["6"]
        assert (result.halted_reason, len(result.steps)) == ("manual_tool_calls", 1)
        result = await allm.chat(engine, result.thread.add(allm.user(hosted.approve(call))), tools=[double])
        assert result.output_text == "Paid."
        kinds = [item.get("type") for item in bodies(server)[1]["input"]]
        assert kinds[-2:] == ["function_call_output", "mcp_approval_response"]
        result = await allm.chat(engine, "Pay 5.", tools=[double], mode="manual")
        assert ([call.id for call in result.manual_tool_calls], len(result.pending_hosted_calls)) == (["c1"], 1)


@pytest.mark.parametrize("wire", ["openai", "anthropic", "gemini"])
async def test_others_get_neither_call_nor_answer(wire):
    """A conversation moves with what was said in it."""
    adapters = {
        "openai": lambda url: allm.providers.OpenAI(api_key="k", base_url=url, endpoint="chat_completions"),
        "anthropic": lambda url: allm.providers.Anthropic(api_key="k", base_url=url),
        "gemini": lambda url: allm.providers.Gemini(api_key="k", base_url=url),
    }
    async with WireServer() as server:
        server.add(*replies([fake.text("One moment."), PAY]), Reply.script(wire, [fake.text("Yes.")]))
        response = await allm.generate(openai(server), "Pay 5.")
        answer = allm.user(hosted.approve(response.pending_hosted_calls[0]), "Go on.")
        engine = allm.Engine(adapter=adapters[wire](server.url(wire)), model="m")
        assert (await allm.generate(engine, [allm.user("Pay 5."), response.message, answer])).output_text == "Yes."
        body = server.requests[1].body.decode()
    assert "mcpr_1" not in body
    assert "One moment." in body
    assert "Go on." in body


async def test_with_fake():
    """A test of a program needs no server."""
    adapter = Fake(scripts=[[PAY], [fake.text("Paid.")]])
    result = await allm.chat(allm.Engine(adapter=adapter), "Pay 5.")
    answer = hosted.approve(result.pending_hosted_calls[0])
    result = await allm.chat(allm.Engine(adapter=adapter), result.thread.add(allm.user(answer)))
    assert result.output_text == "Paid."
    assert adapter.requests[1].messages[-1].hosted_calls[0].output == {"approved": True}


async def test_an_answer_that_was_cut_short_waits_for_nobody():
    """What failed is an error, as with other calls."""
    adapter = Fake(script=[PAY, fake.error(allm.AdapterError("gone", reason="stream_truncated"))])
    result = await allm.chat(allm.Engine(adapter=adapter, retry=None), "Pay 5.")
    assert (result.halted_reason, result.halt) == ("error", None)


RECORDED = RECORDINGS / "server_tools" / "openai_mcp_approval_request_stream" / "response.body"


@pytest.mark.skipif(not RECORDED.exists(), reason=f"no recorded answers at {RECORDINGS}")
async def test_a_recorded_request_is_answered():
    """The items of OpenAI's own request go back, with the answer to the one that asks."""
    async with WireServer() as server:
        server.add(
            Reply(body=RECORDED.read_bytes(), headers={"content-type": "text/event-stream"}),
            *replies([fake.text("Shortened.")]),
        )
        result = await allm.chat(openai(server), "Shorten it.")
        [call] = result.pending_hosted_calls
        await allm.chat(openai(server), result.thread.add(allm.user(hosted.approve(call))))
        items = bodies(server)[1]["input"][1:]
    assert [item["type"] for item in items] == ["mcp_list_tools", "mcp_approval_request", "mcp_approval_response"]
    assert items[2]["approval_request_id"] == items[1]["id"] == call.id
    assert json.loads(items[1]["arguments"]) == call.input["arguments"]


def test_answers_that_are_none():
    """A mistake is told where it is made."""
    paid = allm.HostedCall("1", "mcp", "completed")
    elsewhere = allm.Image.from_upload(allm.FileRef(id="files/1", provider="gemini"))
    pay, click = (allm.HostedCall("1", kind, "requires_action") for kind in ("mcp", "computer"))
    for make, sentence in [
        (lambda: hosted.approve(paid), "only a call that 'requires_action' has an answer"),
        (lambda: hosted.approve(click), r"allm\.hosted\.screenshot"),
        (lambda: hosted.screenshot(pay, PNG), r"allm\.hosted\.approve"),
        (lambda: hosted.screenshot(click, b"png"), "expected an Image"),
        (lambda: hosted.screenshot(click, elsewhere), "is a file that gemini keeps"),
        (lambda: hosted.deny("mcpr_1"), "expected a HostedCall"),
    ]:
        with pytest.raises(allm.ValidationError, match=sentence) as caught:
            make()
        assert caught.value.reason == "invalid_answer"


@pytest.mark.parametrize("acknowledged", [None, [CHECK]])
@pytest.mark.parametrize("image", IMAGES, ids=["bytes", "url", "file"])
def test_openai_takes_the_answers(image, acknowledged):
    """By its own types."""
    asked = {"type": "mcp_approval_request", "id": "mcpr_1", "name": "pay", "arguments": "{}", "server_label": "shop"}
    acts = {"type": "computer_call", "id": "cu_1", "call_id": "c1", "status": "completed", "pending_safety_checks": []}
    pay, act = (
        allm.HostedCall(data.get("call_id", data["id"]), kind, "requires_action", data=data, provider="openai")
        for kind, data in (("mcp", asked), ("computer", {**acts, "action": {"type": "screenshot"}}))
    )
    answers = [hosted.approve(pay), hosted.deny(pay, "No."), hosted.screenshot(act, image, acknowledged=acknowledged)]
    request = allm.Request([allm.user("Go."), allm.assistant(pay, act), allm.user(*answers)], model="gpt-5.4")
    adapter = allm.providers.OpenAI(api_key="k", endpoint="responses")
    body = json.loads(adapter.prepare(request, allm.adapters.AdapterOptions()).body)
    assert len(body["input"]) == 6
    check_openai_responses(body)


def test_an_answer_belongs_to_the_turn_of_its_call():
    """Whoever keeps the newest turns has both or neither."""
    call = allm.HostedCall("1", "mcp", "requires_action", data={"id": "1"}, provider="openai")
    turn = [allm.user("Pay."), allm.assistant(call), allm.user(hosted.approve(call)), allm.assistant("Paid.")]
    thread = allm.Thread([allm.user("Hi"), allm.assistant("Hello."), *turn])
    assert thread.last_turns(1).messages == tuple(turn)
