"""Where an error enters: each layer of a pressed model held against the same layer of the FP32 export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, log10
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from toolkit.compress.calibration import Calibration
from toolkit.compress.layers import Graph
from toolkit.compress.results import LayerError
from toolkit.compress.serialise import serialise

__all__ = ["layer_errors"]

BEST = 200.0  # decibels: what is the same to the last bit
_NORMALISING = ("LayerNormalization", "BatchNormalization", "SimplifiedLayerNormalization")


def layer_errors(before: bytes, after: bytes, data: Calibration) -> tuple[LayerError, ...]:
    """The signal-to-noise ratio of what each layer and each normalisation gives, in the order of the graph, over all
    of the data. Errors add up on the way: a fall from one layer to the next is where one enters. Layers whose result a
    step renamed or fused away are left out. Raises Ungated, ModelError, CompressionError "step_failed".
    """
    first, second = Graph(before, "diagnose", layers=False), Graph(after, "diagnose", layers=False)
    shared = {name: node for name, node in _results(first) if second.maker(name) is not None}
    signal = dict.fromkeys(shared, 0.0)
    noise = dict.fromkeys(shared, 0.0)
    pairs = zip(_watched(first, tuple(shared), data), _watched(second, tuple(shared), data), strict=True)
    for expected, given in pairs:
        for name, value in expected.items():
            signal[name] += float(np.square(value, dtype=np.float64).sum())
            noise[name] += float(np.square(given[name].astype(np.float64) - value).sum())
    return tuple(
        LayerError(name=node.name, kind=node.op_type, decibels=_decibels(signal[name], noise[name]))
        for name, node in shared.items()
    )


def _results(graph: Graph) -> Iterator[tuple[str, onnx.NodeProto]]:
    """What each layer gives, with its bias where that is an Add of its own, as steps fuse the two."""
    layers = {layer.node.output[0] for layer in graph.layers}
    for node in graph.model.graph.node:
        name = node.output[0]
        if name in layers:
            users = graph.users(name)
            alone = users[0] if users is not None and len(users) == 1 else None
            biased = alone is not None and alone.op_type == "Add" and _constant(graph, alone)
            yield (str(alone.output[0]) if alone is not None and biased else name), node
        elif node.op_type in _NORMALISING:
            yield name, node


def _constant(graph: Graph, node: onnx.NodeProto) -> bool:
    return any(graph.constant(name) is not None for name in node.input)


def _watched(graph: Graph, names: Sequence[str], data: Calibration) -> Iterator[Mapping[str, NDArray[Any]]]:
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    return data.outputs(serialise(model)) if names else iter(())


def _decibels(signal: float, noise: float) -> float:
    if not isfinite(noise):
        return -BEST
    if noise == 0 or signal == 0:
        return BEST if noise == 0 else -BEST
    return min(10 * log10(signal / noise), BEST)
