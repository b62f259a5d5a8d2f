"""A thin seam on TensorFlow and tf2onnx: a function that was held against the list of operations, and its ONNX file."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from policies.gate import Grant, redeem
from policies.payload import Payload
from toolkit.compress.errors import CompressionError, SourceError
from toolkit.compress.quiet import quiet
from toolkit.compress.serialise import serialise
from toolkit.compress.sources.onnx_checks import check, refuse_foreign
from toolkit.compress.sources.onnx_form import regular
from toolkit.compress.sources.saved_model_checks import check_graph
from toolkit.compress.sources.tensorflow_conversion import converted
from toolkit.compress.sources.tensorflow_source import Shape
from toolkit.extras import MissingExtra, needs
from toolkit.runtime.readers import Reader
from toolkit.runtime.session import Feeds

__all__ = ["TensorflowModel", "tensorflow"]

OPSET = 17  # from 18 on reductions take their axes as a tensor
TRIALS = 3


def tensorflow() -> Any:
    """The library, silent, and Keras on top of it and of nothing else. Raises MissingExtra."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever a file in the home of the user says
    with quiet(), needs("tensorflow"):
        import tensorflow
    return tensorflow


class TensorflowModel:
    """The model as it was brought, in TensorFlow and FP32, for inference. Runs under a grant only."""

    def __init__(
        self,
        call: Callable[..., Mapping[str, Any]],
        inputs: Mapping[str, Shape],
        digest: str,
        *,
        logits: bool,
    ) -> None:
        """`call` takes the inputs in their order and gives the outputs by name; its variables are copied.

        With `logits` its one output is a softmax, and what goes into that is the answer.
        Raises SourceError: source_code, source_unsupported, source_config; MissingExtra.
        """
        tf = tensorflow()
        self._digest = digest
        self._inputs = dict(inputs)
        names = [f"in_{number}" for number in range(len(inputs))]
        self._specs = [
            tf.TensorSpec(shape, tf.float32, name=name) for name, shape in zip(names, inputs.values(), strict=True)
        ]
        with quiet():
            traced = _asked(tf.function(call, input_signature=self._specs).get_concrete_function)
            self._outputs = list(traced.structured_outputs)
            # the graph that runs and is converted, whatever the file said of itself
            check_graph(traced.graph.as_graph_def().SerializeToString())
            self._concrete = _asked(lambda: _frozen(traced, self._outputs, logits=logits))
            if logits:
                self._outputs = ["logits"]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._inputs)

    def export(self) -> bytes:
        """The ONNX file, with the layout of the inputs as it was; the batch is open.

        Raises CompressionError, MissingExtra, SourceError "source_too_large".
        """
        gc.collect()  # what was traced and frozen hangs together in circles
        with quiet():
            try:
                model = converted(self._concrete, OPSET)
            except MissingExtra:
                raise
            except Exception as error:  # noqa: BLE001 - tf2onnx raises whatever it comes upon
                raise CompressionError("export_failed", f"tf2onnx: {str(error)[:300]!r}") from None
        taken = [value.name.partition(":")[0] for value in model.graph.input]
        if taken != [spec.name for spec in self._specs] or len(model.graph.output) != len(self._outputs):
            raise CompressionError("export_inputs", "the graph takes or gives something else than the model")
        try:
            refuse_foreign(model)
            check(model)
        except SourceError as error:
            if error.code == "source_too_large":
                raise
            raise CompressionError("export_failed", str(error)) from None
        return regular(serialise(_named(model, list(self._inputs), self._outputs)))

    def run(self, grant: Grant, in_force: str, feeds: Callable[[Payload], Iterable[Feeds]]) -> list[list[NDArray[Any]]]:
        """See Original. Raises Ungated, SourceError "source_config"."""
        payload = redeem(grant, self._digest, in_force)
        tf = tensorflow()

        def outputs(batch: Feeds) -> list[NDArray[Any]]:
            return [output.numpy() for output in self._concrete(*(tf.constant(batch[name]) for name in self.names))]

        return [_asked(partial(outputs, batch)) for batch in feeds(payload)]

    def trials(self, items: Sequence[Any], reader: Reader) -> Iterator[Feeds]:
        """The first items alone, and then together in a batch."""
        alone = [reader.feeds([item]) for item in items[:TRIALS]]
        yield from alone
        yield {name: np.concatenate([feeds[name] for feeds in alone]) for name in self.names}


