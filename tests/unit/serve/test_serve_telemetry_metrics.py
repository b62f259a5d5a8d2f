"""Metrics: what is counted of a request, and that several processes count as one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import values
from prometheus_client.parser import text_string_to_metric_families

from serve.queue import Job
from serve.telemetry.metrics import FOLDER, Metrics, forget, shared_folder
from serve.telemetry.trace import Trace


@pytest.fixture(autouse=True)
def _library(monkeypatch: pytest.MonkeyPatch) -> None:
    """In what the library keeps values is the same again afterwards."""
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with shared_folder() as folder:
        monkeypatch.setenv(FOLDER, folder)
        yield folder


def trace(code: str | None = None, refused_by: tuple[str, ...] = (), job: dict[str, Any] | None = None) -> Trace:
    found = Trace(lambda: False)
    found.code, found.refused_by = code, refused_by
    if job is not None:
        found.served = "m"
        found.job = cast(Job, SimpleNamespace(**{"began": None, "ended": None, "led": 0, **job}))
    return found


def read(metrics: Metrics) -> dict[str, float]:
    """Each series by its name and labels."""
    return {
        f"{sample.name}{dict(sorted(sample.labels.items()))}": sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_a_request_is_counted_by_route_and_status_and_in_its_time() -> None:
    metrics = Metrics()
    for status, seconds in ((200, 0.02), (200, 0.2), (503, 0.001)):
        metrics.count("/v1/embeddings", status, seconds, trace())
    found = read(metrics)
    assert found["sealpress_requests_total{'route': '/v1/embeddings', 'status': '200'}"] == 2
    assert found["sealpress_requests_total{'route': '/v1/embeddings', 'status': '503'}"] == 1
    assert found["sealpress_request_seconds_count{'route': '/v1/embeddings'}"] == 3
    assert found["sealpress_request_seconds_bucket{'le': '0.025', 'route': '/v1/embeddings'}"] == 2
    assert found["sealpress_request_seconds_sum{'route': '/v1/embeddings'}"] == pytest.approx(0.221)


def test_a_refusal_is_counted_by_its_code_and_by_each_rule() -> None:
    metrics = Metrics()
    metrics.count("/v1/embeddings", 429, 0.001, trace("rate_exceeded"))
    metrics.count("/v1/embeddings", 403, 0.001, trace("denied", ("purpose.declared", "privacy.basis")))
    metrics.count("/v1/embeddings", 403, 0.001, trace("denied", ("privacy.basis",)))
    found = read(metrics)
    assert found["sealpress_problems_total{'code': 'rate_exceeded'}"] == 1
    assert found["sealpress_problems_total{'code': 'denied'}"] == 2
    assert found["sealpress_refusals_total{'rule': 'purpose.declared'}"] == 1
    assert found["sealpress_refusals_total{'rule': 'privacy.basis'}"] == 2


def test_time_in_the_queue_and_in_the_lane_are_told_apart() -> None:
    metrics = Metrics()
    metrics.count("/", 200, 1, trace(job={"came": 1.0, "began": 1.25, "ended": 1.5, "led": 3}))
    metrics.count("/", 200, 1, trace(job={"came": 1.0, "began": 1.25, "ended": 1.5}))
    metrics.count("/", 503, 1, trace("deadline_exceeded", job={"came": 1.0, "ended": 3.0}))
    found = read(metrics)
    assert found["sealpress_queue_seconds_count{'model': 'm'}"] == 3
    assert found["sealpress_queue_seconds_sum{'model': 'm'}"] == pytest.approx(2.5)
    assert found["sealpress_lane_seconds_count{'model': 'm'}"] == 2
    assert found["sealpress_lane_seconds_sum{'model': 'm'}"] == pytest.approx(0.5)
    # once for all that the lane took
    assert found["sealpress_lane_requests_count{'model': 'm'}"] == 1
    assert found["sealpress_lane_requests_sum{'model': 'm'}"] == 3


WORKER = """
import sys
from types import SimpleNamespace
from serve.telemetry.metrics import Metrics
from serve.telemetry.trace import Trace
from prometheus_client import Gauge
metrics = Metrics(int(sys.argv[1]), shared=True)
gauge = Gauge("sealpress_test", "A gauge.", registry=metrics.registry, multiprocess_mode="livesum")
gauge.set(5)
for _ in range(int(sys.argv[2])):
    metrics.count("/v1/embeddings", 200, 0.02, Trace(lambda: False))
print(metrics.text().decode())
"""


def counted(worker: int, times: int) -> float:
    """What a process that counts so often tells of all."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(worker), str(times)], check=True, capture_output=True, text=True
    )
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("sealpress_requests_total"))
    return float(line.rpartition(" ")[2])


def test_any_process_tells_the_sum_and_one_that_takes_a_place_goes_on_counting(folder: str) -> None:
    assert counted(1, 3) == 3
    assert counted(2, 4) == 7
    metrics = Metrics(shared=True)
    metrics.count("/v1/embeddings", 200, 0.02, trace())
    assert read(metrics)["sealpress_requests_total{'route': '/v1/embeddings', 'status': '200'}"] == 8
    assert counted(2, 2) == 10
    found = read(metrics)
    assert found["sealpress_request_seconds_count{'route': '/v1/embeddings'}"] == 10
    # a file for each kind and worker, however often one was started anew
    assert sorted(path.name for path in Path(folder).iterdir()) == [
        f"{kind}_{worker}.db" for kind in ("counter", "gauge_livesum", "histogram") for worker in (0, 1, 2)
        if (kind, worker) != ("gauge_livesum", 0)
    ]  # fmt: skip


def test_a_worker_that_ended_is_no_part_of_the_state_and_stays_in_the_counts(folder: str) -> None:
    counted(1, 3)
    counted(2, 4)
    metrics = Metrics(shared=True)
    assert metrics.living() == 2
    assert read(metrics)["sealpress_test{}"] == 10
    forget(1, folder)
    assert metrics.living() == 1
    found = read(metrics)
    assert found["sealpress_test{}"] == 5
    assert found["sealpress_requests_total{'route': '/v1/embeddings', 'status': '200'}"] == 7


def test_the_folder_is_private_and_goes() -> None:
    with shared_folder() as folder:
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        (Path(folder) / "counter_0.db").touch()
    assert not Path(folder).exists()


def test_folders_that_killed_processes_left_are_removed_and_no_others() -> None:
    with shared_folder() as held:
        place = Path(held).parent
        left, new = (Path(mkdtemp(prefix="sealpress-metrics-", dir=place)) for _ in range(2))
        (left / "counter_0.db").touch()
        for folder in (Path(held), left):
            os.utime(folder, (0, 0))
        with shared_folder():
            assert Path(held).exists()
            assert not left.exists()
            assert new.exists()
    new.rmdir()
