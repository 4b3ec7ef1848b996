"""What a GPU gives: agreement with the CPU, and rates beside what the card does at its best.

``python benchmarks/gpu.py outputs/gpu`` takes at most eight minutes on one card; ``--device cpu
--small`` tries the script where there is none. It builds a cache of videos that it makes, trains
FocusPPO at the paper's sizes and recognizes at the paper's sizes, on the device; compares features,
logits and predictions with those of the CPU, and features in TF32 and bfloat16 with float32; tells
how long encoders wait for decoders, and what compiling the steps of a rollout gains; fits f_C,
trains with nothing kept on the device, builds in two units of Ray, and runs the tests that need a
GPU; tells which share of the card's limit each rate is; and writes ``results.json`` after each
part. A part that fails is told, and the next begins; the exit status is 1 then, and also where
something agrees less than `gpu_checks.AT_MOST` and `gpu_checks.AT_LEAST` say.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from environment import ENV
from gpu_checks import (
    fitting,
    on_ray,
    out_of_bounds,
    run_tests,
    sending,
    shares,
    splits,
    training_gmacs,
)
from gpu_parts import compiled, feeding, precisions
from rows import Row, row, seconds
from synthetic import T, paper_sizes
from torch import nn

from focusgym.agents import PRESETS, FocusPPO
from focusgym.envs import make_sb3
from focusgym.feature_cache import (
    CacheConfig,
    DigitsConfig,
    FeatureCache,
    build_cache,
    make_digits,
    video_table,
)
from focusgym.recognizer import (
    AdaptiveRecognizer,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FrameConfig,
    GruClassifier,
    OptionGroup,
    PatchGrid,
    PolicyConfig,
    PolicyNetwork,
    encoder_gmacs,
    option_group,
)
from focusgym.recognizer.pipeline.look import repeatable_on_cuda


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes:
        videos: To build a cache of.
        compared: Of them, those that the CPU encodes too.
        steps: T of cache and recognizer.
        frame_px: S of both.
        patch_px: P of both.
        grid: Candidates per axis of the cache.
        local: f_L.
        envs: Numbers of episodes that are trained on at a time.
        batches: Numbers of videos that are recognized at a time.
        matrix: Side of the matrices that tell what the card does at its best.
        fed: Longer videos to build a cache of, for how long encoders wait for decoders.
        fed_s: Their length, in seconds.
        hidden: Units of the f_C that is fitted.
    """

    videos: int = 192
    compared: int = 4
    steps: int = 8
    frame_px: int = 224
    patch_px: int = 128
    grid: int = 7
    local: str = "resnet50"
    envs: tuple[int, ...] = (64, 512)
    batches: tuple[int, ...] = (1, 8, 64)
    matrix: int = 8192
    fed: int = 96
    fed_s: int = 117
    hidden: int = 1024


SMALL = Sizes(4, 2, 2, 64, 32, 2, "mobilenet_v2", (4,), (1, 2), 512, 6, 3, 64)


