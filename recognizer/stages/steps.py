"""Gradient steps: optimizer, schedule, precision, and their state."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from .config import FitConfig


class Stepper:
    """Takes the gradient steps of a training.

    Attributes:
        networks: What is trained, by name.
    """

    def __init__(self, networks: nn.ModuleDict, config: FitConfig, n_steps: int) -> None:
        """Begin a training of ``n_steps`` steps; each network has its own learning rate."""
        self.networks = networks
        rates = config.scaled_lr
        groups = [
            {"params": part.parameters(), "lr": rates[name]} for name, part in networks.items()
        ]
        self._optimizer: torch.optim.Optimizer
        if config.optimizer == "sgd":
            self._optimizer = torch.optim.SGD(
                groups,
                momentum=config.momentum,
                nesterov=config.nesterov,
                weight_decay=config.weight_decay,
            )
        else:
            self._optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
        schedules = torch.optim.lr_scheduler
        self._schedule: torch.optim.lr_scheduler.LRScheduler
        if config.decay_epochs or config.warmup_epochs:
            self._schedule = schedules.LambdaLR(
                self._optimizer, lambda step: config.lr_share(step, n_steps)
            )
        elif config.schedule == "cosine":
            self._schedule = schedules.CosineAnnealingLR(self._optimizer, n_steps)
        else:
            highest = [rates[name] for name in networks]
            self._schedule = schedules.OneCycleLR(
                self._optimizer, highest, n_steps, cycle_momentum=config.optimizer == "adamw"
            )
        self._device_type = next(networks.parameters()).device.type
        self._dtype = None if config.precision == "float32" else getattr(torch, config.precision)
        self._scaler = torch.amp.GradScaler(
            self._device_type, enabled=config.precision == "float16"
        )

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the stage computes."""
        enabled = self._dtype is not None
        return torch.autocast(self._device_type, self._dtype, enabled=enabled)

    def step(self, loss: Tensor) -> None:
        """Take a step down a loss."""
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()
        before = self._scaler.get_scale()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._scaler.get_scale() >= before:  # else the step was left out: gradients overflowed
            self._schedule.step()

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what a training needs to go on: plain values, and tensors by name."""
        optimizer = self._optimizer.state_dict()
        plain = {
            "groups": optimizer["param_groups"],
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
        }
        tensors = {
            f"{index}.{key}": value
            for index, values in optimizer["state"].items()
            for key, value in values.items()
            if isinstance(value, Tensor)
        }
        return plain, tensors

    def load_state(self, plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a state.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: If it is not that of such a training.
        """
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        groups = plain["groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        self._schedule.load_state_dict(plain["schedule"])
        self._scaler.load_state_dict(plain["scaler"])
