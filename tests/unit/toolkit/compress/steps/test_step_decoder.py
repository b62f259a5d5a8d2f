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
from toolkit.compress.steps.awq import Awq
from toolkit.compress.steps.drop_layers import DropLayers
from toolkit.compress.steps.gptq import Gptq
from toolkit.compress.steps.mixed import Mixed
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
    shape = (1, KEY_HEADS, past, WIDTH)
    return {
        "input_ids": rng.integers(3, 200, (1, tokens)),
        "attention_mask": np.ones((1, past + tokens), np.int64),
        "num_logits_to_keep": np.zeros(1, np.int64),
        **{name: rng.standard_normal(shape).astype(np.float32) for name in caches()},
    }


def caches() -> list[str]:
    return [f"past_key_values.{number}.{kind}" for number in range(LAYERS) for kind in ("key", "value")]


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


@pytest.mark.parametrize("rough", ["4bit", "gptq"])
def test_layers_that_cost_most_keep_more_bits(taken: Taken, rough: Literal["4bit", "gptq"]) -> None:
    model, given = exported(), feeds(5, 7, 99)
    mixed, report = taken(Mixed(rough=rough, share=0.3), model, LEARNED)
    coarse, _ = taken(Mixed(rough=rough, share=0), model, LEARNED)
    assert noise(mixed, model, given) < 0.9 * noise(coarse, model, given)
    assert len(coarse) < len(mixed) < 0.5 * len(model)
    assert any("kept in 8 bits" in line for line in report.left)


def test_activations_that_are_large_are_made_up_for(taken: Taken) -> None:
    model, given = exported(), feeds(5, 7, 99)
    moved, report = taken(Awq(bits=4), model, LEARNED)
    assert noise(moved, model, given) < 1e-5
    assert all("without a Mul" in line for line in report.left)


@pytest.mark.parametrize("behind", [0, 7])
@pytest.mark.parametrize("idle", range(LAYERS))
@pytest.mark.parametrize("repair", [False, True])
def test_a_layer_that_does_nothing_goes_with_its_keys_and_values(
    taken: Taken, repair: bool, idle: int, behind: int
) -> None:
    model, given = without_effect(idle), feeds(3, behind, 99)
    pressed, report = taken(DropLayers(repair=repair), model, LEARNED)
    assert report.left == (f"layers.{idle}.qkv: layer {idle + 1} of {LAYERS} went",)
    left = 1 - idle
    names = {"past_key_values.0.key": f"past_key_values.{left}.key"}
    names["past_key_values.0.value"] = f"past_key_values.{left}.value"
    session = ort.InferenceSession(pressed, providers=["CPUExecutionProvider"])
    assert {one.name for one in session.get_inputs()} == {*(set(given) - set(caches())), *names}
    assert [one.name for one in session.get_outputs()] == ["logits", "present.0.key", "present.0.value"]
    fewer = {name: given[names.get(name, name)] for name in (one.name for one in session.get_inputs())}
    expected = logits(model, given)
    assert float(np.abs(logits(pressed, fewer) - expected).max()) < 1e-3 * float(np.abs(expected).max())
    (key,) = session.run(["present.0.key"], fewer)
    whole = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    (right,) = whole.run([f"present.{left}.key"], dict(given))
    np.testing.assert_allclose(key, right, atol=1e-3)
    # its sums and norms are one operator again
    kinds = [node.op_type for node in onnx.load_from_string(pressed).graph.node]
    assert kinds.count("SkipSimplifiedLayerNormalization") == 1
    assert report.bytes_after == len(pressed) < report.bytes_before


def without_effect(layer: int) -> bytes:
    """The tiny decoder, of which one layer adds nothing."""
    model = onnx.load_from_string(exported())
    for tensor in model.graph.initializer:
        if tensor.name in (f"layers.{layer}.out.weight", f"layers.{layer}.down.weight"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(tensor.dims, np.float32), tensor.name))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("step", "code", "why"),
    [
        (DropLayers(layers=2), "step_failed", "2 layers that are alike were found, and 2 should go"),
        (TrimVocabulary(), "vocabulary_fixed", "token by token"),
    ],
)
def test_what_cannot_be_done_to_a_decoder_is_refused_with_the_reason(
    taken: Taken, step: Step, code: str, why: str
) -> None:
    with pytest.raises(CompressionError, match=why) as caught:
        taken(step, exported(), LEARNED)
    assert caught.value.code == code
