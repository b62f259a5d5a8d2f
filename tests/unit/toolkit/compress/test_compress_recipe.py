"""Recipes are checked when they are made, and no model is read for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from toolkit import compress
from toolkit.compress.calibration import Calibration
from toolkit.compress.errors import CompressionError, RecipeError, SourceMissing
from toolkit.compress.ladder import NAMES, named, only
from toolkit.compress.recipe import Recipe
from toolkit.compress.step import FLOAT, QUANTISED, Form, Step, StepReport
from toolkit.compress.steps.dynamic_int8 import DynamicInt8
from toolkit.new_box import create_box


class Widen(Struct, frozen=True, tag_field="kind", tag="widen"):
    """A step that takes what int8 gives, to make chains of."""

    takes: ClassVar[frozenset[Form]] = frozenset({QUANTISED})
    gives: ClassVar[Form | None] = FLOAT
    calibrates: ClassVar[bool] = False

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        raise AssertionError("a chain is checked before any step is taken")


INT8 = named("int8")


def refusal(text: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(text)
    return caught.value


def test_the_recipe_that_is_taken_without_a_word_is_one_step() -> None:
    assert INT8.steps == (DynamicInt8(seven_bits=True),)
    assert INT8.plain() == ({"kind": "dynamic-int8", "per_channel": True, "seven_bits": True, "exclude": ()},)


def test_every_shipped_recipe_can_be_read_by_its_name() -> None:
    assert {"int8", "int8-static"} <= set(NAMES)
    for name in NAMES:
        assert only(name).recipe == named(name)
        assert named(name).steps


@pytest.mark.parametrize("name", ["magic", "", "../int8", "nowhere.toml"])
def test_a_recipe_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        only(name)
    assert caught.value.code == "recipe_not_found"


def test_a_recipe_of_a_file_has_its_name(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text('[[step]]\nkind = "dynamic-int8"\nseven_bits = true\n')
    assert (only(path).name, only(path).recipe) == ("my", INT8)
    path.write_bytes(b"\xff")
    with pytest.raises(RecipeError) as caught:
        only(path)
    assert caught.value.code == "recipe_text"


def test_a_recipe_is_read_from_ordered_tables() -> None:
    assert Recipe.parse('[[step]]\nkind = "dynamic-int8"\nseven_bits = true\n') == INT8
    assert Recipe.parse('[[step]]\nkind = "dynamic-int8"\nper_channel = false\n').steps == (
        DynamicInt8(per_channel=False),
    )


@pytest.mark.parametrize("text", ["", "step = []", "# nothing\n"])
def test_a_recipe_without_steps_is_refused(text: str) -> None:
    assert refusal(text).code == "recipe_empty"


@pytest.mark.parametrize(
    "text", ["[[step]", "step = 3", '[step]\nkind = "dynamic-int8"', "step = [1]", "a = " + "[" * 5000, "#" * 100_001]
)
def test_what_is_no_recipe_is_refused(text: str) -> None:
    assert refusal(text).code == "recipe_text"


def test_a_recipe_of_very_many_steps_is_refused() -> None:
    assert refusal("[[step]]\n" * 101).code == "recipe_text"


@pytest.mark.parametrize("kind", ["", 'kind = "magic"', "kind = 3", 'Kind = "dynamic-int8"', "kind = ['dynamic-int8']"])
def test_an_unknown_kind_is_refused_and_the_known_are_listed(kind: str) -> None:
    error = refusal(f'[[step]]\nkind = "dynamic-int8"\n[[step]]\n{kind}\n')
    assert error.code == "recipe_kind"
    assert "step[1]" in str(error)
    assert "dynamic-int8" in str(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[step]]\nkind = "dynamic-int8"\nbits = 4', "step[0]: Object contains unknown field `bits`"),
        (
            '[[step]]\nkind = "dynamic-int8"\nper_channel = 1',
            "step[0]: Expected `bool`, got `int` - at `$.per_channel`",
        ),
        ('name = "x"\n[[step]]\nkind = "dynamic-int8"', "name"),
    ],
)
def test_an_unknown_or_wrong_field_is_refused_with_its_path(text: str, said: str) -> None:
    error = refusal(text)
    assert error.code == "recipe_field"
    assert said in str(error)


@pytest.mark.parametrize("steps", [(DynamicInt8(), DynamicInt8()), (Widen(),), (DynamicInt8(), Widen(), Widen())])
def test_a_chain_that_does_not_fit_is_refused(steps: tuple[Step, ...]) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe(steps)
    assert caught.value.code == "recipe_chain"


def test_a_recipe_that_learns_wants_something_to_learn_from() -> None:
    INT8.refuse_unlearned()
    with pytest.raises(CompressionError) as caught:
        named("int8-t4").refuse_unlearned()
    assert caught.value.code == "calibration_missing"
    assert "step[0] smooth-quant" in str(caught.value)


@pytest.mark.parametrize("call", [compress.compress, compress.plan, compress.diagnose])
def test_it_is_said_before_the_model_is_looked_for(tmp_path: Path, call: Callable[..., object]) -> None:
    create_box(tmp_path / "box")
    settings = tmp_path / "box" / "sealpress.toml"
    with pytest.raises(CompressionError) as caught:
        call(tmp_path / "no model", recipe="int8-t4", settings=settings)
    assert caught.value.code == "calibration_missing"
    with pytest.raises(SourceMissing):
        call(tmp_path / "no model", recipe="int8-t4", calibrate=["a text"], settings=settings)


def test_a_chain_that_fits_is_taken() -> None:
    assert [step["kind"] for step in Recipe((DynamicInt8(), Widen(), DynamicInt8())).plain()] == [
        "dynamic-int8",
        "widen",
        "dynamic-int8",
    ]


def test_what_is_written_out_is_read_back() -> None:
    step = DynamicInt8(per_channel=False)
    lines = [
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(list(value) if key == 'exclude' else value)}"
        for key, value in Recipe((step,)).plain()[0].items()
    ]
    assert Recipe.parse("[[step]]\n" + "\n".join(lines)).steps == (step,)


@given(st.text() | st.text(alphabet='[]step="kind\n.{}1,', max_size=60).map(lambda text: f"[[step]]\n{text}"))
def test_any_text_is_a_recipe_or_refused(text: str) -> None:
    with suppress(RecipeError):
        assert Recipe.parse(text).steps


def test_recipes_and_measures_do_not_load_torch() -> None:
    code = (
        "import sys, toolkit.compress.recipe, toolkit.compress.measure, toolkit.compress.engine;"
        "print({'torch', 'transformers', 'optimum', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
