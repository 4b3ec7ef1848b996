"""Small stages, their samples, and what is compared of their trainings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from focusgym.recognizer import (
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FitConfig,
    Fitted,
    OnFeatures,
    OnPixels,
    PatchGrid,
    PolicyConfig,
    PolicyNetwork,
    TensorSamples,
    build_classifier,
    fit,
    read_checkpoint,
    uniform_draws,
)

T, SIDE_PX, C, G, L = 3, 32, 4, 32, 64
GRID = PatchGrid(SIDE_PX, 16, 3)
K = GRID.n_options
N_TRAIN, N_VAL = 10, 6
PIXELS = FitConfig(3, 4, {"local": 0.02, "classifier": 0.05})
FEATURES = FitConfig(4, 3, {"classifier": 0.1})


def make_frames(n: int) -> tuple[Tensor, Tensor]:
    """Return frames ``(N, T, 3, S, S)`` uint8, whose colour tells the label, and labels."""
    rng = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 160, (n, T, 3, SIDE_PX, SIDE_PX), generator=rng)
    labels = torch.randint(C, (n,), generator=rng)
    return (noise + 30 * labels[:, None, None, None, None]).to(torch.uint8), labels


def pixel_samples(n: int, key: int = 5) -> TensorSamples:
    """Return samples of `OnPixels`."""
    frames, labels = make_frames(n)

    def load(epoch: int, rows: Tensor) -> tuple[Tensor, ...]:
        return frames[rows], uniform_draws(rows.tolist(), T, [key, epoch]), labels[rows]

    return TensorSamples(n, load)


def make_features(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return glance and local vectors, and labels that the local ones tell."""
    rng = torch.Generator().manual_seed(1)
    labels = torch.randint(C, (n,), generator=rng)
    glance, local = (torch.randn(n, T, width, generator=rng) for width in (G, L))
    local[torch.arange(n), :, labels] += 1
    return glance, local, labels


def feature_samples(n: int) -> TensorSamples:
    """Return samples of `OnFeatures`."""
    data = make_features(n)
    return TensorSamples(n, lambda epoch, rows: tuple(part[rows] for part in data))


def make_policy(threshold: float | None = None, spread: float = 1.0) -> PolicyNetwork:
    """Make a policy; the larger ``spread``, the farther are its probabilities from even."""
    config = PolicyConfig(8, 8, G, K, conv_channels=2, hidden=6, threshold=threshold)
    policy = PolicyNetwork(config).eval()
    with torch.no_grad():
        for head in [policy.actor, *([policy.keep.actor] if policy.keep else [])]:
            head.weight.mul_(spread)
    return policy


def make_pixels(seed: int = 0, **options: Any) -> OnPixels:
    """Make a stage on pixels; options are those of f_C, and of `OnPixels`."""
    torch.manual_seed(seed)
    of_classifier = {"hidden": 8, "dropout": 0.5}
    for name in ("hidden", "dropout", "reuse_glance", "aggregation"):
        if name in options:
            of_classifier[name] = options.pop(name)
    glance = Encoder(EncoderConfig("small_glance", input_px=16))
    local = Encoder(EncoderConfig("small_local"))
    classifier = build_classifier(ClassifierConfig(G, L, C, **of_classifier))  # type: ignore[arg-type]
    return OnPixels(glance, local, classifier, GRID, **options)


def make_on_features(seed: int = 0, **options: Any) -> OnFeatures:
    """Make a stage on features."""
    torch.manual_seed(seed)
    options = {"hidden": 8, "dropout": 0.5, **options}
    return OnFeatures(build_classifier(ClassifierConfig(G, L, C, **options)))


def train(
    stage: Any, config: FitConfig, *, stop_after: int | None = None, **options: Any
) -> Fitted:
    """Train a stage that `make_pixels` or `make_on_features` made.

    Args:
        stage: The stage.
        config: How.
        stop_after: So many batches, validation included, are given before an exception.
        options: Of `fit`; and ``n_val``, how many samples to select on.

    Raises:
        Interrupted: If it was stopped.
    """
    samples = pixel_samples if isinstance(stage, OnPixels) else feature_samples
    left = iter(range(10**9 if stop_after is None else stop_after))

    def stopping(n: int) -> TensorSamples:
        real = samples(n)

        def load(epoch: int, rows: Tensor) -> tuple[Tensor, ...]:
            if next(left, None) is None:
                raise Interrupted
            return real.load(epoch, rows)

        return TensorSamples(n, load)

    options = {"name": "test", "seed": [3, 1], "checkpoint_s": 0, **options}
    held_out = stopping(options.pop("n_val", N_VAL))
    return fit(stage, stopping(N_TRAIN), held_out, config, **options)


def n_batches(config: FitConfig) -> int:
    """Return how many batches `train` asks for."""
    per_epoch, validation = (math.ceil(n / config.batch_size) for n in (N_TRAIN, N_VAL))
    return validation + config.epochs * (per_epoch + validation)


class Interrupted(Exception):
    """A training was stopped by force."""


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the state dict."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_equal(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare state dicts bit by bit."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].numpy().tobytes() == value.numpy().tobytes(), name


def last_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Return the weights after the last step, which need not be those that were kept."""
    tensors = read_checkpoint(checkpoint)[1]
    start = "weights."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}
