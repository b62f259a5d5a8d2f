"""A recipe: steps in order. It is checked when it is made, before any model is read."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from toolkit.compress.errors import CompressionError, RecipeError
from toolkit.compress.kinds import step_kinds
from toolkit.compress.step import FLOAT, Form, Step

__all__ = ["Recipe"]

MAX_TEXT = 100_000
MAX_STEPS = 100


class Recipe(Struct, frozen=True):
    """Raises RecipeError where a step does not take what the one before it gives, or where there is none."""

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        if not self.steps:
            raise RecipeError("recipe_empty", "the recipe has no step")
        form: Form = FLOAT  # what the export gives
        for number, step in enumerate(self.steps):
            if form not in step.takes:
                takes, before = " or ".join(sorted(step.takes)), self._kind(number - 1) if number else "the export"
                told = f"step[{number}] {self._kind(number)} takes {takes}, what comes to it from {before} is {form}"
                raise RecipeError("recipe_chain", told)
            form = step.gives or form

    @classmethod
    def parse(cls, toml_text: str, foreign: Collection[str] = ()) -> Recipe:
        """The recipe of a TOML text: ordered [[step]] tables with a `kind`, every other key a field of that kind.

        `foreign` are the kinds of other packages that the settings allow.
        """
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
        return cls.of(tables, foreign)

    @classmethod
    def of(cls, tables: Sequence[Mapping[str, Any]], foreign: Collection[str] = ()) -> Recipe:
        """The recipe of tables as TOML or a manifest has them."""
        if len(tables) > MAX_STEPS:
            raise RecipeError("recipe_text", f"the recipe has more than {MAX_STEPS} steps")
        return cls(tuple(_step(number, table, foreign) for number, table in enumerate(tables)))

    def refuse_unlearned(self) -> None:
        """For a recipe that is to be followed without calibration data. Raises CompressionError "calibration_missing"
        where a step learns from it."""
        for number, step in enumerate(self.steps):
            if step.calibrates:
                told = f"step[{number}] {self._kind(number)} learns from calibration data, and none is given"
                raise CompressionError("calibration_missing", told)

    def plain(self) -> tuple[dict[str, Any], ...]:
        """The steps as plain data, every field written out, for the manifest and the record."""
        return tuple(msgspec.to_builtins(step) for step in self.steps)

    def _kind(self, number: int) -> str:
        return str(msgspec.to_builtins(self.steps[number])["kind"])


def _step(number: int, table: Mapping[str, Any], foreign: Collection[str]) -> Step:
    kind = table.get("kind")
    kinds = step_kinds(foreign)
    struct = kinds.get(kind) if isinstance(kind, str) else None
    if struct is None:
        raise RecipeError("recipe_kind", f"step[{number}].kind is {kind!r}; kinds: {', '.join(sorted(kinds))}")
    try:
        step: Step = msgspec.convert(table, struct)
    except msgspec.ValidationError as error:
        raise RecipeError("recipe_field", f"step[{number}]: {error}") from None
    return step
