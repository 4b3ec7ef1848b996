"""The verb ``replay``: pages, films and a strip that show what a policy does in videos."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs import make_design
from ...envs.rewards.checks import check_design
from ...feature_cache import FeatureCache, read_view
from ...recognizer import compute_unit, shortened
from ..configs.replay import ReplayConfig
from ..evaluation.trace import Played, play
from ..evaluation.trained import Trained, find_boxes
from ..folders.atomic import check_free, whole
from ..options.devices import device_of
from ..options.parse import UsageError, reward_of, tell, usage
from ..pages.page import write_page
from ..pictures.film import strip, write_film
from ..replays.content import (
    boxes_of,
    describe_policies,
    describe_video,
    mean_picture,
    pictures,
    say_missing_boxes,
)
from ..replays.episodes import RANDOM, Decided, Episode, Looker, decide, summed_regrets, watch
from ..replays.interest import KINDS, Pick, following, pick
from ..replays.listing import describe_listing
from ..replays.overview import describe_overview


def replay(config: ReplayConfig) -> dict[str, Any]:
    """Show a policy in videos: writes the folder ``config.out``, whole or not at all.

    Returns:
        What was written, and the figures: JSON-able.

    Raises:
        UsageError: If an option cannot be, or a policy, a cache or a table of boxes is not there.
        OutputError: If something is where the output would be.
        BundleError: If a policy or f_C cannot be read, or belongs to another cache.
        CacheError: If the cache cannot be read, or has no such split.
        VideoError: If a video is gone or cannot be read; the message names it.
    """
    check_free(config.out)
    reward = reward_of(config.reward)
    with usage():
        design = make_design(reward)
    lookers = _lookers(config)
    cache = lookers[0].trained.cache
    with usage():
        several = lookers[0].labels == "mean"
        check_design(design, reward, 1, cache.n_classes, several_labels=several)
    boxes = find_boxes(cache, config.boxes)
    split = cache.split(config.split)
    rows = np.concatenate([split, _strangers(config.videos, cache, split)])
    decided = [decide(looker, rows) for looker in lookers]
    # Random patches are drawn video by video: those of the split are the same without strangers.
    played = [play(each.engine, each.agent, split, each.cost)[0] for each in lookers]
    picks, notes = _select(config, lookers[0], rows, decided[0], played)
    n_selected = len(picks)
    picks += following(picks, config.more, len(split))

    positions = np.array([each.position for each in picks])
    shown = rows[positions]
    cache.clips(shown)  # refused here, before they are played
    truth = boxes_of(cache, boxes, shown)
    if boxes is not None and (missing := say_missing_boxes(cache, truth, shown)):
        notes.append(missing)
    episodes = [
        watch(looker, shown, each.rows(positions), reward, config.seed)
        for looker, each in zip(lookers, decided, strict=True)
    ]
    in_split = np.arange(len(split))
    facts = {
        "split": config.split,
        "reward": config.reward,
        "seed": config.seed,
        "classes": cache.classes,
        "cache": cache.fingerprint,
        "frame_px": cache.places.frame_px,
        "patch_px": cache.places.side_px,
        "grid": math.isqrt(cache.n_options),
        "steps": cache.steps,
        "several_labels": lookers[0].labels == "mean",
        "policies": describe_policies(lookers),
        "notes": notes,
        "listing": describe_listing(cache, split, played),
        "overview": describe_overview(
            lookers, [each.rows(in_split) for each in decided], played, cache
        ),
        "videos": [
            describe_video(int(row), why, of_video, cache, of_truth)
            for row, why, of_video, of_truth in zip(
                shown, picks, zip(*episodes, strict=True), truth, strict=True
            )
        ],
    }
    with whole(config.out) as folder:
        _write(folder, facts, episodes, cache, n_selected, config.mp4)
    written = sorted(str(p.relative_to(config.out)) for p in config.out.rglob("*") if p.is_file())
    result = {"out": str(config.out), "files": written, **facts}
    tell(json.dumps(result) if config.json else _told(result))
    return result


def _lookers(config: ReplayConfig) -> tuple[Looker, Looker]:
    device = device_of(config.device)
    known = (config.cache, config.classifier, config.videos_root)
    first = Looker.find(config.policy, *known, device=device)
    trained = first.trained
    if config.second is None:
        return first, Looker(RANDOM, trained, random_seed=config.seed)
    second = Looker.find(config.second, *known, device=device)
    other = second.trained
    if other.cache.fingerprint != trained.cache.fingerprint:
        raise UsageError(
            f"--second {config.second} is for {_features(other)}, expected "
            f"{_features(trained)}, as {config.policy} is: give a policy that was trained on the "
            "same option group of the same cache"
        )
    if first.name != second.name:
        return first, second
    folders = _apart(config.policy, config.second)
    pair = zip((first, second), folders, strict=True)
    one, two = (replace(each, name=f"{each.name} ({folder})") for each, folder in pair)
    return one, two


def _apart(first: Path, second: Path) -> tuple[str, str]:
    """Return the ends of two paths, as short as they are not the same."""
    one, two = first.resolve().parts, second.resolve().parts
    for n in range(1, max(len(one), len(two))):
        ends = "/".join(one[-n:]), "/".join(two[-n:])
        if ends[0] != ends[1]:
            return ends
    return one[-1], f"{two[-1]}, again"


def _features(trained: Trained) -> str:
    cache = trained.cache
    known_by = shortened(cache.fingerprint)
    return f"option group {cache.group.name} of {cache.root} (fingerprint {known_by})"


def _strangers(
    videos: Sequence[int], cache: FeatureCache, split: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the chosen rows that are not of the split, if all of them can be shown."""
    asked = np.array(videos, dtype=np.int64)
    known = asked[(asked >= 0) & (asked < cache.n_videos)]
    skipped = known[cache.videos["split"].to_numpy()[known] == "skipped"]
    if len(known) < len(asked) or len(skipped):
        raise UsageError(
            f"--videos must be rows of the cache in [0, {cache.n_videos}) that could be read when "
            f"it was built; got {list(videos)}: see the rows in {cache.root / 'videos.csv'}, from 0"
        )
    if len(np.unique(asked)) < len(asked):
        raise UsageError(f"--videos must be different rows; got {list(videos)}: give each once")
    return np.setdiff1d(asked, split)


