"""The state of a server as Prometheus is told of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compliance.state.api_keys import ApiKeys
from tests.bundles import put_bundle, trusting_box
from tests.serving import Running, serving
from toolkit.box import Box


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    monkeypatch.setattr("toolkit.plan.RUN_S", 0.01)
    box = trusting_box(tmp_path, "queue = 7")
    put_bundle(box.folder / "small.bundle", name="small")
    put_bundle(box.folder / "other.bundle", name="other")
    yield box
    box.journal.close()


def test_queues_and_lanes_of_each_model_that_was_asked(box: Box) -> None:
    async def scenario(server: Running) -> None:
        assert 'sealpress_lanes{model="small"}' not in await server.metrics()
        assert (await server.embed()).status_code == 200
        found = await server.metrics()
        assert found['sealpress_lanes{model="small"}'] == 1
        assert found['sealpress_queue_depth{model="small"}'] == 0
        assert found['sealpress_queue_promise_seconds{model="small"}'] > 0
        assert found['sealpress_queue_seconds_count{model="small"}'] == 1
        # a model that is served no more has nothing left
        await server.http.post("/v2/repository/models/small/unload", headers=server.headers)
        await asyncio.sleep(0)
        found = await server.metrics()
        assert found['sealpress_lanes{model="small"}'] == 0
        assert found['sealpress_queue_promise_seconds{model="small"}'] == 0

    serving(box, scenario)


def test_what_waits_is_told(box: Box) -> None:
    async def scenario(server: Running) -> None:
        asked = [asyncio.create_task(server.embed("where is the ward " * 400)) for _ in range(5)]
        depths = []
        while not all(one.done() for one in asked):
            depths.append((await server.metrics()).get('sealpress_queue_depth{model="small"}', 0))
        assert {(await one).status_code for one in asked} == {200}
        assert max(depths) >= 1
        assert (await server.metrics())['sealpress_queue_depth{model="small"}'] == 0

    serving(box, scenario)


def test_bundles_by_state(box: Box) -> None:
    (box.folder / "broken.bundle").mkdir()

    async def scenario(server: Running) -> None:
        await server.http.post("/v2/repository/models/other/unload", headers=server.headers)
        found = await server.metrics()
        assert {state: found[f'sealpress_models{{state="{state}"}}'] for state in ("ready", "unloaded", "refused")} == {
            "ready": 1,
            "unloaded": 1,
            "refused": 1,
        }

    serving(box, scenario)


def test_how_far_the_journal_is_behind(box: Box) -> None:
    async def scenario(server: Running) -> None:
        await server.embed()
        found = await server.metrics()
        assert found["sealpress_journal_unsigned_records"] >= 2
        assert 0 < found["sealpress_journal_lag_seconds"] < 30
        until = time.monotonic() + 20
        while (await server.metrics())["sealpress_journal_unsigned_records"]:
            assert time.monotonic() < until
            await asyncio.sleep(0.1)
        assert (await server.metrics())["sealpress_journal_lag_seconds"] == 0

    serving(box, scenario)


def test_what_is_left_of_a_quota(box: Box) -> None:
    async def scenario(server: Running) -> None:
        keys = ApiKeys(box.folder / "state")
        made, text = keys.create(time.time_ns(), calls=3)
        asked = {"Authorization": f"Bearer {text}", "X-Purpose": "search"}
        body = {"model": "small", "input": "where is the ward"}
        assert (await server.http.post("/v1/embeddings", json=body, headers=asked)).status_code == 200
        assert (await server.metrics())[f'sealpress_quota_left{{account="{made.account}"}}'] == 2
        # the other key has none, and one that was revoked is of no interest
        assert sum("quota_left" in name for name in await server.metrics()) == 1
        keys.revoke(made.id, time.time_ns())
        assert sum("quota_left" in name for name in await server.metrics()) == 0
        keys.close()

    serving(box, scenario)


def test_memory(box: Box) -> None:
    async def scenario(server: Running) -> None:
        assert 10e6 < (await server.metrics())['sealpress_memory_bytes{worker="0"}'] < 10e9

    serving(box, scenario)
