"""A recipe: steps in order. It is checked when it is made, before any model is read."""

from __future__ import annotations

import tomllib
from typing import Any

import msgspec
from msgspec import Struct

from toolkit.compress.errors import RecipeError
from toolkit.compress.step import Form, Step
from toolkit.compress.steps.dynamic_int8 import DynamicInt8

__all__ = ["INT8", "Recipe"]

MAX_TEXT = 100_000
MAX_STEPS = 100
_FIRST: Form = "onnx-fp32"  # what the export gives
_KINDS: dict[str, type[DynamicInt8]] = {"dynamic-int8": DynamicInt8}


class Recipe(Struct, frozen=True):
    """Raises RecipeError where a step does not take what the one before it gives, or where there is none."""

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        if not self.steps:
            raise RecipeError("recipe_empty", "the recipe has no step")
        form: Form = _FIRST
        for number, step in enumerate(self.steps):
            if step.takes != form:
                raise RecipeError("recipe_chain", f"step[{number}] takes {step.takes}, what comes to it is {form}")
            form = step.gives

    @classmethod
    def parse(cls, toml_text: str) -> Recipe:
        """The recipe of a TOML text: ordered [[step]] tables with a `kind`, every other key a field of that kind."""
        if len(toml_text) > MAX_TEXT:
            raise RecipeError("recipe_text", f"the recipe has more than {MAX_TEXT} characters")
        try:
            content = tomllib.loads(toml_text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise RecipeError("recipe_text", f"the recipe is no TOML: {error}") from None
        tables = content.pop("step", [])
        if content:
            raise RecipeError("recipe_field", f"unknown: {', '.join(sorted(content))}; a recipe has [[step]] only")
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise RecipeError("recipe_text", "step is no list of tables: write [[step]]")
        if len(tables) > MAX_STEPS:
            raise RecipeError("recipe_text", f"the recipe has more than {MAX_STEPS} steps")
        return cls(tuple(_step(number, table) for number, table in enumerate(tables)))

    def plain(self) -> tuple[dict[str, Any], ...]:
        """The steps as plain data, every field written out, for the manifest and the record."""
        return tuple(msgspec.to_builtins(step) for step in self.steps)


def _step(number: int, table: dict[str, Any]) -> Step:
    kind = table.get("kind")
    struct = _KINDS.get(kind) if isinstance(kind, str) else None
    if struct is None:
        raise RecipeError("recipe_kind", f"step[{number}].kind is {kind!r}; kinds: {', '.join(sorted(_KINDS))}")
    try:
        return msgspec.convert(table, struct)
    except msgspec.ValidationError as error:
        raise RecipeError("recipe_field", f"step[{number}]: {error}") from None


INT8 = Recipe((DynamicInt8(),))