def _select(
    config: ReplayConfig,
    first: Looker,
    rows: NDArray[np.int64],
    decided: Decided,
    played: Sequence[Played],
) -> tuple[list[Pick], list[str]]:
    """Return the videos to show, those chosen by hand first, and what was not found."""
    n = len(played[0].labels)
    by_hand = [
        Pick(int(np.flatnonzero(rows == row)[0]), None, "chosen by hand") for row in config.videos
    ]
    kinds = config.select or (() if config.videos else KINDS)

    def regrets() -> NDArray[np.float32]:
        return summed_regrets(first, rows[:n], decided.rows(np.arange(n)))

    picks = pick(kinds, config.count, played[0], played[1], regrets, by_hand)
    missed = [kind for kind in dict.fromkeys(kinds) if kind not in {each.kind for each in picks}]
    notes = [f"no video of the split {config.split!r} is selected for {kind}" for kind in missed]
    if "skipped" in missed and not first.can_skip:
        notes[missed.index("skipped")] = f"{first.name} has no π′: it skips no frames"
    if not picks:
        raise UsageError(
            f"there is nothing to show ({'; '.join(notes)}): give other kinds to --select, or rows "
            "of the cache to --videos"
        )
    return picks, notes


def _write(
    folder: Path,
    facts: dict[str, Any],
    episodes: Sequence[Sequence[Episode]],
    cache: FeatureCache,
    n_selected: int,
    mp4: bool,
) -> None:
    """Write everything into a folder; strip and films are of the first, selected videos."""
    frames = []
    names = [policy["name"] for policy in facts["policies"]]
    if mp4:
        (folder / "videos").mkdir()
    for index, of_video in enumerate(zip(*episodes, strict=True)):
        record = of_video[0].record
        pixels = read_view(record.clip, record.frames, record.view)
        frames.append(record.frames.middle(pixels))
        if mp4 and index < n_selected:
            path = folder / "videos" / f"{record.video_id}.mp4"
            write_film(path, [episode.record for episode in of_video], names)
    selected = frames[:n_selected], episodes[0][:n_selected]
    strip(*selected, cache.classes).savefig(folder / "strip.png", dpi=100)
    (folder / "episodes.json").write_text(json.dumps(facts, allow_nan=False))
    pictured = [
        {**video, "frames": pictures(each), "film": mp4 and index < n_selected}
        for index, (video, each) in enumerate(zip(facts["videos"], frames, strict=True))
    ]
    parts = {name: facts[name] for name in ("listing", "overview")}
    shared = {key: value for key, value in facts.items() if key not in (*parts, "videos")}
    costs = [cost for each in parts["overview"]["policies"] for cost in each["gmacs_by_step"]]
    data = {
        **shared,
        "boxes_px": cache.boxes_px.tolist(),
        "compute_unit": asdict(compute_unit(*costs)),
    }
    title = " and ".join(names)
    write_page(
        folder / "index.html",
        "replay.html",
        title=title,
        data={**data, "listing": parts["listing"], "videos": pictured},
    )
    mean = {"mean_frame": mean_picture(frames), "n_mean": len(frames)}
    write_page(
        folder / "overview.html",
        "overview.html",
        title=title,
        data={**data, **mean, "overview": parts["overview"]},
    )


def _told(result: dict[str, Any]) -> str:
    """Return what is said at the end: the videos and why, and where to look."""
    lines = []
    for video in result["videos"]:
        ends = [
            f"{policy['name']} {'right' if episode['correct'][-1] else 'wrong'} "
            f"({episode['confidences'][-1]:.2f})"
            for policy, episode in zip(result["policies"], video["episodes"], strict=True)
        ]
        lines.append(f"{video['row']:>7}  {video['why']}; {', '.join(ends)}")
    n_listed = len(result["listing"]["rows"])
    lines += result["notes"]
    lines.append(
        f"videos shown frame by frame: {len(result['videos'])}, in the list: {n_listed}; "
        "--more N shows N further"
    )
    out = Path(result["out"])
    lines.append(f"{out / 'index.html'}: open it in a browser; {out / 'overview.html'}: averages")
    return "\n".join(lines)
