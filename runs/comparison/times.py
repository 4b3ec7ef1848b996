"""How long a video takes on pixels: trained rows of a comparison, on one thread."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import process_time

import torch
from torch import Tensor
from tqdm import tqdm

from ...feature_cache import FeatureCache, read_manifest, read_many
from ...recognizer import in_words, torch_threads
from ...recognizer.files.atomic import write_whole
from ...recognizer.files.documents import read_json
from ...recognizer.files.typed import typed
from ..configs.compare import CompareConfig
from ..evaluation.plug_back import recognizer_of
from ..evaluation.system_runs import find_system_run, is_system_run
from ..evaluation.trained import Trained, at_keep_ratio, find_trained
from ..folders.atomic import OutputError
from ..options.parse import UsageError

TIMES = "times.json"  # in a run's folder
Recognize = Callable[[Tensor], object]  # of frames of videos (B, T, …, 3, S, S)


@dataclass(frozen=True)
class Times:
    """How long a run takes with a video.

    Attributes:
        videos: Of how many that is the median; 0 where it was not measured.
        milliseconds: By η, as a text; of others than AdaFocus+ by an empty one.

    Raises:
        ValueError: If a number is negative.
    """

    videos: int
    milliseconds: Mapping[str, float]

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.videos < 0 or any(each < 0 for each in self.milliseconds.values()):
            raise ValueError(f"expected no negative numbers; got {self!r:.200}")


def check_times(config: CompareConfig) -> None:
    """Refuse times that cannot be measured, before anything is trained.

    Raises:
        UsageError: If their number is negative, or nothing is trained.
        VideoError: If a video file is gone, or another one.
    """
    if config.time < 0:
        raise UsageError(f"--time: expected a number of test videos; got {config.time}")
    if config.time and (config.runs or not (config.reward or config.systems)):
        raise UsageError("--time: of designs and systems that are trained here: leave it out")
    if config.time:
        group = next(iter(read_manifest(config.cache)["groups"]))
        cache = FeatureCache.open(config.cache, group, videos_root=config.videos_root)
        cache.clips(cache.split("test")[: config.time])


def time_runs(
    runs: Sequence[tuple[Path, Sequence[float]]], n_videos: int, videos_root: Path | None
) -> None:
    """Measure how long runs take with a video, unless that is known of as many videos.

    Decoded frames are given one video at a time. What is timed is all from there to the prediction:
    encoders where a run looks, what decides, f_C, and the rules of the environment. It is the
    processor's time, on one thread, so that other work beside counts little.

    Args:
        runs: Folders of runs of ``focusgym train``; of AdaFocus+ the shares η to measure.
        n_videos: Of the test split, the first ones; 0 measures nothing.
        videos_root: See `FeatureCache.open`.

    Raises:
        VideoError: If a video is gone or cannot be read.
    """
    todo = [(run, shares) for run, shares in runs if not _is_timed(run, shares, n_videos)]
    if not n_videos or not todo:
        return
    with torch_threads(1):
        for run, shares in tqdm(todo, desc="times", unit="run"):
            medians_ms = {
                name: _median_ms(recognize, cache, n_videos)
                for name, recognize, cache in _recognizers(run, shares, videos_root)
            }
            write_whole(run / TIMES, json.dumps(asdict(Times(n_videos, medians_ms))))


def milliseconds(run: Path, share: float | None = None) -> float | None:
    """Return what a video took in a run, of AdaFocus+ at η; None where it was not measured.

    Raises:
        OutputError: If the file is damaged.
    """
    return _known(run).milliseconds.get(_name(share))


def _is_timed(run: Path, shares: Sequence[float], n_videos: int) -> bool:
    """Return whether a run, of AdaFocus+ at all of these η, was timed with as many videos."""
    names = {_name(share) for share in shares or (None,)}
    known = _known(run)
    return known.videos == n_videos and names <= {*known.milliseconds}


def _known(run: Path) -> Times:
    if not (run / TIMES).is_file():
        return Times(0, {})
    try:
        return typed(Times, read_json(run / TIMES))
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{run / TIMES} does not say how long a video took ({in_words(error)}): remove it, and "
            "--time measures it again"
        ) from error


def _name(share: float | None) -> str:
    return "" if share is None else f"{share:g}"


def _recognizers(
    run: Path, shares: Sequence[float], videos_root: Path | None
) -> Iterator[tuple[str, Recognize, FeatureCache]]:
    """Yield what recognizes frames, of AdaFocus+ for each η, and the cache that says which."""
    if is_system_run(run):
        system = find_system_run(run, videos_root)
        yield _name(None), system.on_frames(), system.source.cache
        return
    trained = find_trained(run, videos_root=videos_root)
    for share in shares or (None,):
        each = trained if share is None else at_keep_ratio(trained, share)
        yield _name(share), _adafocus(each), each.cache


def _adafocus(trained: Trained) -> Recognize:
    glance, local = trained.cache.encoders()
    f_c = trained.engine.source.classifier
    return recognizer_of(trained.cache, (glance.fused(), local.fused()), f_c, trained.policy)


@torch.no_grad()
def _median_ms(recognize: Recognize, cache: FeatureCache, n_videos: int) -> float:
    clips = cache.clips(cache.split("test")[:n_videos])
    videos = [frames[None] for frames, _ in read_many(clips, cache.frames)]
    recognize(videos[0])  # what is done once
    times = []
    for frames in videos:
        start = process_time()
        recognize(frames)
        times.append(1e3 * (process_time() - start))
    return median(times)
