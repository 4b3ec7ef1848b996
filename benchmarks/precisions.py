"""What few bits save in time: an encoder in float32, with PyTorch's integer kernels, and rounded.

``python benchmarks/precisions.py resnet18 112`` prints a row for each: what a frame is charged, and
the processor time of one thread that it takes, the least of several runs.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

from focusgym.feature_cache import make_encoder
from focusgym.recognizer import EncoderConfig, encoder_gmacs, format_gmacs

FRAMES = 4
RUNS = 7
INTEGERS = "8 bits, integer kernels"


def spent_ms(run: Callable[[], object]) -> float:
    """Return the processor time of a call, milliseconds, the least of several after a first."""
    run()
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def in_integers(network: nn.Module, images: Tensor) -> nn.Module:
    """Return a network with weights and activations of 8 bits, in this processor's kernels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces another interface
        prepared = prepare_fx(network, get_default_qconfig_mapping("x86"), (images,))
        prepared(images)  # sees the ranges
        converted: nn.Module = convert_fx(prepared)
    return converted


@torch.no_grad()
def main(network: str, side_px: int) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    pixels = torch.randint(0, 256, (FRAMES, 3, side_px, side_px), dtype=torch.uint8)
    plain = make_encoder(EncoderConfig(network), "random").fused()
    images = plain.prepare(pixels)
    rows = {"32 bits": (encoder_gmacs(plain, side_px), spent_ms(lambda: plain.encode(images)))}
    eight = make_encoder(EncoderConfig(f"{network}_8bit"), "random")
    integers = in_integers(make_encoder(EncoderConfig(network), "random").trunk, images)
    rows[INTEGERS] = (encoder_gmacs(eight, side_px), spent_ms(lambda: integers(images)))
    for bits in (8, 4, 2):
        encoder = make_encoder(EncoderConfig(f"{network}_{bits}bit"), "random").fused()
        rows[f"{bits} bits, rounded"] = (
            encoder_gmacs(encoder, side_px),
            spent_ms(lambda encoder=encoder: encoder.encode(images)),  # type: ignore[misc]
        )
    print(f"| {network}, {side_px} px | charged | ms per frame |\n|---|---|---|")
    for name, (gmacs, spent) in rows.items():
        print(f"| {name} | {format_gmacs(gmacs)} | {spent / FRAMES:.1f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network")
    parser.add_argument("side_px", type=int)
    args = parser.parse_args()
    main(args.network, args.side_px)
