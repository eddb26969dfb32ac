"""A run as spans, as a collector of traces takes them."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, StatusCode

from bench.simulated import Hosts
from hivekeys.errors import ExitCode
from hivekeys.fleet import Policy
from hivekeys.journal.fold import advance
from hivekeys.journal.run import Run
from hivekeys.tasks.notifications import spans
from hivekeys.tasks.notifications.spans import MISSING, Spans, is_asked
from tests.builders.operator import Operator, breaks
from tests.builders.project import PROJECT
from tests.inprocess import InProcessFleet

TRACE = "0af7651916cd43dd8448eb211c80319c"


def traced(operator: Operator) -> dict[str, ReadableSpan]:
    """The spans of a run by their names; of spans that are called alike, the last."""
    exporter, run = InMemorySpanExporter(), Run()
    tracer = Spans(exporter)
    for event in operator.events:
        run = advance(run, event)
        tracer.on_event(event, run)
    tracer.close()
    return {span.name: span for span in exporter.get_finished_spans()}


def own(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context
    return context


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path / "hosts", policy=Policy(revocation_recheck=0.0))


def test_a_run_has_phases_and_a_phase_has_hosts(fleet: InProcessFleet) -> None:
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.DONE
    found = traced(operator)
    run, canary = found["hivekeys rotate"], found["canary"]
    assert parent(run) is None
    assert parent(canary) == own(run).span_id
    assert run.attributes and run.attributes["hivekeys.exit_code"] == 0
    assert run.status.status_code is StatusCode.OK
    assert {"queen", "settle", "retire"} <= found.keys()
    hosts = [span for span in found.values() if span.attributes and "hivekeys.host" in span.attributes]
    assert {span.name for span in hosts} == {host.name for host in fleet.inventory.hosts}
    assert all(span.start_time and span.end_time and span.start_time <= span.end_time for span in found.values())
    assert operator.token.reveal() not in str([span.to_json() for span in found.values()])


def test_what_failed_is_marked_with_its_cause_and_the_run_with_its_verdict(fleet: InProcessFleet) -> None:
    fleet.at("hive1", "restart", breaks("start-fails"))
    operator = Operator(fleet)
    code = operator.rotate()
    found = traced(operator)
    run = found["hivekeys rotate"]
    assert run.status.status_code is StatusCode.ERROR
    assert run.attributes and run.attributes["hivekeys.exit_code"] == int(code)
    failed = [span for span in found.values() if span.status.description and "start-failed" in span.status.description]
    assert {span.name for span in failed} >= {"hive1"}


def test_a_run_is_part_of_the_trace_that_it_was_started_in(
    fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-b7ad6b7169203331-01")
    operator = Operator(fleet)
    operator.rotate()
    run = traced(operator)["hivekeys rotate"]
    assert format(own(run).trace_id, "032x") == TRACE
    assert parent(run) == 0xB7AD6B7169203331


@pytest.mark.parametrize(
    ("environ", "asked"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
    ],
)
def test_who_names_a_collector_asks_for_it(environ: dict[str, str], asked: bool) -> None:
    assert is_asked(environ) is asked


def test_where_it_is_not_installed_that_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    warnings: list[str] = []
    assert spans.spans(warnings.append) is None
    assert warnings == [MISSING]


@pytest.mark.parametrize("is_there", [True, False], ids=["a collector", "none that answers"])
def test_a_rotation_is_told_to_the_collector_that_the_environment_names(tmp_path: Path, is_there: bool) -> None:
    """As an operator types it, over simulated hosts behind real SSH."""
    names: list[str] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told = ExportTraceServiceRequest.FromString(body)
            names.extend(span.name for one in told.resource_spans for scope in one.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        port = server.server_port if is_there else 9
        with Hosts(tmp_path, "--hosts=2"):
            done = subprocess.run(
                [Path(sys.executable).with_name("fab"), "rotate", "--fleet", tmp_path / "fleet.toml", "--yes"],
                cwd=PROJECT,
                env={
                    **os.environ,
                    "HIVEKEYS_STATE_DIR": str(tmp_path / "state"),
                    "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
                    "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
                },
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.returncode == 0, done.stderr
    assert ("hivekeys rotate" in names) is is_there
    assert "Traceback" not in done.stderr
