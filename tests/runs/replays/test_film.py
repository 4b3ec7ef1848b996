"""Films read back, and the strip's frames and boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import decord
import numpy as np
import pytest
from matplotlib.patches import Rectangle

from focusgym.envs import render_record
from focusgym.feature_cache import read_view
from focusgym.runs.evaluation.trained import find_trained
from focusgym.runs.pictures.film import strip, write_film
from focusgym.runs.replays.episodes import Episode, Looker, decide, watch

ROWS = np.array([82, 90])


@pytest.fixture(scope="module")
def episodes(tiny_run: tuple[Path, dict[str, Any]]) -> list[list[Episode]]:
    """Of π′ and of random patches, in two videos."""
    trained = find_trained(tiny_run[0] / "policy_plus")
    lookers = [Looker("plus", trained), Looker("random", trained, random_seed=1)]
    watched = [watch(each, ROWS, decide(each, ROWS), "confidence", 0) for each in lookers]
    record = watched[0][0].record
    attended = record.attended.copy()
    attended[:2] = [True, False]  # both kinds are in the first video
    watched[0][0] = replace(watched[0][0], record=replace(record, attended=attended))
    return watched


def test_a_film_shows_the_pictures_of_both_policies(
    episodes: list[list[Episode]], tmp_path: Path
) -> None:
    records = [of_policy[0].record for of_policy in episodes]
    names = ["plus", "random " + "patches " * 40]
    write_film(path := tmp_path / "film.mp4", [of_policy[0] for of_policy in episodes], names)
    reader = decord.VideoReader(str(path))
    pictures = [render_record(record) for record in records]
    n, height, width, _ = pictures[0].shape
    assert len(reader) == n == records[0].n_decisions
    assert reader.get_avg_fps() == pytest.approx(2)
    frames = reader.get_batch(range(n)).asnumpy().astype(float)
    assert frames.shape[2] % 2 == frames.shape[1] % 2 == 0
    assert frames.shape[2] >= 2 * width
    # Below the titles, at both ends, up to what the encoder loses.
    for shown, expected in (
        (frames[:, -height:, :width], pictures[0]),
        (frames[:, -height:, -width:], pictures[1]),
    ):
        assert np.abs(shown - expected).mean() < 6
        assert np.abs(shown - expected[::-1]).mean() > 6
    titles = frames[0, : frames.shape[1] - height]
    assert titles[:, :width].max() > 150
    assert titles[:, width : width + 8].max() < 80, "a long name ends before the other picture"


def test_a_strip_has_a_row_per_video_with_boxes_where_it_looked(
    episodes: list[list[Episode]], tmp_path: Path
) -> None:
    shown = episodes[0]
    frames = [read_view(each.record.clip, each.record.frames, each.record.view) for each in shown]
    classes = [str(label) for label in range(9)] + ["a name that is much too long for it"]
    figure = strip(frames, shown, classes)
    steps, side = shown[0].record.n_decisions, shown[0].record.frames.frame_px
    assert len(figure.axes) == 2
    for axes, pixels, episode in zip(figure.axes, frames, shown, strict=True):
        record = episode.record
        assert len(axes.images) == steps
        boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        expected = record.boxes_px[record.attended]
        assert len(boxes) == len(expected)
        lefts = []
        for t, image in enumerate(axes.images):
            left, right, bottom, top = image.get_extent()
            lefts.append(left)
            assert (right - left, bottom, top) == pytest.approx((side, side, 0))
            np.testing.assert_array_equal(image.get_array(), pixels[t].permute(1, 2, 0))
            assert (image.get_alpha() < 0.5) == (not record.attended[t])
        for box, px, t in zip(boxes, expected, np.flatnonzero(record.attended), strict=True):
            left, top, right, bottom = px.tolist()
            assert box.get_xy() == (lefts[t] + left, top)
            assert (box.get_width(), box.get_height()) == (right - left, bottom - top)
        texts = [text.get_text() for text in axes.texts]
        assert texts.count("skipped") == int((~record.attended).sum())
        assert texts[-1] == record.label
        for probabilities in episode.class_probabilities:
            name, sure = probabilities.argmax(), f"{100 * probabilities.max():.0f} %"
            shown_name = classes[name] if name < 9 else "a name that i…"
            assert f"{shown_name}\n{sure}" in texts
    figure.savefig(tmp_path / "strip.png", dpi=50)
    assert (tmp_path / "strip.png").read_bytes()[:4] == b"\x89PNG"
