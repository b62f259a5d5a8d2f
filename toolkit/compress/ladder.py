"""The recipes that come with the package, and which of them are tried on a model."""

from __future__ import annotations

import os
from collections.abc import Collection
from importlib.resources import files
from pathlib import Path

from toolkit.compress.combine import Candidate, Thinning
from toolkit.compress.data import Data
from toolkit.compress.errors import RecipeError
from toolkit.compress.recipe import Recipe
from toolkit.compress.search import Ladder
from toolkit.compress.source import Generates, Source

__all__ = ["NAMES", "default_of", "ladder_of", "named", "only"]

_SHIPPED = files("toolkit.compress").joinpath("recipes")
NAMES = tuple(sorted(file.name.removesuffix(".toml") for file in _SHIPPED.iterdir() if file.name.endswith(".toml")))

# in the order in which they are tried; a name after a colon is gentler: where it misses the fidelity, so will this one
_LINEAR = (
    "int8",
    "int8-static",
    "int8-smooth",
    "w8-t4",
    "mixed-t4:w8-t4",
    "int8-t4:w8-t4",
    "w4-t4:w8-t4",
    "gptq-t4:w8-t4",
    "words:w8-t4",
    "gptq-words:gptq-t4",
)
# for models that generate, whose table is tied to what they say and bears four bits badly
_GENERATING = ("w8-t8", "offset-t8:w8-t8", "w4-t8:w8-t8", "gptq-t8:w8-t8")
_CONVOLVING = ("int8-corrected", "int8-static", "int8")
# what is tried before the best of them
_THINNER = (Thinning(name="neurons", kind="prune-neurons"), Thinning(name="ranks", kind="factorise"))
_THINNER_CONVOLVING = (Thinning(name="channels", kind="prune-channels"),)


def named(name: str) -> Recipe:
    """A recipe that comes with the package. Raises RecipeError "recipe_not_found"."""
    if name not in NAMES:
        raise RecipeError("recipe_not_found", f"there is no recipe {name[:80]!r}; there are {', '.join(NAMES)}")
    return Recipe.parse(_SHIPPED.joinpath(f"{name}.toml").read_text("utf-8"))


def only(recipe: str | os.PathLike[str], foreign: Collection[str] = ()) -> Candidate:
    """The recipe of a name or of a TOML file. Raises RecipeError."""
    if isinstance(recipe, str) and not recipe.endswith(".toml"):
        return Candidate(name=recipe, recipe=named(recipe))
    path = Path(recipe)
    try:
        with path.open(encoding="utf-8") as file:
            return Candidate(name=path.stem, recipe=Recipe.parse(file.read(1_000_000), foreign))
    except OSError as error:
        raise RecipeError("recipe_not_found", f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError("recipe_text", f"{path} is no UTF-8") from None


def default_of(source: Source) -> str:
    """The recipe for a model where neither a recipe nor a budget is given."""
    return "w8-t8" if isinstance(source, Generates) else "int8"


def ladder_of(source: Source, data: Data) -> Ladder:
    """What suits a model: whether it convolves, and whether there is anything to calibrate on."""
    calibrated = bool(data.calibrate.items)
    candidates = []
    generates = isinstance(source, Generates)
    for entry in _GENERATING if generates else _CONVOLVING if source.convolves else _LINEAR:
        name, _, gentler = entry.partition(":")
        recipe = named(name)
        if source.image is not None and any(step["kind"].startswith("table-") for step in recipe.plain()):
            continue  # it has no tables
        if calibrated or not any(step.calibrates for step in recipe.steps):
            candidates.append(Candidate(name=name, recipe=recipe, rougher=(gentler,) if gentler else ()))
    if not calibrated or generates:
        return Ladder(tuple(candidates))
    if source.convolves:
        return Ladder(tuple(candidates), _between_integers, _THINNER_CONVOLVING)
    return Ladder(tuple(candidates), _between if source.image is None else None, _THINNER)


def _between(roughness: int) -> Candidate:
    """From all weights in 8 bits to all in 4, tables in 4."""
    steps = ({"kind": "mixed", "rough": "gptq", "share": 1 - roughness / 100}, {"kind": "table-bits", "bits": 4})
    return Candidate(name=f"gptq-{roughness}-t4", recipe=Recipe.of(steps))


def _between_integers(roughness: int) -> Candidate:
    """From floats to integers everywhere, what costs most last."""
    mixed = {"kind": "mixed", "rough": "int8-graph", "share": 1 - roughness / 100, "scales": "pairs", "items": 4}
    return Candidate(
        name=f"int8-{roughness}", recipe=Recipe.of(({"kind": "bias-correction", "scales": "pairs"}, mixed))
    )
