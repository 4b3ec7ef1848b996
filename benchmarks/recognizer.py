"""Whether time follows compute: the recognizer beside the same two networks on full frames."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from rows import row
from torch import Tensor

from focusgym.agents import with_threshold
from focusgym.recognizer import (
    GLANCE_PIXELS,
    AdaptiveRecognizer,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    GruClassifier,
    PatchGrid,
    PolicyConfig,
    PolicyNetwork,
    batches,
    encoder_gmacs,
    glance_at,
    pool,
)

STEPS, SIDE_PX, PATCH_PX, CLASSES, REPEATS = 16, 224, 128, 200, 9
BATCHES, PATCHES_PX = (1, 8), (96, 128, 160, 192)


class FullFrames:
    """The paper's TSM+ without TSM: both encoders on whole frames, then f_C; no policy."""

    def __init__(self, recognizer: AdaptiveRecognizer) -> None:
        """Share a recognizer's networks, fused; batches of four full frames are fastest."""
        self._parts = recognizer
        cost = recognizer.cost
        local_gmacs = encoder_gmacs(recognizer.local_encoder, SIDE_PX)
        self.gmacs = STEPS * (cost.glance_gmacs + local_gmacs + cost.classifier_gmacs)

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> Tensor:
        """Return logits ``(B, T, C)`` of frames ``(B, T, 3, S, S)`` uint8."""
        f_g, f_l = self._parts.glance_encoder, self._parts.local_encoder
        dtype, vectors = self._parts.feature_dtype, []
        for some in batches(frames.flatten(0, 1), GLANCE_PIXELS):
            prepared = f_g.prepare(some)  # both expect the same
            vectors.append([pool(f.encode(prepared), dtype).float() for f in (f_g, f_l)])
        both = (
            torch.cat(parts).unflatten(0, frames.shape[:2]) for parts in zip(*vectors, strict=True)
        )
        return self._parts.classifier(*both)


def rows(out: Path) -> dict[str, dict[str, float | str]]:
    """Measure AdaFocus, and AdaFocus+ on half of the frames, at batch 1 and 8, in turn."""
    torch.manual_seed(0)
    glance, local = (Encoder(EncoderConfig(name)).eval() for name in ("mobilenet_v2", "resnet50"))
    f_c = GruClassifier(ClassifierConfig(glance.channels, local.channels, CLASSES))
    policy = PolicyNetwork(PolicyConfig(7, 7, glance.channels, threshold=0.5))
    alone = copy.deepcopy(policy)
    alone.keep = None
    grid = PatchGrid(SIDE_PX, PATCH_PX)
    parts = glance.fused(), local.fused(), f_c, grid
    adafocus = AdaptiveRecognizer(*parts, alone)
    full = FullFrames(adafocus)
    table = compute(*parts, alone)
    for batch in BATCHES:
        frames = torch.randint(0, 256, (batch, STEPS, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8)
        plus = AdaptiveRecognizer(*parts, half(policy, adafocus, frames))
        for name, recognizer in (("p128", adafocus), ("skip50", plus)):
            gmacs = float(recognizer(frames).gmacs[:, -1].mean())
            saving = full.gmacs / gmacs
            shares, speed_ups, milliseconds = [], [], []
            full(frames)
            for _ in range(REPEATS):
                full_s, own_s = timed(full, frames), timed(recognizer, frames)
                shares.append(full_s / own_s / saving)
                speed_ups.append(full_s / own_s)
                milliseconds.append(1000 * own_s / batch)
            how = (
                f"MobileNet-V2 and ResNet-50, T = {STEPS}, P = {PATCH_PX}, batch {batch}, "
                f"{gmacs:.2f} of {full.gmacs:.2f} GMACs, {torch.get_num_threads()} threads"
            )
            key = f"{name}_batch{batch}"
            table[f"recognizer_speedup_{key}"] = row(
                speed_ups, "", f"{how}; beside the same two networks on full frames, in turn"
            )
            table[f"recognizer_speedup_vs_compute_{key}"] = row(
                shares, "", f"{how}; the same as a share of the ratio of their GMACs"
            )
            table[f"recognizer_ms_per_video_{key}"] = row(milliseconds, "ms", how)
    for name in ("p128", "skip50"):  # the names by which they are known
        known = f"recognizer_speedup_vs_compute_{name}"
        table[known] = table[f"{known}_batch{BATCHES[-1]}"]
    return table


def compute(
    glance: Encoder, local: Encoder, f_c: GruClassifier, grid: PatchGrid, policy: PolicyNetwork
) -> dict[str, dict[str, float | str]]:
    """Count the multiply-adds of a video for the paper's patch sizes."""
    table = {}
    for patch_px in PATCHES_PX:
        own = AdaptiveRecognizer(glance, local, f_c, replace(grid, patch_px=patch_px), policy)
        cost = own.cost.of_video(STEPS, policy=True)
        parts = ", ".join(f"{name[:-6]} {gmacs:.2f}" for name, gmacs in asdict(cost).items())
        table[f"recognizer_gmacs_p{patch_px}"] = row(
            [cost.total_gmacs], "GMAC", f"counted on the modules, T = {STEPS}: {parts}"
        )
    return table


def half(policy: PolicyNetwork, recognizer: AdaptiveRecognizer, frames: Tensor) -> PolicyNetwork:
    """Return the policy with the ρ that keeps half of these frames."""
    flat = frames.flatten(0, 1)
    with torch.no_grad():
        maps, _ = glance_at(recognizer.glance_encoder, flat, recognizer.feature_dtype)
        keep = policy.keep(maps.float().unflatten(0, frames.shape[:2]))
    return with_threshold(policy, float(keep.double().quantile(0.5)))


def timed(run: Callable[[Tensor], object], frames: Tensor) -> float:
    """Return the seconds that a run takes."""
    start = time.perf_counter()
    run(frames)
    return time.perf_counter() - start
