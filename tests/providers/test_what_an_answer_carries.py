"""What an answer carries beyond its text, on every wire format, streamed and whole: in small answers of our own."""

from __future__ import annotations

import base64
import json

import attrs
import pytest

import allm
from allm.testing import Reply, WireServer

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"pixels").decode()
HI = allm.TokenLogprob("Hi", -0.25, token_bytes=b"Hi", alternatives=(allm.TokenLogprob("Ha", -1.5, token_bytes=b"Ha"),))
YOU = allm.TokenLogprob("!", -9999.0)
TOP = {"token": "Ha", "logprob": -1.5, "bytes": [72, 97]}
TOKENS = [
    {"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": [TOP]},
    {"token": "!", "logprob": None, "bytes": None, "top_logprobs": []},
]


def streamed(*events, named=False, end=b"data: [DONE]\n\n"):
    """Events as a stream."""
    lines = [f"event: {event['type']}\n" if named else "" for event in events]
    data = [f"{line}data: {json.dumps(event)}\n\n".encode() for line, event in zip(lines, events, strict=True)]
    return Reply(body=b"".join(data) + end, headers={"content-type": "text/event-stream"})


async def ask(reply, kind="chat", **options):
    """The answer of a provider that sends this; its events folded by hand are the same."""
    async with WireServer() as server:
        server.default = reply
        engine = allm.Engine(adapter=adapter(kind, server), model="m", retry=None)
        response = await allm.generate(engine, "Hi", **options)
        collector = allm.StreamCollector()
        async with allm.stream_generate(engine, "Hi", **options) as events:
            async for event in events:
                collector.add(event)
        assert collector.response() == events.result() == response
    assert allm.from_json(allm.to_json(response)) == response
    return response


async def sent_back(reply, kind):
    """What the provider that sends this is asked, after its answer, by a conversation that goes on."""
    async with WireServer() as server:
        server.default = reply
        engine = allm.Engine(adapter=adapter(kind, server), model="m", retry=None)
        response = await allm.generate(engine, "Draw.")
        await allm.generate(engine, [allm.user("Draw."), response.message, allm.user("Again.")])
        return server.requests[1].json()


def adapter(kind, server):
    providers = allm.providers
    if kind == "gemini":
        return providers.Gemini(api_key="key-1234567890", base_url=server.url("gemini"))
    if kind == "anthropic":
        return providers.Anthropic(api_key="key-1234567890", base_url=server.url("anthropic"))
    names = {"chat": "openai", "responses": "openai"}
    endpoint = "responses" if kind == "responses" else "chat_completions"
    preset = providers.Preset(name=names.get(kind, kind), key_required=False)
    return providers.OpenAI(preset=preset, api_key="key-1234567890", endpoint=endpoint, base_url=server.url("openai"))


# --- Chat Completions -----------------------------------------------------------------------------------------------


def chunk(delta=None, finish=None, *, choice=None, **fields):
    inner = {"index": 0, "delta": delta or {}, "finish_reason": finish, **(choice or {})}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [inner], **fields}


def document(message, choice=None, **fields):
    inner = {"index": 0, "message": message, "finish_reason": "stop", **(choice or {})}
    return Reply.json({"id": "c1", "object": "chat.completion", "model": "m", "choices": [inner], **fields})


async def test_chat_logprobs():
    """In pieces and whole; those of a refusal are in their place."""
    tokens = [{"content": [token], "refusal": None} for token in TOKENS]
    stream = streamed(
        chunk({"content": "Hi"}, choice={"logprobs": tokens[0]}),
        chunk({"content": "!"}, choice={"logprobs": tokens[1]}),
        chunk(finish="stop", choice={"logprobs": None}),
    )
    assert (await ask(stream)).logprobs == (HI, YOU)
    assert (await ask(document({"content": "Hi!"}, {"logprobs": {"content": TOKENS}}))).logprobs == (HI, YOU)
    refused = document({"refusal": "Hi!"}, {"logprobs": {"content": None, "refusal": TOKENS}})
    assert (await ask(refused)).logprobs == (HI, YOU)
    assert (await ask(document({"content": "Hi!"}, {"logprobs": {"content": []}}))).logprobs is None


