"""Batches of providers: submitted once, followed, read, ended; each answer as `generate` would have given it."""

from __future__ import annotations

import json

import pytest

import allm
from allm.adapters import BatchJob
from allm.execution.services.batches import batched_call, batches_of
from allm.providers import Anthropic, Gemini, OpenAI
from allm.testing import BEFORE_HEAD, Cut, Reply, WireServer, loopback_clock
from recordings import RECORDINGS

MAKE = {
    "openai": lambda url: OpenAI(api_key="sk-key", base_url=f"{url}/v1", endpoint="responses"),
    "groq": lambda url: OpenAI(preset="groq", api_key="sk-key", base_url=f"{url}/openai/v1"),
    "mistral": lambda url: OpenAI(preset="mistral", api_key="sk-key", base_url=f"{url}/v1"),
    "xai": lambda url: OpenAI(preset="xai", api_key="sk-key", base_url=f"{url}/v1"),
    "anthropic": lambda url: Anthropic(api_key="sk-key", base_url=url),
    "gemini": lambda url: Gemini(api_key="sk-key", base_url=url),
}
MODELS = {
    "openai": "gpt-5-nano",
    "groq": "llama-3.3-70b-versatile",
    "mistral": "mistral-small-latest",
    "xai": "grok-4.3",
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-2.5-flash",
}
VENDORS = pytest.mark.parametrize("vendor", list(MAKE))
CHAT = {
    "id": "c1",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Vier ✓"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
}
RESPONSES = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-5-nano-2025-08-07",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Vier ✓", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5-20251001",
    "content": [{"type": "text", "text": "Vier ✓"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 10, "output_tokens": 2, "service_tier": "batch"},
}
CONTENT = {
    "candidates": [{"content": {"parts": [{"text": "Vier ✓"}], "role": "model"}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 2, "totalTokenCount": 12},
    "modelVersion": "gemini-2.5-flash",
}
TOO_LONG = {"error": {"message": "maximum context length exceeded", "code": "context_length_exceeded"}}


def lines(*documents):
    """A file of lines."""
    return Reply(body="\n".join(map(json.dumps, documents)).encode())


def openai_batch(status, **more):
    """A batch as OpenAI and Groq show it."""
    counts = {"total": 2, "completed": 1, "failed": 0}
    return {"id": "batch_1", "object": "batch", "status": status, "request_counts": counts, **more}


def gemini_batch(state, **more):
    """An operation as Google shows it."""
    stats = {"requestCount": "2", "pendingRequestCount": "1"}
    return {"name": "batches/b1", "metadata": {"state": f"BATCH_STATE_{state}", "batchStats": stats}, **more}


def xai_batch(pending):
    """A batch as xAI shows it."""
    return {"batch_id": "batch_1", "name": "n", "state": {"num_requests": 2, "num_pending": pending}}


ENDED = {
    "openai": openai_batch("completed", output_file_id="file-2", error_file_id="file-3"),
    "groq": openai_batch("completed", output_file_id="file-2", error_file_id="file-3"),
    "mistral": {"id": "j1", "status": "SUCCESS", "total_requests": 2, "completed_requests": 2, "output_file": "f2"},
    "xai": xai_batch(0),
    "anthropic": {"id": "b1", "processing_status": "ended", "request_counts": {"succeeded": 1, "errored": 1}},
    "gemini": gemini_batch("SUCCEEDED", done=True),
}
RUNNING = {
    "openai": openai_batch("in_progress"),
    "groq": openai_batch("validating"),
    "mistral": {"id": "j1", "status": "QUEUED", "total_requests": 0, "completed_requests": 0},
    "xai": xai_batch(1),
    "anthropic": {"id": "b1", "processing_status": "in_progress", "request_counts": {"processing": 2}},
    "gemini": gemini_batch("RUNNING"),
}


def good(key, body):
    """A line with an answer."""
    return {"custom_id": key, "response": {"status_code": 200, "body": body}, "error": None}


def bad(key):
    """A line with a failure."""
    return {"custom_id": key, "response": {"status_code": 400, "body": TOO_LONG}, "error": None}


ANSWERS = {
    "openai": [lines(good("a", RESPONSES)), lines(bad("b"))],
    "groq": [lines(good("a", CHAT)), lines(bad("b"))],
    "mistral": [Reply.json({**ENDED["mistral"], "outputs": [bad("b"), good("a", CHAT)]})],
    "xai": [
        Reply.json(
            {
                "results": [
                    {"batch_request_id": "a", "batch_result": {"response": {"chat_get_completion": CHAT}}},
                    {"batch_request_id": "b", "batch_result": {"error": TOO_LONG["error"]}},
                ]
            }
        )
    ],
    "anthropic": [
        lines(
            {
                "custom_id": "b",
                "result": {
                    "type": "errored",
                    "error": {
                        "type": "error",
                        "error": {
                            "type": "invalid_request_error",
                            "message": "prompt is too long: 9 > 8",
                        },
                    },
                },
            },
            {"custom_id": "a", "result": {"type": "succeeded", "message": MESSAGE}},
        )
    ],
    "gemini": [
        Reply.json(
            gemini_batch(
                "SUCCEEDED",
                done=True,
                response={
                    "inlinedResponses": {
                        "inlinedResponses": [
                            {"response": CONTENT, "metadata": {"key": "a"}},
                            {
                                "error": {"code": 3, "message": "The input token count (9) exceeds the maximum (8)"},
                                "metadata": {"key": "b"},
                            },
                        ]
                    }
                },
            )
        )
    ],
}


@pytest.fixture
def autojump_clock():
    """Time that jumps over every wait."""
    return loopback_clock()


def engine_at(server, vendor):
    """The engine of a vendor at a server."""
    return allm.Engine(adapter=MAKE[vendor](server.base_url), model=MODELS[vendor], params={"max_tokens": 50})


async def two_calls(engine):
    """Two calls of a batch."""
    return [(key, await batched_call(engine, f"What is {key}? ✓", {})) for key in ("a", "b")]


def submitted(vendor):
    """What a vendor answers to a new batch."""
    if vendor in {"openai", "groq"}:
        return [Reply.json({"id": "file-1", "object": "file"}), Reply.json(RUNNING[vendor])]
    return [Reply.json(RUNNING[vendor]), Reply.json(None)] if vendor == "xai" else [Reply.json(RUNNING[vendor])]


@VENDORS
async def test_what_is_sent(vendor):
    """Each request once, with its key, as the call without a stream has it; keys travel in headers."""
    async with WireServer() as server:
        server.add(*submitted(vendor))
        engine = engine_at(server, vendor)
        job = await batches_of(engine, {}).submit("run-1", await two_calls(engine), since=0)
        assert (job.provider, job.state) == (vendor, "running")
        sent = b"\n".join(request.body for request in server.requests)
    assert [sent.count(f"What is {key}? ✓".encode()) for key in ("a", "b")] == [1, 1]
    assert b'"stream"' not in sent
    assert b"stream_options" not in sent
    assert b"sk-key" not in sent
    if vendor != "anthropic":  # where a batch has no name
        assert b"run-1" in sent
    last = json.loads(server.requests[-1].body)
    match vendor:
        case "anthropic":
            assert [item["custom_id"] for item in last["requests"]] == ["a", "b"]
            assert last["requests"][0]["params"]["model"] == MODELS[vendor]
        case "gemini":
            requests = last["batch"]["inputConfig"]["requests"]["requests"]
            assert server.requests[-1].path.endswith("/models/gemini-2.5-flash:batchGenerateContent")
            assert [item["metadata"] for item in requests] == [{"key": "a"}, {"key": "b"}]
            assert requests[0]["request"]["model"] == "models/gemini-2.5-flash"
        case "mistral":
            assert (last["endpoint"], last["model"]) == ("/v1/chat/completions", MODELS[vendor])
            assert "model" not in last["requests"][0]["body"]
        case "xai":
            assert set(last["batch_requests"][0]["batch_request"]) == {"responses"}
        case _:
            path = "/v1/responses" if vendor == "openai" else "/v1/chat/completions"
            assert last == {
                "input_file_id": "file-1",
                "endpoint": path,
                "completion_window": "24h",
                "metadata": {"allm": "run-1"},
            }


@VENDORS
async def test_how_far_it_is(vendor):
    """A batch is running until its vendor says that it is not."""
    async with WireServer() as server:
        server.add(*submitted(vendor), Reply.json(RUNNING[vendor]), Reply.json(ENDED[vendor]))
        batches = batches_of(engine_at(server, vendor), {})
        job = await batches.submit("run-1", await two_calls(engine_at(server, vendor)), since=0)
        running = await batches.get(job)
        ended = await batches.get(job)
    assert (running.state, ended.state) == ("running", "ended")
    assert job.id == running.id == ended.id
    assert ended.total == 2


@VENDORS
async def test_the_answers(vendor):
    """Each is the response that `generate` would have given, at half its price; a failure is its error."""
    async with WireServer() as server:
        engine = engine_at(server, vendor)
        calls = dict(await two_calls(engine))
        server.add(Reply.json(ENDED[vendor]), *ANSWERS[vendor])
        batches = batches_of(engine, {})
        job = await batches.get(BatchJob(provider=vendor, id="batches/b1" if vendor == "gemini" else "b1"))
        responses = {}

        async def keep(answer):
            responses[answer.key] = calls[answer.key].response(answer)

        await batches.read(job, keep)
    assert set(responses) == {"a", "b"}
    assert (responses["a"].output_text, responses["a"].finish_reason) == ("Vier ✓", "stop")
    assert (responses["a"].usage.input_tokens, responses["a"].usage.output_tokens) == (10, 2)
    assert responses["b"].error.reason == "context_length_exceeded"
    assert not responses["b"].error.retryable
    whole = allm.models.lookup(vendor, responses["a"].model) or allm.models.lookup(vendor, MODELS[vendor])
    if responses["a"].usage.total_cost is not None:
        prices = whole.prices[-1]
        expected = (10 * prices.input + 2 * prices.output) / 2_000_000
        assert responses["a"].usage.total_cost == pytest.approx(expected)
    else:
        assert responses["a"].model == "m"  # a model that has no price


@VENDORS
async def test_a_lost_answer(autojump_clock, vendor):
    """A batch that may have been made is looked for before it is made again."""
    named = {"allm": "run-1"}
    listed = {
        "openai": {"data": [{**RUNNING["openai"], "metadata": named}]},
        "groq": {"data": [{**RUNNING["groq"], "metadata": named}]},
        "mistral": {"data": [{**RUNNING["mistral"], "metadata": named}]},
        "xai": {"batches": [{**xai_batch(2), "name": "run-1"}]},
        "anthropic": {"data": [{**RUNNING["anthropic"], "created_at": "2026-08-19T14:44:51.4+00:00"}]},
        "gemini": {"operations": [gemini_batch("RUNNING")]},
    }[vendor]
    if vendor == "gemini":
        listed["operations"][0]["metadata"]["displayName"] = "run-1"
    async with WireServer() as server:
        first = submitted(vendor)
        server.add(*first[:-1], Reply(fault=Cut(BEFORE_HEAD)), Reply.json(listed))
        engine = attrs_retry(engine_at(server, vendor))
        job = await batches_of(engine, {}).submit("run-1", await two_calls(engine), since=1_700_000_000)
        posts = [request for request in server.requests if request.method == "POST"]
        assert len(posts) == len(first)
        assert server.requests[-1].method == "GET"
    assert job.id == {"mistral": "j1", "anthropic": "b1", "gemini": "batches/b1"}.get(vendor, "batch_1")


def attrs_retry(engine):
    """The engine, with one retry."""
    return allm.Engine(
        adapter=engine.adapter,
        model=engine.model,
        params=engine.params,
        retry=allm.RetryPolicy(max_attempts=2, base_delay=1),
    )


@pytest.mark.parametrize("vendor", ["openai", "groq", "mistral", "anthropic", "gemini", "xai"])
async def test_cancel(vendor):
    """Says how far it is then."""
    async with WireServer() as server:
        if vendor == "gemini":
            server.add(Reply.json({}))
        server.add(Reply.json(RUNNING[vendor]))
        batches = batches_of(engine_at(server, vendor), {})
        job = await batches.cancel(BatchJob(provider=vendor, id="b1"))
        assert job.state == "running"
        assert "cancel" in server.requests[0].path
        assert server.requests[0].method == "POST"


async def test_a_whole_batch_that_was_refused():
    """Says what was wrong with it."""
    problem = {"data": [{"code": "invalid_json_line", "line": 1, "message": "This line is not parseable as JSON."}]}
    async with WireServer() as server:
        server.add(Reply.json(openai_batch("failed", errors=problem)))
        job = await batches_of(engine_at(server, "openai"), {}).get(BatchJob(provider="openai", id="b"))
    assert (job.state, job.problem) == ("failed", "This line is not parseable as JSON.")


async def test_requests_that_ran_out_of_time():
    """Are failures that can be asked again; what was answered before counts."""
    expired = {"custom_id": "b", "response": None, "error": {"code": "batch_expired", "message": "It expired."}}
    async with WireServer() as server:
        server.add(lines(good("a", RESPONSES)), lines(expired))
        engine = engine_at(server, "openai")
        calls = dict(await two_calls(engine))
        answers = {}

        async def keep(answer):
            answers[answer.key] = calls[answer.key].response(answer)

        job = BatchJob(provider="openai", id="b", state="ended", results=("f1", "f2"))
        await batches_of(engine, {}).read(job, keep)
    assert answers["a"].error is None
    assert (answers["b"].error.reason, answers["b"].error.retryable) == ("timeout", True)


@pytest.mark.parametrize("size", [1, 7, 64])
async def test_lines_come_in_any_pieces(size):
    """What is read does not depend on how the connection cuts it."""
    text = "\n".join(json.dumps(good(str(number), RESPONSES), ensure_ascii=False) for number in range(5)).encode()
    async with WireServer() as server:
        server.add(Reply(body=text, chunks=size))
        engine = engine_at(server, "openai")
        keys = []

        async def keep(answer):
            keys.append(answer.key)
            assert (await batched_call(engine, "x", {})).response(answer).output_text == "Vier ✓"

        job = BatchJob(provider="openai", id="b", state="ended", results=("f1",))
        await batches_of(engine, {}).read(job, keep)
    assert keys == ["0", "1", "2", "3", "4"]


async def test_a_line_that_is_none():
    """Is an error of the provider, with what came before it given."""
    async with WireServer() as server:
        server.add(Reply(body=json.dumps(good("a", RESPONSES)).encode() + b"\nno json\n"))
        engine, keys = engine_at(server, "openai"), []

        async def keep(answer):
            keys.append(answer.key)

        job = BatchJob(provider="openai", id="b", state="ended", results=("f1",))
        with pytest.raises(allm.AdapterError) as caught:
            await batches_of(engine, {"retry": None}).read(job, keep)
    assert caught.value.reason == "malformed_response"
    assert keys == ["a"]


async def test_a_provider_without_batches():
    """Is a clear error, before anything is sent."""
    engine = allm.Engine(adapter=OpenAI(preset="ollama"), model="m")
    with pytest.raises(allm.AdapterError, match="ollama has no batches"):
        batches_of(engine, {})


async def test_an_id_cannot_leave_its_place():
    """It is one part of a path."""
    engine = allm.Engine(adapter=OpenAI(api_key="k"), model="m")
    with pytest.raises(allm.ValidationError, match="expected the id of a batch"):
        await batches_of(engine, {}).get(BatchJob(provider="openai", id=".."))


RECORDED = RECORDINGS / "batches"


@pytest.mark.skipif(not RECORDED.exists(), reason="the recordings are not here")
@pytest.mark.parametrize(
    ("folder", "states"),
    [
        ("openai_2_create", "running"),
        ("openai_3_in_progress", "running"),
        ("openai_4_completed", "ended"),
        ("openai_cancel", "running"),
        ("anthropic_1_create", "running"),
        ("anthropic_2_in_progress", "running"),
        ("anthropic_3_ended", "ended"),
        ("anthropic_cancel", "running"),
        ("gemini_1_create_inline", "running"),
        ("gemini_2_running", "running"),
        ("gemini_3_succeeded", "ended"),
        ("mistral_1_create_inline", "running"),
        ("mistral_2_success", "ended"),
        ("xai_1_create", "running"),
        ("xai_3_state", "ended"),
    ],
)
async def test_recorded_states(folder, states):
    """What vendors really said of a batch."""
    vendor = folder.partition("_")[0]
    async with WireServer() as server:
        server.add(Reply.json(json.loads((RECORDED / folder / "response.body").read_bytes())))
        job = await batches_of(engine_at(server, vendor), {}).get(BatchJob(provider=vendor, id="b"))
    assert job.state == states


@pytest.mark.skipif(not RECORDED.exists(), reason="the recordings are not here")
@pytest.mark.parametrize(
    ("folder", "texts"),
    [
        ("openai_5_output_jsonl", {"0": "4", "1": "Jupiter"}),
        ("anthropic_4_results_jsonl", {"0": "4", "1": "Jupiter"}),
        ("gemini_3_succeeded", {"4", "Jupiter"}),
        ("mistral_2_success", {"0": "4", "1": "Jupiter"}),
        ("xai_4_results", {"0": "4", "1": "Jupiter"}),
    ],
)
async def test_recorded_answers(folder, texts):
    """What vendors really answered."""
    vendor = folder.partition("_")[0]
    found, usages = {}, []
    async with WireServer() as server:
        server.add(Reply(body=(RECORDED / folder / "response.body").read_bytes()))
        engine = engine_at(server, vendor)
        call = await batched_call(engine, "x", {})

        async def keep(answer):
            response = call.response(answer)
            found[answer.key or response.output_text] = response.output_text
            usages.append(response.usage)

        job = BatchJob(provider=vendor, id="b", state="ended", results=("f",))
        await batches_of(engine, {}).read(job, keep)
    assert (found if isinstance(texts, dict) else set(found.values())) == texts
    assert all(usage.total_cost for usage in usages)
