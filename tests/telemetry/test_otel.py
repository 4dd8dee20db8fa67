"""OpenTelemetry: what arrives at an exporter in memory, by the conventions for generative AI."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
import time

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import allm
from allm import fake
from allm.providers import Fake
from allm.runtime import telemetry
from allm.telemetry import otel
from allm.telemetry.genai_content import content_attributes

BUSY = allm.AdapterError("try later", reason="overloaded", provider="fake")
CANARY = "canary-in-the-mine"
USED = fake.usage(input_tokens=10, output_tokens=3, cached_input_tokens=4)


class Otel:
    """Providers of a test, and what they got."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.traces = TracerProvider()
        self.traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.tracer = self.traces.get_tracer("program")

    def instrument(self, **options):
        return otel.instrument(self.traces, self.meters, **options)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def named(self, name):
        [span] = [span for span in self.spans if span.name == name]
        return span

    def tree(self):
        """Every span by its path, in the order in which they began."""
        by_id = {span.context.span_id: span for span in self.spans}

        def path(span):
            above = f"{path(by_id[span.parent.span_id])} > " if span.parent is not None else ""
            return above + span.name

        return [path(span) for span in sorted(self.spans, key=lambda span: span.start_time)]

    def points(self, name):
        data = self.reader.get_metrics_data()
        metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
        return [point for metric in metrics if metric.name == name for point in metric.data.data_points]


@pytest.fixture
def sdk():
    """Instrumentation of the test, which ends with it."""
    made = Otel()
    with made.instrument():
        yield made


def inner_engine():
    return allm.Engine(adapter=Fake(scripts=[[fake.text("inner"), USED]]), model="small")


async def ask_inside():
    return (await allm.generate(inner_engine(), "hi")).output_text


def looking(handler):
    return allm.Tool("look", "Looks.", handler=handler)


def turn_engine(*first):
    scripts = [*first, [fake.tool_call("look", {"where": CANARY}), USED], [fake.text("done"), USED]]
    retry = allm.RetryPolicy(base_delay=0.5, jitter=0)
    return allm.Engine(adapter=Fake(scripts=scripts), model="m", retry=retry)


async def test_a_turn_by_the_conventions(sdk, autojump_clock):
    """Names, kinds and attributes of the turn, its model calls, its tool, and a retry as an event of its call."""
    tool = looking(lambda _arguments: trio.from_thread.run(ask_inside))
    before = time.time_ns()
    with sdk.tracer.start_as_current_span("GET /ask"):
        options = {"temperature": 0.5, "max_tokens": 9, "stop": ["x"], "session_id": "s-1"}
        await allm.chat(turn_engine([fake.error(BUSY)]), "hi", tools=[tool], **options)
    assert sdk.tree() == [
        "GET /ask",
        "GET /ask > invoke_agent",
        "GET /ask > invoke_agent > chat m",
        "GET /ask > invoke_agent > execute_tool look",
        "GET /ask > invoke_agent > execute_tool look > chat small",
        "GET /ask > invoke_agent > chat m",
    ]
    first = next(span for span in sdk.spans if span.name == "chat m")
    assert first.kind is SpanKind.CLIENT
    assert dict(first.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "fake",
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.stop_sequences": ("x",),
        "gen_ai.conversation.id": "s-1",
        "gen_ai.response.id": "fake",
        "gen_ai.response.model": "fake",
        "gen_ai.response.finish_reasons": ("tool_call",),
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 4,
    }
    [retry] = first.events
    assert retry.name == "adapter.retry"
    assert dict(retry.attributes) == {"allm.retry.attempt": 1, "allm.retry.delay": 0.5, "error.type": "overloaded"}
    assert before <= first.start_time <= retry.timestamp <= first.end_time <= time.time_ns()
    turn = sdk.named("invoke_agent")
    assert turn.kind is SpanKind.INTERNAL
    assert turn.attributes["gen_ai.conversation.id"] == "s-1"
    tool = sdk.named("execute_tool look")
    assert tool.kind is SpanKind.INTERNAL
    assert dict(tool.attributes) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.name": "look",
        "gen_ai.tool.call.id": tool.attributes["gen_ai.tool.call.id"],
    }
    assert turn.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.41.1"
    assert CANARY not in "".join(span.to_json() for span in sdk.spans)


