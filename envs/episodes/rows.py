"""Where running episodes stand: the arrays that hold a row for each of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def rows_of(holder: object, n: int) -> dict[str, Tensor]:
    """Return copies of the attributes that are arrays or tensors of ``n`` rows, by name.

    What an object keeps of n episodes it keeps in such attributes, so that a task of your own has
    nothing to declare. One that happens to have n rows of something else comes along, unchanged.
    """
    copies = {}
    for name, value in vars(holder).items():
        if isinstance(value, np.ndarray | Tensor) and value.ndim and len(value) == n:
            rows = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            copies[name] = rows.detach().cpu().clone()
    return copies


def put_rows(holder: object, rows: Mapping[str, Tensor]) -> None:
    """Put back what `rows_of` returned: arrays as arrays, tensors where they are now."""
    for name, value in rows.items():
        now = getattr(holder, name)
        is_array = isinstance(now, np.ndarray)
        setattr(holder, name, value.numpy().copy() if is_array else value.to(now.device, copy=True))
