"""What fits on a GPU, and what travels there ahead; a fake takes the GPU's place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor

from focusgym.recognizer import devices
from focusgym.recognizer.devices import Batch, fits, free_bytes, room_on, stacked, staged, to_device

CPU = torch.device("cpu")


def test_half_of_what_is_free_may_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [fits(n, 1000) for n in (0, 500, 501, 1000)] == [True, True, False, False]
    assert free_bytes(CPU) == 0
    assert room_on(CPU, (2, 3), torch.float16) is None, "on the CPU files are mapped"
    monkeypatch.setattr(devices, "free_bytes", lambda device: 24)
    room = room_on(CPU, (2, 3), torch.float16)  # 12 bytes
    assert room is not None
    assert (room.shape, room.dtype) == ((2, 3), torch.float16)
    assert room_on(CPU, (2, 3), torch.float32) is None

    def full(*_: object, **__: object) -> Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch, "empty", full)
    assert room_on(CPU, (2, 3), torch.float16) is None, "another process was faster"


class Fake(devices.Side):
    """Notes what is done with batches."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def work(self) -> AbstractContextManager[object]:
        return nullcontext()

    def arrive(self, batch: Batch) -> None:
        self.notes.append(f"arrives {int(batch[0][0])}")


@pytest.mark.parametrize("n", [0, 1, 3])
def test_the_next_batch_travels_while_one_is_computed_on(n: int) -> None:
    """And what comes is the same as without; on the CPU nothing is ahead."""
    notes: list[str] = []

    def batches() -> Iterator[Batch]:
        for i in range(n):
            notes.append(f"asked {i}")
            yield torch.tensor([i]), torch.full((2,), float(i))

    for side, order in (
        (None, "asked {0} computes {0}"),
        (Fake(notes), ""),
    ):
        notes.clear()
        arrived = []
        for ints, floats in staged(batches(), CPU, side):
            notes.append(f"computes {int(ints[0])}")
            arrived.append((ints.tolist(), floats.tolist()))
        assert arrived == [([i], [i, i]) for i in range(n)]
        if order:
            assert " ".join(notes) == " ".join(order.format(i) for i in range(n))
    notes_of_three = [
        "asked 0",
        "arrives 0",
        "asked 1",
        "computes 0",
        "arrives 1",
        "asked 2",
        "computes 1",
    ]
    notes_of_three += ["arrives 2", "computes 2"]
    assert notes == {0: [], 1: ["asked 0", "arrives 0", "computes 0"], 3: notes_of_three}[n]


def test_on_the_cpu_tensors_stay_where_they_are() -> None:
    tensor = torch.arange(6.0).view(2, 3)
    assert to_device(tensor, CPU) is tensor
    assert stacked(list(tensor), CPU).equal(tensor)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
def test_on_cuda_all_arrives() -> None:
    device = torch.device("cuda")
    batches = [(torch.randn(1000, 1000), torch.tensor([i])) for i in range(5)]
    sums = [(part.sum(), index) for part, index in staged(iter(batches), device)]
    for (total, index), (part, i) in zip(sums, batches, strict=True):
        assert int(index) == int(i)
        assert float(total) == pytest.approx(float(part.double().sum()), abs=0.1)
    room = room_on(device, (10,), torch.float32)
    assert room is not None
    assert room_on(device, (free_bytes(device),), torch.uint8) is None
