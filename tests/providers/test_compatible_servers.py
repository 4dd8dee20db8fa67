"""Servers that speak Chat Completions in a way of their own: what they send, take back and refuse."""

from __future__ import annotations

import attrs
import pytest

import allm
from allm.data.json.text import dumps, loads
from allm.providers import OpenAI, Preset
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.presets import PRESETS
from allm.testing import Cut, Reply, WireServer
from openai_wire import prepare

CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "noon", "arguments": "{}"}}
ELSEWHERE = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="k")


def chunk(delta=None, *, finish=None, **fields):
    return {"id": "a", "model": "m", "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **fields}


def fold(events):
    collector = allm.StreamCollector()
    for event in events:
        collector.add(event)
    return collector.response()


def answer(*deltas, provider="openai", finish="stop"):
    """What a stream of these deltas folds to."""
    decoder = ChatDecoder(provider)
    events = [event for delta in deltas for event in decoder.decode("", dumps(chunk(delta)))]
    return fold([*events, *decoder.decode("", dumps(chunk(finish=finish))), *decoder.decode("", b"[DONE]")])


def whole(message, provider="openai", **fields):
    """What a plain JSON answer folds to."""
    document = {"id": "a", "model": "m", "choices": [{"index": 0, "message": message, **fields}]}
    return fold(ChatDecoder(provider).decode_document(document))


def sent_back(response, adapter=ELSEWHERE):
    """The assistant message of a request that goes on after an answer."""
    results = [allm.tool_result(call.id, "12:00") for call in response.tool_calls]
    body = loads(prepare(allm.user("hi"), response.message, *results, adapter=adapter, model="m").body)
    [message] = [message for message in body["messages"] if message["role"] == "assistant"]
    return message


# --- how an answer ends ---


async def test_a_body_that_is_cut_is_no_end():
    """A finish reason is not enough: the connection has to end as HTTP ends it."""
    body = Reply.sse([(None, chunk({"content": "hi"}, finish="stop"))])
    for reply, finish in ((body, "stop"), (attrs.evolve(body, fault=Cut(len(body.body))), "error")):
        async with WireServer() as server:
            server.add(reply)
            adapter = OpenAI(base_url=server.url("openai"), api_key="k")
            response = await allm.generate(allm.Engine(adapter=adapter, model="m", retry=None), "hi")
        assert (response.output_text, response.finish_reason) == ("hi", finish)


@pytest.mark.parametrize("word", [None, "", "null", "None"])
def test_a_whole_answer_without_a_word_is_whole(word):
    """As servers in Go send it, whose texts are empty when nothing is set."""
    assert whole({"content": "hi"}, finish_reason=word).finish_reason == "stop"


def test_a_finish_reason_that_is_an_object():
    """SGLang's own form."""
    assert whole({"content": "hi"}, finish_reason={"type": "length", "length": 9}).finish_reason == "length"


# --- calls ---


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [("null", "{}"), ('""', "{}"), ('"null"', "{}"), ("", "{}"), (None, "{}"), ('"{\\"a\\":1}"', '{"a":1}')],
)
def test_no_arguments_in_any_form(arguments, sent):
    """They are `{}` to the tool, and go back as an object: those who send "null" do not take it."""
    response = answer({"tool_calls": [{**CALL, "function": {"name": "noon", "arguments": arguments}}]})
    [call] = response.tool_calls
    assert call.arguments == loads(sent)
    assert sent_back(response)["tool_calls"][0]["function"] == {"name": "noon", "arguments": sent}


@pytest.mark.parametrize("kind", [{"type": "function"}, {}])
def test_an_empty_object_beside_a_function(kind):
    """Servers in Go send both forms of a call, one of them empty."""
    function = {"name": "noon", "arguments": '{"a":1}'}
    call = {"index": 0, "id": "c", **kind, "function": function, "custom": {"name": "", "input": ""}}
    [made] = answer({"tool_calls": [call]}).tool_calls
    assert (made.name, made.arguments) == ("noon", {"a": 1})


