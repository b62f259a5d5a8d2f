"""The arithmetic of LoRA: an adapter merged into the weights of its base, in FP32."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

import torch

from toolkit.compress.errors import SourceError
from toolkit.compress.sources.adapter import Adapter
from toolkit.compress.sources.state import refuse_infinite, state_of

__all__ = ["merged"]

# how PEFT names the two factors of a linear layer
_FACTOR = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<factor>[AB])(\.default)?\.weight")


def merged(base: Mapping[str, torch.Tensor], adapter: Adapter) -> dict[str, torch.Tensor]:
    """The weights of the base, those that the adapter is for as W + s B A: W is (out, in), A (r, in), B (out, r).

    Raises SourceError: source_adapter where the adapter has a tensor that is for no linear layer of the base,
    source_changed, source_weights.
    """
    factors: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for name, tensor in state_of([adapter.weights]).items():
        match = _FACTOR.fullmatch(name)
        if match is None or match["factor"] in factors[match["layer"]]:
            raise SourceError("source_adapter", f"the adapter has {name[:200]!r}, which is no factor of a linear layer")
        factors[match["layer"]][match["factor"]] = tensor
    if not factors:
        raise SourceError("source_adapter", "the adapter has no weights")
    found = dict(base)
    for layer, pair in factors.items():
        target = _target(layer, base)
        if target is None or pair.keys() != {"A", "B"}:
            raise SourceError(
                "source_adapter", f"the adapter is for {layer[:200]!r}, which is no one layer of the base"
            )
        weight, down, up = base[target], pair["A"], pair["B"]
        fits = weight.dim() == down.dim() == up.dim() == 2 and weight.shape == (up.shape[0], down.shape[1])
        if not fits or {up.shape[1], down.shape[0]} != {adapter.rank} or found[target] is not weight:
            raise SourceError("source_adapter", f"the adapter does not fit {target[:200]!r}")
        found[target] = weight.float() + adapter.scale * (up.float() @ down.float())
    refuse_infinite(found)
    return found


def _target(layer: str, base: Mapping[str, torch.Tensor]) -> str | None:
    """The weight of the base that a layer means: the model may have been saved with a prefix or without ("bert.")."""
    name = f"{layer}.weight"
    if name in base:
        return name
    near = [one for one in base if one.endswith(f".{name}") or name.endswith(f".{one}")]
    return near[0] if len(near) == 1 else None
