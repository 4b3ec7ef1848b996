from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from focusgym.envs.records.render import (
    BAND,
    DARK,
    FAINT,
    GREEN,
    GREY,
    SLOT,
    TEXT,
    Caption,
    draw_decision,
    picture_size,
)

S, FACTOR, W, BAND_PX = 64, 6, 384, 80  # 384 px wide: 16 px letters, a band of five of them
NOTHING = Caption("walk", 4)
ONE = Caption("walk", 4, (0.25,), False, 1.5)
Box = tuple[int, int, int, int]


def noise(side: int = S, seed: int = 0) -> torch.Tensor:
    """Pixels from 60 to 139: none has a colour of the drawing."""
    values = np.random.default_rng(seed).integers(60, 140, (3, side, side))
    return torch.from_numpy(values.astype(np.uint8))


def grey(level: int) -> torch.Tensor:
    return torch.full((3, S, S), level, dtype=torch.uint8)


def enlarged(frame: torch.Tensor, factor: int = FACTOR) -> NDArray[np.uint8]:
    return np.kron(frame.permute(1, 2, 0).numpy(), np.ones((factor, factor, 1), dtype=np.uint8))


def is_colour(pixels: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return (pixels == np.array(colour)).all(axis=-1)


def edge_mask(box: Box) -> NDArray[np.bool_]:
    """The outermost 3 px of a box, in the enlarged frame."""
    left, top, right, bottom = (FACTOR * edge for edge in box)
    mask = np.zeros((W, W), dtype=bool)
    mask[top:bottom, left:right] = True
    mask[top + 3 : bottom - 3, left + 3 : right - 3] = False
    return mask


def band_of(caption: Caption, attended: bool = True) -> NDArray[np.uint8]:
    return draw_decision(grey(0), caption, (1, 1), attended=attended)[:BAND_PX]


@pytest.mark.parametrize(
    ("side", "size"),
    # 337 is enlarged by one only, and gets a column of background to be even.
    [(64, (464, 384)), (224, (538, 448)), (225, (540, 450)), (112, (406, 336)), (337, (408, 338))],
)
def test_pictures_have_one_even_size_and_the_frame_keeps_its_pixels(
    side: int, size: tuple[int, int]
) -> None:
    assert picture_size(side) == size
    assert [length % 2 for length in size] == [0, 0]
    frame = noise(side)
    pixels = enlarged(frame, max(1, int(np.ceil(336 / side))))
    n = len(pixels)
    assert n >= 336
    long = Caption("long " * 50, 300, (0.5,) * 300, True, 1e9)
    for caption in (NOTHING, Caption("walk", 4, (0.5,), True, 3.0), long):
        for attended in (True, False):
            picture = draw_decision(frame, caption, (1, 1), attended=attended)
            assert (picture.dtype, picture.shape) == (np.uint8, (*size, 3))
            below = picture[size[0] - size[1] :]
            np.testing.assert_array_equal(below[:n, :n], pixels)
            assert is_colour(below[n:], BAND).all()
            assert is_colour(below[:, n:], BAND).all()


@pytest.mark.parametrize(
    ("cells", "rows", "columns"),
    [
        ((1, 1), [], []),
        ((2, 3), [192], [128, 256]),
        ((1, 5), [], [76, 153, 230, 307]),
        ((4, 1), [96, 192, 288], []),
    ],
)
def test_lines_are_where_cells_end(
    cells: tuple[int, int], rows: list[int], columns: list[int]
) -> None:
    expected = np.zeros((W, W), dtype=bool)
    expected[rows] = True
    expected[:, columns] = True
    # A quarter of white over black; a quarter of black over white.
    for level, blended in ((0, 64), (100, 139), (255, 191)):
        below = draw_decision(grey(level), NOTHING, cells)[BAND_PX:]
        assert (below[expected] == blended).all()
        assert (below[~expected] == level).all()
    frame = noise()
    below = draw_decision(frame, NOTHING, cells)[BAND_PX:]
    np.testing.assert_array_equal(below[~expected], enlarged(frame)[~expected])


@pytest.mark.parametrize(
    "box",
    [
        (20, 8, 48, 36),
        (0, 0, 28, 28),
        (36, 36, 64, 64),
        (0, 36, 10, 64),
        (0, 0, 64, 64),
        (5, 7, 6, 8),
    ],
)
def test_the_edge_of_the_box_is_drawn_inside_it(box: Box) -> None:
    frame, mask = noise(), edge_mask(box)
    attended = draw_decision(frame, ONE, (1, 1), box)[BAND_PX:]
    assert is_colour(attended[mask], GREEN).all()
    np.testing.assert_array_equal(attended[~mask], enlarged(frame)[~mask])
    skipped = draw_decision(frame, ONE, (1, 1), box, attended=False)[BAND_PX:]
    light, dark = is_colour(skipped[mask], GREY), is_colour(skipped[mask], DARK)
    assert (light | dark).all()
    np.testing.assert_array_equal(skipped[~mask], enlarged(frame)[~mask])


def test_the_edge_of_a_skipped_box_is_dashed() -> None:
    below = draw_decision(noise(), ONE, (1, 1), (8, 8, 40, 40), attended=False)[BAND_PX:]
    top_edge = below[48, 48:240]
    light = is_colour(top_edge, GREY)
    changes = np.flatnonzero(np.diff(light.astype(int)))
    assert (np.diff(changes) == 8).all()  # dashes and gaps of 8 px
    assert len(changes) == 24 - 1


def test_a_box_lies_over_the_grid() -> None:
    mask = edge_mask((16, 16, 48, 48))
    below = draw_decision(noise(), ONE, (4, 4), (16, 16, 48, 48))[BAND_PX:]
    assert is_colour(below[mask], GREEN).all()


def test_the_band_says_whether_the_patch_was_looked_at() -> None:
    attended, skipped = band_of(ONE), band_of(ONE, attended=False)
    differs = (attended != skipped).any(axis=-1)
    rows, columns = np.nonzero(differs)
    assert rows.min() >= 48  # the third line, at its right end
    assert columns.min() > 300
    assert is_colour(attended, GREEN).any()
    assert not is_colour(skipped, GREEN).any()
    assert is_colour(skipped, GREY).any()
    np.testing.assert_array_equal(band_of(NOTHING), band_of(NOTHING, attended=False))


def test_the_band_says_whether_the_prediction_is_right() -> None:
    right = Caption("walk", 4, (0.25,), True, 1.5)
    rows, columns = np.nonzero((band_of(right) != band_of(ONE)).any(axis=-1))
    # The second line, whose letters reach down to the bars, after "confidence 0.250".
    assert 24 <= rows.min() <= rows.max() < 53
    assert W // 3 < columns.min() <= columns.max() < 3 * W // 4


def test_each_line_says_what_changes() -> None:
    lines = {
        0: [Caption("walk", 5, (0.25,), False, 1.5), Caption("run", 4, (0.25,), False, 1.5)],
        1: [Caption("walk", 4, (0.2501,), False, 1.6), Caption("walk", 4, (0.251,), False, 1.5)],
        2: [],
    }
    for line, captions in lines.items():
        for caption in captions:
            top, bottom = 24 * line, 24 * line + 24
            changed = (band_of(caption) != band_of(ONE)).any(axis=(1, 2))
            assert changed[top:bottom].any()
            assert not changed[:top].any()
            assert not changed[bottom : 2 * 24].any()


def test_bars_are_as_high_as_the_confidences() -> None:
    band = band_of(Caption("walk", 4, (0.25, 1.0, 0.5), False, 1.5))
    below = band[50:]
    # The columns in the middle of the four slots, which end before the word at the right.
    slots = is_colour(below, SLOT) | is_colour(below, TEXT) | is_colour(below, FAINT)
    used = np.flatnonzero(slots[:, :300].any(axis=0))
    assert used[0] == 8
    gaps = np.flatnonzero(np.diff(used) > 1)
    starts, ends = [used[0], *used[gaps + 1]], [*used[gaps], used[-1]]
    assert len(starts) == 4
    middles = [(start + end) // 2 for start, end in zip(starts, ends, strict=True)]
    heights = [
        [int(is_colour(below[:, x], colour).sum()) for colour in (FAINT, TEXT, SLOT)]
        for x in middles
    ]
    full = sum(heights[3])
    assert heights == [
        [full // 4, 0, full - full // 4],
        [full, 0, 0],
        [0, full // 2, full // 2],
        [0, 0, full],
    ]
    # Bars grow from the bottom of their slots.
    column = is_colour(below[:, middles[0]], FAINT)
    slot = is_colour(below[:, middles[0]], SLOT)
    assert np.flatnonzero(column).min() == np.flatnonzero(slot).max() + 1


@pytest.mark.parametrize("value", [float("nan"), -0.5, 1.5])
def test_a_confidence_that_is_none_stays_in_its_slot(value: float) -> None:
    band = band_of(Caption("walk", 1, (value,), False, 1.5))
    assert is_colour(band[:, W - 8 :], BAND).all()
    assert is_colour(band[-6:], BAND).all()
    filled = is_colour(band[53:73, 20:200], TEXT)
    assert filled.all() if value > 1 else not filled.any()


@pytest.mark.parametrize("side", [64, 224, 225, 1000])
@pytest.mark.parametrize(
    "label", ["W" * 500, "i" * 500, "Playing; " * 40, "two\nlines\tof\r\nit " * 9]
)
def test_long_labels_are_cut(side: int, label: str) -> None:
    frame = torch.zeros((3, side, side), dtype=torch.uint8)
    height, width = picture_size(side)
    band_px, size = height - width, width // 24

    def band(label: str) -> NDArray[np.uint8]:
        caption = Caption(label, 128, (0.5,) * 127, False, 123.45)
        return draw_decision(frame, caption, (7, 7))[:band_px]

    cut, short = band(label), band("a")
    margin = size // 2
    for edge in (cut[:, :margin], cut[:, width - margin :], cut[:2], cut[-2:]):
        assert is_colour(edge, BAND).all()
    # "t = 127 / 128" and the lines below are as with a short label; before them is a gap.
    line = size * 3 // 2
    inked = np.flatnonzero(~is_colour(short[:line], BAND).all(axis=0))
    begin = int(inked[np.flatnonzero(np.diff(inked) > size)[-1] + 1])
    assert width // 2 < begin < width - margin
    np.testing.assert_array_equal(cut[:, begin:], short[:, begin:])
    below = line + size // 3  # where the letters of the first line end
    np.testing.assert_array_equal(cut[below:], short[below:])
    assert is_colour(cut[:line, begin - size + 2 : begin], BAND).all()
    # The room is used: the cut text ends less than a wide letter and the ellipsis before the gap.
    written = np.flatnonzero(~is_colour(cut[:line, : begin - size + 2], BAND).all(axis=0))
    assert written.max() > begin - size - 2 * size


def test_a_label_that_fits_is_not_cut() -> None:
    a, b = band_of(Caption("making a sandwich", 4)), band_of(Caption("making a sandwicx", 4))
    assert (a != b).any()


def test_letters_with_accents_and_other_alphabets_are_there_and_a_label_is_one_line() -> None:
    missing = band_of(Caption("\U0010fffe\U0010fffe", 4))
    for label, other in (("café", "cafe"), ("Ходьба", "Xoдьbа"), ("łódź", "lodz")):
        assert (band_of(Caption(label, 4)) != band_of(Caption(other, 4))).any()
    for label in ("дж", "łż", "éß"):
        assert (band_of(Caption(label, 4)) != missing).any()
    one_line = band_of(Caption("to walk slowly", 4))
    np.testing.assert_array_equal(band_of(Caption("to\twalk\r\nslowly", 4)), one_line)


def test_many_decisions_and_large_costs_fit() -> None:
    for caption in (
        Caption("walk", 1000, (0.5,) * 1000, True, 1e300),
        Caption("walk", 10**4, (0.5,) * 9999, True, 123456.789),
    ):
        band = band_of(caption)
        for margin in (band[:, :7], band[:, W - 7 :], band[:2], band[-2:]):
            assert is_colour(margin, BAND).all()


@pytest.mark.parametrize(
    "frame",
    [
        torch.zeros((3, 64, 32), dtype=torch.uint8),
        torch.zeros((64, 64, 3), dtype=torch.uint8),
        torch.zeros((1, 3, 64, 64), dtype=torch.uint8),
        torch.zeros((3, 64, 64)),
    ],
)
def test_what_is_no_frame_is_refused(frame: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected a frame \(3, S, S\) of uint8; got .*read_view"):
        draw_decision(frame, NOTHING, (1, 1))


@pytest.mark.parametrize("box", [(-1, 0, 3, 3), (0, 0, 65, 3), (3, 0, 3, 9), (0, 9, 3, 3)])
def test_what_is_no_box_is_refused(box: Box) -> None:
    with pytest.raises(ValueError, match=r"box_px must be \(left, .*\) within 0 and 64; got \("):
        draw_decision(noise(), ONE, (1, 1), box)


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cells must be \(h, w\) .* positive; got \(0, 3\)"):
        draw_decision(noise(), NOTHING, (0, 3))
    with pytest.raises(ValueError, match="at most n_decisions=1 confidences, .*; got 2"):
        Caption("walk", 1, (0.1, 0.2))
