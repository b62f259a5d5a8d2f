"""What can go wrong while a model is taken in and pressed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Refused, Unusable

__all__ = [
    "BudgetError",
    "ComparisonError",
    "CompressionError",
    "ItemsError",
    "ParentError",
    "RecipeError",
    "SourceError",
    "SourceMissing",
]


class SourceError(Refused):
    """A model that cannot be taken in."""

    hints: ClassVar[Mapping[str, str]] = {
        "source_pickle": "Bring the weights as safetensors: a pickle runs code when it is loaded, so none is, ever.",
        "source_adapter": "Give the folder of the base with --parent NAME=./FOLDER, NAME as adapter_config.json has "
        "it. Of adapters, plain LoRA over linear layers is merged; merge another one in its own library, and bring the "
        "result.",
        "source_code": "Bring a model that needs no code of its own: code from a model's folder is never run.",
        "source_hdf5": "Load the file in Keras, where you trust whoever made it, and save it as a .keras file.",
        "source_config": "Repair the file that is named, or get the folder again from its publisher.",
        "source_template": "Give the chat template a plain name: letters, digits, dots, dashes and underscores.",
        "source_tokenizer": "Bring the tokenizer.json that belongs to the model, as a fast tokenizer saves it.",
        "source_unsupported": "Bring a model that is listed in docs/compression.md, or an ONNX file of it.",
        "source_weights": "Get the weights again from their publisher, and the configuration that belongs to them.",
        "source_external": "Put the file itself into the folder: nothing is read from outside of it.",
        "source_too_large": "Bring a smaller model (an ONNX file holds 2 GB), or allow the run more with --memory.",
        "source_malformed": "Get the file again from its publisher, or export it again.",
        "source_examples": "Give calibration and evaluation inputs: they cannot be made up for this model.",
        "source_changed": "Wait until nothing writes into the folder any more, and run the command again.",
    }


class SourceMissing(Unusable):
    """There is no model where one was named."""

    hints: ClassVar[Mapping[str, str]] = {
        "source_not_found": "Check the path: an .onnx or .keras file, a folder with saved_model.pb or with config.json "
        "and model.safetensors, or timm:NAME:FILE and torchvision:NAME:FILE with a .safetensors file.",
    }


class CompressionError(Refused):
    """A result that is not faithful enough to hand out."""

    hints: ClassVar[Mapping[str, str]] = {
        "export_failed": "Please report it with the model's name: this architecture was expected to work.",
        "export_inputs": "Please report it with the model's name: the graph would have been wrong without a sign.",
        "export_differs": "Please report it with the model's name: the graph is not the model that was brought.",
        "step_failed": "Try another recipe, and please report it with the model's name.",
        "calibration_missing": "Give --calibrate: items like those that the model will be used on; or "
        "take --recipe int8, w8-t4 or w4-t4, which learn nothing.",
        "vocabulary_fixed": "Leave the step trim-vocabulary out: this model needs its vocabulary as it is.",
        "budget_missed": "Allow more, or try another recipe.",
        "run_exists": "Give --resume to go on with it, or move its folder away.",
        "run_differs": "Move its folder away: a run is gone on with for the same model, data and releases only.",
        "run_malformed": "Move its folder away, and begin the run anew.",
        "not_faithful": "Use a gentler recipe: this one changes what the model says.",
    }


class ItemsError(Unusable):
    """Calibration or evaluation data that cannot be used."""

    hints: ClassVar[Mapping[str, str]] = {
        "data_not_found": "Check the path: it is a .txt or .jsonl file, or a folder of such files.",
        "data_format": "Write one text a line in UTF-8 (.txt), or one object with `text` a line (.jsonl).",
        "data_empty": "Give at least one item.",
        "data_overlap": "Take the items out of one of the two: what is learned from must not be measured on.",
        "data_missing": "Give --calibrate, or leave out --data-licence.",
        "data_too_large": "Give fewer items: a few hundred are enough.",
    }


class ParentError(Unusable):
    """A statement about an ancestor that cannot be read."""

    hints: ClassVar[Mapping[str, str]] = {
        "parent_statement": "Write --parent NAME=LICENCE with an SPDX id, or --parent NAME=./FOLDER, where a folder "
        "has a slash in it; each at most once for a name.",
        "parent_not_found": "Check the path: it is the folder of the model with its papers.",
    }


class BudgetError(Unusable):
    """A budget that cannot be read."""

    hints: ClassVar[Mapping[str, str]] = {
        "budget_text": 'Write it like "size<=20MB, fidelity>=0.99, latency<=0.4x"; each part may be left out.',
    }


class ComparisonError(Unusable):
    """Bundles that cannot be held against each other."""

    hints: ClassVar[Mapping[str, str]] = {
        "compare_few": "Name two bundles or more; the first is what the others are held against.",
        "compare_different": "Compare bundles of one task that take and give the same: `sealpress show BUNDLE` tells.",
    }


class RecipeError(Unusable):
    """A recipe that cannot be followed. Found before any model is read."""

    hints: ClassVar[Mapping[str, str]] = {
        "recipe_text": "Write the recipe as TOML: ordered [[step]] tables, each with a kind.",
        "recipe_empty": "Give the recipe at least one [[step]] table with a kind.",
        "recipe_kind": "Use a kind that is listed; kinds are never skipped.",
        "recipe_field": "Correct the field that is named: a step takes its own fields and no others.",
        "recipe_foreign": "Install the package that brings the step, and only one of that name.",
        "recipe_not_found": "Name a recipe that is listed, or the path of a .toml file.",
        "recipe_chain": "Order the steps so that each takes the form that the one before it gives: what "
        "prunes, factorises or moves weights comes before what quantises.",
    }
