"""Small models of FocusPPO on the synthetic cache, for several test modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from support import C, G, L, T, write_cache
from torch import Tensor, nn

from focusgym.agents import FocusPPO
from focusgym.envs import FocusVecEnv, make_sb3
from focusgym.recognizer import ClassifierConfig, GruClassifier, write_bundle

N_ENVS = 5  # of six videos to train: the second rollout begins another epoch
ROLLOUT = N_ENVS * T
SIZES = {"conv_channels": 3, "hidden": 8}
# For trainings that are compared to rounding. Adam divides a gradient by its own size: with its
# usual ε a gradient that is zero but for rounding moves a weight as far as any other. With a large
# ε what rounding does stays as small as it is.
STEADY: dict[str, Any] = {**SIZES, "optimizer_kwargs": {"eps": 1e-2}}
# π alone; π and π′. λ is such that looking does not always pay.
IDS = {"pi": "focusgym/AdaFocus-v0", "both": "focusgym/AdaFocusPlus-v0"}
KINDS: dict[str, dict[str, Any]] = {"pi": {}, "both": {"penalty": {"per_px2": 4e-5}}}
LEARNERS = {"pi": ["location"], "both": ["location", "keep"]}
Files = dict[str, Any]


def make_env(kind: str, files: Files, n_envs: int = N_ENVS, **config: Any) -> FocusVecEnv:
    """Make environments with index observations."""
    config = {"observation": "index", **KINDS[kind], **files, **config}
    return make_sb3(IDS[kind], n_envs, **config)


def make_model(kind: str, files: Files, env: Any = None, **kwargs: Any) -> FocusPPO:
    """Make a model of policies that prefer something; π′ takes part from the beginning."""
    env = make_env(kind, files, **kwargs.pop("config", {})) if env is None else env
    settings = {"keep_from": 0.0, "seed": 3, "device": "cpu", "policy_kwargs": SIZES, **kwargs}
    model = FocusPPO("GruPolicy", env, **settings)
    with torch.no_grad():
        for learner in model.policy.learners.values():
            learner.actor.weight.mul_(5)
    return model


def flat(module: nn.Module) -> Tensor:
    """Return all weights in a row."""
    return torch.cat([p.detach().flatten() for p in module.parameters()]).clone()


def informative_files(root: Path, n: int = 100, *, graded: bool = False) -> tuple[Files, Tensor]:
    """Write a cache whose maps point at the option that shows the label, and f_C that reads it.

    In half of the frames no option shows it; the map says so in its second channel. Or, ``graded``,
    all options show it, in some frames more clearly than in others: only whether to look matters.

    Returns:
        Keywords of an environment; ``(n, T)`` the options, -1 where there is none.
    """
    cache = write_cache(root / "cache", n=n)
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(9, (n, T), generator=generator)
    clarity = torch.rand((n, T), generator=generator)
    clarity = clarity if graded else (clarity < 0.5).float()
    rows, t = torch.meshgrid(torch.arange(n), torch.arange(T), indexing="ij")
    maps = torch.zeros(n, T, 9, G)
    maps[rows, t, target, 0] = 1
    maps[..., 1] = clarity[..., None]
    local = torch.zeros(n, T, 9, L)
    labels = cache.labels[:, None].expand(n, T)
    local[rows, t, target, labels] = 3 * clarity
    if graded:
        local[rows, t, :, labels] = 3 * clarity[..., None]
    np.save(cache.root / "glance_maps.npy", maps.view(n, T, 3, 3, G).half().numpy())
    np.save(cache.root / "local_vectors_p12_3x3.npy", local.half().numpy())
    classifier = GruClassifier(ClassifierConfig(G, L, C, hidden=7)).eval()
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.zero_()
        for label in range(C):
            classifier.gru.get_parameter("weight_ih_l0")[14 + label, G + label] = 1.0
            classifier.head.weight[label, label] = 3.0
    path = root / "classifier"
    write_bundle(path, "classifier", classifier.config, classifier, cache.fingerprint)
    return {"cache": str(cache.root), "classifier": str(path)}, target.where(clarity > 0, -1)
