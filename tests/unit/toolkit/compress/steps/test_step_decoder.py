"""Steps on a model that generates: each works, and what it makes runs behind a cache, or it says why it does not."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.decoders import tiny_gguf
from tests.unit.toolkit.compress.steps.conftest import Taken
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.step import Step
from toolkit.compress.steps.drop_layers import DropLayers
from toolkit.compress.steps.gptq import Gptq
from toolkit.compress.steps.prune_neurons import PruneNeurons
from toolkit.compress.steps.table_bits import TableBits
from toolkit.compress.steps.trim_vocabulary import TrimVocabulary
from toolkit.compress.steps.weight_bits import WeightBits
from toolkit.runtime.session import Feeds

with quiet():
    import onnx
    import onnxruntime as ort

    from toolkit.compress.sources import decoder
    from toolkit.compress.sources.gguf_format import Gguf
    from toolkit.compress.sources.gguf_model import config_of, state_of

LAYERS, KEY_HEADS, WIDTH = 2, 2, 16


@cache
def exported(kind: Literal["plain", "idle", "rounded"] = "plain") -> bytes:
    """The tiny decoder; "idle": every other neuron gives next to nothing; "rounded": weights that came in four bits, in
    blocks with an offset."""
    import torch

    file = Gguf(tiny_gguf())
    state = {name: torch.from_numpy(value) for name, value in state_of(file).items()}
    for name, value in state.items():
        if kind == "idle" and "down_proj" in name:
            value[:, ::2] /= 1000
        if kind == "rounded" and "_proj" in name:
            blocks = value.view(len(value), -1, 32)
            low, high = blocks.amin(dim=2, keepdim=True), blocks.amax(dim=2, keepdim=True)
            step = (high - low) / 15
            blocks.copy_(low + torch.round((blocks - low) / step) * step)
    return decoder.load(config_of(file), state, "tiny").export()


def feeds(tokens: int, past: int, seed: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    caches = [f"past_key_values.{number}.{kind}" for number in range(LAYERS) for kind in ("key", "value")]
    shape = (1, KEY_HEADS, past, WIDTH)
    return {
        "input_ids": rng.integers(3, 200, (1, tokens)),
        "attention_mask": np.ones((1, past + tokens), np.int64),
        "num_logits_to_keep": np.zeros(1, np.int64),
        **{name: rng.standard_normal(shape).astype(np.float32) for name in caches},
    }


LEARNED: list[Feeds] = [feeds(24, 0, seed) for seed in range(20)]


def logits(model: bytes, given: Feeds) -> NDArray[np.float32]:
    found: NDArray[np.float32] = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(
        ["logits"], dict(given)
    )[0]
    return found


def noise(model: bytes, right: bytes, given: Feeds) -> float:
    expected = logits(right, given)
    return float(np.linalg.norm(logits(model, given) - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("behind", [0, 7])
def test_neurons_that_give_next_to_nothing_go(taken: Taken, behind: int) -> None:
    model, given = exported("idle"), feeds(3, behind, 99)
    pressed, _ = taken(PruneNeurons(keep=0.5), model, LEARNED)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in onnx.load_from_string(pressed).graph.initializer}
    assert [shapes[f"layers.{number}.down.weight"] for number in range(LAYERS)] == [(48, 64)] * LAYERS
    assert shapes["layers.1.gate.weight"] == shapes["layers.1.up.weight"] == (64, 48)
    assert noise(pressed, model, given) < 0.01


@pytest.mark.parametrize("step", [WeightBits(bits=4, scales="offset"), Gptq(scales="offset")])
def test_weights_that_came_in_four_bits_stay_nearly_as_they_were(taken: Taken, step: WeightBits | Gptq) -> None:
    from msgspec.structs import replace

    model, given = exported("rounded"), feeds(5, 7, 99)
    fine, report = taken(step, model, LEARNED)
    rough, _ = taken(replace(step, scales="hqq"), model, LEARNED)
    assert all(line.startswith(("cosines", "sines", "embed_tokens")) for line in report.left)
    assert noise(fine, model, given) < 0.2 * noise(rough, model, given)
    # though the operators of the runtime tell no rank
    sums = [node.op_type for node in onnx.load_from_string(fine).graph.node if node.name.endswith(".sums")]
    assert sums == ["ReduceSum"] * 4 * LAYERS
    both, _ = taken(TableBits(bits=8, block=64, least=0), fine)
    assert noise(both, fine, given) < 0.2


@pytest.mark.parametrize(
    ("step", "code", "why"),
    [
        (DropLayers(), "step_failed", "keys and values for each layer"),
        (TrimVocabulary(), "vocabulary_fixed", "token by token"),
    ],
)
def test_what_cannot_be_done_to_a_decoder_is_refused_with_the_reason(
    taken: Taken, step: Step, code: str, why: str
) -> None:
    with pytest.raises(CompressionError, match=why) as caught:
        taken(step, exported(), LEARNED)
    assert caught.value.code == code
