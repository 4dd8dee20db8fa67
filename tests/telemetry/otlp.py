"""A receiver of OTLP over HTTP on loopback: decodes what it gets with the official protobuf types."""

from __future__ import annotations

import gzip
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Received:
    """What has arrived: `spans`, `metrics`, and the attributes of their resource."""

    def __init__(self):
        self.spans = []
        self.metrics = []
        self.resource = {}
        self._changed = threading.Condition()

    def add(self, path, body):
        with self._changed:
            if path == "/v1/traces":
                for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    self.resource |= as_dict(of_resource.resource.attributes)
                    self.spans += [span for scope in of_resource.scope_spans for span in scope.spans]
            else:
                for of_resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    self.metrics += [metric for scope in of_resource.scope_metrics for metric in scope.metrics]
            self._changed.notify_all()

    def wait(self, spans, metrics):
        """Wait until so many have arrived."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.spans) >= spans and len(self.metrics) >= metrics, 30)


def as_dict(attributes):
    """Attributes by name, with the values of Python."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


@contextmanager
def receiver(port=0):
    """The receiver and its URL."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            received.add(self.path, body)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield received, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