async def test_chat_logprobs_of_the_older_api():
    """Tokens and numbers side by side, as the services send them that grew out of it."""
    logprobs = {"tokens": ["Hi", "!"], "token_logprobs": [-0.25], "top_logprobs": [{"Ha": -1.5}]}
    [first, second] = (await ask(document({"content": "Hi!"}, {"logprobs": logprobs}))).logprobs
    assert (first.token, first.logprob, first.alternatives) == ("Hi", -0.25, (allm.TokenLogprob("Ha", -1.5),))
    assert second == YOU


@pytest.mark.parametrize("shape", ["stream", "document"])
async def test_chat_service_tier_and_fingerprint(shape):
    """The word of the answer, and not that of the request."""
    says = {"service_tier": "default", "system_fingerprint": "fp_1"}
    stream = streamed(chunk({"content": "Hi"}, **says), chunk(finish="stop", **says))
    reply = stream if shape == "stream" else document({"content": "Hi"}, **says)
    response = await ask(reply, service_tier="flex")
    assert response.service_tier == "default"
    assert response.metadata == {"openai": {"system_fingerprint": "fp_1"}}


async def test_the_provider_that_a_router_chose():
    """OpenRouter's `provider`, and its own word for the finish reason."""
    stream = streamed(
        chunk({"content": "Hi"}, provider="Acme", choice={"native_finish_reason": None}),
        chunk(finish="stop", provider="Acme", choice={"native_finish_reason": "end"}),
    )
    notes = (await ask(stream, "openrouter")).metadata["openrouter"]
    assert notes == {"provider": "Acme", "native_finish_reason": "end"}


async def test_citations_and_search_results_beside_the_choices():
    """Perplexity repeats them with every chunk; they are kept once."""
    found = {"citations": ["https://a.example"], "search_results": [{"title": "A", "url": "https://a.example"}]}
    stream = streamed(chunk({"content": "Hi [1]"}, **found), chunk(finish="stop", **found))
    assert (await ask(stream, "perplexity")).metadata == {"perplexity": found}
    assert (await ask(document({"content": "Hi [1]"}, **found), "perplexity")).metadata == {"perplexity": found}


async def test_citations_in_the_message():
    """Some gateways have them there: they are about the answer, and do not go back with it."""
    found = {"citations": ["https://a.example"], "context": {"intent": "ask"}}
    response = await ask(document({"content": "Hi", **found}), "gateway")
    assert response.metadata == {"gateway": found}
    cited = allm.Citation(url="https://a.example", provider="gateway")
    assert response.message == allm.assistant(allm.TextPart("Hi", citations=[cited]))


async def test_tools_that_the_service_ran():
    """Groq sends a tool first without and then with its output, under one index."""
    ran = {"index": 0, "type": "search", "arguments": "{}"}
    stream = streamed(
        chunk({"executed_tools": [ran]}, x_groq={"id": "req_1"}),
        chunk({"executed_tools": [{"index": 0, "output": "found"}, {"index": 1, "type": "visit"}]}),
        chunk({"content": "Hi"}, "stop", x_groq={"usage": {"prompt_tokens": 1}}),
    )
    response = await ask(stream, "groq")
    tools = [{**ran, "output": "found"}, {"index": 1, "type": "visit"}]
    assert response.metadata == {"groq": {"executed_tools": tools, "x_groq": {"id": "req_1"}}}
    assert (response.usage.input_tokens, response.finish_reason) == (1, "stop")
    whole = await ask(document({"content": "Hi", "executed_tools": tools}), "groq")
    assert whole.metadata["groq"]["executed_tools"] == tools


async def test_content_filters():
    """Azure judges the prompt once and the answer piece by piece: what filtered one piece stays."""
    safe, bad = {"filtered": False, "severity": "safe"}, {"filtered": True, "severity": "high"}
    prompt = [{"prompt_index": 0, "content_filter_results": {"hate": safe}}]
    stream = streamed(
        {"id": "", "model": "", "choices": [], "prompt_filter_results": prompt},
        chunk({"content": "Hi"}, choice={"content_filter_results": {"hate": safe, "violence": bad}}),
        chunk({"content": "!"}, choice={"content_filter_results": {"hate": safe, "violence": safe}}),
        chunk(finish="content_filter", choice={"content_filter_results": {}}),
    )
    notes = (await ask(stream, "azure")).metadata["azure"]
    assert notes == {"prompt_filter_results": prompt, "content_filter_results": {"hate": safe, "violence": bad}}


