"""Where a training stands, on disk: weights and moments as safetensors, never a pickle; all of it or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeGuard

import msgspec
import numpy as np
import torch
from msgspec import Meta, Struct
from safetensors import SafetensorError
from safetensors.torch import load, save

from compliance.disk import put
from toolkit.train.errors import TrainingError
from toolkit.train.group import Group

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

__all__ = ["FILE", "Standing", "gone_on_with", "keep", "read_checkpoint", "whole"]

Tensor = torch.Tensor

FORMAT = 1
FILE = "checkpoint.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of AdamW

Count = Annotated[int, Meta(ge=0)]


class _Format(Struct):
    format: int


class Standing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """After how many steps of the training `of` (a digest of all that it is made of); the sums of the distances over
    the first and the current epoch, and what was spent: operations and seconds of processors, of all processes."""

    format: int = FORMAT
    of: str
    steps: Count = 0
    first: float = 0.0
    current: float = 0.0
    flops: Count = 0
    cpu_s: Annotated[float, Meta(ge=0)] = 0.0


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which this process may hold a shard; then every process of the group has to ask for it."""
    value = tensor.detach()
    return value.full_tensor() if _is_shard(value) else value


def keep(
    folder: Path, standing: Standing, model: torch.nn.Module, optimiser: torch.optim.Optimizer, *, put_it: bool
) -> None:
    """Put a checkpoint in the place of the one before, in the process that is to. What is random goes by seed and step
    alone. Where processes hold shards, each of them calls this. Raises Failed."""
    tensors = {f"model/{name}": whole(value) for name, value in model.named_parameters()}
    for name, parameter in model.named_parameters():
        state = optimiser.state.get(parameter, {})
        tensors |= {f"optimiser/{name}/{key}": whole(value) for key, value in state.items()}
    if put_it:
        tensors = {name: value.contiguous() for name, value in tensors.items()}
        metadata = {"standing": msgspec.json.encode(standing).decode(), "sha256": _digest(tensors)}
        put(folder / FILE, save(tensors, metadata))


def read_checkpoint(content: bytes) -> tuple[Standing, dict[str, Tensor]]:
    """Where a training stood, and its tensors: "model/NAME", and "optimiser/NAME/" with "step", "exp_avg" and
    "exp_avg_sq". Raises TrainingError "train_checkpoint" for what is no checkpoint, or of another release."""
    try:
        size = int.from_bytes(content[:8], "little")
        header = msgspec.json.decode(content[8 : 8 + size], type=dict[str, msgspec.Raw])
        said = msgspec.json.decode(header["__metadata__"], type=dict[str, str])
        found = msgspec.json.decode(said["standing"], type=_Format).format
        if found != FORMAT:
            raise TrainingError("train_checkpoint", f"the checkpoint has format {found}, this release reads {FORMAT}")
        standing = msgspec.json.decode(said["standing"], type=Standing)
        tensors = load(content)
        if said["sha256"] != _digest(tensors):
            raise TrainingError("train_checkpoint", "the checkpoint is not what was put there")
    # what is nested too deep is a RuntimeError
    except (SafetensorError, msgspec.MsgspecError, RuntimeError, TypeError, ValueError, KeyError) as error:
        raise TrainingError("train_checkpoint", f"no checkpoint: {str(error)[:200]}") from None
    return standing, tensors


def gone_on_with(
    folder: Path, of: str, model: torch.nn.Module, optimiser: torch.optim.Optimizer, group: Group
) -> Standing:
    """Where a training stood, put into the model and the optimiser of each process; its start where the leader of the
    group has no checkpoint in the folder.

    Raises TrainingError "train_checkpoint", in every process, for a file that is none of this training.
    """
    path = folder / FILE
    try:
        read = path.read_bytes() if group.leads and path.exists() else b""
    except OSError as error:
        raise TrainingError("train_checkpoint", f"{path}: {error.strerror}") from None
    given = group.of_leader(read)
    if not given:
        return Standing(of=of)
    try:
        standing, tensors = read_checkpoint(given)
    except TrainingError as error:
        raise TrainingError("train_checkpoint", f"{path}: {error}") from None
    if standing.of != of:
        raise TrainingError("train_checkpoint", f"{path} is of another training")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            state = {key: tensors.pop(f"optimiser/{name}/{key}", None) for key in MOMENTS}
            kept = {key: value for key, value in state.items() if value is not None}
            held = tensors.pop(f"model/{name}", None)
            # a tensor of another shape would be stretched to the one that is there
            if held is None or not _fits(held, parameter, kept):
                raise TrainingError("train_checkpoint", f"{path} does not hold {name} as it is here")
            parameter.copy_(_shard(held, parameter))
            if kept:
                optimiser.state[parameter] = {key: _shard(value, parameter) for key, value in kept.items()}
    if tensors:
        raise TrainingError("train_checkpoint", f"{path} holds {min(tensors)[:100]}, which is not there")
    return standing


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names and numbers of tensors in the order of their names."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(name.encode() + b"\0")
        digest.update(value.numpy().reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _fits(held: Tensor, parameter: Tensor, state: Mapping[str, Tensor]) -> bool:
    """Whether a parameter and its moments, all or none, have the shape that the model needs."""
    moments = not state or (
        len(state) == len(MOMENTS)
        and all(value.shape == (() if key == "step" else parameter.shape) for key, value in state.items())
    )
    return moments and held.shape == parameter.shape and held.dtype == parameter.dtype


def _shard(value: Tensor, like: Tensor) -> Tensor:
    """The part of a tensor that this process holds of one of its shape."""
    if not _is_shard(like) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def _is_shard(tensor: Tensor) -> TypeGuard[DTensor]:
    """A DTensor, without loading what makes them."""
    return hasattr(tensor, "placements")