@pytest.mark.parametrize("kind", ["task", "thread", "asyncio", "blocking"])
def test_a_span_made_in_a_tool_is_below_it(sdk, kind):
    """The program's own spans in a handler have the tool as their parent, wherever it runs."""

    def handler(_arguments):
        with sdk.tracer.start_as_current_span("SELECT"):
            return "seen"

    async def async_handler(arguments):
        return handler(arguments)

    tools = [looking(handler if kind in {"thread", "blocking"} else async_handler)]
    with sdk.tracer.start_as_current_span("GET /ask"):
        if kind == "asyncio":
            asyncio.run(allm.aio.chat(turn_engine(), "hi", tools=tools))
        elif kind == "blocking":
            allm.blocking.chat(turn_engine(), "hi", tools=tools)
        else:
            trio.run(functools.partial(allm.chat, turn_engine(), "hi", tools=tools))
    assert "GET /ask > invoke_agent > execute_tool look > SELECT" in sdk.tree()


async def test_the_reader_of_a_stream_is_not_below_it(sdk):
    """Spans that the program makes while it reads belong to what is around the stream."""
    with sdk.tracer.start_as_current_span("GET /ask"):
        async with allm.stream(inner_engine(), "hi") as events:
            async for _ in events:
                with sdk.tracer.start_as_current_span("write"):
                    pass
        assert trace.get_current_span().name == "GET /ask"
    assert set(sdk.tree()) == {
        "GET /ask",
        "GET /ask > invoke_agent",
        "GET /ask > invoke_agent > chat small",
        "GET /ask > write",
    }


async def test_spans_of_the_program_through_the_library(sdk):
    """`allm.telemetry.span` is a span of OpenTelemetry too, with its attributes."""
    with allm.telemetry.span("request", {"http.route": "/ask", "tags": ["a", "b"], "odd": {"x": 1}}):
        await ask_inside()
    assert sdk.tree() == ["request", "request > chat small"]
    assert dict(sdk.named("request").attributes) == {"http.route": "/ask", "tags": ("a", "b"), "odd": '{"x": 1}'}


async def test_metrics_by_the_conventions(sdk):
    """Tokens by type, durations and the time to the first chunk, with the advised buckets."""
    await allm.chat(turn_engine(), "hi", tools=[looking(lambda _arguments: "seen")])
    about = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "fake",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "fake",
    }
    tokens = {point.attributes["gen_ai.token.type"]: point for point in sdk.points("gen_ai.client.token.usage")}
    assert {kind: (point.count, point.sum) for kind, point in tokens.items()} == {"input": (2, 20), "output": (2, 6)}
    assert about.items() <= dict(tokens["input"].attributes).items()
    assert tokens["input"].explicit_bounds[:4] == (1, 4, 16, 64)
    [duration] = sdk.points("gen_ai.client.operation.duration")
    assert duration.count == 2
    assert dict(duration.attributes) == about
    assert duration.explicit_bounds[0] == 0.01
    assert duration.explicit_bounds[-1] == 81.92
    [first] = sdk.points("gen_ai.client.operation.time_to_first_chunk")
    assert first.count == 2


async def test_a_failure_has_its_kind(sdk):
    """`error.type` and the status are the reason; the message, which may quote content, is not there."""
    wrong = allm.AdapterError(f"refused: {CANARY}", reason="invalid_request", provider="fake", status=400)
    await allm.generate(allm.Engine(adapter=Fake(script=[fake.error(wrong)]), model="m"), "hi")
    span = sdk.named("chat m")
    assert span.attributes["error.type"] == "invalid_request"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "invalid_request")
    assert CANARY not in span.to_json()
    [duration] = sdk.points("gen_ai.client.operation.duration")
    assert duration.attributes["error.type"] == "invalid_request"


async def test_a_failing_tool_has_its_kind(sdk):
    """The exception of a handler is the failure of its span; what it says is content."""

    def handler(_arguments):
        raise ValueError(CANARY)

    await allm.chat(turn_engine(), "hi", tools=[looking(handler)])
    span = sdk.named("execute_tool look")
    assert span.attributes["error.type"] == "handler_raised"
    assert span.status.status_code is StatusCode.ERROR
    assert CANARY not in "".join(span.to_json() for span in sdk.spans)


async def test_what_is_cancelled_ends_and_is_no_failure(sdk, autojump_clock):
    """Every span ends, as `allm.cancelled`, and nothing is kept of it."""

    async def handler(_arguments):
        await trio.sleep(9)

    with trio.move_on_after(1):
        await allm.chat(turn_engine(), "hi", tools=[looking(handler)])
    async with allm.stream_generate(inner_engine(), "hi") as events:
        async for _ in events:
            break
    cancelled = {span.name for span in sdk.spans if span.attributes.get("allm.cancelled")}
    assert cancelled == {"invoke_agent", "execute_tool look", "chat small"}
    assert all(span.status.status_code is StatusCode.UNSET for span in sdk.spans)


