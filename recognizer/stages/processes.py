"""Several processes that train one stage: who we are, what is ours, sums over all."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def process_group(device: str = "cpu") -> Iterator[torch.device]:
    """Join the processes that ``torchrun`` has started, if it has, and leave them at the end.

    Args:
        device: ``cpu`` (gloo); or ``cuda`` or ``cuda:N`` (nccl; of several processes each takes
            the GPU of its local rank).

    Yields:
        The device of this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield torch.device(device)
        return
    if device != "cpu":  # pragma: no cover
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    distributed.init_process_group("gloo" if device == "cpu" else "nccl")
    try:
        yield torch.device(device)
    finally:
        gc.collect()  # a wrapped stage, which is in cycles, holds threads of the group until then
        distributed.destroy_process_group()


def rank_and_world() -> tuple[int, int]:
    """Return which process this is, from 0, and how many there are."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def share_of(rows: Tensor, rank: int, world: int) -> tuple[Tensor, float]:
    """Return the rows of a batch that are this process's, and the weight of their losses.

    A process for which none is left takes one with weight 0: all take the same steps.
    """
    mine = rows[rank::world]
    return (mine, 1.0) if len(mine) else (rows[:1], 0.0)


def data_parallel(stage: nn.Module, device: torch.device) -> nn.Module:
    """Return the stage, or in a process group what averages its gradients over all processes."""
    if rank_and_world()[1] == 1:
        return stage
    return DistributedDataParallel(stage, [device] if device.type == "cuda" else None)


def share_buffers(stage: nn.Module) -> None:
    """Give all processes the first one's buffers: each has its own statistics of BatchNorms."""
    if rank_and_world()[1] > 1:
        for buffer in stage.buffers():
            distributed.broadcast(buffer, 0)


def are_same(value: object) -> bool:
    """Return whether a value is the same in all processes."""
    _, world = rank_and_world()
    if world == 1:
        return True
    values: list[object] = [None] * world
    distributed.all_gather_object(values, value)
    return all(other == value for other in values)


def total(values: Tensor) -> Tensor:
    """Return the sums of a tensor over all processes."""
    if rank_and_world()[1] > 1:
        distributed.all_reduce(values)
    return values


def mean_over_all(rows: Tensor) -> Tensor:
    """Return the mean over the first axis of the rows of all processes.

    Its gradient is that of this process's rows. A function of it that each process adds to the loss
    of each of its samples has, summed over processes, the gradient that one process would have.
    """
    if rank_and_world()[1] == 1:
        return rows.mean(dim=0)
    own = rows.sum(dim=0) / max(1, len(rows))  # a process may have none
    sums, counts = total(torch.stack([rows.detach().sum(dim=0), torch.full_like(own, len(rows))]))
    mean: Tensor = sums / counts + (own - own.detach())
    return mean


@torch.no_grad()
def rows_of_all(rows: Tensor) -> Tensor:
    """Return the rows ``(B, …)`` of all processes, which may have different numbers of them."""
    _, world = rank_and_world()
    if world == 1:
        return rows.detach()
    count = torch.tensor(len(rows), device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(world)]
    distributed.all_gather(counts, count)
    most = int(torch.stack(counts).max())
    padded = rows.new_zeros(most, *rows.shape[1:])
    padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in range(world)]
    distributed.all_gather(gathered, padded)
    return torch.cat([some[:n] for some, n in zip(gathered, counts, strict=True)])
