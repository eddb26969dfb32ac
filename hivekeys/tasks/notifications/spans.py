"""Tells a collector of traces (OpenTelemetry): a span for the run, below it one a phase and one a host's part in it.

OpenTelemetry's own variables ask for it: OTEL_EXPORTER_OTLP_ENDPOINT, or _TRACES_ENDPOINT, unless OTEL_SDK_DISABLED is
true. With TRACEPARENT the run is a part of the trace that it was started in. A collector that takes nothing changes no
run.
"""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Event, Intent, Outcome, Paused, PhaseStarted, Resumed, RunEnded, RunStarted, Status
from hivekeys.journal.run import Run
from hivekeys.report.verdict import verdict

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PATIENCE = 5.0  # seconds that a collector may take, also for all that is left at the end
MISSING = "the run is not traced: pip install 'hivekeys[otel]' brings OpenTelemetry"


def is_asked(environ: Mapping[str, str] = os.environ) -> bool:
    """True where the environment names a collector."""
    return any(map(environ.get, ENDPOINTS)) and environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


def spans(warn: Callable[[str], None], exporter: "SpanExporter | None" = None) -> "Spans | None":
    """What traces a run; None, with a warning, where OpenTelemetry is not installed."""
    try:
        return Spans(exporter)
    except ImportError:
        warn(MISSING)
        return None


class Spans:
    """Listens to a run. Raises ImportError where OpenTelemetry is not installed."""

    def __init__(self, exporter: "SpanExporter | None" = None) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
                OTLPSpanExporter,
            )

            exporter = OTLPSpanExporter(timeout=PATIENCE)
        self._provider = TracerProvider(resource=Resource.create({"service.name": "hivekeys"}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("hivekeys")
        self._run: Span | None = None
        self._phase: Span | None = None
        self._hosts: dict[str, Moment] = {}  # when each host's part in the phase began
        self._began: Moment | None = None

    def on_event(self, event: Event, run: Run) -> None:
        """An event of the run, which has it already."""
        match event:
            case RunStarted() | Resumed():
                self._begin_run(event.when, run)
            case PhaseStarted():
                self._begin_phase(event)
            case Intent():
                self._hosts.setdefault(event.host, event.when)
            case Outcome():
                self._add_host(event)
            case RunEnded() | Paused():
                self._end_run(event.when, verdict(run, event.code).words, int(event.code))
            case _:
                pass

    def close(self) -> None:
        """Ends what is open, and waits until it is delivered, but not for long."""
        self._end_phase(None)
        if self._run:
            self._run.end()
            self._run = None
        self._provider.force_flush(int(PATIENCE * 1000))
        self._provider.shutdown()

    def _begin_run(self, when: Moment, run: Run) -> None:
        from opentelemetry.propagate import extract

        carrier = {name.lower(): os.environ[name] for name in ("TRACEPARENT", "TRACESTATE") if name in os.environ}
        facts: dict[str, str | int] = {
            "hivekeys.run": run.id,
            "hivekeys.fleet": run.fleet,
            "hivekeys.hosts": len(run.here),
        }
        parent = extract(carrier)
        self._run = self._tracer.start_span(f"hivekeys {run.task}", parent, attributes=facts, start_time=_ns(when))

    def _begin_phase(self, event: PhaseStarted) -> None:
        self._end_phase(event.when)
        self._began, self._hosts = event.when, {}
        self._phase = self._tracer.start_span(
            event.title or event.phase.value,
            _in(self._run),
            attributes={"hivekeys.phase": event.phase.value, "hivekeys.hosts": len(event.hosts)},
            start_time=_ns(event.when),
        )

    def _add_host(self, event: Outcome) -> None:
        from opentelemetry.trace import StatusCode

        began = self._hosts.pop(event.host, self._began or event.when)
        facts = {"hivekeys.host": event.host, "hivekeys.state": event.state.value}
        span = self._tracer.start_span(event.host, _in(self._phase), attributes=facts, start_time=_ns(began))
        if event.status is not Status.OK:
            span.set_status(StatusCode.ERROR, f"{event.status.value}: {event.cause}")
        span.end(_ns(event.when))

    def _end_phase(self, when: Moment | None) -> None:
        if self._phase:
            self._phase.end(_ns(when) if when else None)
            self._phase = None

    def _end_run(self, when: Moment, words: str, code: int) -> None:
        from opentelemetry.trace import StatusCode

        self._end_phase(when)
        if self._run:
            self._run.set_attribute("hivekeys.exit_code", code)
            self._run.set_status(StatusCode.ERROR if code else StatusCode.OK, words if code else None)
            self._run.end(_ns(when))
            self._run = None


def _ns(when: Moment) -> int:
    return int(when.at * 1e9)


def _in(span: "Span | None") -> "Context | None":
    from opentelemetry.trace import set_span_in_context

    return set_span_in_context(span) if span else None
