"""What goes over the wire to a collector: OTLP by the SDK's own exporter, straight and through a real collector."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, nullcontext, suppress
from importlib import util
from pathlib import Path

import pytest
import trio
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import allm
from allm import fake
from allm.providers import Fake
from allm.telemetry import otel
from telemetry.otlp import as_dict, receiver

USED = fake.usage(input_tokens=10, output_tokens=3)
BUSY = allm.AdapterError("try later", reason="overloaded", provider="fake")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def collector(url, folder):
    """Rotel, which takes OTLP and sends it on; it checks what it decodes and encodes it anew."""
    found = util.find_spec("rotel")
    if found is None or found.origin is None:
        pytest.skip("rotel is installed by `nox -s servers`")
    program = Path(shutil.copy(Path(found.origin).parent / "rotel-agent", folder))
    program.chmod(0o755)  # an installer may have lost it
    port = free_port()
    options = {
        "otlp-http-endpoint": f"127.0.0.1:{port}",
        "otlp-grpc-endpoint": f"127.0.0.1:{free_port()}",
        "exporter": "otlp",
        "otlp-exporter-protocol": "http",
        "otlp-exporter-endpoint": url,
        "batch-timeout": "20ms",
        "pid-file": str(folder / "pid"),
    }
    command = [str(program), "start", *(f"--{name}={value}" for name, value in options.items())]
    with subprocess.Popen(command, env={"PATH": os.environ["PATH"]}, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(port, process):
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"the collector has ended with {process.wait(0.02)}")
        else:
            return


async def failing_turn(tracer):
    scripts = [[fake.error(BUSY)], [fake.tool_call("look", {}), USED], [fake.text("done"), USED]]
    retry = allm.RetryPolicy(base_delay=0.001)
    engine = allm.Engine(adapter=Fake(scripts=scripts), model="m", retry=retry)

    async def fails(_arguments):
        await trio.lowlevel.checkpoint()
        raise ValueError("no")

    with tracer.start_as_current_span("GET /ask"):
        await allm.chat(engine, "hi", tools=[allm.Tool("look", "Looks.", handler=fails)])


@pytest.mark.parametrize("through", ["nothing", "a collector"])
def test_a_turn_arrives_at_a_collector(through, tmp_path):
    """Ids, parents, kinds, times, attributes, events, status and metrics, as the official types decode them."""
    with receiver() as (received, url):
        between = nullcontext(url) if through == "nothing" else collector(url, tmp_path)
        with between as target:
            resource = Resource({"service.name": "shop"})
            traces = TracerProvider(resource=resource)
            traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{target}/v1/traces")))
            exporter = OTLPMetricExporter(f"{target}/v1/metrics")
            meters = MeterProvider([PeriodicExportingMetricReader(exporter)], resource)
            with otel.instrument(traces, meters):
                trio.run(failing_turn, traces.get_tracer("program"))
            traces.shutdown()
            meters.shutdown()
            received.wait(spans=5, metrics=3)
    assert received.resource["service.name"] == "shop"
    spans = {span.span_id: span for span in received.spans}
    root, turn, first, tool, second = sorted(received.spans, key=lambda span: span.start_time_unix_nano)
    assert [span.name for span in (root, turn, first, tool, second)] == [
        "GET /ask",
        "invoke_agent",
        "chat m",
        "execute_tool look",
        "chat m",
    ]
    assert not root.parent_span_id
    assert spans[turn.parent_span_id] is root
    assert {spans[span.parent_span_id].name for span in (first, tool, second)} == {"invoke_agent"}
    assert len({span.trace_id for span in received.spans}) == 1
    assert first.kind == trace_pb2.Span.SPAN_KIND_CLIENT
    assert [event.name for event in first.events] == ["adapter.retry"]
    assert as_dict(first.attributes)["gen_ai.usage.input_tokens"] == 10
    assert tool.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert as_dict(tool.attributes)["error.type"] == "handler_raised"
    now = time.time_ns()
    assert now - 60e9 < first.start_time_unix_nano <= first.events[0].time_unix_nano <= first.end_time_unix_nano <= now
    metrics = {metric.name: metric for metric in received.metrics}
    assert set(metrics) == {
        "gen_ai.client.token.usage",
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
    }
    assert metrics["gen_ai.client.token.usage"].unit == "{token}"
    points = metrics["gen_ai.client.token.usage"].histogram.data_points
    assert {as_dict(point.attributes)["gen_ai.token.type"]: point.sum for point in points} == {"input": 20, "output": 6}
