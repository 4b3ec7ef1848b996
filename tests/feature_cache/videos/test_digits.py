from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import decord
import numpy as np
import pandas as pd
import pytest

from focusgym.feature_cache import DigitsConfig, make_digits
from focusgym.feature_cache.videos.digit_parts import load_scans, resize, split_scans
from focusgym.feature_cache.videos.digits import draw_decoys, draw_side, exchange_quarters, render

SMALL = DigitsConfig(n_train=3, n_val=2, n_test=2, n_frames=5)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits") / "data"
    make_digits(SMALL, root)
    return root


def test_scans_are_disjoint_and_all_used() -> None:
    splits = split_scans(3)
    everything = np.concatenate(list(splits.values()))
    assert sorted(everything) == list(range(len(load_scans()[1])))


def test_the_same_seed_gives_the_same_pixels() -> None:
    first, again = render(SMALL, "val", 1), render(SMALL, "val", 1)
    assert np.array_equal(first.frames, again.frames)
    assert not np.array_equal(first.frames, render(SMALL, "val", 0).frames)
    other = DigitsConfig(n_train=3, n_val=2, n_test=2, n_frames=5, seed=1)
    assert not np.array_equal(first.frames, render(other, "val", 1).frames)


def test_the_videos_are_those_of_earlier_versions() -> None:
    """What was measured on them stays comparable: every draw is where it was."""
    video = render(DigitsConfig(n_frames=4), "val", 3)
    assert video.label == 0
    assert video.visible.tolist() == [True, True, True, False]
    centers_px = [[21.1174, 30.9915], [28.0951, 16.8703], [25.6039, 13.4014], [11.1523, 17.1158]]
    np.testing.assert_allclose(video.centers_px, centers_px, atol=1e-4)
    means = [78.4652, 78.8067, 78.4515, 76.2115]
    np.testing.assert_allclose(video.frames.mean((1, 2, 3)), means, atol=1e-3)


def test_files_are_h264_and_hold_what_was_rendered(written: Path) -> None:
    import av

    videos = pd.read_csv(written / "videos.csv")
    assert videos["split"].value_counts().to_dict() == {"train": 3, "val": 2, "test": 2}
    for split, rows in videos.groupby("split"):
        for index, row in enumerate(rows.itertuples()):
            video = render(SMALL, split, index)
            assert row.label == video.label
            decoded = decord.VideoReader(str(written / row.path)).get_batch(range(5)).asnumpy()
            error = np.abs(decoded.astype(float) - video.frames).mean()
            assert error < 12, "H.264 at CRF 18 stays near the rendered frames"
            with av.open(str(written / row.path)) as container:
                assert container.streams.video[0].codec_context.name == "h264"


def test_the_same_seed_gives_the_same_files(written: Path, tmp_path: Path) -> None:
    make_digits(SMALL, tmp_path / "again")
    for path in sorted(written.rglob("*.*")):
        again = tmp_path / "again" / path.relative_to(written)
        assert path.read_bytes() == again.read_bytes()


def test_the_digit_is_in_its_box_where_visible(written: Path) -> None:
    """Colour is the digit's alone: saturation is inside the box, if anywhere."""
    boxes = pd.read_csv(written / "boxes.csv")
    videos = pd.read_csv(written / "videos.csv").set_index("path")
    counts = videos.groupby("split").cumcount()
    for path, rows in boxes.groupby("path"):
        video = render(SMALL, videos.loc[path, "split"], int(counts[path]))
        for row in rows.itertuples():
            frame = video.frames[row.frame].astype(float)
            colour = (frame.max(2) - frame.min(2)) > 80  # noise alone stays below
            inside = np.zeros_like(colour)
            inside[row.top : row.bottom, row.left : row.right] = True
            assert not (colour & ~inside).any()
            assert colour.any() == row.visible


def test_the_position_drifts_smoothly_inside_the_frame() -> None:
    for index in range(20):
        video = render(DigitsConfig(), "train", index)
        assert video.centers_px.min() >= 10
        assert video.centers_px.max() <= 54
        assert np.abs(np.diff(video.centers_px, axis=0)).max() < 16
        assert video.visible.any()


def test_visibility_meets_its_share() -> None:
    shares = [render(DigitsConfig(n_frames=12), "test", i).visible.mean() for i in range(300)]
    assert np.mean(shares) == pytest.approx(0.7, abs=0.05)


