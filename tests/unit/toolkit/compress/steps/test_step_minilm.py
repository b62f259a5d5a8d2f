"""Steps that make a model smaller by its structure, on MiniLM: what they must keep of what it says."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import pytest

from tests.known import Known
from tests.unit.toolkit.compress.conftest import Gated
from toolkit.compress.data import Data, gathered
from toolkit.compress.engine import Press
from toolkit.compress.measure import evaluation_texts
from toolkit.compress.recipe import Recipe
from toolkit.compress.results import Result
from toolkit.compress.step import Step
from toolkit.compress.steps.prune_neurons import PruneNeurons

pytestmark = pytest.mark.slow

# the shares of the encoder's parameters and the fidelity that must be left, with 32 short texts to learn from
CASES: list[tuple[Step, float, float]] = [
    (PruneNeurons(keep=0.75), 0.833, 0.955),
]


def encoder(model: bytes) -> int:
    """How many parameters are in no table."""
    tensors = onnx.load_from_string(model).graph.initializer
    tables = ("word_", "position_", "token_type_")
    return sum(len(one.raw_data) // 4 for one in tensors if not any(table in one.name for table in tables))


@pytest.fixture(scope="module")
def texts() -> Data:
    found = evaluation_texts()
    return Data(calibrate=gathered(found[::2], "text"), evaluate=gathered(found[1::2], "text"))


def test_minilm_keeps_what_it_says(gated: Gated, minilm_source: Known, texts: Data) -> None:

    def work(press: Press) -> Iterator[tuple[float, Result]]:
        for step, _, _ in CASES:
            made = press.follow(Recipe((step,))).model
            yield encoder(made) / encoder(press.exported), press.result(made)

    found = gated(minilm_source.digest, lambda grant: list(work(Press(minilm_source, grant, "policy", texts, print))))
    for (step, share, low), (left, result) in zip(CASES, found, strict=True):
        assert left == pytest.approx(share, abs=0.003), step
        assert result.fidelity.score.low >= low, step
