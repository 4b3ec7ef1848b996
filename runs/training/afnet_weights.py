"""What the training of an AF network begins with: weights of another one, or of a backbone."""

from __future__ import annotations

from pathlib import Path

from ...feature_cache import read_state_dict
from ...recognizer import AFNet, StartReport, begin_with, read_bundle
from ..options.parse import UsageError, print_line


def begin_from(path: Path, network: AFNet) -> StartReport:
    """Load what fits of some weights into a network, and leave the rest random.

    Args:
        path: The bundle of an AF network; or a file of weights, by this project's names or the
            released ones, of an AF network or of its backbone as it was trained on images.
        network: To be trained.

    Raises:
        UsageError: If there is no such file or folder.
        BundleError, WeightsError: If it cannot be read safely, or does not fit.
    """
    if not path.exists():
        raise UsageError(
            f"--weights {path}: there is no such file or folder: give the bundle of an AF network, "
            "or a .pth, .pth.tar or .safetensors file of its weights"
        )
    weights = read_bundle(path, "recognizer").weights if path.is_dir() else read_state_dict(path)
    return begin_with(network, weights)


def tell_start(path: Path, report: StartReport) -> None:
    """Print what was used of some weights, and what was not."""
    for part, n in report.used.items():
        if n:
            print_line(f"used      {part}: {n} tensors of {path}")
    for part, why in report.left_out.items():
        print_line(f"left out  {part}, which begin at random: {why}")
