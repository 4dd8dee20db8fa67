"""Deferred tools on each wire: what is sent, what of the provider's search goes back, and how large a request is."""

from __future__ import annotations

import functools
import json
from typing import Annotated

import pytest

import allm
from allm.adapters import AdapterOptions, dumps
from allm.data.tool_help import as_sent, with_help
from allm.providers import Anthropic, Gemini, OpenAI
from allm.testing import Reply, WireServer
from request_types import check_anthropic, check_gemini, check_openai_chat, check_openai_responses

ADAPTERS = {
    "anthropic": lambda **fields: Anthropic(api_key="k", **fields),
    "openai_responses": lambda **fields: OpenAI(api_key="k", endpoint="responses", **fields),
    "openai": lambda **fields: OpenAI(api_key="k", endpoint="chat_completions", **fields),
    "gemini": lambda **fields: Gemini(api_key="k", **fields),
}
MODELS = {
    "anthropic": "claude-sonnet-4-6",
    "openai_responses": "gpt-5.4",
    "openai": "gpt-4.1",
    "gemini": "gemini-3-pro",
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool(name, **fields):
    return allm.Tool(name, f"Does {name}.", SCHEMA, **fields)


def body_of(wire, **fields):
    request = allm.request(fields.pop("messages", "hi"), model=MODELS[wire], **fields)
    return json.loads(json.dumps(json_body(ADAPTERS[wire]().prepare(request, AdapterOptions()))))


def json_body(call):
    return json.loads(call.body) if isinstance(call.body, (bytes, str)) else call.body


def test_anthropic_defers_and_searches():
    """The tool stays in the request, marked; the search joins, unless the request has one."""
    tools = [tool("a", deferred=True), tool("b")]
    first, second, search = body_of("anthropic", tools=tools)["tools"]
    assert first == {"name": "a", "description": "Does a.", "input_schema": SCHEMA, "defer_loading": True}
    assert "defer_loading" not in second
    assert search == {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}

    own = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
    assert body_of("anthropic", tools=tools, options={"tools": [own]})["tools"][2:] == [own]
    assert body_of("anthropic", tools=tools, tool_choice="a")["tools"] == [
        {"name": "a", "description": "Does a.", "input_schema": SCHEMA},
        second,
    ]


def test_openai_defers_and_searches():
    """As its Responses API has it."""
    tools = [tool("a", deferred=True), tool("b")]
    first, second, search = body_of("openai_responses", tools=tools)["tools"]
    assert first == {**second, "name": "a", "description": "Does a.", "defer_loading": True}
    assert "defer_loading" not in second
    assert search == {"type": "tool_search"}
    assert len(body_of("openai_responses", tools=tools, tool_choice="a")["tools"]) == 2
    assert body_of("openai_responses", tools=tools, options={"tools": [search]})["tools"][2:] == [search]


@pytest.mark.parametrize("wire", ADAPTERS)
def test_the_vendors_own_types_accept_hidden_tools(wire):
    """Deferred ones where there is a search, compact ones everywhere."""
    tools = with_help([tool("a", compact=True), tool("b", deferred=wire in {"anthropic", "openai_responses"})])
    request = as_sent(allm.request("hi", model=MODELS[wire], tools=tools))
    body = json_body(ADAPTERS[wire]().prepare(request, AdapterOptions()))
    check = {
        "anthropic": functools.partial(check_anthropic, version="2023-06-01"),
        "openai_responses": check_openai_responses,
        "openai": check_openai_chat,
        "gemini": check_gemini,
    }
    check[wire](body)


class Plain:
    """An adapter of somebody else's, with nothing but what it must have."""

    provider = "plain"

    def prepare(self, request, options):
        raise AssertionError("refused before")

    async def stream(self, prepared, emit):
        raise AssertionError("refused before")


@pytest.mark.parametrize("adapter", [ADAPTERS["openai"](), ADAPTERS["gemini"](), Plain()])
async def test_an_api_without_a_search_refuses_deferred_tools(adapter):
    """Instead of sending them in full, and says what to use."""
    with pytest.raises(allm.ValidationError, match=r"tools\[1\] is deferred.*no tool search; use compact tools"):
        await allm.generate(allm.Engine(adapter=adapter, model="m"), "hi", tools=[tool("b"), tool("a", deferred=True)])


def event(kind, **fields):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


def block(index, start, *deltas):
    yield event("content_block_start", index=index, content_block=start)
    for delta in deltas:
        yield event("content_block_delta", index=index, delta=delta)
    yield event("content_block_stop", index=index)


SEARCHED = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "tool_search_tool_bm25",
    "input": {},
}
FOUND = {
    "type": "tool_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": {
        "type": "tool_search_tool_search_result",
        "tool_references": [{"type": "tool_reference", "tool_name": "weather"}],
    },
}
CALLED = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}, "caller": {"type": "direct"}}


def anthropic_answer():
    usage = {"input_tokens": 700, "output_tokens": 1}
    yield event(
        "message_start", message={"id": "msg_1", "role": "assistant", "model": "m", "content": [], "usage": usage}
    )
    yield from block(0, SEARCHED, {"type": "input_json_delta", "partial_json": '{"query": "rain"}'})
    yield from block(1, FOUND)
    yield from block(2, CALLED, {"type": "input_json_delta", "partial_json": '{"city": "Zug"}'})
    yield event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 20})
    yield event("message_stop")


