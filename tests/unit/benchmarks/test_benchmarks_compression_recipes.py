"""The recipes of the benchmarks of compression are recipes that the engine takes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from benchmarks.compression.recipes import ALONE, COMBINED, PHOTOS, PRUNED, SPARSE, Tables, told
from toolkit.compress.recipe import Recipe

GROUPS = (ALONE, COMBINED, PRUNED, SPARSE)


@pytest.mark.parametrize("group", [*GROUPS, PHOTOS])
def test_each_is_taken_whole(group: Mapping[str, Tables]) -> None:
    for tables in group.values():
        kinds = [step["kind"] for step in Recipe.of(tables).plain()]
        assert kinds == [table["kind"] for table in tables]
        assert kinds


@pytest.mark.parametrize("groups", [GROUPS, (PHOTOS,)], ids=["encoder", "photos"])
def test_none_stands_twice_for_a_model(groups: tuple[Mapping[str, Tables], ...]) -> None:
    names = [name for group in groups for name in group]
    recipes = [told(tables) for group in groups for tables in group.values()]
    assert len(set(names)) == len(names)
    assert len(set(recipes)) == len(recipes)


def test_a_recipe_is_told_by_kinds_and_options() -> None:
    assert told(({"kind": "gptq", "block": 128}, {"kind": "table-codebook"})) == "gptq (block 128), then table-codebook"
    assert told(()) == "as exported"
