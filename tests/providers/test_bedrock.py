"""Bedrock: what is sent, what its answers become, its errors, and how requests are signed."""

from __future__ import annotations

import base64
import contextvars
import hashlib
import hmac
import json
from urllib.parse import quote

import pytest
import trio

import allm
from allm import fake
from allm.adapters import AdapterOptions, FrameDecoder
from allm.data.content import DocumentPart, ProviderPart, ReasoningPart, TextPart
from allm.providers import Anthropic, Bedrock
from allm.providers.bedrock.decode import ConverseDecoder
from allm.testing import Cut, Reply, WireServer, loopback_clock
from allm.testing.wire_formats.bedrock import frame
from request_types import check_bedrock

CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
NOVA = "us.amazon.nova-2-lite-v1:0"
KEY = "bedrock-canary-0123456789"
PDF = b"%PDF-1.4 small"
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")


@pytest.fixture
def clock():
    return loopback_clock()


def body_of(*messages, model=CLAUDE, reasoning_effort=None, reasoning_summary=None, **fields):
    """The body of a request."""
    request = allm.request(list(messages), model=model, **fields)
    options = AdapterOptions(reasoning_effort=reasoning_effort, reasoning_summary=reasoning_summary)
    prepared = Bedrock(api_key=KEY, region="us-east-1").prepare(request, options)
    return json.loads(prepared.body)


def tags_of(*messages, **fields):
    """The tags of the problems of a request that is refused."""
    with pytest.raises(allm.ValidationError) as caught:
        body_of(*messages, **fields)
    return [tag for _, tag, *_ in caught.value.errors]


def event(kind, **fields):
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, json.dumps({**fields, "p": "abc"}).encode())


def reply(*frames, **options):
    return Reply(body=b"".join(frames), headers={"content-type": "application/vnd.amazon.eventstream"}, **options)


async def ask(answer, prompt="Hi", **fields):
    async with WireServer() as server:
        server.add(answer)
        engine = allm.Engine(adapter=Bedrock(api_key=KEY, base_url=server.base_url), model=CLAUDE, retry=None)
        response = await allm.generate(engine, prompt, **fields)
    assert KEY not in repr(response)
    return response


# --- what is sent ---


def test_a_request_with_everything():
    """System prompt, turns, calls with their results, settings and tools, each in its place."""

    @allm.tool
    def weather(city: str) -> str:
        """Tell the weather."""
        return city

    body = body_of(
        allm.system("Be brief."),
        allm.user("Weather?"),
        allm.assistant("Let me see.", allm.ToolCall("call:1", "weather", {"city": "Zug"})),
        allm.tool_result("call:1", "it broke", is_error=True),
        allm.user("And now?"),
        tools=[weather],
        tool_choice="required",
        max_tokens=50,
        temperature=0.5,
        top_p=0.9,
        stop="END",
        service_tier="flex",
        options={"additionalModelRequestFields": {"top_k": 5}, "guardrailConfig": {"guardrailIdentifier": "g"}},
    )
    assert body["system"] == [{"text": "Be brief."}]
    assert body["messages"] == [
        {"role": "user", "content": [{"text": "Weather?"}]},
        {
            "role": "assistant",
            "content": [
                {"text": "Let me see."},
                {"toolUse": {"toolUseId": "call_1", "name": "weather", "input": {"city": "Zug"}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "call_1", "content": [{"text": "it broke"}], "status": "error"}},
                {"text": "And now?"},
            ],
        },
    ]
    assert body["inferenceConfig"] == {"maxTokens": 50, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]}
    assert body["toolConfig"]["toolChoice"] == {"any": {}}
    [spec] = [tool["toolSpec"] for tool in body["toolConfig"]["tools"]]
    assert (spec["name"], spec["description"]) == ("weather", "Tell the weather.")
    assert spec["inputSchema"]["json"]["required"] == ["city"]
    assert body["serviceTier"] == {"type": "flex"}
    assert body["additionalModelRequestFields"] == {"top_k": 5}
    assert body["guardrailConfig"] == {"guardrailIdentifier": "g"}


