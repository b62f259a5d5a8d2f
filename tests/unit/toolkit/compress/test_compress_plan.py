"""What a plan says of memory: the libraries that the source needs, and so many times the model."""

from __future__ import annotations

from typing import Any

import pytest

from toolkit.compress.data import NONE, Data, gathered
from toolkit.compress.ladder import only
from toolkit.compress.plan import LIBRARIES, TENSORFLOW, planned
from toolkit.compress.search import Ladder
from toolkit.compress.sources.keras_file import KerasFile
from toolkit.compress.sources.onnx_file import OnnxFile

SHARED: dict[str, Any] = {
    "name": "m",
    "digest": "",
    "licences": (),
    "licence_text": None,
    "notice": None,
    "measure": "correlation",
    "convolves": True,
}
DATA = Data(calibrate=NONE, evaluate=gathered(["a"], "text"))


def memory(recipe: str, parameters: int, *, tensorflow: bool = False) -> int:
    source: Any = (
        KerasFile(**SHARED, parameters=parameters, image=None, labels=(), inputs={"x": (None, 4)}, file=None)  # type: ignore[arg-type]  # it is not read
        if tensorflow
        else OnnxFile(**SHARED, parameters=parameters, files=())
    )
    return planned(source, "MIT", DATA, Ladder((only(recipe, ()),)), 1).memory_bytes


@pytest.mark.parametrize("recipe", ["int8", "int8-static", "int8-corrected", "w8-t4"])
def test_a_plan_counts_the_libraries_and_more_for_what_tensorflow_converts(recipe: str) -> None:
    assert memory(recipe, 0) == LIBRARIES
    assert memory(recipe, 0, tensorflow=True) == TENSORFLOW
    assert 8 <= (memory(recipe, 10**6) - LIBRARIES) / 4e6 <= 12
    assert memory(recipe, 10**6, tensorflow=True) > memory(recipe, 10**6)


def test_a_plan_knows_what_resnet50_took() -> None:
    assert 0.8 < memory("int8-static", 23_608_202, tensorflow=True) / 3.62e9 < 1.25
