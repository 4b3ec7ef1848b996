"""The verb ``replay``: pages, films and a strip that show what a policy does in videos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...recognizer import compute_unit
from ..configs.replay import ReplayConfig
from ..evaluation.trained import read_boxes
from ..folders.atomic import check_free, output_folder
from ..options.parse import UsageError, print_line
from ..pages.page import write_page
from ..pictures.film import strip, write_film
from ..replays.content import describe_video, mean_picture, pictures
from ..replays.contract import Episode, Pair, Shot
from ..replays.interest import KINDS, Pick, following, pick
from ..replays.listing import describe_listing
from ..replays.overview import describe_overview
from ..replays.pairs import open_pair
from ..replays.truth import boxes_of, say_missing_boxes


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
    pair = open_pair(config)
    footage = pair.footage
    table_of_boxes = config.boxes or footage.usual_boxes
    boxes = None if table_of_boxes is None else read_boxes(table_of_boxes)
    picks, notes = _select(config, pair)
    n_selected = len(picks)
    picks += following(picks, config.more, pair.n_split)

    positions = np.array([each.position for each in picks])
    shown = pair.rows[positions]
    shots = [footage.read(int(row)) for row in shown]
    videos = footage.table.iloc[shown]
    truth = boxes_of(videos, np.stack([shot.frame_indices for shot in shots]), boxes)
    if boxes is not None and (missing := say_missing_boxes(videos, truth)):
        notes.append(missing)
    episodes = pair.episodes(positions)
    facts = {
        "split": config.split,
        "seed": config.seed,
        "classes": list(footage.classes),
        "frame_px": footage.frames.frame_px,
        "steps": footage.frames.steps,
        "segments": list(footage.frames.segments),
        "cubes": None,
        "gates": None,
        "listed_in": footage.listed_in,
        "several_labels": pair.several_labels,
        **pair.facts,
        "policies": pair.policies,
        "notes": notes,
        "listing": describe_listing(footage, pair.rows[: pair.n_split], pair.played),
        "overview": describe_overview(pair),
        "videos": [
            describe_video(footage, int(row), why, shot, of_video, of_truth)
            for row, why, shot, of_video, of_truth in zip(
                shown, picks, shots, zip(*episodes, strict=True), truth, strict=True
            )
        ],
    }
    with output_folder(config.out) as folder:
        _write(folder, facts, episodes, shots, n_selected, config.mp4)
    written = sorted(str(p.relative_to(config.out)) for p in config.out.rglob("*") if p.is_file())
    result = {"out": str(config.out), "files": written, **facts}
    print_line(json.dumps(result) if config.json else _summary(result))
    return result


def _select(config: ReplayConfig, pair: Pair) -> tuple[list[Pick], list[str]]:
    """Return the videos to show, those chosen by hand first, and what was not found."""
    by_hand = [
        Pick(int(np.flatnonzero(pair.rows == row)[0]), None, "chosen by hand")
        for row in config.videos
    ]
    kinds = dict.fromkeys(config.select or (() if config.videos else KINDS))
    lacks = pair.lacks
    possible = [kind for kind in kinds if kind not in lacks]
    if not possible and not by_hand:  # told before any video is played
        raise _nothing_to_show([lacks[kind] for kind in kinds], pair)
    first, second = pair.played
    picks = pick(possible, config.count, first, second, pair.regrets, by_hand)
    missed = [kind for kind in kinds if kind not in {each.kind for each in picks}]
    nothing = f"no video of the split {config.split!r} is selected for"
    notes = [lacks.get(kind, f"{nothing} {kind}") for kind in missed]
    if not picks:
        raise _nothing_to_show(notes, pair)
    return picks, notes


def _nothing_to_show(notes: Sequence[str], pair: Pair) -> UsageError:
    return UsageError(
        f"there is nothing to show ({'; '.join(notes)}): give other kinds to --select, or rows of "
        f"{pair.footage.listed_in} to --videos"
    )


def _write(
    folder: Path,
    facts: dict[str, Any],
    episodes: Sequence[Sequence[Episode]],
    shots: Sequence[Shot],
    n_selected: int,
    mp4: bool,
) -> None:
    """Write everything into a folder; strip and films are of the first, selected videos."""
    frames = [shot.pixels for shot in shots]
    names = [policy["name"] for policy in facts["policies"]]
    if mp4:
        (folder / "videos").mkdir()
        for i, video in enumerate(facts["videos"][:n_selected]):
            path = folder / "videos" / f"{video['row']}.mp4"
            write_film(path, [of_policy[i] for of_policy in episodes], names)
    selected = episodes[0][:n_selected]
    seen = [each.seen(pixels) for each, pixels in zip(selected, frames, strict=False)]
    box = "where f_L looked" if facts["gates"] is None else "kept by at least one block"
    strip(seen, selected, facts["classes"], box).savefig(folder / "strip.png", dpi=100)
    (folder / "episodes.json").write_text(json.dumps(facts, allow_nan=False))
    pictured = [
        {**video, "frames": pictures(each), "film": mp4 and index < n_selected}
        for index, (video, each) in enumerate(zip(facts["videos"], frames, strict=True))
    ]
    parts = {name: facts[name] for name in ("listing", "overview")}
    shared = {key: value for key, value in facts.items() if key not in (*parts, "videos")}
    costs = [cost for each in parts["overview"]["policies"] for cost in each["gmacs_by_step"]]
    data = {**shared, "compute_unit": asdict(compute_unit(*costs))}
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


def _summary(result: dict[str, Any]) -> str:
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
    each = "cube" if result["cubes"] else "frame"
    lines.append(
        f"videos shown {each} by {each}: {len(result['videos'])}, in the list: {n_listed}; "
        "--more N shows N further"
    )
    out = Path(result["out"])
    lines.append(f"{out / 'index.html'}: open it in a browser; {out / 'overview.html'}: averages")
    return "\n".join(lines)
