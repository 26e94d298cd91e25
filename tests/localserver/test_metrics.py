"""What the daemon tells of itself in numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import localserver
from localserver.jobs import EngineStatus
from localserver.metrics import METRICS, Metrics
from localserver.results import Result
from pmask.errors import OutOfMemory

ROOT = Path(localserver.__file__).resolve().parent.parent
REPORT = {"status": "protected", "faces": [{}, {}], "seconds": 1.5, "bare": 0, "judged": None}
SAMPLE = re.compile(r'(\w+)(?:\{(\w+)="([^"\\\n]*)"\})? (\S+)')


async def scrape(daemon) -> dict[tuple[str, str], float]:
    """The metrics, read by the rules of the text form: each family once, its HELP and TYPE before its samples."""
    async with daemon.request("GET", "/v1/metrics") as answer:
        assert (200, "text/plain; version=0.0.4; charset=utf-8") == (answer.status, answer.headers["Content-Type"])
        text = await answer.text()
    assert text.endswith("\n")
    values: dict[tuple[str, str], float] = {}
    family, seen = "", []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
            seen.append(family)
        elif line.startswith("# TYPE "):
            assert [family, METRICS[family][0]] == line.split()[2:]
        else:
            name, label, value, number = SAMPLE.fullmatch(line).groups()
            assert name == family or name in (f"{family}_sum", f"{family}_count")
            assert METRICS[family][2] == label
            assert (name, value or "") not in values
            values[name, value or ""] = float(number)
    assert list(METRICS) == seen
    return values


async def test_the_numbers_are_those_of_what_happened(make_daemon, photo, clock):
    """Whoever looks after machines sees failures before people complain."""
    daemon = await (await make_daemon(cache_bytes=1_000_000)).pair()
    job = await daemon.post(photo)
    await daemon.until(job, "running")
    clock.now += 2
    daemon.engine.say(Result(data=b"bytes", report=REPORT))
    await daemon.until(job, "done")
    await daemon.post(photo)
    failed = await daemon.post(photo, headers={"X-PMask-Options": '{"seed": 1}'})
    daemon.engine.say(OutOfMemory("too big"))
    await daemon.until(failed, "failed")
    await daemon.refusal("GET", "/v1/options", headers={"Host": "evil.example"})
    await daemon.refusal("GET", "/nowhere")
    daemon.engine.status = EngineStatus(pid=None, device=None, starts=3, fallbacks=1)
    values = await scrape(daemon)
    outcomes = {label: value for (name, label), value in values.items() if name == "pmask_jobs_total"}
    assert {"done": 1, "cached": 1, "out_of_memory": 1} == outcomes
    refusals = {label: value for (name, label), value in values.items() if name == "pmask_refusals_total"}
    assert {"forbidden_host": 1, "not_found": 1} == refusals
    assert 3 == values["pmask_requests_total", "202"]
    assert (2, 1) == (values["pmask_job_seconds_sum", ""], values["pmask_job_seconds_count", ""])
    assert 2 == values["pmask_faces_total", ""]
    assert (3, 1, 0) == tuple(values[f"pmask_engine_{name}", ""] for name in ("starts_total", "fallbacks_total", "up"))
    assert (1, 2) == (values["pmask_clients", ""], values["pmask_jobs", "done"])
    assert 1 <= values["pmask_connections", ""]


async def test_what_was_never_counted_is_zero_not_absent(daemon):
    """An alarm on a metric that is not there never rings."""
    values = await scrape(daemon)
    for name, (kind, _, label) in METRICS.items():
        if kind == "counter" and label is None:
            assert 0 == values[name, ""]


async def test_the_metrics_are_behind_the_door(stranger):
    """When somebody protects photos is nobody else's business."""
    assert (401, "unauthorised") == await stranger.refusal("GET", "/v1/metrics")


@pytest.mark.parametrize(
    ("name", "label"), [("pmask_jobs", {"state": "x"}), ("pmask_faces_total", {"x": "y"}), ("pmask_jobs_total", {})]
)
def test_what_is_no_counter_cannot_be_counted(name, label):
    """A typing error is found at once, not as a gap in a graph."""
    with pytest.raises(ValueError, match=name):
        Metrics().count(name, **label)


def test_the_document_lists_every_metric():
    """Name, type, meaning and label, word for word."""
    document = (ROOT / "docs" / "daemon.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| ?(?:`(\w+)` )?\|$", document.split("## Metrics")[1], re.M)
    assert [(name, kind, meaning, label or "") for name, (kind, meaning, label) in METRICS.items()] == rows
