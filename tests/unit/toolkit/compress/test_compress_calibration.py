"""Calibration data goes through a model batch by batch, and no more than one of them is there at a time."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.gate import Grant
from tests.unit.toolkit.compress.conftest import Gated
from tests.unit.toolkit.compress.steps.graphs import model_of
from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet

with quiet():
    from onnx import helper

DOUBLED = model_of([helper.make_node("Add", ["x", "x"], ["y"])], {}, ["batch", 1])


def test_items_become_batches_when_they_are_asked_for_and_are_not_kept(gated: Gated) -> None:
    alive: list[weakref.ref[NDArray[Any]]] = []

    def make(item: int) -> dict[str, NDArray[Any]]:
        assert sum(one() is not None for one in alive) <= 1  # without a collector of circles
        made = np.full((1, 1), item, np.float32)
        alive.append(weakref.ref(made))
        return {"x": made}

    def work(grant: Grant) -> None:
        data = Calibration(grant, "policy", range(20), make=make)
        assert len(data) == 20
        assert not alive
        given = [float(values["y"][0, 0]) for values in data.outputs(DOUBLED)]
        assert given == [2.0 * item for item in range(20)]
        assert [float(values["y"][0, 0]) for values in data.first(2).outputs(DOUBLED)] == [0.0, 2.0]
        assert len(alive) == 22  # each pass makes them anew

    gated("any", work)