def test_decoys_are_added_to_the_same_video() -> None:
    """Where there is a decoy there is its tint; everywhere else the pixels are those without."""
    config = DigitsConfig(n_frames=6, visible_share=0.5, noise=0.0)
    with_decoys = replace(config, decoys=2)
    plain, more = (render(each, "train", 3) for each in (config, with_decoys))
    assert (plain.label, plain.visible.tolist()) == (more.label, more.visible.tolist())
    assert np.array_equal(plain.centers_px, more.centers_px)
    decoys = draw_decoys(with_decoys, "train", 3)
    assert len(decoys) == 2
    scans = {resize(each, 20).round(9).tobytes() for each in load_scans()[0]}
    for t in range(6):
        near = np.zeros((64, 64), dtype=bool)
        for glyphs, centers in decoys:
            if (glyph := glyphs[t]) is not None:
                x, y = np.rint(centers[t] - 10).astype(int)
                near[y : y + 20, x : x + 20] = True
                assert glyph.round(9).tobytes() not in scans, "it is no digit"
        assert (plain.frames[t] == more.frames[t])[~near].all()
        assert not near.any() or (plain.frames[t] != more.frames[t])[near].any()


def test_each_video_draws_how_large_its_digit_is(tmp_path: Path) -> None:
    many = DigitsConfig(
        n_train=10,
        n_val=1,
        n_test=2,
        n_frames=2,
        visible_share=1.0,
        digit_px=10,
        largest_digit_px=44,
    )
    sides = np.array([draw_side(many, "train", index) for index in range(1000)])
    assert (sides.min(), sides.max()) == (10, 44)
    # All ratios alike: a share of x of the videos is below 10 (44 / 10)^x px.
    for share in (0.25, 0.5, 0.75):
        assert (sides < 10 * 4.4**share).mean() == pytest.approx(share, abs=0.05)
    make_digits(many, tmp_path / "data")
    boxes = pd.read_csv(tmp_path / "data" / "boxes.csv")[:20]
    assert (boxes["right"] - boxes["left"]).tolist() == sides[:10].repeat(2).tolist()
    assert (boxes["bottom"] - boxes["top"]).tolist() == sides[:10].repeat(2).tolist()
    for row in boxes.itertuples():
        frame = render(many, "train", row.Index // 2).frames[row.frame].astype(float)
        high = np.flatnonzero(((frame.max(2) - frame.min(2)) > 80).any(axis=1))
        assert row.top <= high.min() <= high.max() < row.bottom
        assert len(high) > 0.6 * (row.bottom - row.top), "strokes are as high as their box"


def test_one_size_is_the_video_without_sizes() -> None:
    alike = replace(SMALL, decoys=1)
    other = render(replace(alike, largest_digit_px=SMALL.digit_px), "test", 1)
    assert np.array_equal(render(alike, "test", 1).frames, other.frames)


def test_quarters_are_exchanged() -> None:
    image = np.arange(64.0).reshape(8, 8)
    for seed in range(6):
        exchanged = exchange_quarters(np.random.default_rng(seed), image)
        assert sorted(exchanged.ravel()) == sorted(image.ravel())
        for rows in (slice(0, 4), slice(4, 8)):
            for columns in (slice(0, 4), slice(4, 8)):
                assert not (exchanged[rows, columns] == image[rows, columns]).any()


def test_the_digit_is_hidden_where_it_was_seen_often_enough() -> None:
    """The frames in which it is visible are the first ones of those without the limit."""
    often = DigitsConfig(n_frames=24, visible_share=0.5)
    seldom = DigitsConfig(n_frames=24, visible_share=0.5, most_visible_share=0.25)
    for index in range(20):
        before = render(often, "test", index).visible
        assert (render(seldom, "test", index).visible == (before & (before.cumsum() <= 6))).all()
    assert render(DigitsConfig(n_frames=3, most_visible_share=0.1), "val", 0).visible.sum() == 1


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "set.partial-1b2c3d4e" / "videos").mkdir(parents=True)
    others = {"set.partial-of-mine", "set.replaced", "sets.partial-1b2c3d4e"}
    for name in others:
        (tmp_path / name / "notes").mkdir(parents=True)
    make_digits(DigitsConfig(n_train=1, n_val=1, n_test=1, n_frames=2), tmp_path / "set")
    assert {path.name for path in tmp_path.iterdir()} == {"set", *others}


def test_wrong_numbers_and_places_are_refused(written: Path) -> None:
    with pytest.raises(
        FileExistsError, match="exists: nothing was touched; write the data set else"
    ):
        make_digits(SMALL, written)
    with pytest.raises(ValueError, match="at least one video per split .*; got 0/300/1000 videos"):
        DigitsConfig(n_train=0)
    with pytest.raises(ValueError, match="even frame_px .*; got frame_px=63, digit_px=20"):
        DigitsConfig(frame_px=63)
    with pytest.raises(ValueError, match=r"visible_share must be in \(0, 1\]; got 0"):
        DigitsConfig(visible_share=0)
    with pytest.raises(ValueError, match=r"largest_digit_px must be in 20\.\.64, .*; got 19"):
        DigitsConfig(largest_digit_px=19)
    with pytest.raises(ValueError, match="split must be one of train, val, test; got 'all'"):
        render(SMALL, "all", 0)