async def test_services_by_the_conventions(sdk):
    """Embeddings, and an image as the generation of content."""
    engine = allm.Engine(
        embedding_adapter=allm.providers.FakeEmbeddings(),
        embedding_model="e",
        image_adapter=allm.providers.FakeImages(),
        image_model="i",
    )
    await allm.embed(engine, ["x"])
    await allm.generate_image(engine, CANARY)
    embed = sdk.named("embeddings e")
    assert embed.kind is SpanKind.CLIENT
    assert embed.attributes["gen_ai.operation.name"] == "embeddings"
    assert embed.attributes["gen_ai.usage.input_tokens"] > 0
    assert sdk.named("generate_content i").attributes["gen_ai.request.model"] == "i"
    assert CANARY not in "".join(span.to_json() for span in sdk.spans)


async def test_answers_that_do_not_fit_are_calls_of_their_own(sdk):
    """The call around them is no model call, and its tokens are not counted twice."""
    scripts = [[fake.text("x"), USED], [fake.text("3"), USED]]
    engine = allm.Engine(adapter=Fake(scripts=scripts), model="m")
    await allm.generate(engine, "hi", response_format=int, validation_retries=1)
    assert sdk.tree() == ["generate m", "generate m > chat m", "generate m > chat m"]
    assert sdk.spans[0].attributes["gen_ai.output.type"] == "json"
    points = {p.attributes["gen_ai.token.type"]: p.sum for p in sdk.points("gen_ai.client.token.usage")}
    assert points == {"input": 20, "output": 6}


async def test_several_engines_are_calls_of_their_own(sdk):
    """What stands for them is internal, and not counted; each that is asked is a call, and an event of that span."""
    busy = allm.Engine(adapter=Fake(scripts=[[USED, fake.error(BUSY)]] * 2), model="m1")
    other = allm.Engine(adapter=Fake(scripts=[[fake.text("hi"), USED]] * 2), model="m2")
    group = allm.fallback(busy, other, cool_down=0)
    await allm.chat(group, "hi")
    await allm.generate(group, "hi")
    assert sdk.tree() == [
        "invoke_agent",
        "invoke_agent > fallback",
        "invoke_agent > fallback > chat m1",
        "invoke_agent > fallback > chat m2",
        "generate",
        "generate > chat m1",
        "generate > chat m2",
    ]
    spans = dict(zip(sdk.tree(), sorted(sdk.spans, key=lambda span: span.start_time), strict=True))
    for name in ("invoke_agent > fallback", "generate"):
        assert spans[name].kind is SpanKind.INTERNAL
        assert [(event.name, event.attributes["allm.model"]) for event in spans[name].events] == [
            ("engine.attempt", "m1"),
            ("engine.attempt", "m2"),
        ]
        assert spans[name].events[1].attributes["error.type"] == "overloaded"
        assert spans[name].attributes["gen_ai.request.model"] == "m2"
    inputs = [p.sum for p in sdk.points("gen_ai.client.token.usage") if p.attributes["gen_ai.token.type"] == "input"]
    assert sum(inputs) == 40


async def content_turn(made):
    image = allm.ImagePart(allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 99, "image/png"))
    thread = [allm.system("Be brief."), allm.user("What is it?", image)]
    await allm.chat(turn_engine(), thread, tools=[looking(lambda arguments: f"seen {arguments['where']}")])
    return made


async def test_content_by_the_conventions():
    """With `content=True`: instructions, messages, definitions, arguments and results, in their JSON form."""
    made = Otel()
    with made.instrument(content=True):
        await content_turn(made)
    first, second = [span for span in made.spans if span.name == "chat m"]
    call_id = made.named("execute_tool look").attributes["gen_ai.tool.call.id"]
    told = {name: json.loads(value) for name, value in second.attributes.items() if "messages" in name}
    user, assistant, tool = told["gen_ai.input.messages"]
    assert user["role"] == "user"
    assert user["parts"][0] == {"type": "text", "content": "What is it?"}
    assert (user["parts"][1]["type"], user["parts"][1]["mime_type"]) == ("blob", "image/png")
    called = {"type": "tool_call", "id": call_id, "name": "look", "arguments": {"where": CANARY}}
    assert assistant == {"role": "assistant", "parts": [called]}
    answered = {"type": "tool_call_response", "id": call_id, "response": f"seen {CANARY}"}
    assert tool == {"role": "tool", "parts": [answered]}
    assert told["gen_ai.output.messages"] == [
        {"role": "assistant", "parts": [{"type": "text", "content": "done"}], "finish_reason": "stop"}
    ]
    assert json.loads(first.attributes["gen_ai.output.messages"])[0]["finish_reason"] == "tool_call"
    instructions = json.loads(first.attributes["gen_ai.system_instructions"])
    assert instructions == [{"type": "text", "content": "Be brief."}]
    [definition] = json.loads(first.attributes["gen_ai.tool.definitions"])
    assert (definition["type"], definition["name"]) == ("function", "look")
    attributes = made.named("execute_tool look").attributes
    assert json.loads(attributes["gen_ai.tool.call.arguments"]) == {"where": CANARY}
    assert attributes["gen_ai.tool.call.result"] == f"seen {CANARY}"


