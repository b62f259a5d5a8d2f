"""Where an error enters: each layer of a pressed model held against the same layer of the FP32 export."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite, log10
from typing import Any

import numpy as np
import onnx
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import TensorProto, helper

from toolkit.compress.calibration import Calibration
from toolkit.compress.errors import CompressionError
from toolkit.compress.layers import Graph
from toolkit.compress.results import LayerError, Outlier, Sensitivity
from toolkit.compress.serialise import serialise

__all__ = ["layer_errors", "outliers", "sensitivities"]

ITEMS = 8  # on which the sensitivity is found
OUTLYING = 6.0  # times the median
SHOWN = 30  # outliers
BEST = 200.0  # decibels: what is the same to the last bit
_NORMALISING = ("LayerNormalization", "BatchNormalization", "SimplifiedLayerNormalization")


def layer_errors(before: bytes, after: bytes, data: Calibration) -> tuple[LayerError, ...]:
    """The signal-to-noise ratio of what each layer and each normalisation gives, in the order of the graph, over all
    of the data. Errors add up on the way: a fall from one layer to the next is where one enters. Layers whose result a
    step renamed, fused away or gave another shape are left out. Raises Ungated, ModelError, CompressionError
    "step_failed".
    """
    first, second = Graph(before, "diagnose", layers=False), Graph(after, "diagnose", layers=False)
    shared = {name: node for name, node in _results(first) if second.maker(name) is not None}
    signal = dict.fromkeys(shared, 0.0)
    noise = dict.fromkeys(shared, 0.0)
    pairs = zip(_watched(first, tuple(shared), data), _watched(second, tuple(shared), data), strict=True)
    for expected, given in pairs:
        for name, value in expected.items():
            if given[name].shape != value.shape:
                shared.pop(name, None)
                continue
            signal[name] += float(np.square(value, dtype=np.float64).sum())
            noise[name] += float(np.square(given[name].astype(np.float64) - value).sum())
    return tuple(
        LayerError(name=node.name, kind=node.op_type, decibels=_decibels(signal[name], noise[name]))
        for name, node in shared.items()
    )


def sensitivities(
    step: Any, model: bytes, data: Calibration, progress: Callable[[str], None]
) -> tuple[Sensitivity, ...]:
    """What each layer costs when a step presses it alone, what costs most first. The step is one that can leave nodes
    out. Raises CompressionError "step_failed"."""
    graph = Graph(model, "diagnose")
    few = data.first(ITEMS)
    expected = list(few.outputs(model))
    pressed = replace(step, tables=False) if hasattr(step, "tables") else step
    nodes = [node.name for node in graph.model.graph.node]
    found = []
    for number, layer in enumerate(graph.layers, start=1):
        progress(f"sensitivity of layer {number} of {len(graph.layers)}")
        alone = replace(pressed, exclude=tuple(name for name in nodes if name != layer.name))
        try:
            after, _ = alone.apply(model, few)
        except CompressionError:
            continue  # what the step cannot press costs nothing
        found.append(
            Sensitivity(name=layer.name, kind=layer.node.op_type, lost=lost(expected, few, after) / max(1, len(few)))
        )
    return tuple(sorted(found, key=lambda one: -one.lost))


def lost(expected: Sequence[Mapping[str, NDArray[np.float32]]], data: Calibration, model: bytes) -> float:
    """The power of what changed in the outputs over that of the outputs, for each batch, added up."""
    total = 0.0
    for right, given in zip(expected, data.outputs(model), strict=True):
        for name, value in right.items():
            power = float(np.square(value, dtype=np.float64).sum())
            total += float(np.square(given[name] - value, dtype=np.float64).sum()) / max(power, 1e-30)
    return total


def outliers(model: bytes, data: Calibration) -> tuple[Outlier, ...]:
    """The input channels of layers that reach far beyond the others, which leave few levels of integers to those.

    Raises CompressionError "step_failed".
    """
    graph = Graph(model, "diagnose")
    layers = {layer.input: layer for layer in reversed(graph.layers)}
    peaks: dict[str, NDArray[np.float32]] = {}
    for values in graph.watch(tuple(layers), data):
        for name, value in values.items():
            peak = np.abs(layers[name].rows(value)).max(axis=0, initial=0)
            peaks[name] = np.maximum(peaks.get(name, peak), peak)
    found = []
    for name, peak in peaks.items():
        median = float(np.median(peak))
        for channel in np.flatnonzero(peak > OUTLYING * median) if median > 0 else ():
            found.append(Outlier(name=layers[name].name, channel=int(channel), times=float(peak[channel]) / median))
    return tuple(sorted(found, key=lambda one: -one.times)[:SHOWN])


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
