"""What decoders are written with gives in training what the runtime gives, behind a cache too."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from toolkit.compress.quiet import quiet

with quiet():
    import onnx
    import torch
    from onnx import helper

    from toolkit.compress.sources.decoder_graph import Block, Decoder, Linear, graph_of
    from toolkit.train.decoder_operators import DECODER_OPERATORS
    from toolkit.train.errors import TrainingError
    from toolkit.train.network import Network, as_tensors

LAYERS, HEADS, SHARED, WIDTH, HIDDEN, INNER, TOKENS = 2, 4, 2, 16, 32, 48, 50


def decoder(
    *, tied: bool = True, window: int | None = None, norms: bool = False, learned: bool = False, biases: bool = False
) -> bytes:
    """With each of the forms that the writer of decoders has."""
    random = np.random.default_rng(0)

    def numbers(*shape: int, around: float = 0) -> NDArray[np.float32]:
        scale = 0.1 if around else shape[-1] ** -0.5
        return (around + scale * random.normal(size=shape)).astype(np.float32)

    def linear(outputs: int, inputs: int) -> Linear:
        return Linear(numbers(outputs, inputs), numbers(outputs) if biases else None)

    def shift() -> NDArray[np.float32] | None:
        return numbers(HIDDEN) if biases else None

    angles = np.arange(64)[:, None] * 100.0 ** -np.linspace(0, 1, WIDTH // 2)
    blocks = tuple(
        Block(
            before=numbers(HIDDEN, around=1),
            before_bias=shift(),
            qkv=linear((HEADS + 2 * SHARED) * WIDTH, HIDDEN),
            query_norm=numbers(WIDTH, around=1) if norms else None,
            key_norm=numbers(WIDTH, around=1) if norms else None,
            out=linear(HIDDEN, HEADS * WIDTH),
            between=numbers(HIDDEN, around=1),
            between_bias=shift(),
            gated=linear(INNER if learned else 2 * INNER, HIDDEN),
            down=linear(HIDDEN, INNER),
        )
        for _ in range(LAYERS)
    )
    return graph_of(
        Decoder(
            heads=HEADS,
            key_heads=SHARED,
            width=WIDTH,
            epsilon=1e-5,
            activation="gelu_tanh" if learned else "silu",
            table=numbers(TOKENS, HIDDEN, around=0) * 3,
            table_factor=2.0 if norms else 1.0,
            blocks=blocks,
            norm=numbers(HIDDEN, around=1),
            norm_bias=shift(),
            output=None if tied else numbers(TOKENS, HIDDEN),
            cosines=None if learned else np.cos(angles).astype(np.float32),
            sines=None if learned else np.sin(angles).astype(np.float32),
            positions=numbers(64, HIDDEN) if learned else None,
            window=window,
        )
    )


def feeds(rows: int, tokens: int, past: int = 0) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(1)
    names = [f"past_key_values.{number}.{kind}" for number in range(LAYERS) for kind in ("key", "value")]
    shape = (rows, SHARED, past, WIDTH)
    return {
        "input_ids": random.integers(TOKENS, size=(rows, tokens)),
        "attention_mask": np.ones((rows, past + tokens), np.int64),
        "num_logits_to_keep": np.zeros(1, np.int64),
        **{name: random.normal(size=shape).astype(np.float32) for name in names},
    }


def compared(model: bytes, given: dict[str, NDArray[Any]]) -> None:
    expected = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, given)
    network = Network(model, learns=True)
    for right, ours in zip(expected, network(as_tensors(given), network.outputs), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), right, rtol=1e-4, atol=1e-4)


FORMS: list[dict[str, Any]] = [
    {},
    {"tied": False, "window": 4},
    {"norms": True},
    {"learned": True, "biases": True},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(("rows", "tokens", "past"), [(2, 9, 0), (1, 7, 6), (1, 1, 8)])
def test_a_decoder_gives_what_the_runtime_gives(form: dict[str, Any], rows: int, tokens: int, past: int) -> None:
    compared(decoder(**form), feeds(rows, tokens, past))


def test_a_shorter_text_beside_a_longer_one_is_what_it_is_alone() -> None:
    network = Network(decoder(), learns=False)
    both = feeds(2, 9)
    both["attention_mask"][1, 5:] = 0
    alone = {name: value[1:, :5] if value.shape == (2, 9) else value[1:] for name, value in both.items()}
    alone["num_logits_to_keep"] = both["num_logits_to_keep"]
    [together], [single] = (network(as_tensors(one), ("logits",)) for one in (both, alone))
    torch.testing.assert_close(together[1:, :5], single)


def test_every_operator_is_in_one_of_the_decoders_and_each_weight_learns() -> None:
    seen = set()
    for form in FORMS:
        network = Network(decoder(**form), learns=True)
        seen |= {node.op_type for node, _ in network.nodes if node.domain}
        [logits] = network(as_tensors(feeds(1, 6)), ("logits",))
        torch.autograd.backward(logits.square().sum())
        assert all(bool(weight.grad.abs().sum() > 0) for weight in network.parameters() if weight.grad is not None)
        assert all(weight.grad is not None for weight in network.parameters())
        learned = set(network.weights())
        assert {"norm.weight", "layers.0.before.weight", "layers.1.between.weight", "layers.1.qkv.weight"} <= learned
        assert not {"embed_tokens.weight", "cosines", "embed_positions.weight"} & learned
    assert seen == set(DECODER_OPERATORS)


@pytest.mark.parametrize("other", [{"softcap": 30.0}, {"rotary_interleaved": 1}])
def test_another_form_of_attention_is_refused(other: dict[str, Any]) -> None:
    model = onnx.load_from_string(decoder())
    for node in model.graph.node:
        if node.op_type == "GroupQueryAttention":
            node.attribute.extend(helper.make_attribute(name, value) for name, value in other.items())
    network = Network(model.SerializeToString(), learns=False)
    with pytest.raises(TrainingError, match="another form"):
        network(as_tensors(feeds(1, 4)), ("logits",))