def test_each_part_of_a_message_has_a_form():
    """Reasoning, parts of a provider, arguments that are no JSON, and pictures by address or by size."""
    message = allm.assistant(
        allm.ReasoningPart("hm"),
        allm.ProviderPart("acme", {"secret": CANARY}),
        allm.ImagePart(allm.Image.from_url("https://example.org/x.png")),
        allm.ImagePart(allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 99)),
        allm.ToolCall("1", "look", raw_arguments="{"),
    )
    made = content_attributes("model_call", {"message": message}, {"finish_reason": "length"})
    [told] = json.loads(made["gen_ai.output.messages"])
    assert told == {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "content": "hm"},
            {"type": "provider", "provider": "acme"},
            {"type": "uri", "modality": "image", "mime_type": None, "uri": "https://example.org/x.png"},
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "", "size": 107},
            {"type": "tool_call", "id": "1", "name": "look", "arguments": "{"},
        ],
        "finish_reason": "length",
    }


def test_files_of_a_result_are_told():
    """By address, by the id that the provider knows or by size; a result of texts is its text."""
    kept = allm.FileRef(provider="openai", id="file-1")
    files = [
        allm.TextPart("see"),
        allm.Document.from_url("https://example.org/x.pdf", "application/pdf"),
        allm.Audio.from_base64("QUJDRA==", "audio/wav"),
        allm.Document.from_text("four"),
        allm.Image.from_upload(kept),
    ]
    made = content_attributes("tool", {"result": allm.tool_result("c", files)}, {})
    assert json.loads(made["gen_ai.tool.call.result"]) == [
        {"type": "text", "content": "see"},
        {"type": "uri", "modality": "document", "mime_type": "application/pdf", "uri": "https://example.org/x.pdf"},
        {"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": "", "size": 6},
        {"type": "blob", "modality": "document", "mime_type": "text/plain", "content": "", "size": 4},
        {"type": "file", "modality": "image", "mime_type": None, "file_id": "file-1"},
    ]
    texts = allm.tool_result("c", [allm.TextPart("a"), allm.TextPart("b")])
    assert content_attributes("tool", {"result": texts}, {})["gen_ai.tool.call.result"] == "ab"


class Silent:
    def __repr__(self):
        raise ValueError("no")


ODD = [Silent(), [Silent()], 10**5000, [10**5000], 2**63, allm.Message("user", "hi", metadata={"x": Silent()}), "x"]


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_an_attribute_that_has_no_form_costs_no_other(value):
    """It is described, in events as values of JSON too, and the span has its other attributes."""
    made, heard = Otel(), []
    detach = allm.telemetry.attach(heard.append)
    with (
        made.instrument(content=True),
        allm.telemetry.span("request", odd=value, even=2, content=lambda: {"it": value}),
    ):
        pass
    detach()
    span = made.named("request")
    assert (span.attributes["even"], "odd" in span.attributes) == (2, True)
    assert not isinstance(span.attributes["odd"], int)
    assert "allm.content.it" in span.attributes
    assert all(json.dumps(event.to_dict()) for event in heard)


async def test_errors_are_quoted_with_the_content():
    """The message of a failure, and of a retry; and content of a span of the program under its own name."""
    made = Otel()
    with made.instrument(content=True), allm.telemetry.span("request", content=lambda: {"body": {"said": 1}}) as span:
        telemetry.emit("note", span, kind="x", nothing=None)
        retry = allm.RetryPolicy(max_attempts=2, base_delay=0)
        await allm.generate(allm.Engine(adapter=Fake(script=[fake.error(BUSY)]), model="m", retry=retry), "hi")
    call = made.named("chat m")
    assert "try later" in call.status.description
    assert "try later" in call.events[0].attributes["exception.message"]
    assert made.named("request").attributes["allm.content.body"] == '{"said": 1}'
    [note] = made.named("request").events
    assert (note.name, dict(note.attributes)) == ("note", {"allm.kind": "x"})
    telemetry.emit("note")  # of no span: nobody is told


