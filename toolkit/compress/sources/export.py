"""A thin seam on torch's ONNX exporter, and the check that what came out is the model that went in.

optimum knows the model class for a task and makes example inputs; the graph is made by torch.onnx.export(dynamo=True)
at opset 20 with eager attention. The weights are loaded from the bytes that were hashed, never from the folder.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from optimum.exporters.tasks import TasksManager  # type: ignore[import-untyped]  # no types are published with it
from optimum.utils import (  # type: ignore[import-untyped]  # no types are published with it
    DummyTextInputGenerator,
    NormalizedConfigManager,
)
from safetensors.torch import load as load_tensors
from transformers import CONFIG_MAPPING
from transformers.utils import logging as transformers_logging

from policies.gate import Grant, redeem
from policies.payload import Payload
from toolkit.compress.errors import CompressionError, SourceError
from toolkit.compress.quiet import quiet
from toolkit.compress.serialise import serialise
from toolkit.compress.sources.huggingface import Source
from toolkit.runtime.readers import Reader
from toolkit.runtime.session import Feeds

__all__ = ["Encoder", "Original", "load", "trace", "trials"]

OPSET = 20  # quantize_dynamic is broken at 23
OUTPUT = "last_hidden_state"
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")

BatchesOf = Callable[[Payload], Iterable[Feeds]]


class Encoder(torch.nn.Module):
    """A transformers model that takes the named inputs in order and gives its last hidden state alone."""

    def __init__(self, model: torch.nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        """(batch, tokens) each to (batch, tokens, hidden)."""
        hidden: torch.Tensor = self.model(**dict(zip(self.names, values, strict=True))).last_hidden_state
        return hidden


class Original:
    """The model as it was brought, in torch, FP32 and eval mode. Runs under a grant only."""

    def __init__(self, encoder: Encoder, digest: str, example: Mapping[str, torch.Tensor]) -> None:
        self._encoder = encoder.eval()
        self._digest = digest
        self._example = example

    @property
    def names(self) -> tuple[str, ...]:
        return self._encoder.names

    def export(self) -> bytes:
        """The ONNX file, the same bytes in every folder and process. Raises CompressionError."""
        return trace(self._encoder, self._example)

    def run(self, grant: Grant, in_force: str, feeds: BatchesOf) -> list[list[NDArray[Any]]]:
        """The last hidden state (batch, tokens, hidden), alone in a list, of each batch made from the payload.

        Raises Ungated, and SourceError "source_config" for tokens that the model does not take.
        """
        payload = redeem(grant, self._digest, in_force)
        try:
            with torch.inference_mode():
                return [
                    [self._encoder(*(torch.from_numpy(batch[name]) for name in self.names)).numpy()]
                    for batch in feeds(payload)
                ]
        except (IndexError, RuntimeError) as error:
            raise SourceError("source_config", f"the model does not run on its own tokens: {_brief(error)}") from None

    def trials(self, items: Sequence[Any], reader: Reader) -> Iterator[Feeds]:
        """Batches from a few texts: the lengths from 1 to the longest, padded on the right and on the left."""
        for batch in trials(list(items), reader.feeds):
            yield {name: batch[name] for name in self.names}


def load(source: Source) -> Original:
    """The model of a source. Raises SourceError: source_changed, source_config, source_weights."""
    content = msgspec.json.decode(source.config, type=dict[str, Any])
    with quiet():
        try:
            config = CONFIG_MAPPING[content["model_type"]].from_dict(content)
            task = TasksManager.get_model_class_for_task(source.task, framework="pt", model_type=config.model_type)
            kind = task._model_mapping[type(config)]
            with torch.device("meta"):
                described = sum(parameter.numel() for parameter in kind(config).parameters())
        except Exception as error:  # noqa: BLE001 - whatever a malformed configuration sets off in transformers
            raise SourceError("source_config", f"config.json makes no model: {_brief(error)}") from None
        model = _with_weights(kind, config, _tensors(source), described)
        names = tuple(name for name in _INPUTS if name in inspect.signature(model.forward).parameters)
        if getattr(config, "type_vocab_size", 0) < 2:
            names = names[:2]  # one type only, which the model takes without being told
        return Original(Encoder(model, names), source.digest, _example(config, source.task, names))


def trace(encoder: Encoder, example: Mapping[str, torch.Tensor]) -> bytes:
    """Export with dynamic batch and tokens; `example` maps each name to int64 (batch, tokens), both above 1.

    Raises CompressionError: export_inputs for what would make a graph that is wrong without a sign, export_failed.
    """
    if tuple(example) != encoder.names:
        raise CompressionError("export_inputs", f"the model takes {encoder.names}, the example has {tuple(example)}")
    if len({id(tensor) for tensor in example.values()}) < len(example):
        raise CompressionError("export_inputs", "one tensor stands for two inputs: they would become one")
    if any(size < 2 for tensor in example.values() for size in tensor.shape):
        raise CompressionError("export_inputs", "a size of 1 in the example would be taken for a constant")
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
    with quiet(), torch.inference_mode():
        try:
            program = torch.onnx.export(
                encoder,
                args=tuple(example.values()),
                input_names=list(example),
                output_names=[OUTPUT],
                dynamic_shapes=(tuple({0: batch, 1: tokens} for _ in example),),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise CompressionError("export_failed", f"torch cannot export the model: {_brief(error)}") from None
    if program is None:
        raise CompressionError("export_failed", "torch gave no graph")
    model = program.model_proto
    for node in (*model.graph.input, *model.graph.output):
        if [dim.dim_param for dim in node.type.tensor_type.shape.dim[:2]] != ["batch", "tokens"]:
            raise CompressionError("export_inputs", f"the shape of {node.name} was fixed to that of the example")
    return serialise(model)


def trials(texts: list[str], tokens: Callable[[list[str]], Feeds]) -> Iterator[Feeds]:
    """Batches from a few texts: the lengths from 1 to the longest, padded on the right and on the left."""
    padded = tokens(texts[:4])
    yield padded
    # the same rows with their padding on the left
    turns = (padded["attention_mask"] == 0).sum(axis=1)
    yield {
        name: np.stack([np.roll(row, turn) for row, turn in zip(array, turns, strict=True)])
        for name, array in padded.items()
    }
    alone = tokens(texts[:1])
    yield alone
    yield {name: array[:, :1] for name, array in alone.items()}
    longest = tokens([" ".join(texts)])
    # the second half as a second segment, where the model knows of such
    halves = {"token_type_ids": (np.arange(longest["input_ids"].size) * 2 >= longest["input_ids"].size)[None]}
    yield {name: halves.get(name, array).astype(np.int64) for name, array in longest.items()}


def _tensors(source: Source) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for file in source.weights:
        shard = load_tensors(file.read())
        if not tensors.keys().isdisjoint(shard):
            raise SourceError("source_weights", f"{file.name} has tensors that another file has too")
        tensors.update(shard)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise SourceError("source_weights", f"{name[:200]!r} holds NaN or infinity")
    return tensors


def _with_weights(kind: Any, config: Any, tensors: dict[str, torch.Tensor], described: int) -> torch.nn.Module:
    """A model of the class `kind` with these weights: none missing, none left over but heads for other tasks."""
    held = sum(tensor.numel() for tensor in tensors.values())
    if described > 2 * held:
        raise SourceError("source_weights", f"config.json describes {described} parameters, the weights have {held}")
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # half typed
    try:
        model, info = kind.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            dtype=torch.float32,
            attn_implementation="eager",
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # noqa: BLE001 - whatever weights of another shape set off in transformers
        raise SourceError("source_weights", f"the weights do not fit the configuration: {_brief(error)}") from None
    finally:
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # half typed
    # the pooler is for another task: nothing here reads it
    missing = [name for name in info["missing_keys"] if not name.startswith("pooler.")]
    parts = {name for name, _ in model.named_children()}
    stray = [name for name in info["unexpected_keys"] if _part(name, kind.base_model_prefix) in parts - {"pooler"}]
    odd = sorted([*missing, *stray, *map(str, info["mismatched_keys"])])
    if odd:
        raise SourceError("source_weights", f"missing, left over or of another shape: {', '.join(odd[:5])[:300]}")
    return model  # type: ignore[no-any-return]  # transformers does not say


def _part(name: str, prefix: str) -> str:
    return name.removeprefix(f"{prefix}.").partition(".")[0]


def _example(config: Any, task: str, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    normalized = NormalizedConfigManager.get_normalized_config_class(config.model_type)(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dummies = DummyTextInputGenerator(task, normalized, batch_size=2, sequence_length=7)
        return {name: dummies.generate(name, framework="pt") for name in names}


def _brief(error: Exception) -> str:
    """The first line of a foreign error: the rest is advice for somebody else."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