def _frozen(traced: Any, outputs: Sequence[str], *, logits: bool) -> Any:
    """A function with its weights in it as constants and its outputs in their order, or what goes into its softmax."""
    tf = tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    constant = convert_variables_to_constants_v2(traced)
    # a traced function gives a dictionary in the order of its sorted names
    wanted = [constant.outputs[sorted(outputs).index(name)] for name in outputs]
    if logits:
        [tensor] = wanted
        while tensor.op.type == "Identity":
            tensor = tensor.op.inputs[0]
        if tensor.op.type != "Softmax":
            raise SourceError("source_config", f"the model ends in {tensor.op.type}, and said in a softmax")
        wanted = [tensor.op.inputs[0]]
    pruned = constant.prune(constant.inputs, wanted)
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=f"in_{n}") for n, tensor in enumerate(constant.inputs)]
    return tf.function(lambda *tensors: tuple(pruned(*tensors)), input_signature=specs).get_concrete_function()


def _asked(work: Callable[[], Any]) -> Any:
    """Raises SourceError "source_config" for what TensorFlow makes of a model that is not right."""
    try:
        return work()
    except SourceError:
        raise
    except Exception as error:  # noqa: BLE001 - errors of TensorFlow have no root
        raise SourceError("source_config", f"TensorFlow does not run the model: {str(error)[:200]!r}") from None


def _named(model: onnx.ModelProto, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    """The inputs and outputs by the names of the model, all others by their place, and the places those in which the
    outputs ask for them: tf2onnx counts on in a process and goes by sets, so that the same model would have other bytes
    the next time."""
    graph = model.graph
    if any(attribute.type == onnx.AttributeProto.GRAPH for node in graph.node for attribute in node.attribute):
        raise CompressionError("export_failed", "the graph branches, which is not taken in")
    given = dict(zip((value.name for value in graph.input), inputs, strict=True))
    given |= dict(zip((value.name for value in graph.output), outputs, strict=True))
    if len(set(given.values())) < len(inputs) + len(outputs):
        raise CompressionError("export_inputs", "an input and an output of the model have one name")
    nodes = [onnx.NodeProto.FromString(graph.node[number].SerializeToString()) for number in _asked_for(graph)]
    weights = {tensor.name: tensor for tensor in graph.initializer}
    used = [name for name in dict.fromkeys(name for node in nodes for name in node.input) if name in weights]
    for number, name in enumerate(used):
        given.setdefault(name, f"weight_{number}")
    for number, node in enumerate(nodes):
        for place, name in enumerate(node.output):
            given.setdefault(name, f"value_{number}_{place}" if name else "")
        node.name = f"{node.op_type}_{number}"
        node.doc_string = ""
    for node in nodes:
        node.input[:] = [given.get(name, name) for name in node.input]
        node.output[:] = [given[name] for name in node.output]
    for value in (*graph.input, *graph.output):
        value.name = given[value.name]
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value:
            dims[0].dim_param = "batch"
    made = helper.make_graph(nodes, "model", graph.input, graph.output)
    for name in used:
        tensor = made.initializer.add()
        tensor.CopyFrom(weights[name])
        tensor.name = given[name]
    # others would ask for the operators of domains that nothing calls
    opsets = [helper.make_opsetid("", one.version) for one in model.opset_import if one.domain in ("", "ai.onnx")]
    return helper.make_model(made, opset_imports=opsets, ir_version=model.ir_version, producer_name="tf2onnx")


def _asked_for(graph: onnx.GraphProto) -> list[int]:
    """The numbers of the nodes, each after those that it needs, in the order in which the outputs ask for them."""
    makers = {name: number for number, node in enumerate(graph.node) for name in node.output if name}
    ordered: dict[int, None] = {}
    waiting = [value.name for value in reversed(graph.output)]
    while waiting:
        number = makers.get(waiting[-1])
        needed = [] if number is None or number in ordered else graph.node[number].input
        missing = [name for name in needed if name in makers and makers[name] not in ordered]
        if missing:
            waiting.extend(reversed(missing))
            continue
        if number is not None:
            ordered[number] = None
        waiting.pop()
    return list(ordered)