async def test_content_that_has_no_form_is_left_out(caplog):
    """The span is there without it, and the log says why, once as a warning."""

    class Odd(dict):
        def items(self):
            raise ValueError("no items")

    made = Otel()
    with made.instrument(content=True):
        for _ in range(2):
            with allm.telemetry.span("request", content=lambda: {"body": Odd(x=1)}):
                pass
    assert [span.name for span in made.spans] == ["request", "request"]
    assert [record.levelname for record in caplog.records if record.name == "allm"] == ["WARNING"]


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


async def test_an_exception_without_a_text(sdk):
    """It is named by its class, in JSON and in OpenTelemetry."""
    made, heard = Otel(), []
    detach = allm.telemetry.attach(heard.append)
    with made.instrument(content=True), pytest.raises(Unspeakable), allm.telemetry.span("request"):
        raise Unspeakable
    detach()
    assert heard[-1].to_dict()["attributes"]["error"] == {"type": "Unspeakable", "message": "Unspeakable"}
    for each in (made, sdk):
        assert each.named("request").attributes["error.type"] == "Unspeakable"


@pytest.mark.parametrize(("value", "shown"), [("true", True), ("SPAN_ONLY", True), ("false", False), ("", False)])
async def test_content_by_the_environment(value, shown, monkeypatch):
    """The variable of the conventions decides where the program does not."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", value)
    for content, expected in ((None, shown), (False, False)):
        made = Otel()
        with made.instrument(content=content):
            await content_turn(made)
        assert (CANARY in "".join(span.to_json() for span in made.spans)) is expected


class Broken(SpanProcessor):
    """A processor that fails, as one of a third party may."""

    def on_start(self, span, parent_context=None):
        raise RuntimeError("on_start")

    def on_end(self, span):
        raise RuntimeError("on_end")


class BrokenExporter(SpanExporter):
    """An exporter that fails."""

    def export(self, spans):
        raise RuntimeError("export")


@pytest.mark.parametrize("processor", [Broken(), SimpleSpanProcessor(BrokenExporter())])
async def test_what_fails_in_an_exporter_breaks_no_call(processor, caplog):
    """The call goes on, the log says so, once as a warning, and nothing is kept."""
    made = Otel()
    made.traces.add_span_processor(processor)
    with made.instrument() as instrumented:
        for _ in range(3):
            assert await ask_inside() == "inner"
        assert not instrumented._spans._open
    ours = [record for record in caplog.records if record.name == "allm" and record.levelname == "WARNING"]
    assert len(ours) == isinstance(processor, Broken)


async def test_ten_thousand_calls_keep_nothing():
    """Nor do those that are cancelled in the middle."""
    made = Otel()
    with made.instrument() as instrumented:
        engine = allm.Engine(adapter=Fake(respond=lambda _request: [fake.text("x")]), model="m")
        for count in range(10_000):
            if count % 2:
                await allm.generate(engine, "hi")
            else:
                async with allm.stream_generate(engine, "hi") as events:
                    await anext(events)
        assert not instrumented._spans._open
    assert len(made.spans) == 10_000


async def test_spans_that_are_open_at_the_end_of_it_end_then(monkeypatch):
    """Also the oldest of more than may be open."""
    made = Otel()
    monkeypatch.setattr(otel, "MOST_OPEN", 2)
    instrumented = made.instrument()
    spans = [allm.telemetry.span(name) for name in "abc"]
    for span in spans:
        span.__enter__()
    assert [span.name for span in made.spans] == ["a"]
    instrumented()
    assert [span.name for span in made.spans] == ["a", "b", "c"]
    for span in reversed(spans):
        span.__exit__(None, None, None)
    await ask_inside()
    assert len(made.spans) == 3


async def test_spans_that_are_not_sampled_cost_no_attributes():
    """Metrics count them."""
    made = Otel()
    made.traces = TracerProvider(sampler=trace_off())
    with made.instrument():
        await ask_inside()
    assert not made.spans
    assert made.points("gen_ai.client.operation.duration")[0].count == 1


def trace_off():
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    return ALWAYS_OFF


def test_without_the_package_the_error_names_the_extra():
    """And `import allm.telemetry` needs none."""
    code = """
import sys
sys.modules["opentelemetry"] = None
import allm, allm.telemetry
try:
    import allm.telemetry.otel
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'allm-trio[otel]'" in done.stdout
