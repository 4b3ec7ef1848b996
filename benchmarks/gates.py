"""AF networks: whether the time of a video follows its compute, and beside a plain ResNet-50.

``python benchmarks/gates.py`` prints these rows; ``make bench`` has them with all others.
"""

from __future__ import annotations

from pathlib import Path

import torch
from clips import CLASSES, SIDE_PX, spent_s
from rows import row
from torch import Tensor

from focusgym.recognizer import (
    AFNet,
    AFNetConfig,
    AFNetRecognizer,
    Encoder,
    EncoderConfig,
    FrameConfig,
    count_gmacs,
)

RATIOS, BATCHES, FRAMES, REPEATS = (0.5, 0.25), (1, 8), 8, 5
BESIDE_FRAMES, BESIDE_RATIO = 12, 0.4  # of the supplement's Table 5


def rows(out: Path) -> dict[str, dict[str, float | str]]:
    """Measure, in turn what is compared."""
    return {**speed_ups(), **beside_plain()}


def make(n_frames: int) -> AFNetRecognizer:
    """Return an AF-ResNet-50 that shifts, with random weights, fused."""
    torch.manual_seed(0)
    network = AFNet(AFNetConfig("resnet50", CLASSES, n_frames, shift="offline"))
    return AFNetRecognizer(network, frames=FrameConfig(n_frames, SIDE_PX)).fused()


def videos(batch: int, n_frames: int) -> Tensor:
    """Return frames ``(batch, T, 3, S, S)``."""
    return torch.randint(0, 256, (batch, n_frames, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8)


def masks_of(recognizer: AFNetRecognizer, batch: int, ratio: float) -> Tensor:
    """Return masks ``(batch, T, gates)``, in each block that share of the frames, drawn."""
    n_frames, n_gates = recognizer.frames.steps, recognizer.network.n_gates
    ranks = torch.rand(batch, n_frames, n_gates).argsort(dim=1).argsort(dim=1)
    return (ranks < round(ratio * n_frames)).float()


def speed_ups() -> dict[str, dict[str, float | str]]:
    """Measure a network at several ratios beside itself with every frame kept."""
    recognizer, table = make(FRAMES), {}
    cost = recognizer.cost
    for batch in BATCHES:
        frames = videos(batch, FRAMES)
        every = masks_of(recognizer, batch, 1.0)
        for ratio in RATIOS:
            masks = masks_of(recognizer, batch, ratio)
            expected = cost.at_ratio(1, FRAMES) / cost.at_ratio(ratio, FRAMES)
            recognizer.look(frames[:1], masks=masks[:1])
            speed = []
            for _ in range(REPEATS):
                full_s = spent_s(lambda f: recognizer.look(f, masks=every), frames)  # noqa: B023
                speed.append(
                    full_s / spent_s(lambda f: recognizer.look(f, masks=masks), frames)  # noqa: B023
                )
            how = (
                f"AF-ResNet-50 that shifts, {FRAMES} frames, RT {ratio:g} beside RT 1, batch "
                f"{batch}, {cost.at_ratio(ratio, FRAMES):.2f} of {cost.at_ratio(1, FRAMES):.2f} "
                "GMACs, CPU time of one thread, in turn"
            )
            name = f"afnet_speedup_rt{100 * ratio:.0f}_batch{batch}"
            table[name] = row(speed, "", how)
            share = [each / expected for each in speed]
            table[f"{name}_vs_compute"] = row(share, "", f"{how}; as a share of the ratio of GMACs")
    return table


def beside_plain() -> dict[str, dict[str, float | str]]:
    """Measure a network beside the ResNet-50 of TSM."""
    recognizer, n_frames = make(BESIDE_FRAMES), BESIDE_FRAMES
    plain = Encoder(EncoderConfig("resnet50_tsm")).eval().fused()
    frames = videos(1, n_frames)
    masks = masks_of(recognizer, 1, BESIDE_RATIO)
    speed = []
    with torch.inference_mode():
        prepared = plain.prepare(frames)
        plain.encode(prepared)
        recognizer.look(frames, masks=masks)
        for _ in range(REPEATS):
            spent = spent_s(lambda f: plain.encode(plain.prepare(f)), frames)
            speed.append(spent / spent_s(lambda f: recognizer.look(f, masks=masks), frames))
        gmacs = count_gmacs(lambda: plain.encode(prepared))
    own = recognizer.cost.of_videos(masks > 0).item()
    how = (
        f"ResNet-50 of TSM over AF-ResNet-50 that shifts at RT {BESIDE_RATIO:g}, {n_frames} "
        f"frames, batch 1, {own:.2f} of {gmacs:.2f} GMACs, CPU time of one thread, in turn"
    )
    shares = [each / (gmacs / own) for each in speed]
    return {
        "afnet_speedup_over_tsm": row(speed, "", how),
        "afnet_speedup_over_tsm_vs_compute": row(shares, "", f"{how}; as a share of that ratio"),
    }


if __name__ == "__main__":
    for key, entry in rows(Path("outputs/benchmarks")).items():
        print(f"{key:44} {entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]")
