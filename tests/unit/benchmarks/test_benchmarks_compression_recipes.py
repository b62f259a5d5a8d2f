"""The recipes of the benchmarks of compression are recipes that the engine takes."""

from __future__ import annotations

from benchmarks.compression.recipes import PHOTOS, told
from toolkit.compress.recipe import Recipe


def test_each_is_taken_whole_and_none_stands_twice() -> None:
    assert PHOTOS
    for tables in PHOTOS.values():
        kinds = [step["kind"] for step in Recipe.of(tables).plain()]
        assert kinds == [table["kind"] for table in tables]
        assert kinds
    assert len(set(map(told, PHOTOS.values()))) == len(PHOTOS)


def test_a_recipe_is_told_by_kinds_and_options() -> None:
    assert told(({"kind": "gptq", "block": 128}, {"kind": "table-codebook"})) == "gptq (block 128), then table-codebook"
    assert told(()) == "as exported"