SEARCH_ITEMS = [
    {
        "id": "tsc_1",
        "type": "tool_search_call",
        "status": "completed",
        "arguments": {"paths": ["weather"]},
        "call_id": None,
        "execution": "server",
    },
    {
        "id": "tso_1",
        "type": "tool_search_output",
        "status": "completed",
        "call_id": None,
        "execution": "server",
        "tools": [
            {"type": "function", "name": "weather", "parameters": SCHEMA, "defer_loading": True, "strict": False}
        ],
    },
]
FUNCTION_CALL = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "arguments": '{"city": "Zug"}',
    "call_id": "call_1",
    "name": "weather",
    "namespace": "weather",
}


def openai_answer():
    response = {"id": "resp_1", "object": "response", "model": "m", "status": "in_progress", "output": []}
    yield event("response.created", response=response, sequence_number=0)
    items = [*SEARCH_ITEMS, FUNCTION_CALL]
    for index, item in enumerate(items):
        yield event("response.output_item.added", output_index=index, item={**item, "status": "in_progress"})
        yield event("response.output_item.done", output_index=index, item=item)
    usage = {"input_tokens": 640, "output_tokens": 46, "total_tokens": 686}
    yield event("response.completed", response={**response, "status": "completed", "output": items, "usage": usage})


@pytest.mark.parametrize(("wire", "answer"), [("anthropic", anthropic_answer), ("openai_responses", openai_answer)])
async def test_what_the_search_found_goes_back_as_it_came(wire, answer):
    """The tool that it found is run, and the next request has the search, its result and the call, in their order."""
    ran = []

    def weather(arguments):
        ran.append(arguments)
        return "rain"

    tools = [allm.Tool("weather", "Tells the weather.", SCHEMA, handler=weather), tool("other")]
    async with WireServer() as server:
        server.add(
            Reply(body="".join(answer()).encode(), headers={"content-type": "text/event-stream"}),
            Reply.script(wire, [allm.fake.text("It rains.")]),
        )
        engine = allm.Engine(adapter=ADAPTERS[wire](base_url=server.url(wire)), model=MODELS[wire])
        result = await allm.chat(engine, "Rain?", tools=[allm.Toolset(tools).deferred()])
        bodies = [json.loads(request.body) for request in server.requests]
    assert (result.output_text, ran) == ("It rains.", [{"city": "Zug"}])
    assert bodies[0]["tools"] == bodies[1]["tools"]
    if wire == "anthropic":
        sent = bodies[1]["messages"][1]["content"]
        assert sent == [
            {**SEARCHED, "input": {"query": "rain"}},
            FOUND,
            {**CALLED, "input": {"city": "Zug"}},
        ]
    else:
        assert bodies[1]["input"][1:3] == SEARCH_ITEMS
        assert bodies[1]["input"][3]["namespace"] == "weather"


def five_hundred():
    def find(
        query: Annotated[str, "Words that the record has to contain, separated by spaces; all of them count."],
        limit: Annotated[int, "Most records to return. Large numbers take long."] = 20,
        order: Annotated[
            str, "Which record comes first: the one that was changed last, or the one that fits best."
        ] = "newest",
        owner: Annotated[str | None, "Only records of this owner, by email address."] = None,
    ) -> str:
        """Find records of a kind.

        Searches titles and texts, not attachments. Records in the archive are found if the query names a year.
        """
        return query

    return allm.Toolset([allm.tool(name=f"find_{index}")(find) for index in range(500)])


def prompt_of(body):
    """What the model reads of the tools at first: deferred ones are in the request, and not in the prompt."""
    tools = body["tools"][0]["functionDeclarations"] if "functionDeclarations" in body["tools"][0] else body["tools"]
    return len(dumps([tool for tool in tools if not tool.get("defer_loading")]))


@pytest.mark.parametrize("wire", ADAPTERS)
async def test_five_hundred_tools_cost_no_more_prompt_than_they_must(wire):
    """Compact, they are at most 30 % of the request; deferred, the prompt has next to nothing of them."""
    toolset = five_hundred()
    shapes = {"plain": toolset, "compact": toolset.compact()}
    if wire in {"anthropic", "openai_responses"}:
        shapes["deferred"] = toolset.deferred()
    sizes, prompts = {}, {}
    async with WireServer() as server:
        engine = allm.Engine(adapter=ADAPTERS[wire](base_url=server.url(wire)), model=MODELS[wire])
        for name, tools in shapes.items():
            server.add(Reply.script(wire, [allm.fake.text("Hi")]))
            await allm.generate(engine, "Hi", tools=[tools])
            body = server.requests[-1].body
            sizes[name], prompts[name] = len(body), prompt_of(json.loads(body))
    assert sizes["compact"] < sizes["plain"] * 0.3
    assert prompts["compact"] < prompts["plain"] * 0.3
    if "deferred" in prompts:
        assert prompts["deferred"] < 200
        assert sizes["deferred"] < sizes["plain"] * 1.05
