"""The operators of ONNX Runtime that a decoder is written with, as functions of torch.

Each takes the attributes of its node, then its inputs in order, None where one is left out, and gives its output or a
tuple of them. Definitions: the contrib operators of ONNX Runtime, domain com.microsoft, version 1. What of an operator
is not known here raises NotImplementedError, which the network that runs it tells as TrainingError "train_operator".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - its customary name

from toolkit.train.operators import Attributes, Operator

__all__ = ["DECODER_OPERATORS", "simplified_norm"]

Tensor = torch.Tensor


def simplified_norm(at: Attributes, x: Tensor, scale: Tensor) -> Tensor:
    """Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019; over the last axis."""
    if at.get("axis", -1) not in (-1, x.ndim - 1):
        raise NotImplementedError("another axis than the last")
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + at.get("epsilon", 1e-5)) * scale


def _skip_simplified(at: Attributes, x: Tensor, skip: Tensor, scale: Tensor, bias: Tensor | None = None) -> Any:
    total = x + skip if bias is None else x + skip + bias
    return simplified_norm({"epsilon": at["epsilon"]}, total, scale), None, None, total


def _skip_norm(
    at: Attributes, x: Tensor, skip: Tensor, scale: Tensor, shift: Tensor | None = None, bias: Tensor | None = None
) -> Any:
    total = x + skip if bias is None else x + skip + bias
    return F.layer_norm(total, scale.shape, scale, shift, at["epsilon"]), None, None, total


def _product(at: Attributes, a: Tensor, b: Tensor) -> Tensor:
    if at.get("transBatchA") or at.get("transBatchB"):
        raise NotImplementedError("batches that are transposed")
    a, b = (a.mT if at.get("transA") else a), (b.mT if at.get("transB") else b)
    made = a @ b
    return made if at.get("alpha", 1.0) == 1.0 else at["alpha"] * made


# what of an attention is what it is without the attribute
_DEFAULTS: Mapping[str, Any] = {"rotary_interleaved": 0, "smooth_softmax": 0, "softcap": 0.0}
_TAKEN = {"num_heads", "kv_num_heads", "do_rotary", "local_window_size", "scale"}


def _attention(
    at: Attributes,
    queries: Tensor,
    keys: Tensor | None,
    values: Tensor | None,
    past_keys: Tensor | None,
    past_values: Tensor | None,
    lengths: Tensor,
    total: Tensor,
    cosines: Tensor | None = None,
    sines: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Heads that share keys and values (Ainslie et al., "GQA", 2023), each token seeing those before it: (batch,
    tokens, heads times width), and keys and values with those of before (batch, shared, past and tokens, width)."""
    if any(value != _DEFAULTS.get(name) for name, value in at.items() if name not in _TAKEN):
        raise NotImplementedError("another form of attention")
    heads, shared = at["num_heads"], at["kv_num_heads"]
    if keys is None or values is None:
        width = queries.shape[-1] // (heads + 2 * shared)
        sizes = [heads * width, shared * width, shared * width]
        queries, keys, values = torch.split(queries, sizes, dim=-1)
    query, key, value = _heads(queries, heads), _heads(keys, shared), _heads(values, shared)
    past = 0 if past_keys is None else past_keys.shape[2]
    tokens, width = query.shape[2:]
    if past and bool((lengths != past + tokens - 1).any()):
        raise NotImplementedError("rows of several lengths behind a cache")
    if at.get("do_rotary"):
        if cosines is None or sines is None:
            raise NotImplementedError("turns without cosines and sines")
        cosines, sines = cosines[past : past + tokens], sines[past : past + tokens]
        query, key = _turned(query, cosines, sines), _turned(key, cosines, sines)
    if past_keys is not None and past_values is not None and past:
        key, value = torch.cat([past_keys, key], dim=2), torch.cat([past_values, value], dim=2)
    each = heads // shared
    scores = query @ key.repeat_interleave(each, dim=1).mT * (at.get("scale") or width**-0.5)
    places = torch.arange(past + tokens, device=scores.device)
    behind = places[past:, None] - places
    window = at.get("local_window_size", -1)
    seen = (behind >= 0) if window <= 0 else (behind >= 0) & (behind < window)
    made = torch.softmax(scores.masked_fill(~seen, -torch.inf), dim=-1) @ value.repeat_interleave(each, dim=1)
    return made.transpose(1, 2).reshape(len(made), tokens, heads * width), key, value


def _heads(x: Tensor, heads: int) -> Tensor:
    """(batch, tokens, channels) as (batch, heads, tokens, width)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _turned(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Su et al., "RoFormer", 2021: the first half of a head with the second."""
    one, other = x.chunk(2, dim=-1)
    return torch.cat([one * cosines - other * sines, other * cosines + one * sines], dim=-1)


DECODER_OPERATORS: Mapping[str, Operator] = {
    "FusedMatMul": _product,
    "GroupQueryAttention": _attention,
    "SkipLayerNormalization": _skip_norm,
    "SkipSimplifiedLayerNormalization": _skip_simplified,
}
