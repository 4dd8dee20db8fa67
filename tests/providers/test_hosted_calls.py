"""What tools of a provider did: one typed call each, replayed as it came, and never a call for the caller."""

from __future__ import annotations

import json

import pytest

import allm
from allm import fake, hosted
from allm.testing import Reply, WireServer
from allm.testing.conformance.event_grammar import check_order

SEARCH = fake.hosted_call(
    "web_search", {"query": "Zug"}, {"sources": [{"url": "https://zug.example", "title": "Zug"}]}, id="call_9"
)
CODE = fake.hosted_call("code_execution", {"code": "print(1)"}, {"stdout": "1\n"})
SCRIPT = [fake.text("Let me see. "), SEARCH, CODE, fake.text("It is a town.")]
ADAPTERS = {
    "openai_responses": lambda url: allm.providers.OpenAI(api_key="k", base_url=url, endpoint="responses"),
    "anthropic": lambda url: allm.providers.Anthropic(api_key="k", base_url=url),
    "gemini": lambda url: allm.providers.Gemini(api_key="k", base_url=url),
    "bedrock": lambda url: allm.providers.Bedrock(api_key="k", base_url=url, region="us-east-1"),
}


def engine_of(server, wire):
    return allm.Engine(adapter=ADAPTERS[wire](server.url(wire)), model="m", retry=None)


async def events_of(wire, script=SCRIPT, **how):
    async with WireServer() as server:
        server.add(Reply.script(wire, script, **how))
        async with allm.stream_generate(engine_of(server, wire), "Zug?") as stream:
            return [event async for event in stream], stream.result()


def prefixes_are_messages(events):
    """Fold every beginning of a stream, and send it through JSON."""
    collector = allm.StreamCollector()
    for event in events:
        collector.add(event)
        response = collector.response()
        allm.validate(allm.Request([allm.user("Zug?"), *([response.message] if response.message.parts else [])]))
        assert allm.from_json(allm.to_json(response)) == response


@pytest.mark.parametrize("wire", ADAPTERS)
@pytest.mark.parametrize("chunks", [None, 1, 7])
async def test_calls_stream_the_same_however_they_are_cut(wire, chunks):
    """Each starts, completes, is one call with what was asked and found, and is not the caller's."""
    events, response = await events_of(wire, chunks=chunks)
    check_order(events)
    prefixes_are_messages(events)
    assert [(call.kind, call.status) for call in response.hosted_calls] == [
        ("web_search", "completed"),
        ("code_execution", "completed"),
    ]
    search, code = response.hosted_calls
    assert search.input["query"] == "Zug"
    if wire != "bedrock":  # where citations alone tell what was found
        assert search.output["sources"][0]["url"] == "https://zug.example"
    assert (code.input["code"], code.output["stdout"]) == ("print(1)", "1\n")
    assert (response.tool_calls, response.finish_reason) == ((), "stop")
    assert response.output_text == "Let me see. It is a town."
    started = [event.id for event in events if isinstance(event, allm.HostedCallStarted)]
    assert started == [event.id for event in events if isinstance(event, allm.HostedCallCompleted)]


@pytest.mark.parametrize("wire", ADAPTERS)
async def test_calls_go_back_as_they_came_and_to_nobody_else(wire):
    """Every item in its place at the vendor that made it; all others get the text alone."""
    async with WireServer() as server:
        server.add(Reply.script(wire, SCRIPT), *[Reply.script(wire, [fake.text("Yes.")])] * 2)
        engine = engine_of(server, wire)
        response = await allm.generate(engine, "Zug?")
        await allm.generate(engine, [allm.user("Zug?"), response.message, allm.user("Sure?")])
        sent = json.loads(server.requests[1].body)
    wanted = [dict(part.data) for part in response.message.parts if isinstance(part, allm.HostedCall)]
    assert [item for item in items_of(wire, sent) if item in wanted] == wanted
    for other in ADAPTERS.keys() - {wire}:
        async with WireServer() as server:
            server.add(Reply.script(other, [fake.text("Yes.")]))
            await allm.generate(engine_of(server, other), [allm.user("Zug?"), response.message, allm.user("Sure?")])
            body = server.requests[0].body.decode()
        assert "print(1)" not in body
        assert "Let me see." in body


