"""GPT-2 as numbers: learned positions, norms about the mean, no gate, and weights that are stored inputs first.

Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from toolkit.compress.sources.decoder_graph import Block, Decoder, Linear
from toolkit.compress.sources.state import numbers

__all__ = ["gpt2_of", "without_masks"]

# old files hold the triangle of what comes before what, as if it had been learned
_MASKS = (".attn.bias", ".attn.masked_bias")


def without_masks(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights by name, those that are weights."""
    return {name: tensor for name, tensor in state.items() if not name.endswith(_MASKS)}


def gpt2_of(model: Any) -> Decoder:
    """A model of transformers, which was made by a configuration that `toolkit.compress.sources.causal_gpt2` took."""
    config, inner = model.config, model.transformer
    heads = int(config.n_head)
    tied = model.lm_head.weight.data_ptr() == inner.wte.weight.data_ptr()
    return Decoder(
        heads=heads,
        key_heads=heads,
        width=int(config.n_embd) // heads,
        epsilon=float(config.layer_norm_epsilon),
        activation="gelu_tanh",
        table=numbers(inner.wte.weight),
        blocks=tuple(_block(layer) for layer in inner.h),
        norm=numbers(inner.ln_f.weight),
        norm_bias=numbers(inner.ln_f.bias),
        output=None if tied else numbers(model.lm_head.weight),
        positions=numbers(inner.wpe.weight),
    )


def _block(layer: Any) -> Block:
    return Block(
        before=numbers(layer.ln_1.weight),
        before_bias=numbers(layer.ln_1.bias),
        qkv=_linear(layer.attn.c_attn),
        out=_linear(layer.attn.c_proj),
        between=numbers(layer.ln_2.weight),
        between_bias=numbers(layer.ln_2.bias),
        gated=_linear(layer.mlp.c_fc),
        down=_linear(layer.mlp.c_proj),
    )


def _linear(module: Any) -> Linear:
    return Linear(numbers(module.weight).T, numbers(module.bias))