def test_an_empty_function_beside_free_text():
    """The other way round."""
    custom = {"name": "math", "input": "4"}
    call = {"index": 0, "id": "c", "type": "custom", "function": {"name": "", "arguments": ""}, "custom": custom}
    response = answer({"tool_calls": [call]})
    [made] = response.tool_calls
    assert (made.name, made.arguments, made.raw_arguments) == ("math", None, "4")
    assert sent_back(response)["tool_calls"] == [{"id": "c", "type": "custom", "custom": custom}]


# --- what only the service knows ---

SIGNED = {"extra_content": {"google": {"thought_signature": "S"}}}


@pytest.mark.parametrize(
    "deltas",
    [
        [{"tool_calls": [{**CALL, **SIGNED}]}],
        [{"tool_calls": [CALL]}, {"tool_calls": [{"index": 0, **SIGNED}]}],
        [{"tool_calls": [CALL]}, {"tool_calls": [SIGNED]}],
        [{"tool_calls": [CALL]}, {"tool_calls": [{"id": "c1", **SIGNED}]}],
        [{"tool_calls": [{**CALL, "extra_content": {"google": {}}}]}, {"tool_calls": [{"index": 0, **SIGNED}]}],
    ],
    ids=["with the call", "later by index", "later without a name", "later by id", "in pieces"],
)
def test_fields_of_a_call_go_back(deltas):
    """Whenever they come."""
    [call] = sent_back(answer(*deltas))["tool_calls"]
    assert call == {"id": "c1", "type": "function", "function": CALL["function"], **SIGNED}


@pytest.mark.parametrize(
    "fields",
    [
        {"extra_content": {"vertex": {"thought_signature": "S"}}},
        {"provider_specific_fields": {"thought_signature": "S"}},
        {"thought_signature": "S"},
        {"function": {**CALL["function"], "thought_signature": "S"}},
    ],
)
def test_any_field_of_a_call_goes_back(fields):
    """Nobody knows all their names."""
    response = answer({"tool_calls": [{**CALL, **fields}]})
    assert sent_back(response)["tool_calls"] == [{key: CALL[key] for key in ("id", "type", "function")} | fields]


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([{"content": "x", **SIGNED}], SIGNED),
        ([{"content": "x"}, SIGNED], SIGNED),
        (
            [
                {"thinking_blocks": [{"type": "thinking", "thinking": "h"}], "reasoning_content": "h"},
                {"thinking_blocks": [{"type": "thinking", "thinking": "m"}], "reasoning_content": "m"},
                {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "S"}], "content": "x"},
            ],
            {
                "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "S"}],
                "reasoning_content": "hm",
            },
        ),
        (
            [{"content": "x", "provider_specific_fields": {"refusal": None, "thought_signatures": ["S"]}}],
            {"provider_specific_fields": {"thought_signatures": ["S"]}},
        ),
        ([{"content": "x", "reasoning_opaque": "S"}], {"reasoning_opaque": "S"}),
        ([{"content": "x", "provider_specific_fields": {"refusal": None}, "audio": None, "citations": ["u"]}], {}),
    ],
    ids=["google", "google, alone", "litellm blocks", "litellm fields", "any", "nothing to keep"],
)
def test_fields_of_a_message_go_back(deltas, expected):
    """Put together from their pieces; what is about the answer alone does not go back."""
    response = answer(*deltas)
    assert response.output_text == "x"
    assert sent_back(response) == {"role": "assistant", "content": "x", **expected}
    assert allm.from_json(allm.to_json(response)) == response


def test_fields_of_a_whole_message_go_back():
    """A plain JSON answer has the same."""
    response = whole({"content": "x", "tool_calls": [{**CALL, **SIGNED}], **SIGNED})
    back = sent_back(response)
    assert (back["extra_content"], back["tool_calls"][0]["extra_content"]) == (*SIGNED.values(), *SIGNED.values())


