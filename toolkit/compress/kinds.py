"""The kinds of steps: our own, and those of other packages that the settings name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.metadata import entry_points
from typing import Any

from msgspec import Struct

from toolkit.compress.errors import RecipeError
from toolkit.compress.steps.adaround import AdaRound
from toolkit.compress.steps.awq import Awq
from toolkit.compress.steps.bias_correction import BiasCorrection
from toolkit.compress.steps.codebook import Codebook
from toolkit.compress.steps.distil import Distil
from toolkit.compress.steps.drop_layers import DropLayers
from toolkit.compress.steps.dynamic_int8 import DynamicInt8
from toolkit.compress.steps.equalise import Equalise
from toolkit.compress.steps.factorise import Factorise
from toolkit.compress.steps.factorise_table import FactoriseTable
from toolkit.compress.steps.finetune import Finetune
from toolkit.compress.steps.fuse import Fuse
from toolkit.compress.steps.gptq import Gptq
from toolkit.compress.steps.mixed import Mixed
from toolkit.compress.steps.prune_channels import PruneChannels
from toolkit.compress.steps.prune_heads import PruneHeads
from toolkit.compress.steps.prune_neurons import PruneNeurons
from toolkit.compress.steps.qat import Qat
from toolkit.compress.steps.slice import Slice
from toolkit.compress.steps.slim import Slim
from toolkit.compress.steps.smooth_quant import SmoothQuant
from toolkit.compress.steps.sparsify import Sparsify
from toolkit.compress.steps.static_int8 import StaticInt8
from toolkit.compress.steps.table_bits import TableBits
from toolkit.compress.steps.table_codebook import TableCodebook
from toolkit.compress.steps.trim_vocabulary import TrimVocabulary
from toolkit.compress.steps.weight_bits import WeightBits

__all__ = ["GROUP", "OWN", "step_kinds"]

GROUP = "sealpress.steps"
OWN: Mapping[str, type[Any]] = {
    str(struct.__struct_config__.tag): struct
    for struct in (
        AdaRound,
        Awq,
        BiasCorrection,
        Codebook,
        Distil,
        DropLayers,
        DynamicInt8,
        Equalise,
        Factorise,
        FactoriseTable,
        Finetune,
        Fuse,
        Gptq,
        Mixed,
        PruneChannels,
        PruneHeads,
        PruneNeurons,
        Qat,
        Slice,
        Slim,
        SmoothQuant,
        Sparsify,
        StaticInt8,
        TableBits,
        TableCodebook,
        TrimVocabulary,
        WeightBits,
    )
}


def step_kinds(foreign: Collection[str] = ()) -> Mapping[str, type[Any]]:
    """Every kind with its Struct. A foreign package is imported only when its kind is in `foreign`.

    Raises RecipeError "recipe_foreign" where there is none of that name, it is no step, or it would hide our own.
    """
    kinds = dict(OWN)
    for kind in sorted(foreign):
        found = [entry for entry in entry_points(group=GROUP) if entry.name == kind]
        if len(found) != 1 or kind in OWN:
            raise RecipeError("recipe_foreign", f"{len(found)} installed packages have a step {kind!r} of their own")
        try:
            struct = found[0].load()
        except Exception as error:  # noqa: BLE001 - whatever a foreign package does when it is imported
            raise RecipeError("recipe_foreign", f"{kind!r} cannot be imported: {type(error).__name__}") from None
        if not (isinstance(struct, type) and issubclass(struct, Struct) and struct.__struct_config__.tag == kind):
            raise RecipeError("recipe_foreign", f"{kind!r} is no Struct whose tag is its kind")
        kinds[kind] = struct
    return kinds