async def test_images_in_a_chat_answer():
    """They are parts in their place, also where a service repeats them, or has them among the parts of the content."""
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    stream = streamed(
        chunk({"content": "Here:"}), chunk({"images": [picture]}), chunk({"images": [picture]}, finish="stop")
    )
    response = await ask(stream)
    [part] = response.message.images
    assert (part.image.to_bytes(), part.image.mime_type) == (base64.b64decode(PNG), "image/png")
    assert response.output_text == "Here:"
    whole = await ask(document({"content": [{"type": "text", "text": "Here:"}, picture]}))
    assert whole.message.images == response.message.images


async def test_sound_in_a_chat_answer():
    """The transcript is the text; the sound is whole, though each piece of it may be padded."""
    pieces = [base64.b64encode(sound).decode() for sound in (b"a", b"bc")]
    stream = streamed(
        chunk({"audio": {"id": "audio_1", "transcript": "Hi "}}),
        chunk({"audio": {"data": pieces[0]}}),
        chunk({"audio": {"transcript": "you", "data": pieces[1]}}),
        chunk({"audio": {"expires_at": 7}}, "stop"),
    )
    response = await ask(stream)
    assert response.output_text == "Hi you"
    audio = {"id": "audio_1", "expires_at": 7, "data": base64.b64encode(b"abc").decode(), "transcript": "Hi you"}
    assert response.message.parts[-1] == allm.ProviderPart("openai", {"type": "audio", "audio": audio})
    whole = await ask(document({"content": None, "audio": audio}))
    assert whole.message == response.message


async def test_sound_cut_anywhere():
    """Only the whole is base64 then."""
    data = base64.b64encode(b"abcdef").decode()
    response = await ask(streamed(chunk({"audio": {"data": data[:3]}}), chunk({"audio": {"data": data[3:]}}, "stop")))
    assert response.message.parts[-1].data["audio"]["data"] == data


# --- Responses ------------------------------------------------------------------------------------------------------


def item(*content):
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": list(content)}


def whole(*output, **fields):
    return {"object": "response", "id": "r1", "model": "m", "status": "completed", "output": list(output), **fields}


def responses_stream(*output, **fields):
    events = [{"type": "response.created", "response": {"id": "r1", "model": "m", "service_tier": "auto"}}]
    events += [{"type": "response.output_item.done", "output_index": i, "item": it} for i, it in enumerate(output)]
    events.append({"type": "response.completed", "response": whole(*output, **fields)})
    return streamed(*events, named=True, end=b"")


@pytest.mark.parametrize("shape", ["stream", "document"])
async def test_responses(shape):
    """Log probabilities stand in the parts; the tier of the end counts; what repeats the request is no news."""
    output = item({"type": "output_text", "text": "Hi!", "annotations": [], "logprobs": TOKENS})
    says = {
        "service_tier": "default",
        "temperature": 1,
        "tools": [],
        "truncation": "disabled",
        "content_filters": [{"blocked": False}],
        "tool_usage": {"web_search": {"num_requests": 1}},
    }
    reply = responses_stream(output, **says) if shape == "stream" else Reply.json(whole(output, **says))
    response = await ask(reply, "responses")
    assert response.logprobs == (HI, YOU)
    assert response.service_tier == "default"
    assert response.metadata == {
        "openai": {"content_filters": [{"blocked": False}], "tool_usage": {"web_search": {"num_requests": 1}}}
    }


async def test_an_image_of_responses_goes_back_as_it_came():
    """It is a part like any other image, and to its maker it is the item again."""
    call = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "output_format": "png", "result": PNG}
    async with WireServer() as server:
        server.add(responses_stream(call, item({"type": "output_text", "text": "Done."})))
        server.add(Reply.json(whole(item({"type": "output_text", "text": "x"}))))
        engine = allm.Engine(adapter=adapter("responses", server), model="m")
        response = await allm.generate(engine, "Draw.")
        [part] = response.message.images
        assert part.image.to_bytes() == base64.b64decode(PNG)
        assert part.metadata == {"openai": {name: value for name, value in call.items() if name != "result"}}
        await allm.generate(engine, [allm.user("Draw."), response.message, allm.user("Again.")])
        assert server.requests[1].json()["input"][1] == call


async def test_an_image_that_did_not_come_is_kept_as_the_item_that_it_is():
    """Nothing of it is lost."""
    call = {"type": "image_generation_call", "id": "ig_1", "status": "failed", "result": None}
    response = await ask(responses_stream(call), "responses")
    assert [part.data for part in response.message.parts] == [call]
    assert response.hosted_calls[0].status == "failed"


