"""What the verb ``quickstart`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class QuickstartConfig:
    """Do the whole job: video files, feature cache, policy, and the policy plugged back.

    Without --videos, on the embedded data set of digits; with it, on your own clips.

    Attributes:
        seed: Seed of the data, the networks and every draw.
        out: Folder for everything that is written; complete steps found in it are reused.
        videos: Your clips: a folder with train.txt and val.txt (lines 'path frames label'), or
            with one folder per class.
        weights: torchvision's MobileNet-V2 state dict (.pth or .safetensors), needed with --videos.
        preset: Of --videos, by name or from a YAML file: clips, whose encoders keep their weights;
            clips_sharp, with a coarse glance, sharp patches and encoders that are trained on the
            clips; or your own with the same sections.
        json: Print the content of results.json, one JSON object, and nothing else; what else is
            told goes to the standard error output.
    """

    seed: int = 0
    out: Path = Path("outputs/quickstart")
    videos: Path | None = None
    weights: Path | None = None
    preset: str = "clips"
    json: bool = False
