"""On what a process trains, and through what it speaks with the others."""

from __future__ import annotations

import torch

__all__ = ["PROCESSOR", "backend_of", "device_of", "halves"]

PROCESSOR = torch.device("cpu")


def device_of(place: int, processes: int) -> torch.device:
    """That of the process at a `place` among the `processes` of this host: a graphics processor of its own where there
    are enough for all, since two processes cannot share one through nccl; else the processor."""
    if torch.cuda.is_available() and torch.cuda.device_count() >= processes:
        return torch.device("cuda", place)
    return PROCESSOR


def backend_of(device: torch.device) -> str:
    """What torch.distributed has to use for tensors on this device."""
    return "nccl" if device.type == "cuda" else "gloo"


def halves(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16."""
    if device.type == "cuda":
        supported: bool = torch.cuda.is_bf16_supported(including_emulation=False)
        return supported
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
