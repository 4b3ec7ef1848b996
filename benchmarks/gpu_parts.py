"""Parts of ``benchmarks/gpu.py``: precisions, decoding beside encoding, and compiled steps."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from agreement import precisions as other_precisions
from rows import Row, row, seconds
from scale import moving_video
from synthetic import GRID, SIDE, C, G, H, L
from torch import Tensor

from focusgym.feature_cache import CacheConfig, VideoEncoder, build_cache, video_table
from focusgym.feature_cache.building.build import encoding_workers
from focusgym.recognizer import (
    ClassifierConfig,
    Encoder,
    GruClassifier,
    PolicyConfig,
    PolicyNetwork,
    encoder_gmacs,
)

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def gmacs_of(encoders: dict[str, Encoder], content: CacheConfig) -> float:
    """Return what encoding a video costs."""
    (group,) = content.groups
    glance = encoder_gmacs(encoders["glance"], content.frames.frame_px)
    return content.frames.steps * (glance + group.places.n_options * group.gmacs)


def precisions(encoders: dict[str, Encoder], content: CacheConfig, n: int) -> dict[str, Row]:
    """Measure the rate of encoding in each precision, and how far features are from float32."""
    table: dict[str, Row] = {}
    device, gmacs = torch.device(content.device), gmacs_of(encoders, content)
    shape = (content.frames.steps, 3, content.frames.frame_px, content.frames.frame_px)
    videos = [torch.randint(0, 256, shape, dtype=torch.uint8) for _ in range(n)]
    exact: list[np.ndarray] = []
    for precision in ("float32", *other_precisions(device.type)):
        encoder = VideoEncoder(encoders, replace(content, precision=precision, dtype="float32"))
        with encoding_workers(encoder.config):
            taken = seconds(lambda e=encoder: [e.encode(each) for each in videos], device)
            glance_maps = [
                encoder.encode(each)["glance_maps"].astype(np.float64) for each in videos
            ]
        exact = exact or glance_maps
        name, how = f"gpu_encode_{precision}", f"{n} videos of noise in turn, in memory"
        table[f"{name}_rate"] = row([n * gmacs / s for s in taken], "GMAC/s", how)
        table[f"{name}_videos_per_second"] = row([n / s for s in taken], "1/s", how)
        apart = np.sqrt(np.mean(np.subtract(glance_maps, exact) ** 2) / np.mean(np.square(exact)))
        table[f"{name}_apart"] = row(
            [float(apart)],
            "",
            "glance maps of noise, random weights: difference from float32, over "
            "their size, both root mean squares",
        )
    return table


def feeding(
    out: Path, encoders: dict[str, Encoder], content: CacheConfig, n: int, length_s: int
) -> dict[str, Row]:
    """Measure the share of a build in which encoders have nothing to do."""
    folder = out / "fed"
    folder.mkdir(parents=True, exist_ok=True)
    first = Path(moving_video(folder, length_s).path)
    paths = [shutil.copy(first, folder / f"copy_{i}.mp4") for i in range(n)]
    device = torch.device(content.device)
    shape = (content.frames.steps, 3, content.frames.frame_px, content.frames.frame_px)
    noise = torch.randint(0, 256, shape, dtype=torch.uint8)
    table: dict[str, Row] = {}
    for precision in ("float32", "bfloat16"):
        config = replace(content, precision=precision)
        encoder = VideoEncoder(encoders, config)
        with encoding_workers(config) as workers:
            alone_s = min(seconds(lambda e=encoder: e.encode(noise), device))
        if device.type == "cpu":
            alone_s /= workers  # a video on each core

        def build(count: int, config: CacheConfig = config) -> None:
            shutil.rmtree(folder / "cache", ignore_errors=True)
            videos = video_table(paths[:count], [0] * count, ["train"] * count)
            build_cache(videos, ["0"], folder / "cache", copy.deepcopy(encoders), config)

        few_s = min(seconds(lambda: build(2), device, 1))
        start = time.perf_counter()
        build(n)
        built_s = time.perf_counter() - start - few_s
        rate = (n - 2) / built_s
        how = f"{n} videos of {length_s} s, {workers} threads that decode and encode; a small "
        how += "build taken off"
        table[f"gpu_fed_{precision}_videos_per_second"] = row([rate], "1/s", how)
        table[f"gpu_fed_{precision}_waits"] = row(
            [max(0.0, 1 - rate * alone_s)], "", f"share of the time; {how}"
        )
    return table


def compiled(n: int, device: torch.device) -> dict[str, Row]:
    """Measure a step of π and one of f_C for n episodes, as they are and compiled."""
    torch.manual_seed(0)
    policy = PolicyNetwork(PolicyConfig(SIDE, SIDE, G, GRID.n_options)).eval().to(device)
    f_c = GruClassifier(ClassifierConfig(G, L, C, H)).eval().to(device)
    f_c.lay_out()
    width = f_c.project(torch.zeros(1, G, device=device), None).shape[-1]
    done = torch.zeros(n, dtype=torch.int64, device=device)
    maps = torch.rand(n, 1, SIDE, SIDE, G, device=device)
    inputs = torch.rand(n, 2, width, device=device)  # the option that was chosen, and a random one

    def choose(maps: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        features, after = policy.trunk(maps, state)
        return policy.actor(features).softmax(-1), after

    def feed(inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        states = f_c.advance(state, f_c.recur(state, done), inputs, done)
        return f_c.logits(states, done).softmax(-1), states[:, 0]

    steps: dict[str, tuple[Step, Tensor, Tensor]] = {
        "policy": (choose, maps, torch.zeros(1, n, policy.config.hidden, device=device)),
        "engine": (feed, inputs, f_c.start(n)),
    }
    table: dict[str, Row] = {}
    with torch.inference_mode():
        for name, (step, step_input, state) in steps.items():
            expected = step(step_input, state)[0].clone()
            fast = torch.compile(step, mode="reduce-overhead")
            try:
                apart = float((fast(step_input, state)[0] - expected).abs().max())
            except Exception as error:  # no compiler, or a network that it does not take
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                print(f"compiled steps of the {name} are left out: {reason}")
                continue
            how = f"a step of {n} episodes at the paper's sizes; probabilities {apart:.1e} apart"
            for way, call in (("eager", step), ("compiled", fast)):

                def sixteen(
                    call: Step = call, step_input: Tensor = step_input, state: Tensor = state
                ) -> None:
                    for _ in range(16):
                        call(step_input, state)

                taken = seconds(sixteen, device)
                table[f"gpu_{name}_{way}_{n}"] = row([1e3 * s / 16 for s in taken], "ms", how)
    return table
