"""Runs of systems on a small cache of digit videos, for the tests of the verbs that open them."""

from __future__ import annotations

from pathlib import Path

import torch
from digit_caches import digit_cache
from support import write_classifier

from focusgym.agents import LearnedSystem, find_system
from focusgym.feature_cache import CacheConfig, DigitsConfig, FeatureCache
from focusgym.recognizer import (
    Encoder,
    EncoderConfig,
    FrameConfig,
    PatchGrid,
    WholeFrame,
    option_group,
)
from focusgym.runs.cli import main

STEPS = 4
TINY = ("--decisions=60", "--learner={n_envs: 3, n_steps: 5, batch_size: 5, n_epochs: 1}")
SHORT = {
    "adafocus_tsm": ("--learner={conv_channels: 2, hidden: 5, epochs: 1}",),
    "adafocus_v2": ("--learner={conv_channels: 2, hidden: 5, epochs: 1}",),
    "adafocus_v3": ("--learner={conv_channels: 2, hidden: 5, epochs: 1}", "--setting=0.5"),
    "listentolook": ("--learner={key_channels: 2, hidden: 5, epochs: 1}", "--setting=0.5"),
    "lite_eval_gates": ("--learner={hidden: 5, epochs: 1}",),
    "scsampler": ("--learner={hidden: 5, epochs: 1}",),
    "adafocus_v2_sac": ("--decisions=30", "--learner={n_envs: 3, learning_starts: 9}"),
}


def make_cache(root: Path) -> None:
    """Write a cache of digit videos with whole frames at two sides, and patches."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoders = {
            name: Encoder(EncoderConfig(network, input_px=side)).eval()
            for name, network, side in (
                ("glance", "small_glance", 12),
                ("small", "small_glance", 16),
                ("large", "small_local", 32),
            )
        }
    groups = (
        option_group(WholeFrame(64, 16), "small", encoders["small"]),
        option_group(WholeFrame(64, 32), "large", encoders["large"]),
        option_group(PatchGrid(64, 32, 2), "large", encoders["large"]),
    )
    config = CacheConfig(FrameConfig(steps=STEPS, frame_px=64), groups)
    digit_cache(root, DigitsConfig(n_train=6, n_val=1, n_test=6, n_frames=8), encoders, config)


def train(root: Path, name: str) -> None:
    """Train a system for a moment on the cache in a folder, into another one beside it."""
    system = find_system(name)
    names = ["full32", "full16"] if system.several_groups else ["full32"]
    if system.places == "patches":
        names = ["p32_2x2"]
    kind = system.classifier
    write_classifier(
        FeatureCache.open(root / "cache", names),
        root / f"f_c_{name}",
        steps=STEPS,
        aggregation=kind.aggregation,
        reuse_glance=kind.reuse_glance,
    )
    files = (f"--cache={root}/cache", f"--classifier={root}/f_c_{name}")
    short = SHORT.get(name, TINY if isinstance(system, LearnedSystem) else ())
    main(["train", str(root / name), f"--system={name}", *files, *short])
