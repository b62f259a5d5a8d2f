"""Where a training stands, on disk: weights and moments as safetensors, never a pickle; all of it or nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
from msgspec import Struct
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from compliance.disk import put
from toolkit.train.errors import TrainingError

__all__ = ["Standing", "keep", "kept"]

FORMAT = 1
FILE = "checkpoint.safetensors"


class Standing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """After how many steps of the training `of` (a digest of all that it is made of); the sums of the distances over
    the first and the current epoch, and what was spent."""

    format: int = FORMAT
    of: str
    steps: int = 0
    first: float = 0.0
    current: float = 0.0
    flops: int = 0
    cpu_s: float = 0.0


def keep(folder: Path, standing: Standing, model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Put a checkpoint in the place of the one before. What is random goes by seed and step alone. Raises Failed."""
    tensors = {f"model/{name}": value for name, value in model.named_parameters()}
    for name, parameter in model.named_parameters():
        state = optimiser.state.get(parameter, {})
        tensors |= {f"optimiser/{name}/{key}": value for key, value in state.items()}
    metadata = {"standing": msgspec.json.encode(standing).decode()}
    put(folder / FILE, save({name: value.detach().contiguous() for name, value in tensors.items()}, metadata))


def kept(folder: Path, of: str, model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> Standing:
    """Where a training stood, put into the model and the optimiser; its start where there is no checkpoint.

    Raises TrainingError "train_checkpoint" for a file that is none of this training.
    """
    path = folder / FILE
    if not path.exists():
        return Standing(of=of)
    try:
        with safe_open(path, "pt") as opened:
            standing = msgspec.json.decode((opened.metadata() or {}).get("standing", ""), type=Standing)
            if (standing.format, standing.of) != (FORMAT, of):
                raise TrainingError("train_checkpoint", f"{path} is of another training, or of another release")
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.copy_(opened.get_tensor(f"model/{name}"))
            states = [key.split("/") for key in opened.keys() if key.startswith("optimiser/")]  # noqa: SIM118 - it is no dictionary
            for name, parameter in model.named_parameters():
                state = {key: opened.get_tensor(f"optimiser/{own}/{key}") for _, own, key in states if own == name}
                if state:
                    optimiser.state[parameter] = state
    except (SafetensorError, msgspec.MsgspecError, RuntimeError, ValueError) as error:
        raise TrainingError("train_checkpoint", f"{path}: {str(error)[:200]}") from None
    return standing
