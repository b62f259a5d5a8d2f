"""Take in a torch.nn.Module of the user's own process: the code is theirs and runs already, so it may run here."""

from __future__ import annotations

import copy
import hashlib
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray

from toolkit.compress.data import Items, gathered
from toolkit.compress.errors import CompressionError, SourceError
from toolkit.compress.source import Measure, Original
from toolkit.compress.sources.export import Positional, TorchModel, Traced, batch_trials, brief, tensors
from toolkit.compress.sources.pictures import made_up_pictures
from toolkit.compress.sources.state import refuse_infinite
from toolkit.runtime.inputs import ImageInput

__all__ = ["TorchModule", "named", "read"]


class TorchModule(Struct, frozen=True, kw_only=True):
    """A Source (toolkit.compress.source): `module` in eval mode and FP32, a copy of what was brought; `example` holds
    an array for each input, whose first dimension is the batch."""

    name: str
    digest: str
    task: str
    licences: tuple[str, ...] = ()
    licence_text: None = None
    notice: None = None
    text: None = None
    image: ImageInput | None
    tokenizer: None = None
    labels: tuple[str, ...]
    languages: tuple[str, ...] = ()
    measure: Measure
    parameters: int
    convolves: bool
    module: Any
    example: dict[str, Any]

    def examples(self, count: int, seed: int = 0) -> Items:
        """Made-up inputs: pictures, or tensors with the spread of the example's numbers."""
        if self.image is not None:
            return made_up_pictures(self.image, count, seed)
        random = np.random.default_rng(seed)
        return gathered(
            [{name: _alike(array, random) for name, array in self.example.items()} for _ in range(count)], "tensors"
        )

    def load(self) -> Original:
        """See toolkit.compress.source. Raises SourceError "source_examples" where the module does not run on them."""
        # twice the item where it is one: a size of 1 would be taken for a constant
        example = {name: torch.tensor(np.concatenate([array] * 2)[:2]) for name, array in self.example.items()}
        model = Positional(self.module, tuple(example), tensors)
        try:
            with torch.inference_mode():
                outputs = model(*example.values())
        except Exception as error:  # noqa: BLE001 - it is the user's code
            raise SourceError("source_examples", f"the module does not run on the example: {brief(error)}") from None
        names = {f"output_{number}" if number else "output": ("batch",) for number in range(len(outputs))}
        return TorchModel(model, self.digest, Traced(example=example, dims=("batch",), outputs=names), batch_trials)


def read(
    module: torch.nn.Module,
    example: object,
    *,
    image: ImageInput | None = None,
    labels: Sequence[str] = (),
) -> TorchModule:
    """The module with an example of its inputs: a tensor, several in the order of `forward`, or by name.

    The first dimension of every input and output is the batch. Raises SourceError: source_code for TorchScript,
    source_examples, source_weights; CompressionError "export_inputs" where one tensor stands for two inputs.
    """
    if isinstance(module, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise SourceError("source_code", "TorchScript carries code of its own: bring the module that it was made from")
    given = named(module, example)
    own = copy.deepcopy(module).eval().float()
    own.requires_grad_(requires_grad=False)
    state = {**dict(own.named_parameters()), **dict(own.named_buffers())}
    refuse_infinite(state)
    digest = hashlib.sha256(f"{type(module).__module__}.{type(module).__qualname__}\n{own!r}\n".encode())
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    digest.update(repr([(name, str(array.dtype), array.shape[1:]) for name, array in given.items()]).encode())
    return TorchModule(
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", type(module).__name__)[:100],
        digest=digest.hexdigest(),
        task="tensors" if image is None else "image-classification" if labels else "image-feature-extraction",
        image=image,
        labels=tuple(labels),
        measure="agreement" if labels else "correlation",
        parameters=sum(tensor.numel() for tensor in state.values()),
        convolves=any(isinstance(part, torch.nn.modules.conv._ConvNd) for part in own.modules()),
        module=own,
        example=given,
    )


def named(module: torch.nn.Module, given: object) -> dict[str, NDArray[Any]]:
    """An item for a module by the names of its inputs: from a tensor, several in the order of `forward`, or by name.

    Raises SourceError "source_examples"; CompressionError "export_inputs" where one tensor stands for two inputs.
    """
    names = list(inspect.signature(module.forward).parameters)
    if isinstance(given, Mapping):
        values = {name: given[name] for name in names if name in given}
        if len(values) < len(given):
            raise SourceError("source_examples", f"forward takes {names}, the example has {sorted(map(str, given))}")
    else:
        listed = list(given) if isinstance(given, tuple | list) else [given]
        if len(listed) > len(names):
            raise SourceError("source_examples", f"forward takes {names}, the example has {len(listed)} tensors")
        values = dict(zip(names, listed, strict=False))
    if len({id(value) for value in values.values()}) < len(values):
        raise CompressionError("export_inputs", "one tensor stands for two inputs: they would become one")
    arrays = {name: _array(name, value) for name, value in values.items()}
    if not arrays or len({array.shape[:1] for array in arrays.values()}) > 1:
        raise SourceError("source_examples", "every input is a tensor whose first dimension is the batch")
    return arrays


def _array(name: str, value: object) -> NDArray[Any]:
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
    if not isinstance(array, np.ndarray) or not array.ndim or not array.size or array.dtype.kind not in "fiub":
        raise SourceError("source_examples", f"the input {name} is no tensor with a batch")
    return array


def _alike(array: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
    """One item with numbers like those of an array: floats of its mean and spread, else those that it has."""
    shape = (1, *array.shape[1:])
    if array.dtype.kind == "f":
        return random.normal(array.mean(), array.std() or 1.0, shape).astype(array.dtype)
    return random.choice(array.reshape(-1), shape)