@pytest.mark.parametrize(
    "adapter",
    [
        OpenAI(api_key="k", endpoint="chat_completions"),
        OpenAI(preset="groq", api_key="k"),
        OpenAI(preset=Preset(name="openai", base_url="http://x.example/v1", replays=False), api_key="k"),
        OpenAI(api_key="k", endpoint="responses"),
    ],
    ids=["openai", "another service", "one that refuses them", "responses"],
)
def test_such_fields_go_nowhere_else(adapter):
    """OpenAI's own services refuse what they do not know."""
    response = answer({"content": "x", "reasoning_content": "hm", "tool_calls": [{**CALL, **SIGNED}], **SIGNED})
    body = prepare(allm.user("hi"), response.message, allm.tool_result("c1", "x"), adapter=adapter, model="m").body
    assert b"extra_content" not in body
    assert b"reasoning_content" not in body
    assert b"message_fields" not in body


def test_a_thought_in_the_content():
    """Gemini with `include_thoughts`: the mark of it does not go back with the answer."""
    mark = {"google": {"thought": True}}
    response = answer({"content": "hm", "extra_content": mark}, {"content": "x", **SIGNED})
    assert (response.reasoning_text, response.output_text) == ("hm", "x")
    assert sent_back(response) == {"role": "assistant", "content": "x", **SIGNED}


def test_a_file_that_was_read_goes_back():
    """OpenRouter reads and bills it once; a citation stays here."""
    file, link = {"type": "file", "file": {"hash": "h"}}, {"type": "url_citation", "url_citation": {"url": "u"}}
    response = answer({"content": "x", "annotations": [file, link]}, provider="openrouter")
    adapter = OpenAI(preset="openrouter", api_key="k")
    assert sent_back(response, adapter)["annotations"] == [file]


# --- thinking ---


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "reasoning_text"])
@pytest.mark.parametrize("name", ["openai", "vllm", "ollama", "fireworks", "cerebras"])
def test_thinking_goes_back_in_the_field_it_came_in(field, name):
    """To the service it came from, whether it is one that is known or an address."""
    response = answer({field: "hm"}, {"content": "x"}, provider=name)
    adapter = ELSEWHERE if name == "openai" else OpenAI(preset=name, api_key="k")
    assert sent_back(response, adapter) == {"role": "assistant", "content": "x", field: "hm"}
    other = OpenAI(preset="together", api_key="k")
    assert sent_back(response, other) == {"role": "assistant", "content": "x"}


@pytest.mark.parametrize("name", ["deepseek", "moonshot"])
def test_each_assistant_message_has_its_thinking(name):
    """They answer 400 otherwise: also where there was none, and where another vendor has made the message."""
    own = answer({"reasoning_content": "hm", "tool_calls": [CALL]}, provider=name)
    empty = answer({"reasoning_content": ""}, {"content": "x"}, provider=name)
    foreign = allm.Message(
        "assistant", [allm.ReasoningPart("I", provider="anthropic", signature="s"), allm.TextPart("y")]
    )
    messages = [own.message, allm.tool_result("c1", "x"), empty.message, allm.user("?"), foreign, allm.assistant("z")]
    body = loads(prepare(*messages, adapter=OpenAI(preset=name, api_key="k"), model="m").body)
    texts = [message["reasoning_content"] for message in body["messages"] if message["role"] == "assistant"]
    assert texts == ["hm", "", "", ""]


# --- errors ---


def failing(*chunks):
    decoder = ChatDecoder("openrouter")
    return fold([event for data in chunks for event in decoder.decode("", dumps(data))])


USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
ERROR = {"code": 502, "message": "upstream broke"}


@pytest.mark.parametrize(
    "last",
    [
        {**chunk({"content": " two", "reasoning": "m"}), "error": ERROR, "usage": USAGE},
        {
            "id": "a",
            "model": "m",
            "usage": USAGE,
            "choices": [{"delta": {"content": " two", "reasoning": "m"}, "error": ERROR}],
        },
        {**chunk({"content": " two", "reasoning": "m"}, finish="error"), "usage": USAGE, "error": "upstream broke"},
    ],
    ids=["chunk", "choice", "text"],
)
def test_an_error_keeps_what_it_comes_with(last):
    """Text, thinking, counts and ids."""
    response = failing(chunk({"content": "one", "reasoning": "h"}), last)
    assert (response.output_text, response.reasoning_text) == ("one two", "hm")
    assert (response.usage.total_tokens, response.id, response.model) == (7, "a", "m")
    assert (response.finish_reason, response.error.message) == ("error", "upstream broke")