def test_the_types_of_aws_take_what_is_sent():
    """Every field, at any depth, by the description of the service that comes with its own SDK."""

    @allm.tool
    def weather(city: str) -> str:
        """Tell the weather."""
        return city

    document = allm.Document.from_bytes(PDF)
    told = DocumentPart(document, title="a/b", context="From 2020.", citations=True)
    audio, video = allm.Audio.from_bytes(b"RIFF\x24\0\0\0WAVEfmt "), allm.Video.from_bytes(b"v", "video/mp4")
    thread = [
        allm.system("Be brief."),
        allm.user("Compare.", allm.Image.from_bytes(PNG), told, audio, video, allm.cache_point()),
        allm.assistant("Let me see.", allm.ToolCall("call:1", "weather", {"city": "Zug"})),
        allm.tool_result("call:1", [allm.TextPart("it broke"), DocumentPart(document, title="c")], is_error=True),
        allm.user("And?", allm.Image.from_url("s3://bucket/a.png", "image/png")),
    ]
    wanted = allm.json_schema("trip", {"type": "object", "properties": {"city": {"type": "string"}}})
    tools = [allm.hosted.web_search(), weather]
    bodies = [
        body_of(*thread, tools=[weather], tool_choice="weather", max_tokens=5000, stop="END", reasoning_effort="2000"),
        body_of(*thread),
        body_of(allm.user("Hi"), response_format=wanted, service_tier="flex"),
        body_of(allm.user("Hi"), model=NOVA, tools=tools, tool_choice="required", reasoning_effort="low"),
    ]
    for body in bodies:
        check_bedrock(body)
    with pytest.raises(AssertionError, match="Unknown parameter"):
        check_bedrock({**bodies[0], "max_tokens": 5})


def test_files_have_their_format_and_documents_a_name_of_their_own():
    """Names have few kinds of characters, and no two are alike; title, context and citations have fields."""
    document = allm.Document.from_bytes(PDF)
    body = body_of(
        allm.user(
            "Compare.",
            allm.Image.from_bytes(PNG),
            DocumentPart(document, title="a/b.pdf", context="From 2020.", citations=True),
            DocumentPart(document, title="a b pdf"),
            allm.Document.from_text("plain"),
            allm.Image.from_url("s3://bucket/a.png", "image/png"),
        )
    )
    image, first, second, text, far = body["messages"][0]["content"][1:]
    assert image["image"]["format"] == "png"
    assert first["document"]["format"] == "pdf"
    assert first["document"]["source"] == {"bytes": "JVBERi0xLjQgc21hbGw="}
    assert first["document"]["context"] == "From 2020."
    assert first["document"]["citations"] == {"enabled": True}
    assert [first["document"]["name"], second["document"]["name"]] == ["a b pdf", "a b pdf 2"]
    assert text["document"]["format"] == "txt"
    assert far["image"]["source"] == {"s3Location": {"uri": "s3://bucket/a.png"}}


def test_what_bedrock_would_refuse_is_an_error_before():
    """Addresses on the web, unknown formats, documents without a text, settings that it has not."""
    image = allm.Image.from_url("https://e.org/a.png", "image/png")
    assert tags_of(allm.user("Look", image)) == ["unsupported_image_url"]
    assert tags_of(allm.user("Look", allm.Image.from_bytes(b"II*\x00data", "image/tiff"))) == [
        "unsupported_image_format"
    ]
    assert tags_of(allm.user(allm.Document.from_bytes(PDF))) == ["document_without_text"]
    assert tags_of(allm.user("Hi"), seed=1) == ["unsupported_option"]
    assert tags_of(allm.user("Hi"), tool_choice="unknown") == ["unknown_tool"]
    assert tags_of(allm.user("Hi"), service_tier="turbo") == ["unsupported_option"]
    assert tags_of(allm.user("Hi"), model="meta.llama3", reasoning_effort="high") == ["unsupported_option"]
    assert tags_of(allm.user("Hi"), model="..") == ["invalid_format"]