# --- Anthropic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["stream", "document"])
async def test_anthropic(shape):
    """The tier is in the usage, and so are the speed and the place, which are part of the tariff."""
    usage = {"input_tokens": 3, "output_tokens": 1, "service_tier": "priority", "speed": "fast", "inference_geo": "us"}
    message = {"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    text = {"type": "text", "text": "Hi"}
    stream = streamed(
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": text},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
        named=True,
        end=b"",
    )
    document = Reply.json({**message, "content": [text], "stop_reason": "end_turn"})
    response = await ask(stream if shape == "stream" else document, "anthropic")
    assert response.service_tier == "priority"
    assert response.usage.extra == {"speed": "fast", "inference_geo": "us"}
    assert response.usage.total_cost is None


# --- Gemini ---------------------------------------------------------------------------------------------------------


def candidate(*parts, **fields):
    inner = {"index": 0, "content": {"role": "model", "parts": list(parts)}, **fields.pop("candidate", {})}
    return {"responseId": "g1", "modelVersion": "m", "candidates": [inner], **fields}


def chosen(*tokens):
    return {
        "chosenCandidates": [{"token": token, "tokenId": 7, "logProbability": number} for token, number in tokens],
        "topCandidates": [{"candidates": [{"token": "Ha", "logProbability": -1.5}]} for _ in tokens],
    }


@pytest.mark.parametrize("shape", ["pieces", "grown", "document"])
async def test_gemini_logprobs(shape):
    """A chunk has those of its own tokens, or of all so far."""
    first, both = chosen(("Hi", -0.25)), chosen(("Hi", -0.25), ("!", -0.5))
    end = {"finishReason": "STOP", "avgLogprobs": -0.4}
    chunks = {
        "pieces": [({"logprobsResult": first}, "Hi"), ({"logprobsResult": chosen(("!", -0.5)), **end}, "!")],
        "grown": [({"logprobsResult": first}, "Hi"), ({"logprobsResult": both, **end}, "!")],
        "document": [({"logprobsResult": both, **end}, "Hi!")],
    }[shape]
    bodies = [candidate({"text": text}, candidate=says) for says, text in chunks]
    response = await ask(Reply.json(bodies[0]) if shape == "document" else streamed(*bodies, end=b""), "gemini")
    top = (allm.TokenLogprob("Ha", -1.5),)
    assert response.logprobs == (
        allm.TokenLogprob("Hi", -0.25, alternatives=top),
        allm.TokenLogprob("!", -0.5, alternatives=top),
    )
    assert response.metadata == {"gemini": {"avgLogprobs": -0.4}}


@pytest.mark.parametrize(
    ("usage", "headers", "tier"),
    [
        ({"serviceTier": "flex"}, {"x-gemini-service-tier": "standard"}, "flex"),
        ({}, {"x-gemini-service-tier": "priority"}, "priority"),
        ({"trafficType": "ON_DEMAND"}, {}, "ON_DEMAND"),
        ({}, {}, None),
    ],
)
async def test_gemini_service_tier(usage, headers, tier):
    """In the usage, under the name of the API or of Vertex AI, or in the headers."""
    body = candidate({"text": "Hi"}, candidate={"finishReason": "STOP"}, usageMetadata={"promptTokenCount": 1, **usage})
    response = await ask(Reply.json(body, headers=headers), "gemini")
    assert response.service_tier == tier
    assert response.headers.items() >= headers.items()


async def test_gemini_tokens_by_what_they_stand_for():
    """Those that have prices of their own, under the names that they have everywhere."""
    usage = {
        "promptTokenCount": 100,
        "candidatesTokenCount": 60,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}, {"modality": "AUDIO", "tokenCount": 90}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 40}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 50}],
    }
    body = candidate({"text": "Hi"}, candidate={"finishReason": "STOP"}, usageMetadata=usage)
    extra = (await ask(Reply.json(body), "gemini")).usage.extra
    assert (
        extra.items()
        >= {
            "input_audio_tokens": 90,
            "cache_audio_read_tokens": 40,
            "output_image_tokens": 50,
        }.items()
    )
    assert "output_audio_tokens" not in extra