@pytest.mark.parametrize("at_choice", [True, False])
def test_an_error_in_a_whole_answer_keeps_it(at_choice):
    """The same where nothing was streamed."""
    choice = {"index": 0, "message": {"content": "part", "reasoning": "hm"}} | ({"error": ERROR} if at_choice else {})
    document = {"id": "a", "model": "m", "choices": [choice], "usage": USAGE} | ({} if at_choice else {"error": ERROR})
    response = fold(ChatDecoder("openrouter").decode_document(document))
    assert (response.output_text, response.reasoning_text, response.id) == ("part", "hm", "a")
    assert (response.usage.output_tokens, response.error.status) == (4, 502)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
async def test_a_number_that_json_does_not_have(number):
    """It loses no answer, whether it is streamed or whole."""
    lost = b'{"id":"a","choices":[{"delta":{"content":"hi"},"logprobs":[%b],"finish_reason":"stop"}]}' % number
    for reply in (
        Reply(headers={"content-type": "text/event-stream"}, body=b"data: " + lost + b"\n\n"),
        Reply(headers={"content-type": "application/json"}, body=lost.replace(b"delta", b"message")),
    ):
        async with WireServer() as server:
            server.add(reply)
            adapter = OpenAI(base_url=server.url("openai"), api_key="k")
            response = await allm.generate(allm.Engine(adapter=adapter, model="m", retry=None), "hi")
        assert (response.output_text, response.finish_reason) == ("hi", "stop")


async def refused(body, status=400, *, preset=None, retry=None, **options):
    """The error of an answer, and how often it was asked for."""
    async with WireServer() as server:
        server.add(*(Reply.json(body, status=status) for _ in range(3)))
        adapter = OpenAI(base_url=server.url("openai"), preset=preset, api_key="key-123456789")
        engine = allm.Engine(adapter=adapter, model="m", retry=retry)
        response = await allm.generate(engine, "hi", **options)
    return response.error, len(server.requests)