def limits(_: Path, device: torch.device, sizes: Sizes) -> dict[str, Row]:
    """Measure what the card does at its best: multiply-adds, memory, and the way from the CPU."""
    table: dict[str, Row] = {}
    n = sizes.matrix
    for name, dtype, tf32 in (
        ("float32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("bfloat16", torch.bfloat16, False),
    ):
        a = torch.randn(n, n, device=device, dtype=dtype)
        with repeatable_on_cuda(tf32):
            taken = seconds(lambda a=a: a @ a, device)
        how = f"product of two {n}×{n} matrices, {name}"
        table[f"gpu_product_{name}"] = row([n**3 / 1e9 / s for s in taken], "GMAC/s", how)
    block = torch.empty(n * n // 4, device=device)
    moved = 2 * block.numel() * block.element_size() / 1e9
    taken = seconds(block.clone, device)
    table["gpu_memory_rate"] = row([moved / s for s in taken], "GB/s", "read and written")
    pinned = torch.empty(block.shape, pin_memory=device.type == "cuda")
    taken = seconds(lambda: block.copy_(pinned, non_blocking=True), device)
    table["gpu_from_cpu"] = row([moved / 2 / s for s in taken], "GB/s", "from pinned memory")
    return table


def networks(sizes: Sizes) -> tuple[Encoder, Encoder]:
    """Return f_G and f_L with random weights, whose BatchNorms know noise: else nothing is left."""
    torch.manual_seed(0)
    glance, local = (Encoder(EncoderConfig(name)) for name in ("mobilenet_v2", sizes.local))
    frames = torch.randint(0, 256, (4, 3, sizes.frame_px, sizes.frame_px), dtype=torch.uint8)
    for network in (glance, local):
        for module in network.train().modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the statistics of all that was seen
        with torch.no_grad():
            network(frames)
        network.eval()
    return glance, local


def networks_of_a_cache(sizes: Sizes) -> tuple[dict[str, Encoder], OptionGroup]:
    """Return the encoders by name, and what f_L reads."""
    glance, local = networks(sizes)
    grid = PatchGrid(sizes.frame_px, sizes.patch_px, sizes.grid)
    return {"glance": glance, "local": local}, option_group(grid, "local", local)


def encoding(out: Path, device: torch.device, sizes: Sizes) -> dict[str, Row]:
    """Measure precisions, and how long encoders wait for decoders."""
    encoders, group = networks_of_a_cache(sizes)
    frames = FrameConfig(sizes.steps, sizes.frame_px, sizes.frame_px)
    table = precisions(encoders, CacheConfig(frames, (group,), device=f"{device}"), sizes.compared)
    frames = FrameConfig(sizes.steps, sizes.frame_px, max(sizes.frame_px, 256))
    content = CacheConfig(frames, (group,), device=f"{device}")
    return table | feeding(out, encoders, content, sizes.fed, sizes.fed_s)


def rollouts(_: Path, device: torch.device, sizes: Sizes) -> dict[str, Row]:
    """Measure what compiling the steps of a rollout gains."""
    table: dict[str, Row] = {}
    for n_envs in sizes.envs:
        table |= compiled(n_envs, device)
    return table


def building(out: Path, device: torch.device, sizes: Sizes) -> dict[str, Row]:
    """Build a cache on the device, and of some of its videos on the CPU."""
    data = out / "data"
    if not data.exists():
        made = DigitsConfig(n_train=sizes.videos - 2, n_val=1, n_test=1, n_frames=sizes.steps)
        make_digits(made, data)
    encoders, group = networks_of_a_cache(sizes)
    glance = encoders["glance"]
    frames = FrameConfig(sizes.steps, sizes.frame_px, sizes.frame_px)
    paths = sorted(str(path) for path in data.rglob("*.mp4"))

    def build(name: str, count: int, where: str) -> FeatureCache:
        shutil.rmtree(out / name, ignore_errors=True)
        videos = video_table(paths[:count], [i % 10 for i in range(count)], splits(count))
        config = CacheConfig(frames, (group,), device=where)
        classes = [str(i) for i in range(10)]
        build_cache(videos, classes, out / name, copy.deepcopy(encoders), config)
        return FeatureCache.open(out / name)

    build("few", sizes.compared, f"{device}")  # the first one starts what there is to start
    start = time.perf_counter()
    few = build("few", sizes.compared, f"{device}")
    few_s = time.perf_counter() - start
    start = time.perf_counter()
    build("cache", sizes.videos, f"{device}")
    built_s = time.perf_counter() - start - few_s
    n = sizes.videos - sizes.compared
    gmacs = sizes.steps * (
        encoder_gmacs(glance, sizes.frame_px) + group.places.n_options * group.gmacs
    )
    how = (
        f"{n} videos of 64 px, T = {sizes.steps}, S = {sizes.frame_px}, P = {sizes.patch_px}, "
        f"K = {group.places.n_options}, MobileNet-V2 and {sizes.local}; a small build taken off"
    )
    beside = build("few_cpu", sizes.compared, "cpu")
    rows = np.arange(sizes.compared)
    ours, theirs = (
        each.glance_maps(rows).float().cpu().numpy().astype(np.float64) for each in (few, beside)
    )
    apart = np.abs(ours - theirs).max() / np.abs(theirs).max()
    table = on_ray(out, few, paths[: sizes.compared], encoders)
    return table | {
        "gpu_build_frames_per_second": row([n * sizes.steps / built_s], "1/s", how),
        "gpu_build_rate": row([n * gmacs / built_s], "GMAC/s", how),
        "gpu_features_apart": row(
            [float(apart)], "", "largest difference of glance maps from the CPU's, over the largest"
        ),
    }


def training(out: Path, device: torch.device, sizes: Sizes) -> dict[str, Row]:
    """Train FocusPPO at the paper's sizes, f_C and features on the device."""
    paths = paper_sizes(out / "paper_sizes")
    table: dict[str, Row] = {}
    gmacs = training_gmacs(paths)
    for n_envs in sizes.envs:
        env = make_sb3(ENV, n_envs, **paths, observation="index", device=f"{device}")
        keywords = PRESETS["paper"].keywords(T)
        model = FocusPPO("GruPolicy", env, **keywords, seed=0, device=device)
        steps = model.n_steps * n_envs
        taken = seconds(lambda m=model, s=steps: m.learn(s, reset_num_timesteps=False), device)
        how = f"FocusPPO, paper's sizes, {n_envs} episodes, whole iterations"
        table[f"gpu_train_steps_per_second_{n_envs}"] = row([steps / s for s in taken], "1/s", how)
        rates = [gmacs * steps / s for s in taken]
        table[f"gpu_train_{n_envs}_rate"] = row(rates, "GMAC/s", f"{gmacs:.3g} GMAC a step; {how}")
    return table | sending(paths, device, sizes.envs[0])


def fits(out: Path, device: torch.device, sizes: Sizes) -> dict[str, Row]:
    """Fit f_C on the cache that `building` has built."""
    return fitting(out, out / "cache", device, sizes.hidden)


def tests(_: Path, device: torch.device, sizes: Sizes) -> dict[str, Row]:
    """Run the tests that need a GPU, which are skipped without one."""
    run_tests()
    return {}


def recognizing(out: Path, device: torch.device, sizes: Sizes) -> dict[str, Row]:
    """Recognize on the device; compare predictions and logits with those of the CPU."""
    glance, local = networks(sizes)
    f_c = GruClassifier(ClassifierConfig(glance.channels, local.channels, 200)).eval()
    side = sizes.frame_px // 32
    grid = PatchGrid(sizes.frame_px, sizes.patch_px, sizes.grid)
    config = PolicyConfig(side, side, glance.channels, grid.n_options)
    parts: list[nn.Module] = [glance.fused(), local.fused(), f_c, PolicyNetwork(config).eval()]
    here = [copy.deepcopy(each).to(device) for each in parts]
    on_cpu, on_device = (
        AdaptiveRecognizer(f_g, f_l, c, grid, pi)  # type: ignore[arg-type]
        for f_g, f_l, c, pi in (parts, here)
    )
    table: dict[str, Row] = {}
    shape = (sizes.steps, 3, sizes.frame_px, sizes.frame_px)
    for batch in sizes.batches:
        frames = torch.randint(0, 256, (batch, *shape), dtype=torch.uint8, device=device)
        with torch.inference_mode():
            taken = seconds(lambda f=frames: on_device(f), device)
            gmacs = float(on_device(frames).gmacs[:, -1].mean())
        how = f"MobileNet-V2 and {sizes.local}, T = {sizes.steps}, P = {sizes.patch_px}"
        how += f", {batch} videos"
        key = f"gpu_recognize_{batch}"
        table[f"{key}_videos_per_second"] = row([batch / s for s in taken], "1/s", how)
        table[f"{key}_rate"] = row([batch * gmacs / s for s in taken], "GMAC/s", how)
    frames = torch.randint(0, 256, (sizes.compared, *shape), dtype=torch.uint8)
    with torch.inference_mode():
        ours, theirs = on_device(frames.to(device)), on_cpu(frames)
    alike = ours.options.cpu() == theirs.options
    same, wholly = alike.double().mean(), alike.flatten(1).all(dim=1)
    differences = (ours.logits.cpu().double() - theirs.logits.double()).abs()[wholly]
    apart = differences.max() if len(differences) else float("nan")
    how = f"{sizes.compared} videos of noise, random weights, beside the CPU"
    table["gpu_same_patches"] = row([float(same)], "", f"share of the choices; {how}")
    table["gpu_logits_apart"] = row(
        [float(apart)], "", f"largest, of videos of the same choices; {how}"
    )
    return table


def main() -> None:
    """Run all parts in turn, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes to try the script with")
    args = parser.parse_args()
    device, sizes = torch.device(args.device), SMALL if args.small else Sizes()
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here: --device cpu --small tries the script")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"measured on {name}, torch {torch.__version__}")
    args.out.mkdir(parents=True, exist_ok=True)
    table: dict[str, Row] = {}
    wrong: list[str] = []
    for part in (limits, building, encoding, training, fits, rollouts, recognizing, tests):
        start = time.perf_counter()
        try:
            table |= part(args.out, device, sizes)
        except Exception:
            traceback.print_exc()
            wrong.append(f"{part.__name__} failed")
        print(f"{part.__name__}: {time.perf_counter() - start:.0f} s")
        table |= shares(table)
        (args.out / "results.json").write_text(json.dumps(table, indent=2))
    wrong += out_of_bounds(table)
    for key, each in table.items():
        spread = f"[{each['low']:.5g}, {each['high']:.5g}]"
        print(f"{key:40} {each['value']:>12.5g} {each['unit']:8} {spread}")
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
