"""Where a training stands, on disk: weights and moments as safetensors, never a pickle; all of it or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import msgspec
import torch
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.torch import load, save

from compliance.disk import put
from toolkit.train.errors import TrainingError
from toolkit.train.group import Group

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

__all__ = ["FILE", "Standing", "gone_on_with", "keep", "whole"]

Tensor = torch.Tensor

FORMAT = 1
FILE = "checkpoint.safetensors"


class Standing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """After how many steps of the training `of` (a digest of all that it is made of); the sums of the distances over
    the first and the current epoch, and what was spent: operations and seconds of processors, of all processes."""

    format: int = FORMAT
    of: str
    steps: int = 0
    first: float = 0.0
    current: float = 0.0
    flops: int = 0
    cpu_s: float = 0.0


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
        metadata = {"standing": msgspec.json.encode(standing).decode()}
        put(folder / FILE, save({name: value.contiguous() for name, value in tensors.items()}, metadata))


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
        standing = msgspec.json.decode(_said(given), type=Standing)
        if (standing.format, standing.of) != (FORMAT, of):
            raise TrainingError("train_checkpoint", f"{path} is of another training, or of another release")
        tensors = load(given)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(_shard(tensors.pop(f"model/{name}"), parameter))
                keys = [key for key in tensors if key.startswith(f"optimiser/{name}/")]
                state = {key.rpartition("/")[2]: _shard(tensors[key], parameter) for key in keys}
                if state:
                    optimiser.state[parameter] = state
    except (SafetensorError, msgspec.MsgspecError, RuntimeError, ValueError, KeyError) as error:
        raise TrainingError("train_checkpoint", f"{path}: {str(error)[:200]}") from None
    return standing


def _said(content: bytes) -> bytes:
    """What stands as the metadata of a safetensors file: eight bytes of length, then JSON."""
    size = int.from_bytes(content[:8], "little")
    header = msgspec.json.decode(content[8 : 8 + size], type=dict[str, msgspec.Raw])
    return msgspec.json.decode(header["__metadata__"], type=dict[str, str])["standing"].encode()


def _shard(value: Tensor, like: Tensor) -> Tensor:
    """The part of a tensor that this process holds of one of its shape."""
    if not _is_shard(like) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def _is_shard(tensor: Tensor) -> TypeGuard[DTensor]:
    """A DTensor, without loading what makes them."""
    return hasattr(tensor, "placements")
