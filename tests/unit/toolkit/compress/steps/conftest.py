"""A step at work: under the gate, on calibration batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import pytest

from tests.unit.toolkit.compress.conftest import Gated
from tests.unit.toolkit.compress.steps.graphs import restart
from toolkit.compress.calibration import Calibration
from toolkit.compress.step import Step, StepReport
from toolkit.runtime.session import Feeds


class Taken(Protocol):
    """Take a step: the step, the model, the batches it may learn from, and the model that was brought."""

    def __call__(
        self, step: Step, model: bytes, batches: Sequence[Feeds] = (), parent: bytes | None = None
    ) -> tuple[bytes, StepReport]: ...


@pytest.fixture(autouse=True)
def numbers_begin_anew() -> None:
    restart()


@pytest.fixture
def taken(gated: Gated) -> Taken:
    def take(
        step: Step, model: bytes, batches: Sequence[Feeds] = (), parent: bytes | None = None
    ) -> tuple[bytes, StepReport]:
        pressed: tuple[bytes, StepReport] = gated(
            hashlib.sha256(model).hexdigest(),
            lambda grant: step.apply(model, Calibration(grant, "policy", batches, parent=parent)),
        )
        return pressed

    return take
