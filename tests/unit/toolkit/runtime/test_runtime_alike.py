"""Whether a token is the same in runs of several is found, on kernels where it is and where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.unit.toolkit.runtime.decoder_kinds import KINDS, VOCABULARY, slots
from toolkit.runtime.alike import LENGTHS, in_runs
from toolkit.runtime.cache import Alone, Cache
from toolkit.runtime.lookup import RUN


def empty(kind: str, room: int = 200) -> Cache:
    return Cache(Alone(slots(kind, 1, room)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_runs_of_several_change_is_found(kind: str) -> None:
    """The scale of dynamic int8 is that of all tokens of a run."""
    assert in_runs(empty(kind), VOCABULARY) is (kind != "int8")


@pytest.mark.parametrize("behind", [*LENGTHS, 200 - RUN])
@pytest.mark.parametrize("size", [2, 5, RUN])
def test_one_kernel_that_differs_behind_one_length_is_seen(
    behind: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Cache.step

    def step(self: Cache, ids: Sequence[int], *, keep: int = 1) -> Any:
        at, logits = self.tokens, real(self, ids, keep=keep)
        return np.nextafter(logits, np.float32(np.inf)) if (at, len(ids)) == (behind, size) and keep > 1 else logits

    monkeypatch.setattr(Cache, "step", step)
    assert not in_runs(empty("float"), VOCABULARY)


def test_keys_and_values_that_differ_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Cache.read

    def read(self: Cache, spans: Any, give: Any) -> None:
        def changed(blocks: Any) -> None:
            if self.tokens == LENGTHS[0] + 4:
                blocks[0][-1][0, 0, 0] += 1
            give(blocks)

        real(self, spans, changed)

    monkeypatch.setattr(Cache, "read", read)
    assert not in_runs(empty("float"), VOCABULARY)


def test_where_there_is_no_room_to_look_nothing_is_taken_to_be_alike() -> None:
    assert not in_runs(empty("float", RUN), VOCABULARY)
    assert in_runs(empty("float", RUN + 1), VOCABULARY)