def test_a_conversation_with_calls_defines_tools():
    """Bedrock wants tools wherever a call stands, even where none may be called any more."""
    thread = [allm.user("Hi"), allm.assistant(allm.ToolCall("c1", "gone", {})), allm.tool_result("c1", "")]
    config = body_of(*thread)["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["gone"]
    assert "toolChoice" not in config
    assert "toolConfig" not in body_of(allm.user("Hi"), tool_choice="auto")


@pytest.mark.parametrize(
    ("model", "effort", "fields"),
    [
        (CLAUDE, "low", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        (CLAUDE, "5000", {"thinking": {"type": "enabled", "budget_tokens": 5000}}),
        ("anthropic.claude-opus-4-6", "high", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ("us.amazon.nova-2-lite-v1:0", "max", {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}),
        ("openai.gpt-oss-120b-1:0", "none", {"reasoning_effort": "low"}),
    ],
)
def test_an_effort_is_said_in_the_words_of_the_model(model, effort, fields):
    """Claude by its version, Nova 2 and gpt-oss have fields of their own."""
    body = body_of(allm.user("Hi"), model=model, reasoning_effort=effort)
    assert body["additionalModelRequestFields"] == fields


def test_the_schema_of_an_answer_is_a_text():
    """Newer Claudes have structured output, whose schema is JSON inside JSON."""
    wanted = allm.json_schema("trip", {"type": "object", "properties": {"city": {"type": "string"}}})
    text_format = body_of(allm.user("Hi"), response_format=wanted)["outputConfig"]["textFormat"]
    shape = text_format["structure"]["jsonSchema"]
    assert (text_format["type"], shape["name"]) == ("json_schema", "trip")
    assert json.loads(shape["schema"])["properties"] == {"city": {"type": "string"}}


def test_cache_points_are_parts():
    """A part in Bedrock's own words is sent as it is, also in the system prompt."""
    point = ProviderPart("bedrock", {"cachePoint": {"type": "default"}})
    body = body_of(allm.Message("system", [TextPart("Long."), point]), allm.user("Hi", point))
    assert body["system"][1] == body["messages"][0]["content"][1] == {"cachePoint": {"type": "default"}}


@pytest.mark.parametrize(
    ("prompt_cache", "marks"),
    [(None, [{"type": "default", "ttl": "1h"}]), (True, [{"type": "default", "ttl": "1h"}]), (False, [])],
)
def test_cache_points_are_marks_unless_nothing_is_to_be_kept(prompt_cache, marks):
    """`prompt_cache=False` sends no mark, since writing to the cache has a price."""
    request = allm.request(allm.user("A long manual.", allm.cache_point("1h"), "Why?"), model=CLAUDE)
    prepared = Bedrock(api_key=KEY, region="us-east-1").prepare(request, AdapterOptions(prompt_cache=prompt_cache))
    content = json.loads(prepared.body)["messages"][0]["content"]
    assert [block["cachePoint"] for block in content if "cachePoint" in block] == marks


def test_the_url_names_region_and_model(monkeypatch):
    """A colon and the slash of an ARN are quoted; the region is the adapter's, else the environment's."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    arn = "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.amazon.nova-2-lite-v1:0"
    request = allm.request("Hi", model=arn)
    url = str(Bedrock(api_key=KEY).prepare(request, AdapterOptions()).url)
    assert url.startswith("https://bedrock-runtime.eu-west-1.amazonaws.com/model/arn%3Aaws%3A")
    assert url.endswith("inference-profile%2Feu.amazon.nova-2-lite-v1%3A0/converse-stream")
    url = str(Bedrock(api_key=KEY, region="us-gov-west-1").prepare(request, AdapterOptions()).url)
    assert url.startswith("https://bedrock-runtime.us-gov-west-1.amazonaws.com/")


@pytest.mark.parametrize("region", [None, "evil.org/", "us-east-1.evil.org"])
def test_a_region_is_needed_and_cannot_be_another_host(monkeypatch, region):
    """Without a region there is no address, and one that is none of AWS would take the key elsewhere."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(allm.EngineError) as caught:
        Bedrock(api_key=KEY, region=region).prepare(allm.request("Hi", model=CLAUDE), AdapterOptions())
    assert caught.value.reason == "invalid_base_url"


# --- what comes back ---


async def test_an_answer_with_everything(clock):
    """Signed thinking, redacted thinking, text with citations, a call, counts with the cache's, and the notes."""
    citation = {"title": "a", "location": {"documentChar": {"start": 0, "end": 3, "documentIndex": 0}}}
    response = await ask(
        reply(
            event("messageStart", role="assistant"),
            event("contentBlockDelta", contentBlockIndex=0, delta={"reasoningContent": {"text": "Hm."}}),
            event("contentBlockDelta", contentBlockIndex=0, delta={"reasoningContent": {"signature": "c2ln"}}),
            event("contentBlockStop", contentBlockIndex=0),
            event("contentBlockDelta", contentBlockIndex=1, delta={"reasoningContent": {"redactedContent": "cmVk"}}),
            event("contentBlockStop", contentBlockIndex=1),
            event("contentBlockDelta", contentBlockIndex=2, delta={"citation": citation}),
            event("contentBlockDelta", contentBlockIndex=2, delta={"text": "Zürich"}),
            event("contentBlockStop", contentBlockIndex=2),
            event("contentBlockStart", contentBlockIndex=3, start={"toolUse": {"toolUseId": "t1", "name": "f"}}),
            event("contentBlockDelta", contentBlockIndex=3, delta={"toolUse": {"input": '{"a":'}}),
            event("contentBlockDelta", contentBlockIndex=3, delta={"toolUse": {"input": "1}"}}),
            event("contentBlockStop", contentBlockIndex=3),
            event("anythingNew", value=1),
            event("messageStop", stopReason="tool_use"),
            event(
                "metadata",
                usage={
                    "inputTokens": 5,
                    "outputTokens": 7,
                    "totalTokens": 42,
                    "cacheReadInputTokens": 10,
                    "cacheWriteInputTokens": 20,
                    "cacheDetails": [{"inputTokens": 20, "ttl": "5m"}],
                },
                metrics={"latencyMs": 9},
                trace={"guardrail": {"actionReason": "none"}},
            ),
        )
    )
    thought, redacted, text, call = response.message.parts
    assert thought == ReasoningPart("Hm.", provider="bedrock", signature="c2ln")
    assert redacted == ReasoningPart("", provider="bedrock", encrypted_content="cmVk")
    [cited] = text.citations
    assert (text.text, text.text[cited.start : cited.end], cited.title) == ("Zürich", "Zürich", "a")
    assert (cited.source, cited.data) == (allm.SourcePlace("characters", 0, 3, index=0), citation)
    assert (call.id, call.name, call.arguments, call.raw_arguments) == ("t1", "f", {"a": 1}, '{"a":1}')
    assert (response.finish_reason, response.raw_finish_reason) == ("tool_calls", "tool_use")
    usage = response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (35, 7, 42)
    assert (usage.cached_input_tokens, usage.cache_write_input_tokens) == (10, 20)
    assert usage.extra == {"ephemeral_5m_input_tokens": 20}
    assert response.metadata["bedrock"]["trace"] == {"guardrail": {"actionReason": "none"}}
    assert allm.from_json(allm.to_json(response)) == response


async def test_an_answer_has_its_costs(clock):
    """By the id of its profile, which has a geography in front."""
    usage = {"inputTokens": 1_000_000, "outputTokens": 1_000_000, "totalTokens": 2_000_000}
    document = {"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}}, "stopReason": "end_turn"}
    response = await ask(Reply.json({**document, "usage": usage}))
    prices = allm.models.lookup("bedrock", CLAUDE).prices[0]
    assert response.usage.total_cost == pytest.approx(prices.input + prices.output)
    written = {"inputTokens": 0, "outputTokens": 0, "cacheWriteInputTokens": 1_000_000}
    kept = {**written, "cacheDetails": [{"inputTokens": 1_000_000, "ttl": "1h"}]}
    response = await ask(Reply.json({**document, "usage": kept}))
    assert response.usage.total_cost == pytest.approx(prices.cache_write_1h)
    assert prices.cache_write_1h > prices.cache_write


PARTS = [
    {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
    {"reasoningContent": {"redactedContent": "cmVk"}},
    {"toolUse": {"toolUseId": "s1", "name": "nova_grounding", "type": "server_tool_use", "input": {"q": 1}}},
    {"toolResult": {"toolUseId": "s1", "type": "nova_grounding_result", "content": [{"text": "hidden"}]}},
    {"citationsContent": {"content": [{"text": "Cited."}], "citations": [{"title": "a"}]}},
    {"text": "And more."},
    {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
]


async def test_an_answer_in_one_piece_and_what_is_sent_back(clock):
    """A JSON document is the message that a stream builds, and goes back block for block as it came."""
    document = {
        "output": {"message": {"role": "assistant", "content": PARTS}},
        "stopReason": "tool_use",
        "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
    }
    response = await ask(Reply.json(document))
    assert response.output_text == "Cited.And more."
    assert [call.id for call in response.tool_calls] == ["t1"]
    # To the same address: what only its maker can read goes nowhere else.
    message = allm.from_json(allm.to_json(response.message))
    made_at = message.parts[0].made_at.removesuffix("/anthropic")
    request = allm.request([allm.user("Hi"), message, allm.tool_result("t1", "ok")], model=CLAUDE)
    prepared = Bedrock(api_key=KEY, base_url=f"http://{made_at}").prepare(request, AdapterOptions())
    assert json.loads(prepared.body)["messages"][1]["content"] == PARTS
    assert [(call.kind, call.status, call.input) for call in message.hosted_calls] == [
        ("web_search", "completed", {"q": 1})
    ]
    elsewhere = Bedrock(api_key=KEY, region="us-east-1").prepare(request, AdapterOptions())
    kinds = [next(iter(block)) for block in json.loads(elsewhere.body)["messages"][1]["content"]]
    assert kinds == ["text", "text", "toolUse"]


def test_any_region_reads_what_another_one_made():
    """Opaque data is Bedrock's, not one region's: models are served across regions."""
    adapter = Bedrock(api_key=KEY, region="us-east-1")
    decoder = adapter.prepare(allm.request("Hi", model=CLAUDE), AdapterOptions()).new_decoder()
    decoder.begin({})
    document = {"output": {"message": {"content": PARTS[:1]}}, "stopReason": "end_turn"}
    message = decoder.decode_document(document)[-1].message
    request = allm.request([allm.user("Hi"), message, allm.user("Go on")], model=CLAUDE)
    prepared = Bedrock(api_key=KEY, region="eu-west-1").prepare(request, AdapterOptions())
    assert json.loads(prepared.body)["messages"][1]["content"] == PARTS[:1]


ANSWER = Reply.script("bedrock", [fake.reasoning("Hm."), fake.text("one two"), fake.usage(input_tokens=1)])


async def test_an_answer_cut_at_any_byte_keeps_what_came(clock):
    """A body that ends early is truncated and its text a beginning; one that has stopped lacks only its counts."""
    whole = await ask(ANSWER)
    assert (whole.output_text, whole.usage.input_tokens) == ("one two", 1)
    ends = _frame_ends(ANSWER.body)
    async with WireServer() as server:
        engine = allm.Engine(adapter=Bedrock(api_key=KEY, base_url=server.base_url), model=CLAUDE, retry=None)
        for at in range(1, len(ANSWER.body)):
            server.add(Reply(body=ANSWER.body[:at], headers=ANSWER.headers))
            response = await allm.generate(engine, "Hi")
            assert "one two".startswith(response.output_text)
            if at == ends[-2]:
                assert (response.error, response.output_text) == (None, "one two")
            else:
                assert response.error is not None
                assert response.error.reason == "stream_truncated", at


async def test_an_answer_with_any_byte_broken_is_malformed(clock):
    """Text of a frame whose sum is wrong is never shown; what came before it is kept."""
    async with WireServer() as server:
        engine = allm.Engine(adapter=Bedrock(api_key=KEY, base_url=server.base_url), model=CLAUDE, retry=None)
        for at in range(len(ANSWER.body)):
            broken = ANSWER.body[:at] + bytes([ANSWER.body[at] ^ 0x20]) + ANSWER.body[at + 1 :]
            server.add(Reply(body=broken, headers=ANSWER.headers))
            response = await allm.generate(engine, "Hi")
            assert response.error is not None
            assert response.error.reason == "malformed_response", at
            assert "one two".startswith(response.output_text)


def test_an_answer_is_the_same_however_it_is_split():
    """Two reads split at every byte give the events of one."""

    def events(*chunks):
        splitter, decoder = FrameDecoder(), ConverseDecoder()
        decoder.begin({})
        return [e for chunk in chunks for one in splitter.feed(chunk) for e in decoder.decode(one.name, one.data)]

    whole = events(ANSWER.body)
    assert isinstance(whole[-1], allm.MessageCompleted)
    assert all(events(ANSWER.body[:at], ANSWER.body[at:]) == whole for at in range(len(ANSWER.body)))


def _frame_ends(body):
    ends, at = [], 0
    while at < len(body):
        at += int.from_bytes(body[at : at + 4], "big")
        ends.append(at)
    return ends


@pytest.mark.parametrize(
    ("name", "reason", "retryable"),
    [
        ("throttlingException", "rate_limited", True),
        ("serviceUnavailableException", "overloaded", True),
        ("modelTimeoutException", "timeout", True),
        ("modelStreamErrorException", "provider_unavailable", True),
        ("internalServerException", "provider_unavailable", True),
        ("validationException", "invalid_request", False),
        ("somethingNewException", "unknown", False),
    ],
)
async def test_an_exception_in_the_stream_is_an_error_after_what_came(clock, name, reason, retryable):
    """Its name decides the reason; the text before it is kept."""
    report = frame(
        {":message-type": "exception", ":exception-type": name, ":content-type": "application/json"},
        b'{"message":"as told"}',
    )
    begun = [event("messageStart"), event("contentBlockDelta", contentBlockIndex=0, delta={"text": "one"})]
    response = await ask(reply(*begun, report))
    assert (response.output_text, response.error.reason, response.error.retryable) == ("one", reason, retryable)
    assert (response.error.message.partition(";")[0], response.error.provider_code) == ("as told", name)


@pytest.mark.parametrize(
    ("status", "name", "message", "reason"),
    [
        (403, "ExpiredTokenException", "expired", "authentication_failed"),
        (
            400,
            "ValidationException",
            "The model returned the following errors: Input is too long.",
            "context_length_exceeded",
        ),
        (429, "ThrottlingException", "Too many tokens per day, please wait.", "quota_exhausted"),
        (429, "ModelNotReadyException", "wait", "overloaded"),
        (424, "ModelErrorException", "it failed", "provider_unavailable"),
        (418, "SomethingNewException", "teapot", "invalid_request"),
    ],
)
async def test_errors_before_the_stream(clock, status, name, message, reason):
    """The header names the exception, with an address behind it."""
    headers = {"x-amzn-errortype": f"{name}:http://internal.amazon.com/", "x-amzn-requestid": "r1"}
    response = await ask(Reply.json({"message": message}, status=status, headers=headers))
    assert (response.error.reason, response.error.provider_code) == (reason, name)
    assert response.error.request_id == "r1"


async def test_a_dropped_connection_keeps_the_text(clock):
    """What was read before the network failed is in the response."""
    response = await ask(Reply.script("bedrock", [fake.text("one two")], fault=Cut(len(ANSWER.body) // 2)))
    assert response.error.reason in {"stream_truncated", "network_error"}


# --- keys and signatures ---


async def test_a_bedrock_key_is_a_bearer_token(clock, monkeypatch):
    """AWS_BEARER_TOKEN_BEDROCK needs no library of AWS."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    async with WireServer(default=ANSWER) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", server.base_url)
        await allm.generate(allm.Engine.from_model(f"bedrock:{CLAUDE}"), "Hi")
        [request] = server.requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert "x-amz-date" not in request.headers


def test_without_a_key_and_without_botocore_the_error_names_both_ways(monkeypatch):
    """What to do is in the message: a key, or the extra."""
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    monkeypatch.setattr("allm.providers.bedrock.adapter.has_botocore", lambda: False)
    with pytest.raises(allm.EngineError, match=r"AWS_BEARER_TOKEN_BEDROCK.*allm-trio\[bedrock\]") as caught:
        Bedrock(region="us-east-1").prepare(allm.request("Hi", model=CLAUDE), AdapterOptions())
    assert caught.value.reason == "missing_key"


SECRET = "secret-canary-abcdefghijkl"
TOKEN = "session-canary-abcdefghijkl"


@pytest.fixture
def credentials(monkeypatch):
    pytest.importorskip("botocore")
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIACANARY0123456789")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)


def signature_of(request, region):
    """Signature Version 4 of a request as it arrived: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html."""
    names = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    digest = hashlib.sha256(request.body).hexdigest()
    headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in names.split(";"))
    path, _, query = request.path.partition("?")
    lines = [request.method, quote(path, safe="/~"), "&".join(sorted(query.split("&"))), headers, names, digest]
    moment = request.headers["x-amz-date"]
    scope = f"{moment[:8]}/{region}/bedrock/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256("\n".join(lines).encode()).hexdigest()])
    key = f"AWS4{SECRET}".encode()
    for part in (moment[:8], region, "bedrock", "aws4_request", text):
        last = hmac.new(key, part.encode(), hashlib.sha256)
        key = last.digest()
    return last.hexdigest()


async def test_a_signature_is_what_aws_would_compute(clock, credentials):
    """It covers the path as it arrives, the host, the body and the session token; a large body is read for it."""
    picture = allm.Image.from_bytes(PNG + bytes(400_000))
    async with WireServer(default=ANSWER) as server:
        engine = allm.Engine(adapter=Bedrock(base_url=server.base_url, region="eu-central-1"), model=CLAUDE)
        await allm.generate(engine, "Hi")
        await allm.generate(engine, [allm.user("Look", picture)])
        requests = server.requests
    for request in requests:
        authorization = request.headers["authorization"]
        assert "/eu-central-1/bedrock/aws4_request" in authorization
        assert authorization.endswith("Signature=" + signature_of(request, "eu-central-1"))
        names = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        assert {"host", "content-type", "x-amz-date", "x-amz-security-token"} <= {*names}
        assert request.headers["x-amz-content-sha256"] == hashlib.sha256(request.body).hexdigest()
        assert SECRET not in repr(request.headers)


async def test_a_list_of_models_is_signed_without_a_body(clock, credentials):
    """With its query, and without the type of a body that it has not."""
    pages = [{"modelSummaries": []}, {"inferenceProfileSummaries": [], "nextToken": "t/1"}, {}]
    async with WireServer() as server:
        server.add(*map(Reply.json, pages))
        engine = allm.Engine(adapter=Bedrock(base_url=server.base_url, region="eu-central-1"), model=CLAUDE)
        assert await allm.list_models(engine, retry=None) == ()
        requests = server.requests
    assert len(requests) == 3
    for request in requests:
        authorization = request.headers["authorization"]
        assert authorization.endswith("Signature=" + signature_of(request, "eu-central-1"))
        assert "content-type" not in request.headers
        assert "content-type" not in authorization


async def test_credentials_are_looked_for_once_and_shown_nowhere(clock, credentials, monkeypatch):
    """Calls that wait together share one search, and an error that echoes the token masks it."""
    import botocore.session

    found = []
    here = contextvars.ContextVar("here", default=False)  # a thread that an earlier test has left may search as well
    search = botocore.session.Session.get_credentials

    def counted(session, *args):
        if here.get():
            found.append(1)
        return search(session, *args)

    monkeypatch.setattr(botocore.session.Session, "get_credentials", counted)
    here.set(True)
    echo = Reply.json({"message": f"bad token {TOKEN}"}, status=403)
    async with WireServer(default=echo) as server:
        engine = allm.Engine(adapter=Bedrock(base_url=server.base_url, region="us-east-1"), model=CLAUDE, retry=None)
        responses = []

        async def call():
            responses.append(await allm.generate(engine, "Hi"))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(call)
    assert len(found) == 1
    for response in responses:
        assert response.error.reason == "authentication_failed"
        assert "***" in response.error.message
        assert TOKEN not in repr(response) + str(response.error)


async def test_no_credentials_are_an_error_that_says_so(clock, credentials, monkeypatch):
    """Where AWS has none, the call fails before anything is sent."""
    import botocore.session

    monkeypatch.setattr(botocore.session.Session, "get_credentials", lambda *_: None)
    async with WireServer(default=ANSWER) as server:
        engine = allm.Engine(adapter=Bedrock(base_url=server.base_url, region="us-east-1"), model=CLAUDE, retry=None)
        response = await allm.generate(engine, "Hi")
        assert server.requests == []
    assert response.error.reason == "authentication_failed"
    assert "no AWS credentials" in response.error.message


# --- models of several makers ---


async def test_what_one_makers_model_thought_goes_to_no_other(clock):
    """A signature of Claude is nothing that Nova can read; a text and a call go everywhere."""
    document = {"output": {"message": {"role": "assistant", "content": PARTS}}, "stopReason": "tool_use"}
    async with WireServer(default=Reply.json(document)) as server:
        adapter = Bedrock(api_key=KEY, base_url=server.base_url)
        engine = allm.Engine(adapter=adapter, model=CLAUDE, retry=None)
        response = await allm.generate(engine, "Hi")
        thread = [allm.user("Hi"), response.message, allm.tool_result("t1", "ok")]
        sent = {}
        for model in (
            CLAUDE,
            "eu.anthropic.claude-sonnet-4-5",
            "us.amazon.nova-2-lite-v1:0",
            "openai.gpt-oss-120b-1:0",
        ):
            body = json.loads(adapter.prepare(allm.request(thread, model=model), AdapterOptions()).body)
            sent[model] = body["messages"][1]["content"]
    ours, newer, nova, gpt = sent.values()
    assert ours == newer == PARTS
    assert nova == gpt == [{"text": "Cited."}, {"text": "And more."}, PARTS[-1]]


# --- tools that run at Amazon ---


def test_hosted_tools_are_system_tools():
    """Beside tools of your own; settings that Amazon has not, and other makers' models, are errors before."""

    @allm.tool
    def own(city: str) -> str:
        """Tell."""
        return city

    tools = [allm.hosted.web_search(), own, allm.hosted.code_execution()]
    offered = body_of(allm.user("Hi"), model=NOVA, tools=tools)["toolConfig"]["tools"]
    assert [tool.get("systemTool", {}).get("name") for tool in offered] == [
        None,
        "nova_grounding",
        "nova_code_interpreter",
    ]
    assert offered[0]["toolSpec"]["name"] == "own"
    assert "toolConfig" not in body_of(allm.user("Hi"), model=NOVA, tools=tools, tool_choice="none")
    assert tags_of(allm.user("Hi"), model=NOVA, tools=[allm.hosted.web_search(allowed_domains=["a.ch"])]) == [
        "unsupported_option"
    ]
    adapter = Bedrock(api_key=KEY, region="us-east-1")
    assert adapter.hosts_tools(allm.request("Hi", model=NOVA), AdapterOptions())
    assert not adapter.hosts_tools(allm.request("Hi", model=CLAUDE), AdapterOptions())


async def test_hosted_calls_stream_and_go_back(clock):
    """What was asked for streams as any input; what the interpreter printed is JSON in a text."""
    printed = json.dumps({"stdOut": "42", "stdErr": "", "exitCode": 0, "isError": False})
    use = {"toolUseId": "s1", "name": "nova_code_interpreter", "type": "server_tool_use"}
    result = {"toolUseId": "s1", "type": "nova_code_interpreter_result", "status": "success"}
    frames = [
        event("messageStart", role="assistant"),
        event("contentBlockStart", contentBlockIndex=0, start={"toolUse": use}),
        event("contentBlockDelta", contentBlockIndex=0, delta={"toolUse": {"input": '{"code":'}}),
        event("contentBlockDelta", contentBlockIndex=0, delta={"toolUse": {"input": '"6 * 7"}'}}),
        event("contentBlockStop", contentBlockIndex=0),
        event("contentBlockStart", contentBlockIndex=1, start={"toolResult": result}),
        event("contentBlockDelta", contentBlockIndex=1, delta={"toolResult": [{"text": printed}]}),
        event("contentBlockStop", contentBlockIndex=1),
        event("contentBlockDelta", contentBlockIndex=2, delta={"text": "It is 42."}),
        event("contentBlockStop", contentBlockIndex=2),
        event("messageStop", stopReason="end_turn"),
        event("metadata", usage={"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}),
    ]
    async with WireServer(default=reply(*frames)) as server:
        adapter = Bedrock(api_key=KEY, base_url=server.base_url)
        engine = allm.Engine(adapter=adapter, model=NOVA, retry=None)
        async with allm.stream_generate(engine, "6 * 7?", tools=[allm.hosted.code_execution()]) as events:
            kinds = [type(one).__name__ async for one in events]
        message = events.result().message
        body = json.loads(adapter.prepare(allm.request([allm.user("?"), message], model=NOVA), AdapterOptions()).body)
    assert ("HostedCallStarted" in kinds, "HostedCallCompleted" in kinds) == (True, True)
    [call] = message.hosted_calls
    assert (call.kind, call.status, call.input) == ("code_execution", "completed", {"code": "6 * 7"})
    assert call.output == {"stdout": "42", "stderr": "", "return_code": 0}
    assert body["messages"][1]["content"] == [
        {"toolUse": {**use, "input": {"code": "6 * 7"}}},
        {"toolResult": {**result, "content": [{"text": printed}]}},
        {"text": "It is 42."},
    ]


@pytest.mark.parametrize(
    ("name", "content", "status", "output"),
    [
        ("nova_grounding", [{"text": "no"}], "error", {"error": "no"}),
        ("nova_code_interpreter", [{"text": '{"exitCode": 1, "isError": true}'}], "success", None),
        ("nova_new", [{"text": "x"}], "success", {"content": [{"text": "x"}]}),
    ],
)
async def test_hosted_calls_end_in_several_ways(clock, name, content, status, output):
    """Also where a result has no call before it."""
    block = {"toolUseId": "s1", "type": f"{name}_result", "status": status, "content": content}
    document = {
        "output": {"message": {"role": "assistant", "content": [{"toolResult": block}]}},
        "stopReason": "end_turn",
    }
    [call] = (await ask(Reply.json(document))).hosted_calls
    assert call.status == ("completed" if name == "nova_new" else "failed")
    assert call.output == (output or {"stdout": None, "stderr": None, "return_code": 1})


# --- Claude in its own format ---


def chunks(body):
    """An answer of Anthropic's as Bedrock wraps it: each event in a frame, as base64."""
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: ")]
    return [event("chunk", bytes=base64.b64encode(line).decode()) for line in lines]


CLAUDES = Reply.script("anthropic", [fake.reasoning("Hm."), fake.text("Zürich"), fake.usage(input_tokens=3)])


def claude(server, **settings):
    adapter = Anthropic(via=Bedrock(api_key=KEY, base_url=server.base_url), **settings)
    return allm.Engine(adapter=adapter, model=CLAUDE, retry=None)


async def test_claude_in_its_own_format(clock):
    """InvokeModelWithResponseStream: Anthropic's body without the model, and its events in the frames."""
    async with WireServer(default=reply(*chunks(CLAUDES.body))) as server:
        response = await allm.generate(claude(server, betas="b-1"), "Hi")
        [request] = server.requests
        assert response.message.parts[0].made_at == server.base_url.removeprefix("http://")
    assert request.path.endswith("v1%3A0/invoke-with-response-stream")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    body = json.loads(request.body)
    assert {"model", "stream"}.isdisjoint(body)
    assert (body["anthropic_version"], body["anthropic_beta"]) == ("bedrock-2023-05-31", ["b-1"])
    assert (response.output_text, response.reasoning_text, response.usage.input_tokens) == ("Zürich", "Hm.", 3)


async def test_claude_costs_what_bedrock_asks_for_it(clock):
    """By the profile that was asked: the answer has Anthropic's own name of the model, which costs less."""
    script = [fake.text("Hi"), fake.usage(input_tokens=1_000_000, output_tokens=1_000_000)]
    body = Reply.script("anthropic", script, model="claude-haiku-4-5-20251001").body
    async with WireServer(default=reply(*chunks(body))) as server:
        response = await allm.generate(claude(server), "Hi")
    assert response.model == "claude-haiku-4-5-20251001"
    asked, own = (
        allm.models.lookup(*names).prices[0] for names in (("bedrock", CLAUDE), ("anthropic", response.model))
    )
    assert response.usage.total_cost == pytest.approx(asked.input + asked.output)
    assert asked.input > own.input


async def test_errors_around_claude_are_those_of_bedrock(clock):
    """An exception of the service has its reason, an error in a chunk Anthropic's; a bad chunk is malformed."""
    begun = chunks(CLAUDES.body)[:6]
    throttled = frame({":message-type": "exception", ":exception-type": "throttlingException"}, b'{"message":"wait"}')
    theirs = chunks(b'data: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n')
    cases = {
        "rate_limited": [*begun, throttled],
        "overloaded": [*begun, *theirs],
        "malformed_response": [*begun, event("chunk", bytes="!")],
        "stream_truncated": begun,
    }
    for reason, frames in cases.items():
        async with WireServer(default=reply(*frames)) as server:
            response = await allm.generate(claude(server), "Hi")
        assert response.error.reason == reason
        assert response.reasoning_text == "Hm."
    headers = {"x-amzn-errortype": "ResourceNotFoundException:http://x"}
    async with WireServer(default=Reply.json({"message": "no model"}, status=404, headers=headers)) as server:
        response = await allm.generate(claude(server), "Hi")
    assert (response.error.reason, response.error.provider) == ("not_found", "bedrock")


def test_claude_is_in_one_place():
    """Vertex AI and Bedrock at once would leave one of them out without a word."""
    with pytest.raises(allm.EngineError, match=r"two places.*pass via= or project=") as caught:
        Anthropic(project="my-project", via=Bedrock(region="us-east-1", api_key=KEY))
    assert caught.value.reason == "invalid_engine"
