"""What `GET /v1/metrics` tells, in Prometheus' text form: numbers of this daemon, none of a photo.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from collections.abc import Mapping

CONTENT_TYPE = "text/plain; version=0.0.4"
METRICS = {
    "pmask_info": ("gauge", "Always 1, with the version that runs.", "version"),
    "pmask_start_time_seconds": ("gauge", "When the daemon started, in seconds since 1970.", None),
    "pmask_resident_bytes": ("gauge", "Memory that the daemon holds, without the engine.", None),
    "pmask_tasks": ("gauge", "Tasks of its event loop.", None),
    "pmask_descriptors": ("gauge", "Files, pipes and sockets that it holds open.", None),
    "pmask_requests_total": ("counter", "Requests answered, by status.", "status"),
    "pmask_refusals_total": ("counter", "Requests refused or failed, by the error's code.", "code"),
    "pmask_connections": ("gauge", "Connections that are open.", None),
    "pmask_connections_refused_total": (
        "counter",
        "Strangers' connections closed to make room: too many, or too much sent without an answer.",
        None,
    ),
    "pmask_clients": ("gauge", "Clients that are paired.", None),
    "pmask_jobs": ("gauge", "Jobs in memory, by state.", "state"),
    "pmask_jobs_total": ("counter", "Jobs ended: done, cached, or the error's code.", "outcome"),
    "pmask_job_seconds": ("summary", "Seconds that photos took that were made.", None),
    "pmask_faces_total": ("counter", "Faces masked.", None),
    "pmask_uploads": ("gauge", "Photos arriving.", None),
    "pmask_photo_bytes": ("gauge", "Bytes of photos that wait or are at work.", None),
    "pmask_result_bytes": ("gauge", "Bytes of results to be fetched.", None),
    "pmask_cache_bytes": ("gauge", "Bytes of results that answer for the same photo again.", None),
    "pmask_engine_up": ("gauge", "1 while the process that makes masks is there.", None),
    "pmask_engine_resident_bytes": ("gauge", "Memory that it holds.", None),
    "pmask_engine_starts_total": ("counter", "How often it was started.", None),
    "pmask_engine_fallbacks_total": ("counter", "How often a graphics card failed and the processor stood in.", None),
}
"""Name to type, meaning and the name of its label. A summary has the two counters NAME_sum and NAME_count."""

Gauges = Mapping[str, "float | Mapping[str, float] | None"]
"""Name to value, or to the label's values and theirs. None: not known, and not told."""


class Metrics:
    """The counters of one daemon."""

    def __init__(self) -> None:
        self._counted: dict[str, dict[str, float]] = {}

    def count(self, name: str, amount: float = 1, **label: str) -> None:
        """Adds to a counter of METRICS, under its label's value if it has one."""
        kind, _, expected = METRICS[_family(name)]
        if kind == "gauge" or set(label) != ({expected} if expected else set()):
            raise ValueError(f"{name} is no counter with the label {', '.join(label) or 'none'}")
        values = self._counted.setdefault(name, {})
        value = "".join(label.values())
        values[value] = values.get(value, 0) + amount

    def render(self, gauges: Gauges) -> str:
        """All that is known: the counters, and ``gauges`` as they are at this moment."""
        lines = []
        for name, (kind, meaning, label) in METRICS.items():
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
            for sample in (f"{name}_sum", f"{name}_count") if kind == "summary" else (name,):
                lines += self._samples(sample, label, gauges.get(sample))
        return "\n".join(lines) + "\n"

    def _samples(self, name: str, label: str | None, gauge: float | Mapping[str, float] | None) -> list[str]:
        values = self._counted.get(name, {} if label or _is_gauge(name) else {"": 0})
        if gauge is not None:
            values = dict(gauge) if isinstance(gauge, Mapping) else {"": gauge}
        return [f"{name}{_label(label, of)} {float(value)!r}" for of, value in sorted(values.items())]


def _family(name: str) -> str:
    base = name.removesuffix("_sum").removesuffix("_count")
    return base if METRICS.get(base, ("",))[0] == "summary" else name


def _is_gauge(name: str) -> bool:
    return METRICS[_family(name)][0] == "gauge"


def _label(name: str | None, value: str) -> str:
    return f'{{{name}="{value}"}}' if name else ""
