"""How far features and predictions in TF32 and bfloat16 are from those in float32.

``python benchmarks/agreement.py outputs/quickstart`` encodes videos that the quickstart's networks
were not trained on, with its encoders, in each precision that the device has; and recognizes them
with its recognizer, whose policy chooses the patches. Printed are, beside float32 on the same
device: the error of the features, over their size (root mean squares), the largest difference, over
``1 + |feature|`` as ``cache verify`` counts it, and the share of patches and of predictions that
are the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from focusgym.feature_cache import CacheConfig, FeatureCache, VideoEncoder
from focusgym.feature_cache.building.build import encoding_workers
from focusgym.feature_cache.videos.decode import read_many
from focusgym.recognizer import AdaptiveRecognizer
from focusgym.recognizer.pipeline.look import repeatable_on_cuda

Features = dict[str, NDArray[np.float64]]


def precisions(device: str) -> tuple[str, ...]:
    """Return the precisions beside float32 that a device has."""
    return ("bfloat16",) if device == "cpu" else ("tf32", "bfloat16")


def encoded(cache: FeatureCache, frames: list[Tensor], device: str, precision: str) -> Features:
    """Return the features of videos, each array of all of them, as they are before storage."""
    content = CacheConfig(cache.frames, (cache.group,), None, "float32", device, precision)
    encoder = VideoEncoder(cache.encoders_by_name(), content)
    with encoding_workers(content):
        features = [encoder.encode(each) for each in frames]
    return {name: np.stack([each[name] for each in features]) for name in features[0]}


def recognized(bundle: Path, frames: list[Tensor], device: str, precision: str) -> list[Tensor]:
    """Return patches ``(N, T)`` and predictions ``(N, T)`` of videos, on the CPU."""
    is_tf32 = precision == "tf32"
    recognizer = AdaptiveRecognizer.from_bundle(
        bundle, device, precision="float32" if is_tf32 else precision
    )
    with repeatable_on_cuda(is_tf32), torch.inference_mode():
        recognitions = [recognizer(each[None].to(device)) for each in frames]
    options = torch.cat([each.options for each in recognitions])
    return [options.cpu(), torch.cat([each.logits.argmax(2) for each in recognitions]).cpu()]


def main() -> None:
    """Print what is the same, and how far the rest is apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("quickstart", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--videos", type=int, default=200)
    args = parser.parse_args()
    cache = FeatureCache.open(args.quickstart / "cache")
    rows = cache.split("test")[: args.videos]
    frames = [each for each, _ in read_many(cache.clips(rows), cache.frames)]
    bundle = args.quickstart / "recognizers" / "adafocus"
    exact = encoded(cache, frames, args.device, "float32")
    options, predictions = recognized(bundle, frames, args.device, "float32")
    for precision in precisions(args.device):
        for name, other in encoded(cache, frames, args.device, precision).items():
            apart = np.abs(other - exact[name])
            error = np.sqrt((apart**2).mean() / (exact[name] ** 2).mean())
            largest = (apart / (1 + np.abs(exact[name]))).max()
            print(f"{precision} {name}: error {error:.2e}, largest difference {largest:.2e}")
        others = recognized(bundle, frames, args.device, precision)
        same = [(a == b).double() for a, b in zip((options, predictions), others, strict=True)]
        print(
            f"{precision}, {len(rows)} videos of {cache.steps} frames: the same patch "
            f"{float(same[0].mean()):.4f}, the same prediction after each frame "
            f"{float(same[1].mean()):.4f}, after the last {float(same[1][:, -1].mean()):.4f}"
        )
        labels = cache.labels[rows]
        right = [
            float((each[:, -1] == labels).double().mean()) for each in (predictions, others[1])
        ]
        print(f"{precision}: accuracy {right[1]:.4f}, in float32 {right[0]:.4f}")


if __name__ == "__main__":
    main()
