"""Several processes on one port: all answer, one that dies is replaced, all seal, and models change under load."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from tests.bundles import put_bundle, trusting_box
from tests.e2e.served import Served, records, until, verified


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A box with a small bundle."""
    opened = trusting_box(tmp_path, "rate_per_s = 100000\nburst = 100000")
    opened.journal.close()
    put_bundle(opened.folder / "small.bundle", name="small")
    return opened.folder


@pytest.fixture
def served(box: Path) -> Iterator[Served]:
    """Two processes that serve every bundle beside the settings."""
    with Served(box, "--workers", "2") as server:
        yield server


def processes(server: Served) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(server.pid)], check=False, capture_output=True, text=True)
    return sorted(map(int, found.stdout.split()))


def asked(server: Served, key: dict[str, Any], model: str = "small") -> httpx.Response:
    """On a connection of its own, so that the kernel chooses who answers."""
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http:
        headers = {"Authorization": f"Bearer {key['key']}", "X-Purpose": "search"}
        return http.post("/v1/embeddings", json={"model": model, "input": "where is the ward"}, headers=headers)


def test_all_answer_one_that_dies_is_replaced_and_every_call_is_on_record(box: Path, served: Served) -> None:
    key = served.key("--purpose", "search")
    first = processes(served)
    assert len(first) == 2
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: asked(served, key), range(64)))
    assert {answer.status_code for answer in answers} == {200}
    os.kill(first[0], signal.SIGKILL)
    until(lambda: len(processes(served)) == 2 and first[0] not in processes(served))
    until(lambda: all(asked(served, key).status_code == 200 for _ in range(16)))
    assert served.end() == 0
    found = verified(box)
    assert (found["ok"], found["unsealed"], found["unfinished"]) == (True, 0, 0)
    on_record = records(box)
    assert {answer.headers["x-decision-id"] for answer in answers} <= on_record.keys()
    shards = Counter(path.name.split(".")[0] for path in (box / "journal").glob("shard-*.log"))
    assert len(shards) >= 2


def test_workers_end_with_the_process_that_started_them(box: Path, served: Served) -> None:
    key = served.key("--purpose", "search")
    assert asked(served, key).status_code == 200
    workers = processes(served)
    assert served.end(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    assert verified(box)["ok"]


def test_a_bundle_is_swapped_and_settings_change_without_a_request_dropped(box: Path, served: Served) -> None:
    key = served.key("--purpose", "search")
    before = asked(served, key).headers["x-model-digest"]
    stop = Event()

    def ask_on(_: int) -> list[tuple[int, str]]:
        seen = []
        while not stop.is_set():
            answer = asked(served, key)
            seen.append((answer.status_code, answer.headers.get("x-model-digest", "")))
        return seen

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(ask_on, number) for number in range(4)]
        after = put_bundle(box / "next", name="small", version="2").manifest.digest
        (box / "small.bundle").rename(box / "before")
        (box / "next").rename(box / "small.bundle")
        settings = box / "sealpress.toml"
        settings.write_text(settings.read_text("utf-8") + 'alias = {stable = "small@2"}\n', "utf-8")
        os.kill(served.pid, signal.SIGHUP)
        until(lambda: all(asked(served, key, "stable").status_code == 200 for _ in range(8)))
        stop.set()
        seen = [one for client in clients for one in client.result()]
    assert {status for status, _ in seen} == {200}
    assert {digest for _, digest in seen} == {before, after}
    shutil.rmtree(box / "small.bundle")
    until(lambda: {asked(served, key).status_code for _ in range(8)} == {404})
    assert served.end() == 0
    assert verified(box)["ok"]


def test_sighup_and_a_broken_setting_leave_everything_as_it_was(box: Path, served: Served) -> None:
    key = served.key("--purpose", "search")
    settings = box / "sealpress.toml"
    text = settings.read_text("utf-8")
    settings.write_text(text + "burst = -1\n", "utf-8")
    os.kill(served.pid, signal.SIGHUP)
    assert {asked(served, key).status_code for _ in range(8)} == {200}
    assert served.end() == 0
    assert any("settings_malformed" in line for line in served.log)
