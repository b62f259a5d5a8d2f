"""What is converted with less memory is what tf2onnx makes."""

from __future__ import annotations

from typing import Any

import pytest

from toolkit.compress.quiet import quiet

with quiet():
    pytest.importorskip("tensorflow", reason="needs the extra tensorflow: make test-tensorflow")
    import keras
    import onnx
    import tensorflow as tf
    import tf2onnx
    from onnx import numpy_helper

    from toolkit.compress.sources.tensorflow_conversion import converted

OPSET = 17


@pytest.fixture(scope="module")
def function() -> Any:
    """Branches, padded pools and what is folded, in the layout of TensorFlow; the batch is open."""
    layers = keras.layers
    keras.utils.set_random_seed(3)
    photo = x = layers.Input((16, 16, 3))
    x = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x)))
    x = layers.Concatenate()([layers.AveragePooling2D(3, 1, padding="same")(x), layers.MaxPooling2D(3, 1, "same")(x)])
    x = layers.Dense(4)(layers.GlobalAveragePooling2D()(layers.Add()([x, layers.Conv2D(16, 1)(x)])))
    model = keras.Model(photo, x)
    return tf.function(
        lambda given: model(given, training=False),
        input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32, name="in_0")],
    )


def content(model: onnx.ModelProto) -> tuple[list[Any], list[Any]]:
    """Operators with their attributes in their order, and weights; names count on in a process."""
    attributes = [sorted(one.SerializeToString() for one in node.attribute) for node in model.graph.node]
    operators = [(node.op_type, found) for node, found in zip(model.graph.node, attributes, strict=True)]
    weights = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    return operators, sorted((array.shape, array.tobytes()) for array in weights)


def test_a_converted_function_is_what_tf2onnx_makes_of_it(function: Any) -> None:
    with quiet():
        usual, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=OPSET)
        ours = converted(function.get_concrete_function(), OPSET)
    assert content(ours) == content(usual)
    assert [one.version for one in ours.opset_import if one.domain == ""] == [OPSET]
    assert [value.name for value in ours.graph.input] == ["in_0:0"]


def test_weights_are_written_when_the_graph_is_made_and_at_the_end(
    function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tf2onnx writes them after each pass, too: gigabytes, where the model is large."""
    written = []
    usual = tf2onnx.graph.Graph.update_proto

    def counted(graph: Any, *arguments: Any, **options: Any) -> None:
        written.append(graph)
        usual(graph, *arguments, **options)

    monkeypatch.setattr(tf2onnx.graph.Graph, "update_proto", counted)
    with quiet():
        converted(function.get_concrete_function(), OPSET)
    assert len(written) == 2
