"""What the verb ``replay`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from .devices import Device
from .own import OwnConfig

Kind = Literal["turned_right", "gain", "regret", "skipped"]


@dataclass(frozen=True)
class ReplayConfig(OwnConfig):
    """Show what a policy does in videos: pages, films and a strip of pictures.

    Attributes:
        out: Folder of the pages, which must not exist.
        policy: A policy bundle, or a run of 'focusgym train' or of 'focusgym fit' end-to-end,
            cubes or afnet.
        second: Another policy on the same option group, or another run of the same kind on the same
            videos, shown beside the first; random patches, boxes or cubes, or all frames kept by
            all gates, if it is not given.
        cache: Feature cache of the policies, where it is not beside them or known from the run.
            Runs of 'focusgym fit' have none, and are played on their video files.
        classifier: Bundle of f_C, where it is not beside them or known from the run.
        videos_root: Folder of the videos, where they are no longer where the cache looks for them:
            the one that --videos named when it was built.
        split: Split whose videos are selected from, and summed up in the overview.
        videos: Rows of the cache, or of the run's list of videos, to show, of any split.
        select: Also show videos that are wrong with the second policy and turned_right with the
            first; where the first is most sure beyond the second (gain), loses most to the best
            patches (regret), or leaves out most frames or focal branches (skipped). All four if
            neither this is given nor any videos.
        count: Videos of each kind.
        more: Further videos of the split to show frame by frame, in its order. All videos of the
            split are in the page's list, and can be searched and sorted; only those that are shown
            have pictures, and each makes the page larger: by some 30 kB for 6 frames of 64 px, by
            400 kB for 16 of 224 px.
        reward: Which reward is shown, by name or as a YAML mapping with parameters; runs that were
            trained end to end have none.
        gmacs: For runs of 'focusgym fit cubes', let videos stop on predictions that are sure
            enough, so that they cost at most this many GMACs on average, which is solved on the
            run's validation videos. If it is not given, all cubes are looked at.
        boxes: CSV file of true boxes; if it is not given, 'boxes.csv' in the folder of the videos,
            or 'data/boxes.csv' beside the cache.
        mp4: Write a film of each video.
        seed: Seed of random patches, boxes or cubes and of the reward's draws.
        device: Where to compute: cuda:1 is the second GPU; auto takes a GPU where there is one.
        json: Print what was written and the figures as one JSON object.
    """

    out: Positional[Path]
    policy: Path = Path("outputs/quickstart/policy")
    second: Path | None = None
    cache: Path | None = None
    classifier: Path | None = None
    videos_root: Path | None = None
    split: str = "test"
    videos: tuple[int, ...] = ()
    select: tuple[Kind, ...] = ()
    count: int = 3
    more: int = 0
    reward: str = "increment_over_random"
    gmacs: float | None = None
    boxes: Path | None = None
    mp4: bool = True
    seed: int = 0
    device: Device = "cpu"
    json: bool = False
