"""The figures: the texts they are taken on, and the fidelity."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from policies.gate import Grant
from policies.payload import InputError, Payload
from toolkit.bundle import Measured
from toolkit.compress import engine, measure
from toolkit.compress.sources import huggingface

Gated = Callable[[str, Callable[[Grant], Any]], Any]


def test_the_texts_are_prose_of_moderate_length_and_the_same_every_time() -> None:
    texts = measure.evaluation_texts()
    assert texts == measure.evaluation_texts()
    assert 48 <= len(texts) <= 64
    assert len(set(texts)) == len(texts)
    assert all(20 <= len(text) <= 300 and text.endswith(".") and text.isascii() for text in texts)
    assert not [text for text in texts if re.search(r"[\d@_*|`<>=\[\]\\]|\(\)|::", text)]
    assert np.mean([len(text.split()) for text in texts]) > 12


def test_the_same_embeddings_are_wholly_faithful() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    assert measure.fidelity(rows, rows) == pytest.approx(1)
    assert measure.fidelity(rows, 3 * rows) == pytest.approx(1)
    assert measure.fidelity(rows, -rows) == pytest.approx(-1)


def test_the_bound_lies_below_the_mean_and_not_far() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(64, 32)).astype(np.float32)
    noisy = rows + 0.3 * random.normal(size=rows.shape).astype(np.float32)
    mean = (rows * noisy).sum(1) / (np.linalg.norm(rows, axis=1) * np.linalg.norm(noisy, axis=1))
    bound = measure.fidelity(rows, noisy)
    # the bound of a normal approximation, which 64 texts are enough for
    assert bound == pytest.approx(mean.mean() - 1.645 * mean.std() / 8, abs=1e-3)
    assert bound < mean.mean()
    assert bound == measure.fidelity(rows, noisy)


def test_one_broken_text_is_seen() -> None:
    rows = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    broken = rows.copy()
    broken[7] = -rows[7]
    assert measure.fidelity(rows, broken) < 0.95


def test_what_is_not_finite_is_never_faithful() -> None:
    rows = np.ones((64, 4), np.float32)
    spoiled = rows.copy()
    spoiled[:, 0] = np.nan
    assert not measure.fidelity(rows, spoiled) >= -1


def test_nothing_is_not_like_anything() -> None:
    rows = np.ones((4, 4), np.float32)
    assert measure.fidelity(rows, np.zeros_like(rows)) == 0


@given(
    arrays.arrays(np.float32, (5, 3), elements=st.floats(-1e3, 1e3, width=32)),
    arrays.arrays(np.float32, (5, 3), elements=st.floats(-1e3, 1e3, width=32)),
)
def test_a_fidelity_is_a_cosine(left: Any, right: Any) -> None:
    assert -1 - 1e-9 <= measure.fidelity(left, right) <= 1


@pytest.mark.parametrize("value", [None, [], {}, {"texts": []}, {"texts": [""]}, {"texts": [1]}, {"recipe": "x"}])
def test_a_payload_without_texts_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        measure.texts_of(Payload(value=value))


def test_the_method_says_how_each_figure_was_found() -> None:
    assert measure.method().keys() == {*Measured.__struct_fields__, "texts"}


def test_the_machine_is_named() -> None:
    assert re.fullmatch(r".+, \d+ cores, \w+ \w+", measure.machine())


def test_lanes_are_timed_in_turn_and_under_a_grant(
    tiny: Path, exported: bytes, gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = huggingface.read(tiny)

    def work(grant: Grant) -> list[float]:
        lane = engine.lane_of(exported, source, grant)
        ran: list[str] = []
        run = lane.session.run

        def counted(*arguments: Any) -> Any:
            ran.append("run")
            return run(*arguments)

        monkeypatch.setattr(lane.session, "run", counted)
        times = measure.latencies_ms((lane, lane), grant, "policy")
        assert len(ran) == 2 * (measure.WARM_UP + measure.ROUNDS)
        return times

    first, second = gated(source.digest, work)
    assert 0 < first < 1000
    # the same lane twice, in turn: nearly the same time
    assert 0.5 < first / second < 2
