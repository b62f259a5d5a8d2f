"""Whatever bytes stand in a Keras file or a SavedModel: they pass, or are refused with a code."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.toolkit.compress.saved_models import field, function, node, saved
from toolkit.compress.errors import SourceError
from toolkit.compress.sources import keras_checks
from toolkit.compress.sources.saved_model_checks import OPERATIONS, check_graph, check_saved

PROGRAM = saved(
    function("f", node("Conv2D"), node("Const", dims=(3, 3))), function("r", node("RestoreV2")), objects=field(1, b"")
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("keras.layers"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["class_name", "module", "config", "registered_name", "layers", "name", "output_layers", "batch_shape"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)  # fmt: skip - one line for each way


@given(st.binary(max_size=300))
def test_no_bytes_are_more_than_refused(data: bytes) -> None:
    for look in (keras_checks.archived, check_saved):
        with pytest.raises(SourceError):
            look(data)


@given(st.data())
def test_a_program_with_other_bytes_passes_or_is_refused(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(PROGRAM) - 1))
    with suppress(SourceError):
        check_saved(PROGRAM[:place] + data.draw(st.binary(max_size=3)) + PROGRAM[place + 1 :])


@given(values)
def test_no_configuration_is_more_than_refused(value: Any) -> None:
    with suppress(SourceError):
        config = keras_checks.parsed_config(json.dumps(value))
        keras_checks.check_config(config)
        keras_checks.keras_inputs(config)
        keras_checks.classes(config)
        keras_checks.convolves(config)


@given(st.text(max_size=12).filter(lambda name: name not in OPERATIONS))
def test_no_operation_but_those_of_the_list_runs(name: str) -> None:
    with pytest.raises(SourceError):
        check_graph(field(1, node(name)))
