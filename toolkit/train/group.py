"""The processes that share a training: what each of them has to know of the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import distributed

from toolkit.train.device import PROCESSOR

__all__ = ["Group"]


class Group:
    """Those of torch.distributed, or this process alone where that was not begun. The first process of the first host
    `leads`: what is on its disk is what counts, wherever torchrun ranks it."""

    def __init__(self, host: int = 0, device: torch.device = PROCESSOR) -> None:
        """`host` is the number of the host that this process runs on, `device` where what is exchanged has to lie.
        Every process of the group calls this."""
        self._device = device
        together = distributed.is_initialized()
        self.rank = distributed.get_rank() if together else 0
        self.size = distributed.get_world_size() if together else 1
        self._leader = 0
        if together:
            hosts = self._gathered(torch.tensor([host], device=device))
            self._leader = min(range(self.size), key=lambda rank: (int(hosts[rank]), rank))

    @property
    def leads(self) -> bool:
        return self.rank == self._leader

    def sums(self, values: Sequence[float]) -> list[float]:
        """The sum of each number over all processes."""
        whole = torch.tensor(values, dtype=torch.float64, device=self._device)
        if self.size > 1:
            distributed.all_reduce(whole)
        return [float(value) for value in whole]

    def agrees(self, digest: bytes) -> bool:
        """Whether all processes hold the same digest."""
        if self.size == 1:
            return True
        held = self._gathered(torch.frombuffer(bytearray(digest), dtype=torch.uint8).to(self._device))
        return all(bool((one == held[0]).all()) for one in held)

    def of_leader(self, data: bytes) -> bytes:
        """The bytes that the leader holds. They go as bytes: nothing that comes from a process is unpickled."""
        if self.size == 1:
            return data
        count = torch.tensor([len(data)], device=self._device)
        distributed.broadcast(count, self._leader)
        content = torch.zeros(int(count), dtype=torch.uint8, device=self._device)
        if self.leads:
            content.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else content)
        if len(content):
            distributed.broadcast(content, self._leader)
        return content.cpu().numpy().tobytes()

    def _gathered(self, own: torch.Tensor) -> list[torch.Tensor]:
        every = [torch.zeros_like(own) for _ in range(self.size)]
        distributed.all_gather(every, own)
        return every