@pytest.mark.parametrize("wire", ADAPTERS)
async def test_a_call_that_failed_says_so(wire):
    """In its status; a format that cannot say it refuses the script."""
    failed = fake.hosted_call("code_execution", {"code": "1/0"}, {"stdout": ""}, status="failed")
    _, response = await events_of(wire, [failed, fake.text("No.")])
    assert [(call.kind, call.status) for call in response.hosted_calls] == [("code_execution", "failed")]
    played = await allm.generate(allm.Engine(adapter=allm.providers.Fake([failed])), "hi")
    assert [call.status for call in played.hosted_calls] == ["failed"]
    with pytest.raises(ValueError, match="of code only"):
        Reply.script("gemini", [fake.hosted_call("web_search", {"query": "x"}, status="failed")])
    with pytest.raises(ValueError, match="no hosted call that is incomplete"):
        Reply.script(wire, [fake.hosted_call("web_search", {"query": "x"}, status="incomplete")])


def items_of(wire, body):
    if wire == "openai_responses":
        return body["input"]
    if wire in {"anthropic", "bedrock"}:
        return [block for message in body["messages"] for block in message["content"] if isinstance(block, dict)]
    return [part for content in body["contents"] for part in content["parts"]]


def test_calls_in_the_order_in_which_anthropic_sent_them():
    """Two calls, then two results: the blocks keep their places, and the calls are two."""
    use = [{"type": "server_tool_use", "id": f"s{n}", "name": "web_search", "input": {"query": str(n)}} for n in (1, 2)]
    found = [{"type": "web_search_tool_result", "tool_use_id": f"s{n}", "content": []} for n in (1, 2)]
    message = decoded_anthropic([*use, *found])
    assert [part.data for part in message.parts] == [*use, *found]
    assert [(call.id, call.input["query"], call.status) for call in message.hosted_calls] == [
        ("s1", "1", "completed"),
        ("s2", "2", "completed"),
    ]


def test_a_result_of_an_earlier_message_is_a_call_too():
    """Where a turn was paused, the call is in the message before."""
    result = {"type": "code_execution_tool_result", "tool_use_id": "s1", "content": {"stdout": "1", "return_code": 2}}
    [call] = decoded_anthropic([result]).hosted_calls
    assert (call.id, call.kind, call.status, call.output["stdout"]) == ("s1", "code_execution", "failed", "1")


def decoded_anthropic(blocks):
    from allm.providers.anthropic.decode import MessagesDecoder

    decoder = MessagesDecoder()
    decoder.begin({})
    document = {"type": "message", "id": "m", "model": "c", "content": blocks, "stop_reason": "end_turn"}
    collector = allm.StreamCollector()
    events = decoder.decode_document(document)
    check_order(events)
    for event in events:
        collector.add(event)
    return collector.response().message


def decoded_gemini(*parts, **candidate):
    from allm.providers.gemini.decode import GeminiDecoder

    decoder = GeminiDecoder()
    decoder.begin({})
    content = {"role": "model", "parts": [*parts, {"text": "Owls hunt at night."}]}
    events = decoder.decode_document({"candidates": [{"content": content, "finishReason": "STOP", **candidate}]})
    check_order(events)
    return events[-1].message


def test_what_gemini_found_in_files_is_a_call():
    """Older models tell it in the grounding alone, newer ones have parts for the call."""
    chunk = {"text": "At night.", "title": "owls.pdf", "fileSearchStore": "fileSearchStores/a"}
    grounding = {"groundingMetadata": {"groundingChunks": [{"retrievedContext": chunk}]}}
    [call] = decoded_gemini(**grounding).hosted_calls
    assert (call.kind, call.status, call.output) == ("file_search", "completed", {"results": [chunk]})
    tool = {"id": "c1", "toolType": "FILE_SEARCH"}
    [call] = decoded_gemini({"toolCall": tool}, {"toolResponse": tool}, **grounding).hosted_calls
    assert (call.id, call.kind, call.status) == ("c1", "file_search", "completed")


@pytest.mark.parametrize(
    ("item", "kind", "asked"),
    [
        (
            {"type": "x_search_call", "name": "x_semantic_search", "arguments": '{"query":"owls","limit":2}'},
            "x_search",
            {"name": "x_semantic_search", "query": "owls", "limit": 2},
        ),
        ({"type": "x_search_call", "name": "x", "arguments": "owl"}, "x_search", {"name": "x", "arguments": "owl"}),
        (
            {"type": "image_generation_call", "result": None, "revised_prompt": "An owl at night."},
            "image_generation",
            {"prompt": "An owl at night."},
        ),
    ],
)
def test_what_responses_items_were_asked_for(item, kind, asked):
    """Searches of X are told as calls of a function; a picture that did not come, by its prompt."""
    from allm.providers.openai.responses_decode import ResponsesDecoder

    decoder = ResponsesDecoder()
    decoder.begin({})
    document = {"id": "r", "object": "response", "status": "completed", "output": [{"id": "i1", **item}]}
    [call] = decoder.decode_document(document)[-1].message.hosted_calls
    assert (call.kind, call.status, call.input) == (kind, "completed", asked)


