"""A thin seam on torch's ONNX exporter: torch.onnx.export(dynamo=True) at opset 20, and a refusal of all that would
make a graph that is wrong without a sign."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray

from policies.gate import Grant, redeem
from policies.payload import Payload
from toolkit.compress.errors import CompressionError, SourceError
from toolkit.compress.quiet import quiet
from toolkit.compress.serialise import serialise
from toolkit.runtime.inputs import ImageInput
from toolkit.runtime.readers import Reader
from toolkit.runtime.session import Feeds

__all__ = [
    "Outputs",
    "Positional",
    "TorchModel",
    "Traced",
    "batch_trials",
    "brief",
    "picture",
    "tensors",
    "text_trials",
    "trace",
]

OPSET = 20  # quantize_dynamic is broken at 23

BatchesOf = Callable[[Payload], Iterable[Feeds]]
Outputs = tuple[torch.Tensor, ...]


class Positional(torch.nn.Module):
    """A model that takes the named inputs in order, and gives what `pick` takes out of its answer."""

    def __init__(self, model: torch.nn.Module, names: tuple[str, ...], pick: Callable[[Any], Outputs]) -> None:
        super().__init__()
        self.model = model
        self.names = names
        self.pick = pick

    def forward(self, *values: torch.Tensor) -> Outputs:
        """The inputs in their order to the outputs in theirs."""
        return self.pick(self.model(**dict(zip(self.names, values, strict=True))))


class Traced(Struct, frozen=True, kw_only=True):
    """What an export needs beside the model: `example`, a tensor for each input in order, every open dimension above 1;
    `dims`, the names of the dimensions that stay open in each, counted from the first one; `outputs`, those that stay
    open in each output by its name."""

    example: Mapping[str, torch.Tensor]
    dims: tuple[str, ...]
    outputs: Mapping[str, tuple[str, ...]]


class TorchModel:
    """The model as it was brought, in torch, FP32 and eval mode. Runs under a grant only."""

    def __init__(
        self,
        model: Positional,
        digest: str,
        traced: Traced,
        trials: Callable[[Sequence[Any], Reader], Iterator[Feeds]],
    ) -> None:
        self._model = model.eval()
        self._digest = digest
        self._traced = traced
        self._trials = trials

    @property
    def names(self) -> tuple[str, ...]:
        return self._model.names

    def export(self) -> bytes:
        """The ONNX file, the same bytes in every folder and process. Raises CompressionError."""
        return trace(self._model, self._traced)

    def run(self, grant: Grant, in_force: str, feeds: BatchesOf) -> list[list[NDArray[Any]]]:
        """The outputs of each batch made from the payload.

        Raises Ungated, and SourceError "source_config" for what the model does not take.
        """
        payload = redeem(grant, self._digest, in_force)
        try:
            with torch.inference_mode():
                return [
                    [output.numpy() for output in self._model(*(torch.tensor(batch[name]) for name in self.names))]
                    for batch in feeds(payload)
                ]
        except (IndexError, RuntimeError) as error:
            raise SourceError("source_config", f"the model does not run on its own inputs: {brief(error)}") from None

    def trials(self, items: Sequence[Any], reader: Reader) -> Iterator[Feeds]:
        """Batches of several sizes and lengths, with the inputs of the model and no others."""
        for batch in self._trials(items, reader):
            yield {name: batch[name] for name in self.names}


def trace(model: Positional, traced: Traced) -> bytes:
    """Export with the open dimensions of `traced`, and no others.

    Raises CompressionError: export_inputs for what would make a graph that is wrong without a sign, export_failed.
    """
    example = traced.example
    if tuple(example) != model.names:
        raise CompressionError("export_inputs", f"the model takes {model.names}, the example has {tuple(example)}")
    if len({id(tensor) for tensor in example.values()}) < len(example):
        raise CompressionError("export_inputs", "one tensor stands for two inputs: they would become one")
    if any(size < 2 for tensor in example.values() for size in tensor.shape[: len(traced.dims)]):
        raise CompressionError("export_inputs", "a size of 1 in the example would be taken for a constant")
    dims = {axis: torch.export.Dim(name) for axis, name in enumerate(traced.dims)}
    with quiet(), torch.inference_mode():
        try:
            program = torch.onnx.export(
                model,
                args=tuple(example.values()),
                input_names=list(example),
                output_names=list(traced.outputs),
                dynamic_shapes=(tuple(dims for _ in example),),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise CompressionError("export_failed", f"torch cannot export the model: {brief(error)}") from None
    if program is None:
        raise CompressionError("export_failed", "torch gave no graph")
    graph = program.model_proto.graph
    if [node.name for node in graph.output] != list(traced.outputs):
        raise CompressionError("export_inputs", f"the graph does not give {tuple(traced.outputs)}")
    for node in (*graph.input, *graph.output):
        expected = traced.outputs.get(node.name, traced.dims)
        if tuple(dim.dim_param for dim in node.type.tensor_type.shape.dim)[: len(expected)] != expected:
            raise CompressionError("export_inputs", f"the shape of {node.name} was fixed to that of the example")
    return serialise(program.model_proto)


def text_trials(items: Sequence[str], reader: Reader) -> Iterator[Feeds]:
    """Batches from a few texts: the lengths from 1 to the longest, padded on the right and on the left."""
    padded = reader.feeds(items[:4])
    yield padded
    # the same rows with their padding on the left
    turns = (padded["attention_mask"] == 0).sum(axis=1)
    yield {
        name: np.stack([np.roll(row, turn) for row, turn in zip(array, turns, strict=True)])
        for name, array in padded.items()
    }
    alone = reader.feeds(items[:1])
    yield alone
    yield {name: array[:, :1] for name, array in alone.items()}
    longest = reader.feeds([" ".join(items)])
    # the second half as a second segment, where the model knows of such
    halves = {"token_type_ids": (np.arange(longest["input_ids"].size) * 2 >= longest["input_ids"].size)[None]}
    yield {name: halves.get(name, array).astype(np.int64) for name, array in longest.items()}


def batch_trials(items: Sequence[Any], reader: Reader) -> Iterator[Feeds]:
    """The first items alone, and then two and three of them in a batch."""
    alone = [reader.feeds([item]) for item in items[:3]]
    yield from alone
    for size in (2, 3):
        some = (alone * size)[:size]
        yield {name: np.concatenate([feeds[name] for feeds in some]) for name in some[0]}


def picture(image: ImageInput) -> torch.Tensor:
    """An example of two images, (2, 3, height, width)."""
    return torch.linspace(-1, 1, 2 * 3 * image.height * image.width).reshape(2, 3, image.height, image.width)


def tensors(answer: Any) -> Outputs:
    """The tensors of what a module gives: one, several, or by name. Raises TypeError for anything else."""
    if isinstance(answer, torch.Tensor):
        return (answer,)
    values = tuple(answer.values()) if isinstance(answer, Mapping) else tuple(answer)
    if not values or not all(isinstance(value, torch.Tensor) for value in values):
        raise TypeError("the module gives something that is no tensor")
    return values


def brief(error: Exception) -> str:
    """The first line of a foreign error: the rest is advice for somebody else."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
