"""Clips whose encoders shift: what the shift costs, whether time follows compute, and building.

``python benchmarks/clips.py`` prints these rows; ``make bench`` has them with all others.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import caches
import torch
from rows import row
from torch import Tensor

from focusgym.feature_cache import (
    CacheConfig,
    VideoEncoder,
    build_cache,
    clips_of,
    make_encoder,
    read_frames,
    read_videos,
)
from focusgym.recognizer import (
    AdaptiveRecognizer,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FrameConfig,
    PatchGrid,
    PolicyConfig,
    WholeFrame,
    build_classifier,
    build_policy,
    option_group,
    torch_threads,
)

SIDE_PX, PATCH_PX, CLASSES, REPEATS, BATCHES = 224, 144, 174, 7, (1, 4)
GLANCED, LOOKED, FULL = 8, 12, 8
FEW, MANY = 2, 14  # clips of two builds


def rows(out: Path) -> dict[str, dict[str, float | str]]:
    """Measure, in turn what is compared."""
    return {**shifts(), **speed_ups(), **building(out)}


def spent_s(run: Callable[[Tensor], object], frames: Tensor) -> float:
    """Return the CPU seconds of a run on one thread, which other work beside hardly changes."""
    with torch_threads(1):
        start = time.process_time()
        run(frames)
        return time.process_time() - start


def shifts() -> dict[str, dict[str, float | str]]:
    """Measure an encoder that shifts beside the same without."""
    table = {}
    sizes = {"mobilenet_v2": (SIDE_PX, GLANCED), "resnet50": (PATCH_PX, LOOKED)}
    for name, (side_px, n_frames) in sizes.items():
        plain, shifting = (
            Encoder(EncoderConfig(f"{name}{kind}")).eval().fused() for kind in ("", "_tsm")
        )
        frames = torch.randint(0, 256, (1, n_frames, 3, side_px, side_px), dtype=torch.uint8)
        with torch.inference_mode():
            prepared = plain.prepare(frames)
            shifting.encode(prepared)
            ratios = [
                spent_s(shifting.encode, prepared) / spent_s(plain.encode, prepared)
                for _ in range(REPEATS)
            ]
        how = f"{n_frames} frames of {side_px} px, CPU time of one thread, in turn"
        table[f"shift_time_{name}"] = row(ratios, "", f"{name}, shifting over not; {how}")
    return table


def speed_ups() -> dict[str, dict[str, float | str]]:
    """Measure AdaFocus-TSM beside TSM+: the same networks, f_L on whole frames."""
    torch.manual_seed(0)
    names = "mobilenet_v2_tsm", "resnet50_tsm"
    f_g, f_l = (Encoder(EncoderConfig(name)).eval() for name in names)
    sizes = ClassifierConfig(f_g.channels, f_l.channels, CLASSES, aggregation="average_logits")
    f_c = build_classifier(sizes)
    policy = build_policy(PolicyConfig(7, 7, GLANCED * f_g.channels, network="clip"))
    fused = f_g.fused(), f_l.fused(), f_c
    clip = FrameConfig(
        1, SIDE_PX, None, "repeat_last", "torchvision", LOOKED, GLANCED, "video", True
    )
    full = FrameConfig(1, SIDE_PX, segment_frames=FULL)
    adafocus = AdaptiveRecognizer(*fused, PatchGrid(SIDE_PX, PATCH_PX), policy, frames=clip)
    plus = AdaptiveRecognizer(*fused, WholeFrame(SIDE_PX, SIDE_PX), frames=full)
    table = {}
    for batch in BATCHES:
        shape = (3, SIDE_PX, SIDE_PX)
        clips, frames = (
            torch.randint(0, 256, (batch, 1, n, *shape), dtype=torch.uint8)
            for n in (GLANCED + LOOKED, FULL)
        )
        only = torch.zeros(batch, 1, dtype=torch.int64)
        own, other = (
            float(recognition.gmacs[0, -1]) for recognition in (adafocus(clips), plus(frames, only))
        )
        speed, shares = [], []
        for _ in range(REPEATS):
            faster = spent_s(lambda f: plus(f, only), frames) / spent_s(adafocus, clips)  # noqa: B023
            speed.append(faster)
            shares.append(faster / (other / own))
        how = (
            f"MobileNet-V2 and ResNet-50 that shift, {GLANCED} + {LOOKED} frames, P = {PATCH_PX}, "
            f"beside {FULL} + {FULL} whole frames, batch {batch}, {own:.2f} of {other:.2f} GMACs, "
            "CPU time of one thread, in turn"
        )
        table[f"adafocus_tsm_speedup_batch{batch}"] = row(speed, "", how)
        table[f"adafocus_tsm_speedup_vs_compute_batch{batch}"] = row(
            shares, "", f"{how}; as a share of the ratio of GMACs"
        )
    return table


def building(out: Path) -> dict[str, dict[str, float | str]]:
    """Build caches of real clips, in turn with the bare encoders on the same batches."""
    weights = caches.DATA / "weights" / "mobilenet_v2_features.pth"
    if not weights.exists():
        print(f"no real clips at {caches.DATA}: set FOCUSGYM_DATA to measure building on them")
        return {}
    listed = read_videos(caches.DATA / "gestures")
    videos = listed.videos.iloc[:: len(listed.videos) // MANY][:MANY].reset_index(drop=True)
    name = EncoderConfig("mobilenet_v2_tsm")
    encoders = {each: make_encoder(name, str(weights)) for each in ("glance", "local")}
    grid = PatchGrid(SIDE_PX, PATCH_PX, 3)
    group = option_group(grid, "local", encoders["local"], segment_frames=LOOKED)
    frames = FrameConfig(
        1, SIDE_PX, 256, "repeat_first", "torchvision", LOOKED, GLANCED, "video", True
    )
    encoder = VideoEncoder(encoders, CacheConfig(frames, (group,)))
    prepared = caches.prepared_batches(encoder, read_frames(clips_of(videos)[0], frames)[0])

    def build(n: int) -> float:
        root = out / "clips"
        shutil.rmtree(root, ignore_errors=True)
        start = time.perf_counter()
        build_cache(videos[:n], listed.classes, root, encoders, encoder.config)
        return time.perf_counter() - start

    n, ratios = MANY - FEW, []
    for _ in range(REPEATS):
        bare_s = min(caches.bare(prepared, n, together=each) for each in (False, True))
        ratios.append(bare_s / (build(MANY) - build(FEW)))
    shutil.rmtree(out / "clips")
    how = (
        f"{n} clips of 342×256 px, {GLANCED} + {LOOKED} frames, P = {PATCH_PX}, K = 9, "
        f"MobileNet-V2 that shifts twice, {torch.get_num_threads()} cores; as "
        "cache_build_vs_encoder"
    )
    return {"clip_cache_build_vs_encoder": row(ratios, "", how)}


if __name__ == "__main__":
    folder = Path("outputs/benchmarks")
    folder.mkdir(parents=True, exist_ok=True)
    for key, entry in rows(folder).items():
        print(f"{key:44} {entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]")