async def test_a_user_cannot_have_made_a_call():
    """It is refused before anything is sent."""
    message = allm.Message("user", [allm.TextPart("hi"), allm.HostedCall("1", "web_search")])
    engine = allm.Engine(adapter=allm.providers.OpenAI(api_key="k"), model="gpt-5.4")
    with pytest.raises(allm.ValidationError, match="hosted call"):
        await allm.generate(engine, [message])


# --- tools in requests -------------------------------------------------------------------------------------------


def body_of(adapter, *tools, model="m", **options):
    request = allm.Request([allm.user("hi")], model=model, tools=tools, **options)
    return json.loads(adapter.prepare(request, allm.adapters.AdapterOptions()).body)


@allm.tool
def clock() -> str:
    """Tell the time."""
    return "noon"


OPENAI = allm.providers.OpenAI(api_key="k")
CLAUDE = allm.providers.Anthropic(api_key="k")
GEMINI = allm.providers.Gemini(api_key="k")
XAI = allm.providers.OpenAI(preset="xai", api_key="k")
OPENROUTER = allm.providers.OpenAI(preset="openrouter", api_key="k")
FORMS = {
    "openai search": (
        OPENAI,
        hosted.web_search(allowed_domains=["a.b"], country="CH", context_size="low"),
        {
            "type": "web_search",
            "filters": {"allowed_domains": ["a.b"]},
            "user_location": {"type": "approximate", "country": "CH"},
            "search_context_size": "low",
        },
    ),
    "openai code": (
        OPENAI,
        hosted.code_execution(file_ids=["f"]),
        {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}},
    ),
    "openai files": (
        OPENAI,
        hosted.file_search("vs_1", max_results=3),
        {"type": "file_search", "vector_store_ids": ["vs_1"], "max_num_results": 3},
    ),
    "openai mcp": (
        OPENAI,
        hosted.mcp("https://m.example", name="wiki", approval="never"),
        {"type": "mcp", "server_label": "wiki", "server_url": "https://m.example", "require_approval": "never"},
    ),
    "openai computer": (OPENAI, hosted.computer(), {"type": "computer"}),
    "openai images": (
        OPENAI,
        hosted.image_generation(size="1024x1024"),
        {"type": "image_generation", "size": "1024x1024"},
    ),
    "anthropic search": (
        CLAUDE,
        hosted.web_search(max_uses=2, city="Zug", metadata={"anthropic": {"type": "web_search_20250305"}}),
        {
            "type": "web_search_20250305",
            "name": "web_search",
            "allowed_callers": ["direct"],
            "max_uses": 2,
            "user_location": {"type": "approximate", "city": "Zug"},
        },
    ),
    "anthropic pages": (
        CLAUDE,
        hosted.url_context(citations=True),
        {"type": "web_fetch_20250910", "name": "web_fetch", "citations": {"enabled": True}},
    ),
    "gemini search": (GEMINI, hosted.web_search(), {"googleSearch": {}}),
    "gemini files": (
        GEMINI,
        hosted.file_search("stores/1", max_results=2),
        {"fileSearch": {"fileSearchStoreNames": ["stores/1"], "topK": 2}},
    ),
    "xai search": (
        XAI,
        hosted.web_search(blocked_domains=["a.b"]),
        {"type": "web_search", "filters": {"excluded_domains": ["a.b"]}},
    ),
    "openrouter search": (
        OPENROUTER,
        hosted.web_search(max_uses=1),
        {"type": "openrouter:web_search", "parameters": {"max_uses": 1}},
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_tool_in_the_words_of_its_vendor(name):
    """Beside a tool of one's own."""
    adapter, tool, wanted = FORMS[name]
    body = body_of(adapter, clock, tool, model="gemini-3-pro" if adapter is GEMINI else "m")
    assert wanted in body["tools"]
    assert len(body["tools"]) == 2
    assert "clock" in json.dumps(body["tools"])


def test_what_has_to_be_asked_for_is():
    """OpenAI leaves out what a call found unless it is included; Anthropic has headers and fields of their own."""
    body = body_of(OPENAI, hosted.web_search(), hosted.code_execution())
    assert body["include"] == ["web_search_call.action.sources", "code_interpreter_call.outputs"]
    servers = body_of(CLAUDE, hosted.mcp("https://m.example", name="wiki", authorization="t"))["mcp_servers"]
    assert servers == [{"type": "url", "url": "https://m.example", "name": "wiki", "authorization_token": "t"}]
    request = allm.Request([allm.user("hi")], model="m", tools=[hosted.mcp("https://m.example", name="wiki")])
    call = CLAUDE.prepare(request, allm.adapters.AdapterOptions())
    assert dict(call.headers)["anthropic-beta"] == "mcp-client-2025-04-04"
    assert body_of(CLAUDE, hosted.code_execution(container="c1"))["container"] == "c1"
    assert body_of(OPENAI, hosted.web_search(), tool_choice="web_search")["tool_choice"] == {"type": "web_search"}


REFUSED = {
    "a setting": (GEMINI, [hosted.web_search(allowed_domains=["a.b"])], "unsupported_option"),
    "a setting of OpenAI": (OPENAI, [hosted.web_search(max_uses=1)], "unsupported_option"),
    "a tool": (CLAUDE, [hosted.image_generation()], "unsupported_tool"),
    "a service without tools": (
        allm.providers.OpenAI(preset="groq", api_key="k"),
        [hosted.web_search()],
        "unsupported_tool",
    ),
    "Chat Completions": (
        allm.providers.OpenAI(api_key="k", endpoint="chat_completions"),
        [hosted.web_search()],
        "unsupported_tool",
    ),
    "beside functions": (GEMINI, [clock, hosted.web_search()], "unsupported_capability"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_a_vendor_lacks_is_refused_before_anything_is_sent(name):
    """With the path of the tool, and with what to use instead."""
    adapter, tools, tag = REFUSED[name]
    engine = allm.Engine(adapter=adapter, model="gemini-2.5-flash" if adapter is GEMINI else "m")
    with pytest.raises(allm.ValidationError, match=r"[uU]se |leave|name the site") as caught:
        await allm.generate(engine, "hi", tools=tools)
    assert [(path[0], found) for path, found in caught.value.errors] == [("tools", tag)]


@pytest.mark.parametrize(
    ("adapter", "tool", "said"),
    [
        (OPENAI, hosted.url_context(), "tools[0] is url_context, which openai does not have"),
        (GEMINI, hosted.url_context(max_uses=1), "a setting that url_context of Gemini does not have"),
        (CLAUDE, hosted.computer(), "it has code_execution, mcp, url_context, web_search"),
    ],
)
def test_a_tool_that_is_lacking_is_named_as_its_function(adapter, tool, said):
    """A call of `url_context()` has the kind `web_fetch`, which nobody has written who reads the message."""
    request = allm.Request([allm.user("hi")], model="m", tools=[tool])
    with pytest.raises(allm.ValidationError) as caught:
        adapter.prepare(request, allm.adapters.AdapterOptions())
    assert said in caught.value.message


async def test_a_call_of_the_name_of_a_hosted_tool_is_of_no_tool():
    """The model is told that there is none: nothing here could run it, and nobody is asked to."""
    script = [[fake.tool_call("web_search", {"query": "x"})], [fake.text("Then not.")]]
    engine = allm.Engine(adapter=allm.providers.Fake(scripts=script))
    result = await allm.chat(engine, "hi", tools=[hosted.web_search(), clock])
    assert result.halted_reason == "completed"
    assert result.steps[0].tool_results[0].is_error


def test_a_tool_goes_through_json():
    """It stays what it is."""
    request = allm.Request([allm.user("hi")], tools=[hosted.web_search(max_uses=2), hosted.mcp("https://m", name="x")])
    assert allm.from_json(allm.to_json(request)) == request


def test_a_token_is_in_no_text():
    """It is sent, but neither shown nor written; the tool without it can be."""
    tool = hosted.mcp("https://m.example", name="wiki", authorization="s3cret", headers={"x": "s3cret"})
    assert "s3cret" not in repr(tool)
    with pytest.raises(allm.ValidationError, match="secrets"):
        allm.to_json(tool)
    [wire] = body_of(OPENAI, tool)["tools"]
    assert (wire["authorization"], wire["headers"]) == ("s3cret", {"x": "s3cret"})


@pytest.mark.parametrize(
    "make",
    [
        lambda: hosted.web_search(allowed_domains=["a"], blocked_domains=["b"]),
        lambda: hosted.web_search(max_uses=0),
        lambda: hosted.file_search([]),
    ],
)
def test_impossible_settings_are_refused_at_once(make):
    """No provider has to be asked."""
    with pytest.raises(allm.ValidationError):
        make()


async def test_a_tool_in_the_instructions_cannot_run_at_the_provider():
    """The model would be told of a function that nobody runs."""
    engine = allm.Engine(adapter=allm.providers.Fake(script=[fake.text("hi")]))
    with pytest.raises(allm.ValidationError, match="runs at a provider"):
        await allm.generate(engine, "hi", tools=[hosted.web_search()], tool_mode="prompted")