async def test_a_gemini_image_goes_back_with_its_signature():
    """It is a part like any other image; sound is kept for Gemini, and can be read."""
    signature, sound = "c2lnbmVk", {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "AAAA"}}
    drawn = {"inlineData": {"mimeType": "image/png", "data": PNG}, "thoughtSignature": signature}
    body = candidate({"text": "Here:"}, drawn, sound, candidate={"finishReason": "STOP"}, promptFeedback={"safe": 1})
    async with WireServer() as server:
        server.add(Reply.json(body), Reply.json(candidate({"text": "x"}, candidate={"finishReason": "STOP"})))
        engine = allm.Engine(adapter=adapter("gemini", server), model="m")
        response = await allm.generate(engine, "Draw.")
        [part] = response.message.images
        assert part.metadata == {"gemini": {"thought_signature": signature}}
        assert response.message.parts[-1] == allm.ProviderPart("gemini", sound)
        assert response.metadata == {"gemini": {"promptFeedback": {"safe": 1}}}
        await allm.generate(engine, [allm.user("Draw."), response.message, allm.user("Again.")])
        assert server.requests[1].json()["contents"][1]["parts"] == [{"text": "Here:"}, drawn, sound]


@pytest.mark.parametrize("kind", ["chat", "responses", "anthropic"])
async def test_an_image_of_another_vendor_is_left_out_of_an_answer(kind):
    """Nobody takes it there; that the model reads no images does not matter."""
    allm.models.put(allm.models.ModelInfo(provider="openai", id="m", vision=False))
    try:
        async with WireServer() as server:
            server.default = Reply.json({"error": {"message": "enough"}}, status=400)
            engine = allm.Engine(adapter=adapter(kind, server), model="m", retry=None)
            drawn = allm.assistant("Here:", allm.ImagePart(allm.Image.from_base64(PNG, "image/png")))
            await allm.generate(engine, [allm.user("Draw."), drawn, allm.user("Again.")])
            assert PNG not in server.requests[0].body.decode()
    finally:
        allm.models.clear()


# --- headers --------------------------------------------------------------------------------------------------------

SENT = {
    "x-ratelimit-remaining-tokens": "99",
    "anthropic-ratelimit-tokens-reset": "2026-01-01T00:00:00Z",
    "x-amzn-bedrock-input-token-count": "5",
    "openai-processing-ms": "12",
    "X-Request-Id": "req_1",
}
SECRET = {
    "set-cookie": "session=s3cret",
    "x-api-key": "s3cret",
    "x-csrf-token": "s3cret",
    "authorization": "s3cret",
    "x-goog-upload-url": "https://s3cret.example",
}
ANSWERS = {
    "chat": document({"content": "Hi"}),
    "responses": Reply.json(whole(item({"type": "output_text", "text": "Hi"}))),
    "anthropic": Reply.json({"id": "1", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}),
    "gemini": Reply.json(candidate({"text": "Hi"}, candidate={"finishReason": "STOP"})),
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_headers_without_secrets(kind):
    """Rate limits and ids are there, cookies and keys are not, nor in the repr; JSON and pickles keep them."""
    headers = {**ANSWERS[kind].headers, **SENT, **SECRET, "x-echo": "you sent key-1234567890"}
    response = await ask(attrs.evolve(ANSWERS[kind], headers=headers), kind)
    shown = {name.lower(): value for name, value in SENT.items()}
    assert response.headers.items() >= shown.items()
    assert not response.headers.keys() & SECRET.keys()
    assert "key-1234567890" not in response.headers["x-echo"]
    assert response.request_id == "req_1"
    text = allm.to_json(response)
    assert allm.from_json(text).headers == response.headers
    assert "s3cret" not in text
    assert "ratelimit" not in repr(response)


async def test_headers_of_an_error():
    """They say which limit was hit; the answer that failed before it began has them as well."""
    limits = {"x-ratelimit-limit-requests": "3", "retry-after": "20", "set-cookie": "session=s3cret"}
    response = await ask(Reply.json({"error": {"message": "slow down"}}, status=429, headers=limits))
    assert response.error.headers == response.headers
    assert response.headers["x-ratelimit-limit-requests"] == "3"
    assert "set-cookie" not in response.headers
    assert response.error.retry_after == 20
    loaded = allm.from_json(allm.to_json(response))
    assert (loaded.headers, loaded.error.headers) == (response.headers, response.headers)
    assert "ratelimit" not in repr(response.error)


async def test_headers_of_an_answer_that_breaks_off():
    """They came before it."""
    headers = {"x-request-id": "req_1", "content-type": "text/event-stream"}
    body = streamed(chunk({"content": "Hi"}), end=b"").body
    response = await ask(Reply(body=body, headers=headers))
    assert response.error.reason == "stream_truncated"
    assert response.headers["x-request-id"] == response.request_id == "req_1"