@pytest.mark.parametrize(
    ("preset", "status", "body", "reason"),
    [
        ("ollama", 401, {"error": {"message": "unauthorized", "type": "api_error"}}, "authentication_failed"),
        ("ollama", 403, {"error": {"message": "no", "type": "server_error"}}, "authentication_failed"),
        ("ollama", 500, {"error": {"message": "x", "type": "api_error"}}, "provider_unavailable"),
        ("xai", 400, {"code": "invalid-argument", "error": "Incorrect API key provided."}, "authentication_failed"),
        ("xai", 400, {"code": "invalid-argument", "error": "Model not found: grok-x"}, "not_found"),
        ("mistral", 400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model"}, "not_found"),
        ("groq", 400, {"error": {"message": "x", "code": "model_decommissioned"}}, "not_found"),
        ("deepseek", 400, {"error": {"message": "Model Not Exist", "type": "invalid_request_error"}}, "not_found"),
        ("openrouter", 400, {"error": {"message": "x/y is not a valid model ID", "code": 400}}, "not_found"),
        ("moonshot", 429, {"error": {"message": "x", "type": "exceeded_current_quota_error"}}, "quota_exhausted"),
        ("moonshot", 429, {"error": {"message": "x", "type": "engine_overloaded_error"}}, "overloaded"),
        ("zai", 429, {"error": {"message": "no balance", "code": "1113"}}, "quota_exhausted"),
    ],
)
async def test_errors_of_other_services(preset, status, body, reason):
    """In their own words; the status of a client's mistake says more than a word for the server's."""
    error, _ = await refused(body, status, preset=preset)
    assert error.reason == reason


async def test_a_key_that_is_refused_is_not_sent_again():
    """Ollama has one type for every failure."""
    body = {"error": {"message": "unauthorized", "type": "api_error"}}
    error, requests = await refused(body, 401, preset="ollama", retry=allm.RetryPolicy(base_delay=0))
    assert (requests, error.retryable) == (1, False)


@pytest.mark.parametrize(
    "message",
    [
        "prompt too long; exceeded max context length by 7 tokens",
        "The total length of all messages is too long.",
        "Please reduce the length of the messages or completion. Current length is 9 while limit is 8.",
        "Invalid request: Your request exceeded model token limit: 8",
        "too many tokens: the total number of tokens in the prompt exceeds the limit",
        "This model's maximum prompt length is 8 but the request contains 9 tokens.",
        "Trying to keep the first 9 tokens when context the overflows.",
    ],
)
async def test_a_context_that_overflows(message):
    """There is no code for it."""
    error, _ = await refused({"error": {"message": message, "type": "invalid_request_error"}})
    assert error.reason == "context_length_exceeded"


@pytest.mark.parametrize(
    "raw", ['{"error": {"message": "top_k is too low"}}', {"message": "top_k is too low"}, "top_k is too low"]
)
async def test_what_the_vendor_behind_a_gateway_said(raw):
    """OpenRouter's own sentence says nothing."""
    metadata = {"provider_name": "Acme", "raw": raw}
    error, _ = await refused({"error": {"message": "Provider returned error", "code": 400, "metadata": metadata}})
    assert error.message == "Provider returned error: top_k is too low (from Acme)"


# --- a server of which nothing is known ---


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("gpt-5-mini", "max_completion_tokens"),
        ("openai/o3", "max_completion_tokens"),
        ("qwen3-32b", "max_tokens"),
        ("gpt-4o", "max_tokens"),
        ("openai/gpt-oss-120b", "max_tokens"),
    ],
)
def test_the_output_limit_goes_by_the_model(model, field):
    """Most servers know the older name only, and OpenAI's models that think the newer."""
    body = loads(prepare(adapter=ELSEWHERE, model=model, max_tokens=7).body)
    assert {key: body[key] for key in ("max_tokens", "max_completion_tokens") if key in body} == {field: 7}


def test_openai_itself_has_its_own_name_for_it():
    """Whatever the model."""
    adapter = OpenAI(api_key="k", endpoint="chat_completions")
    assert loads(prepare(adapter=adapter, model="gpt-4o", max_tokens=7).body)["max_completion_tokens"] == 7


@pytest.mark.parametrize(
    ("message", "setting"),
    [
        ("Unrecognized request argument supplied: stream_options", "stream_usage=False"),
        ("extra_forbidden: max_completion_tokens: Extra inputs are not permitted", 'max_tokens_field="max_tokens"'),
        ("property 'reasoning_content' is unsupported", "replays=False"),
        ("reasoning_content is missing in assistant message at index 2", "reasoning_always=True"),
    ],
)
async def test_a_refusal_names_the_setting(message, setting):
    """Where what is sent was a guess; a service that is known is not explained."""
    error, _ = await refused({"error": {"message": message, "type": "invalid_request_error"}})
    assert error.message.startswith(message)
    assert setting in error.message
    assert str(error).startswith(error.message)
    error, _ = await refused({"error": {"message": message, "type": "invalid_request_error"}}, preset="vllm")
    assert error.message == message
    error, _ = await refused({"error": {"message": "max_tokens must be at most 4096", "code": 400}})
    assert "Preset" not in error.message


def test_a_server_without_keys(monkeypatch):
    """The message says how to do without one; at OpenAI itself there is no such way."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(allm.EngineError, match="key_required=False") as caught:
        prepare(adapter=OpenAI(base_url="http://127.0.0.1:8000/v1"), model="m")
    assert caught.value.reason == "missing_key"
    with pytest.raises(allm.EngineError) as caught:
        prepare(adapter=OpenAI(), model="m")
    assert "key_required" not in caught.value.message


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_row_wants_only_what_it_can_get(name):
    """A service that is to have its thinking on each message has to have a field for it."""
    row = PRESETS[name]
    assert not row.reasoning_always or row.reasoning_field
    assert row.max_tokens_field is not None
