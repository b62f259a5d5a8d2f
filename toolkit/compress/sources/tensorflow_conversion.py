"""A thin seam on tf2onnx: a function of TensorFlow as an ONNX model, in less memory than tf2onnx itself takes."""

from __future__ import annotations

from typing import Any

import onnx

from toolkit.extras import needs

__all__ = ["converted"]


def converted(concrete: Any, opset: int) -> onnx.ModelProto:
    """What tf2onnx.convert.from_function makes of a concrete function, by the same passes.

    After each of its passes that one writes all weights into a protobuf anew, which keeps what was there before until
    it is gone as a whole: ResNet50 then takes 1.9 GB more. Here they are written once, at the end. Raises MissingExtra,
    and whatever tf2onnx comes upon.
    """
    with needs("tensorflow"):
        import tensorflow as tf
        from tf2onnx import optimizer, tf_loader, tfonnx
    # variables are captured as inputs that are resources
    inputs, outputs = (
        [tensor.name for tensor in tensors if tensor.dtype != tf.resource]
        for tensors in (concrete.inputs, concrete.outputs)
    )
    with tf.device("/cpu:0"):
        frozen = tf_loader.from_function(concrete, inputs, outputs)
        with tf.Graph().as_default() as place:
            tf.import_graph_def(frozen, name="")
            del frozen
            graph = tfonnx.process_tf_graph(
                place, continue_on_error=True, opset=opset, input_names=inputs, output_names=outputs
            )
    graph.update_proto = lambda: None
    graph = optimizer.optimize_graph(graph, catch_errors=False)
    vars(graph).pop("update_proto", None)
    model: onnx.ModelProto = graph.make_model("")
    return model
