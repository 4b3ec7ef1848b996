"""A linear layer over stored features that converts one block of them at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def blockwise_linear(blocks: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``x @ weight.T + bias`` for each of B blocks x of stored features.

    A block is converted to the weight's dtype and device just before it is multiplied, and again
    for the gradient: memory is that of one block, and on a CPU it stays in the processor's caches.
    The blocks themselves get no gradient.

    Args:
        blocks: B tensors of one shape ``(..., I)``, of any floating dtype.
        weight: ``(O, I)``.
        bias: ``(O,)``.

    Returns:
        ``(B, ..., O)`` of the weight's dtype.
    """
    rows: Tensor = _BlockwiseLinear.apply(weight, bias, *blocks)
    return rows.view(len(blocks), *blocks[0].shape[:-1], len(weight))


class _BlockwiseLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, *blocks: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.blocks = blocks  # views of a file: saving them costs nothing
        buffer = weight.new_empty(blocks[0].shape)
        rows = buffer.view(-1, weight.shape[1])
        out = weight.new_empty(len(blocks), len(rows), len(weight))
        for block, result in zip(blocks, out, strict=True):
            buffer.copy_(block)
            torch.addmm(bias, rows, weight.t(), out=result)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        (gradient,) = gradients
        buffer = weight.new_empty(ctx.blocks[0].shape)
        rows = buffer.view(-1, weight.shape[1])
        # Transposed, (I, O): the larger side first is what two threads divide better.
        of_weight = weight.new_zeros(weight.shape[1], len(weight))
        for block, of_result in zip(ctx.blocks, gradient, strict=True):
            buffer.copy_(block)
            of_weight.addmm_(rows.t(), of_result)
        return of_weight.t(), gradient.sum(dim=(0, 1)), *[None] * len(ctx.blocks)
