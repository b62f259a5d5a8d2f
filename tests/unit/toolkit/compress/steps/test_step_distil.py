"""What pruning took is partly learned again from the model that was brought."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import encoder, given_by, tokens
from toolkit.compress.errors import CompressionError
from toolkit.compress.steps.distil import Distil
from toolkit.compress.steps.prune_neurons import PruneNeurons

ITEMS = tokens(24)
OTHERS = tokens(12, seed=1)


def apart(model: bytes, right: bytes) -> float:
    """The size of what differs over that of what is right, on items that nothing was learned from."""
    pairs = [(given_by(model, **item), given_by(right, **item)) for item in OTHERS]
    return float(np.mean([np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) for ours, theirs in pairs]))


def test_a_pruned_model_comes_nearer_to_what_it_was(taken: Taken) -> None:
    parent = encoder()
    pruned, _ = taken(PruneNeurons(keep=0.25, repair=False), parent, ITEMS)
    made, report = taken(Distil(epochs=12, batch=6, rate=2e-3), pruned, ITEMS, parent)
    assert apart(made, parent) < 0.8 * apart(pruned, parent)
    assert len(made) == len(pruned)
    assert report.spent is not None
    assert report.spent.steps == 48
    assert report.spent.after < report.spent.before


def test_a_model_that_takes_other_tokens_has_no_teacher(taken: Taken) -> None:
    with pytest.raises(CompressionError) as refused:
        taken(Distil(), encoder(), ITEMS)
    assert refused.value.code == "step_failed"
