"""What config.json says of a GPT-2, by the names that other families have for the same; and what of it is not taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from toolkit.compress.errors import SourceError

__all__ = ["named"]

# two spellings of GELU by its tangent (Hendrycks and Gimpel, 2016)
_ACTIVATIONS = ("gelu_new", "gelu_pytorch_tanh")
_NAMES = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_positions": "max_position_embeddings",
}


class _Config(Struct):
    n_embd: int
    n_layer: int
    n_head: int
    n_positions: int
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    reorder_and_upcast_attn: bool = False
    add_cross_attention: bool = False


def named(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same, with the sizes by their common names too, which are not looked at here: their bounds are those of all
    families.

    Raises SourceError: source_config, source_unsupported.
    """
    try:
        config = msgspec.convert(content, _Config)
    except msgspec.ValidationError as error:
        raise SourceError("source_config", f"config.json: {error}") from None
    common: dict[str, Any] = {name: getattr(config, own) for own, name in _NAMES.items()}
    for own, name in _NAMES.items():
        # transformers takes both names for one number, and the one that comes last
        if content.get(name, common[name]) != common[name]:
            raise SourceError("source_config", f"config.json: {own} and {name} are one number, and not the same")
    if config.activation_function not in _ACTIVATIONS:
        raise SourceError("source_unsupported", f"of GPT-2, those that are active by {_ACTIVATIONS} are taken in")
    for asked, what in (
        (not config.scale_attn_weights, "attention that is not scaled"),
        (config.scale_attn_by_inverse_layer_idx, "attention that is scaled by the layer"),
        (config.reorder_and_upcast_attn, "attention that is computed in another order"),
        (config.add_cross_attention, "attention to another model"),
    ):
        if asked:
            raise SourceError("source_unsupported", f"{what} is not taken in")
    common["intermediate_size"] = 4 * config.n_embd if config.n_inner is None else config.n_inner
    return {**content, **common}
