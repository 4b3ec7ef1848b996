from __future__ import annotations

from collections import Counter
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from focusgym.feature_cache import DigitPairsConfig, make_digit_pairs, read_videos
from focusgym.feature_cache.videos.digit_pairs import draw_times, pair_names, pair_of, render_pair
from focusgym.feature_cache.videos.digit_parts import DigitVideo, load_scans, resize, split_scans

SPLITS = ("train", "val", "test")
# Nothing but the digit has a colour, so what is coloured is its strokes, to the rounding.
CLEAN = DigitPairsConfig(noise=0.0)
SMALL = DigitPairsConfig(n_train=3, n_val=2, n_test=2, n_frames=6)


def colour(frame: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how far each pixel is from grey, ``(S, S)``."""
    levels = frame.astype(np.int64)
    return levels.max(2) - levels.min(2)


def digits_seen(video: DigitVideo, scans: NDArray[np.int64]) -> list[int | None]:
    """Return the digit in each frame, by the scan that its strokes correlate with most."""
    images, labels = load_scans()
    glyphs = np.stack([resize(image, 20).ravel() for image in images[scans]])
    glyphs -= glyphs.mean(1, keepdims=True)
    glyphs /= np.linalg.norm(glyphs, axis=1, keepdims=True)
    seen: list[int | None] = []
    for frame, center in zip(video.frames, video.centers_px, strict=True):
        strokes = colour(frame)
        if not strokes.any():
            seen.append(None)
            continue
        left, top = np.rint(center - 10).astype(int)
        crop = strokes[top : top + 20, left : left + 20].ravel().astype(float)
        crop -= crop.mean()
        likeness = glyphs @ crop / np.linalg.norm(crop)
        assert likeness.max() > 0.99
        seen.append(int(labels[scans[likeness.argmax()]]))
    return seen


def test_classes_are_the_ordered_pairs() -> None:
    """Counted by hand for three digits; for more, each pair is found in its own class."""
    by_hand = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    assert [pair_of(label, 3) for label in range(6)] == by_hand
    assert pair_names(3)[3] == "one then two"
    for n in (2, 5, 10):
        for a in range(n):
            for b in set(range(n)) - {a}:
                assert pair_of(a * (n - 1) + (b if b < a else b - 1), n) == (a, b)
        assert DigitPairsConfig(n_digits=n).n_classes == len(set(pair_names(n)))


@pytest.mark.parametrize("split", SPLITS)
def test_the_digits_are_shown_in_the_order_of_the_label(split: str) -> None:
    """The scans, all of the split, are recognized in the frames; none is of another split."""
    for index in range(8):
        video = render_pair(CLEAN, split, index)
        seen = digits_seen(video, split_scans(0)[split])
        assert [digit is not None for digit in seen] == video.visible.tolist()
        runs = [(digit, len(list(frames))) for digit, frames in groupby(seen)]
        empty = [n for digit, n in (runs[0], runs[-1]) if digit is None]
        (first, n_first), (second, n_second) = (run for run in runs if run[0] is not None)
        assert (first, second) == pair_of(video.label, 5)
        assert min(n_first, n_second) >= 8
        assert all(n <= 3 for n in empty)
        assert len(runs) == 2 + len(empty), "nothing is empty in between"


def test_both_digits_have_one_tint() -> None:
    """The strongest colour of each frame is the same; digits of one video would tell it apart."""
    for index in range(5):
        frames = render_pair(CLEAN, "train", index).frames.astype(float)
        hues = []
        for frame in frames:
            if (strength := colour(frame.astype(np.uint8))).max() > 100:
                pixel = frame[np.unravel_index(strength.argmax(), strength.shape)]
                hues.append((pixel - pixel.min()) / (pixel.max() - pixel.min()))
        assert len(hues) >= 16
        assert np.ptp(hues, axis=0).max() < 0.03


def test_a_pair_does_not_tell_its_order() -> None:
    """In a block of 20 videos each class is once, in another order than in other blocks."""
    few = DigitPairsConfig(n_frames=2, frame_px=32, digit_px=8, clutter=0)
    labels = [render_pair(few, "train", index).label for index in range(60)]
    assert Counter(labels) == dict.fromkeys(range(20), 3)
    assert sorted(labels[:20]) == sorted(labels[20:40]) == list(range(20))
    assert labels[:20] != labels[20:40]
    assert labels[:20] != [render_pair(few, "val", index).label for index in range(20)]
    orders = Counter(pair_of(label, 5) for label in labels)
    assert all(orders[a, b] == orders[b, a] for a in range(5) for b in range(a))


@pytest.mark.parametrize("n_frames", [2, 3, 5, 7, 24])
def test_how_long_digits_are_shown_does_not_tell_which_is_first(n_frames: int) -> None:
    """Played backwards, the draws have the same distribution; each digit has its third."""
    rng = np.random.default_rng(0)
    drawn = [draw_times(rng, n_frames) for _ in range(8000)]
    forward = Counter(drawn)
    backward = Counter(
        (n_frames - end, n_frames - change, n_frames - a) for a, change, end in drawn
    )
    for times in forward | backward:
        scale = (forward[times] + backward[times]) ** 0.5
        assert abs(forward[times] - backward[times]) < 5 * scale, times
    begin, change, end = np.array(drawn).T
    assert (change - begin >= n_frames / 3).all()
    assert (end - change >= n_frames / 3).all()
    if n_frames == 24:
        assert {*change} == set(range(9, 16))
        assert {*begin} == set(range(4))
        assert {*end} == set(range(21, 25))


def test_the_place_is_anywhere_and_hardly_drifts() -> None:
    config = DigitPairsConfig(n_frames=8, clutter=0)
    videos = [render_pair(config, "test", index) for index in range(100)]
    for video in videos:
        assert np.ptp(video.centers_px, axis=0).max() <= 4
        assert np.abs(np.diff(video.centers_px, axis=0)).max() < 3
        assert video.centers_px.min() >= 10
        assert video.centers_px.max() <= 38
    places = np.stack([video.centers_px.mean(0) for video in videos])
    # Uniform over [12, 36] of both axes, give or take the drift.
    assert np.allclose(np.quantile(places, (0.25, 0.5, 0.75), axis=0).T, (18, 24, 30), atol=4)


def test_the_same_seed_gives_the_same_pixels() -> None:
    first, again = render_pair(SMALL, "val", 1), render_pair(SMALL, "val", 1)
    assert np.array_equal(first.frames, again.frames)
    assert not np.array_equal(first.frames, render_pair(SMALL, "val", 0).frames)
    other = DigitPairsConfig(n_train=3, n_val=2, n_test=2, n_frames=6, seed=1)
    assert not np.array_equal(first.frames, render_pair(other, "val", 1).frames)


def test_the_folder_is_read_as_a_data_set(tmp_path: Path) -> None:
    """Videos, labels and names; the box of every frame holds the digit where it is visible."""
    table = make_digit_pairs(SMALL, tmp_path / "pairs")
    listed = read_videos(tmp_path / "pairs")
    assert listed.classes == pair_names(5)
    assert listed.videos["label"].tolist() == table["label"].tolist()
    assert listed.videos["split"].value_counts().to_dict() == {"train": 3, "val": 2, "test": 2}
    assert not listed.videos["missing"].any()
    boxes = pd.read_csv(tmp_path / "pairs" / "boxes.csv")
    assert boxes.columns.tolist() == ["path", "frame", "left", "top", "right", "bottom", "visible"]
    assert len(boxes) == 7 * 6
    counts = table.groupby("split").cumcount()
    for (_, row), index in zip(table.iterrows(), counts, strict=True):
        video = render_pair(SMALL, row["split"], int(index))
        assert row["label"] == video.label
        for box in boxes[boxes["path"] == row["path"]].itertuples():
            coloured = colour(video.frames[box.frame]) > 80  # noise alone stays below
            inside = np.zeros_like(coloured)
            inside[box.top : box.bottom, box.left : box.right] = True
            assert not (coloured & ~inside).any()
            assert coloured.any() == box.visible


@pytest.mark.parametrize("n_digits", [2, 10])
def test_names_of_classes_are_read_as_they_are(n_digits: int, tmp_path: Path) -> None:
    """None is taken for a header, or for a number and a name."""
    few = DigitPairsConfig(
        n_train=1, n_val=1, n_test=1, n_frames=2, frame_px=32, digit_px=8, n_digits=n_digits
    )
    make_digit_pairs(few, tmp_path / "pairs")
    assert read_videos(tmp_path / "pairs").classes == pair_names(n_digits)


def test_an_error_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("focusgym.feature_cache.videos.digit_folder.contained", full)
    with pytest.raises(OSError, match="no space"):
        make_digit_pairs(SMALL, tmp_path / "pairs")
    assert not list(tmp_path.iterdir())


def test_wrong_numbers_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        FileExistsError, match="exists: nothing was touched; write the data set else"
    ):
        make_digit_pairs(SMALL, tmp_path)
    with pytest.raises(
        ValueError, match="digit_pairs needs at least one video per split .*; got 0/"
    ):
        DigitPairsConfig(n_train=0)
    with pytest.raises(ValueError, match="at least two frames, one for each digit; got 1"):
        DigitPairsConfig(n_frames=1)
    for n_digits in (1, 11):
        with pytest.raises(ValueError, match=rf"n_digits must be in 2\.\.10; got {n_digits}"):
            DigitPairsConfig(n_digits=n_digits)
    with pytest.raises(ValueError, match="digit_pairs needs an even frame_px .*; got frame_px=63"):
        DigitPairsConfig(frame_px=63)
    with pytest.raises(
        ValueError, match=r"at least digit_px \+ 4, for .* drifts; got frame_px=6, "
    ):
        DigitPairsConfig(frame_px=6, digit_px=3)
    with pytest.raises(ValueError, match="split must be one of train, val, test; got 'all'"):
        render_pair(SMALL, "all", 0)


def test_scans_of_the_splits_are_disjoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """All scans that a video draws, fragments included, are those of its split."""
    images, labels = load_scans()
    used: set[int] = set()

    class Watched:
        def __getitem__(self, scan: int) -> NDArray[np.float64]:
            used.add(int(scan))
            shown: NDArray[np.float64] = images[scan]
            return shown

    for module in ("digit_parts", "digit_pairs"):
        monkeypatch.setattr(
            f"focusgym.feature_cache.videos.{module}.load_scans", lambda: (Watched(), labels)
        )
    used_scans = {}
    for split in SPLITS:
        used.clear()
        for index in range(10):
            render_pair(SMALL, split, index)
        used_scans[split] = set(used)
        assert used <= set(split_scans(0)[split].tolist())
        assert len(used) > 50
    assert not used_scans["train"] & used_scans["test"]
    assert not used_scans["train"] & used_scans["val"]
    assert not used_scans["val"] & used_scans["test"]
