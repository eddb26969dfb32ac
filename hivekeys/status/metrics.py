"""The state of a fleet in Prometheus' text format (`fab status --metrics`). Pure.

The collector joins all files of its
folder and refuses a series that is there twice or has a time of its own: so every series names its fleet, and none
has a time. A series is left out, not guessed, where its value was not seen.
"""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily

from hivekeys import __version__
from hivekeys.errors import ExitCode
from hivekeys.journal.run import Run
from hivekeys.report.verdict import came_to, word_of
from hivekeys.status.status import FleetStatus
from hivekeys.verify.tally import Tally

Labels = dict[str, str]
Sample = tuple[Labels, float]
Family = tuple[str, str, list[Sample]]  # name without prefix, help, samples; all are gauges


def metrics(status: FleetStatus, rotations: Sequence[Run], checklist: Tally | None) -> str:
    """The whole text. `rotations`: those of the journal, newest first; `checklist`: of the last `fab verify`."""
    families = [*_of_hosts(status), *_of_fleet(status), *_of_rotations(rotations), *_of_checklist(checklist)]
    registry = CollectorRegistry()
    registry.register(_Families(status.fleet.name, families))
    return generate_latest(registry).decode()


class _Families:
    """What the library writes down: every family that has a sample, every sample with the fleet's name."""

    def __init__(self, fleet: str, families: Sequence[Family]) -> None:
        self._fleet = fleet
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for name, words, samples in self._families:
            gauge = GaugeMetricFamily(f"hivekeys_{name}", words)
            for labels, value in samples:
                gauge.add_sample(gauge.name, {"fleet": self._fleet, **labels}, float(value))
            if samples:
                yield gauge


def _of_hosts(status: FleetStatus) -> Iterator[Family]:
    hosts = [({"host": one.host.name, "role": one.host.role.value}, one) for one in status.hosts]
    seen = [(labels, one, one.seen) for labels, one in hosts if one.seen]
    yield "host_reachable", "1 when the host could be looked at.", [(at, one.seen is not None) for at, one in hosts]
    yield (
        "host_service_active",
        "1 when systemd calls the service active.",
        [(labels, look.unit.runs) for labels, _, look in seen],
    )
    yield (
        "host_fine",
        "1 when the service runs on the token in its file, and the host owes no newer one.",
        [(labels, one.is_fine) for labels, one in hosts],
    )
    yield (
        "host_token_age_seconds",
        "Seconds since the host's token was made, by its file or the journal.",
        [(labels, one.age) for labels, one in hosts if one.age is not None],
    )
    yield (
        "host_cordoned",
        "1 when a run has drained the service and not given it work again.",
        [(labels, bool(look.cordoned)) for labels, _, look in seen],
    )
    yield (
        "host_owes_token",
        "1 when the fleet went on to a newer token without the host.",
        [(labels, one.owes_for is not None) for labels, one in hosts],
    )


def _of_fleet(status: FleetStatus) -> Iterator[Family]:
    yield "build_info", "Always 1; the version of hivekeys.", [({"version": __version__}, 1)]
    yield "look_timestamp_seconds", "When the hosts were looked at.", _sample(status.now)
    yield "fleet_agrees", "1 when every host was seen and all hold the same token.", _sample(status.agrees)
    yield "rotation_due_timestamp_seconds", "When the oldest token will be too old.", _sample(status.due)


def _of_rotations(rotations: Sequence[Run]) -> Iterator[Family]:
    newest = rotations[0] if rotations else None
    done = next((run for run in rotations if run.code is ExitCode.DONE and run.is_served), None)
    yield (
        "rotation_last_timestamp_seconds",
        "When the newest rotation began.",
        _sample(newest.started if newest else None),
    )
    over = newest if newest and newest.was_begun and not newest.is_open else None
    told = "Exit code of the newest rotation, unless it is open or was not begun."
    yield "rotation_last_exit_code", told, _sample(came_to(over) if over else None)
    said = [({"verdict": word_of(newest)}, 1.0)] if newest else []
    yield "rotation_last_verdict", "Always 1; the result of the newest rotation, in a word or two.", said
    yield (
        "rotation_open",
        "1 when the newest rotation is at work, or was cut off.",
        _sample(newest is not None and newest.is_open),
    )
    told = "When the newest rotation that was proven on every host began."
    yield "rotation_last_success_timestamp_seconds", told, _sample(done.started if done else None)


def _sample(value: float | None) -> list[Sample]:
    """One sample for the fleet as a whole; none where the value is not known."""
    return [] if value is None else [({}, value)]


def _of_checklist(checklist: Tally | None) -> Iterator[Family]:
    if checklist is None:
        return
    yield "verify_timestamp_seconds", "When the checklist was last run.", _sample(checklist.at)
    yield (
        "verify_findings",
        "Findings of the last checklist: one for each check on each host.",
        [({"severity": level, "verdict": word}, count) for (level, word), count in checklist.found.items()],
    )
