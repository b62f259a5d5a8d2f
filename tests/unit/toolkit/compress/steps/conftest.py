"""A step at work: under the gate, on calibration batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import pytest

from tests.unit.toolkit.compress.conftest import Gated
from toolkit.compress.calibration import Calibration
from toolkit.compress.step import Step, StepReport
from toolkit.runtime.session import Feeds

Taken = Callable[[Step, bytes, Sequence[Feeds]], tuple[bytes, StepReport]]


@pytest.fixture
def taken(gated: Gated) -> Taken:
    """Take a step: the step, the model, and the batches it may learn from."""

    def take(step: Step, model: bytes, batches: Sequence[Feeds] = ()) -> tuple[bytes, StepReport]:
        pressed: tuple[bytes, StepReport] = gated(
            hashlib.sha256(model).hexdigest(), lambda grant: step.apply(model, Calibration(grant, "policy", batches))
        )
        return pressed

    return take
