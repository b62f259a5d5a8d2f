"""How a model is run on this host: measured once, kept, and measured again where what was kept cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import put_bundle, trusting_box
from toolkit import plan
from toolkit.box import Box
from toolkit.bundle import Bundle
from toolkit.plan import Plan, planned


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    monkeypatch.setattr(plan, "RUN_S", 0.01)
    box = trusting_box(tmp_path)
    yield box
    box.journal.close()


@pytest.fixture
def bundle(box: Box) -> Bundle:
    return put_bundle(box.folder / "a.bundle")


def kept(box: Box) -> Path:
    (path,) = (box.folder / "state" / "plans").iterdir()
    return path


def test_every_way_is_measured_and_the_best_is_kept(box: Box, bundle: Bundle) -> None:
    found = planned(bundle, box, 2)
    # floats in FP32: an item gives the same answer in a batch, so batches were tried
    assert found.alike is True
    assert found.rates.keys() == {"2x1x1", "1x2x1", "2x1x8", "1x2x8"}
    best = max(found.rates, key=lambda way: found.rates[way])
    chosen = f"{found.lanes}x{found.threads}x{found.batch}"
    assert chosen == best or found.rates[best] < plan.GAIN * found.rates["2x1x1"] + 0.01
    assert 0 < found.pace < 1
    assert json.loads(kept(box).read_bytes())["format"] == 1


def test_what_was_measured_is_not_measured_again(box: Box, bundle: Bundle) -> None:
    planned(bundle, box, 1)
    chosen = Plan(lanes=3, batch=2, pace=0.5, rates={"3x1x2": 1.0})
    kept(box).write_bytes(json.dumps({**json.loads(kept(box).read_bytes()), "lanes": 3}).encode())
    assert planned(bundle, box, 1).lanes == chosen.lanes
    assert planned(bundle, box, 2).lanes != 3  # with other cores it is another matter


@pytest.mark.parametrize(
    "broken", [b"", b"{", b'{"format": 2}', b'{"format": 1, "lanes": 0}', b'{"lanes": 9999999}', b"[]", b"\xff"]
)
def test_a_plan_that_cannot_be_read_is_measured_again(box: Box, bundle: Bundle, broken: bytes) -> None:
    planned(bundle, box, 1)
    kept(box).write_bytes(broken)
    assert planned(bundle, box, 1).rates
    assert json.loads(kept(box).read_bytes())["rates"]


def test_measuring_runs_under_the_gate(box: Box, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    actions: list[str] = []
    real = box.call

    def call(action: str, *arguments: object, **options: object) -> object:
        actions.append(action)
        return real(action, *arguments, **options)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(box, "call", call)
    planned(bundle, box, 1)
    assert set(actions) == {"measure"}
