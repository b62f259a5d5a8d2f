"""Probes: alive, started, ready, what is missing and what will be."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from compliance.journal.errors import JournalError
from serve import health as module
from serve.health import Health
from tests.bundles import put_bundle, trusting_box
from tests.serving import Running, serving
from toolkit.box import Box
from toolkit.models import Models


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    monkeypatch.setattr("toolkit.plan.RUN_S", 0.01)
    monkeypatch.setattr(module, "UPKEEP_S", 0.02)
    box = trusting_box(tmp_path)
    put_bundle(box.folder / "small.bundle", name="small")
    yield box
    box.journal.close()


async def said(server: Running, path: str) -> tuple[int, object]:
    answer = await server.http.get(path)  # without a key
    return answer.status_code, answer.json()


def test_a_server_that_runs_is_alive_started_and_ready(box: Box) -> None:
    async def scenario(server: Running) -> None:
        assert await said(server, "/livez") == (200, {"alive": True})
        assert await said(server, "/startupz") == (200, {"started": True})
        assert await said(server, "/readyz") == (200, {"ready": True, "missing": {}, "warnings": {}})
        assert await said(server, "/v2/health/ready") == (200, {"ready": True})

    serving(box, scenario)


def test_before_models_are_loaded_it_is_not_ready(box: Box) -> None:
    models = Models(box, (box.folder,), cores=1)
    health = Health(box, models)
    assert health.missing() == {"models": "bundle_not_found"}
    models.refresh()
    assert health.missing() == {}


def test_a_journal_that_cannot_be_written_is_missing_until_it_can(box: Box) -> None:
    async def scenario(server: Running) -> None:
        server.service.health.failed(JournalError("journal_write", "canary"))
        status, told = await said(server, "/readyz")
        assert (status, told) == (503, {"ready": False, "missing": {"journal": "journal_write"}, "warnings": {}})
        assert await said(server, "/v2/health/ready") == (503, {"ready": False})
        assert (await said(server, "/livez"))[0] == 200
        assert (await server.embed()).status_code == 503
        await asyncio.sleep(0.2)
        assert (await said(server, "/readyz"))[0] == 200
        assert (await server.embed()).status_code == 200

    serving(box, scenario)


def test_models_are_missing_where_none_can_be_asked(box: Box) -> None:
    async def scenario(server: Running) -> None:
        async def change(how: str) -> None:
            url = f"/v2/repository/models/small/{how}"
            assert (await server.http.post(url, headers=server.headers)).status_code == 200

        await change("unload")
        assert await said(server, "/readyz") == (
            503,
            {"ready": False, "missing": {"models": "model_unloaded"}, "warnings": {}},
        )
        await change("load")
        assert (await said(server, "/readyz"))[0] == 200
        shutil.rmtree(box.folder / "small.bundle")
        await asyncio.to_thread(server.service.models.refresh)
        assert server.service.health.missing() == {"models": "bundle_not_found"}
        (box.folder / "broken.bundle").mkdir()
        await asyncio.to_thread(server.service.models.refresh)
        assert server.service.health.missing() == {"models": "model_refused"}

    serving(box, scenario)


def test_keys_that_run_out_are_told_of_while_it_is_ready(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    left = {"days": 7}
    monkeypatch.setattr(module, "LOOK_S", 0.02)
    monkeypatch.setattr(type(box.journal), "days_left", lambda _: left["days"])

    async def scenario(server: Running) -> None:
        await asyncio.sleep(0.2)
        assert await said(server, "/readyz") == (200, {"ready": True, "missing": {}, "warnings": {}})
        left["days"] = 6
        await asyncio.sleep(0.2)
        assert await said(server, "/readyz") == (
            200,
            {"ready": True, "missing": {}, "warnings": {"signing_keys": "for 6 days"}},
        )
        assert (await server.metrics())["sealpress_signing_days"] == 6

    serving(box, scenario)
