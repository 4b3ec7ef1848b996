"""Annotated videos, read back from their files: frames, boxes, what the band says; refusals."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ImageDraw

from focusgym.feature_cache import VideoError
from focusgym.recognizer import FrameConfig, fit_frames
from focusgym.runs.folders.atomic import OutputError
from focusgym.runs.pictures import annotate as module
from focusgym.runs.pictures.annotate import annotate, source_box

FRAMES = FrameConfig(steps=4, frame_px=32, resize_px=36)
NTSC = Fraction(30000, 1001)
# Of a frame of 90×61: f_L looked at the first and the third of four frames.
STEPS: list[dict[str, Any]] = [
    {"frame": 2, "box_px": [0, 0, 12, 12], "class": "cat", "probability": 0.5, "gmacs": 0.25},
    {"frame": 5, "box_px": None, "class": "dog", "probability": 0.625, "gmacs": 0.5},
    {"frame": 7, "box_px": [20, 10, 32, 22], "class": "cat", "probability": 0.75, "gmacs": 1.25},
    {"frame": 9, "box_px": None, "class": "cat", "probability": 1.0, "gmacs": 1.5},
]
# (left, top, right, bottom) in the enlarged frame, by hand: the short side of 61 px became 36, the
# long one of 90 int(53.11) = 53; the crop began at round(10.5) = 10 and round(2) = 2; 90 px are
# enlarged four times.
BOXES = {
    t: [
        4 * (edge + offset) * scale
        for edge, offset, scale in zip(
            STEPS[t]["box_px"], (10, 2, 10, 2), (90 / 53, 61 / 36) * 2, strict=True
        )
    ]
    for t in (0, 2)
}


def write(path: Path, frames: NDArray[np.uint8], rate: Fraction = NTSC) -> Path:
    """Write frames of any size, each for itself, so that one can be damaged alone."""
    with av.open(str(path), "w") as container:
        options = {"crf": "10", "g": "1", "threads": "1"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv444p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten grey frames of 90×61, each brighter than the one before."""
    levels = np.arange(10, dtype=np.uint8) * 20 + 20
    return write(tmp_path / "video.mp4", np.tile(levels[:, None, None, None], (1, 61, 90, 3)))


def green(picture: NDArray[np.int64]) -> NDArray[np.bool_]:
    red, level, blue = np.moveaxis(picture, -1, 0)
    is_green: NDArray[np.bool_] = (level > red + 70) & (level > blue + 50)
    return is_green


@pytest.mark.parametrize("size", [(90, 60), (61, 97), (36, 36), (640, 360)])
def test_a_painted_square_is_where_its_box_says(size: tuple[int, int]) -> None:
    width, height = size
    short = min(size)
    sides = [width // 2 - short // 4, height // 2 - short // 3]
    painted = [*sides, sides[0] + short // 3, sides[1] + short // 2]
    source = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    source[..., painted[1] : painted[3], painted[0] : painted[2]] = 255
    y, x = (fit_frames(source, FRAMES)[0, 0] > 127).nonzero().T
    seen = [int(each) for each in (x.min(), y.min(), x.max() + 1, y.max() + 1)]
    box = source_box(seen, width, height, FRAMES)
    np.testing.assert_allclose(box, painted, atol=0.6 * short / 36 + 0.5)


def test_frames_that_are_left_as_they_are_need_no_mapping() -> None:
    assert source_box([3, 4, 15, 16], 32, 32, FrameConfig(4, 32)) == (3, 4, 15, 16)


def test_every_frame_shows_the_last_decision(video: Path, tmp_path: Path) -> None:
    annotate(video, out := tmp_path / "out.mp4", STEPS, FRAMES)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == NTSC
        assert (stream.width % 2, stream.height % 2) == (0, 0)
    pictures = decord.VideoReader(str(out))[:].asnumpy().astype(np.int64)
    assert len(pictures) == 10
    frames, bands = pictures[:, -4 * 61 :, : 4 * 90], pictures[:, : -4 * 61]
    for i, frame in enumerate(frames):
        t = sum(step["frame"] <= i for step in STEPS) - 1
        assert abs(frame[-2, 180] - (20 + 20 * i)).max() <= 6, "its own pixels, in order"
        attended = t in BOXES
        assert green(bands[i]).any() == attended
        assert green(frame).any() == attended
        if t < 0:
            assert abs(frame - (20 + 20 * i)).max() <= 6, "there is no box yet"
            continue
        left, top, right, bottom = BOXES[t if attended else t - 1]
        if attended:
            y, x = green(frame).nonzero()
            edges = (x.min(), y.min(), x.max() + 1, y.max() + 1)
            np.testing.assert_allclose(edges, (left, top, right, bottom), atol=1.5)
        along = frame[round(top) + 1, round(left) : round(right)]
        across = frame[(round(top) + round(bottom)) // 2, round(left) + 8 : round(right) - 8]
        assert abs(across - (20 + 20 * i)).max() <= 6, "only the edge is drawn"
        if not attended:
            assert along.max() > 180
            assert along.min() < 90
    changes = abs(np.diff(bands, axis=0)).max(axis=(1, 2, 3)) > 60
    assert (np.flatnonzero(changes) + 1).tolist() == [2, 5, 7, 9]


def test_what_the_band_says(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, at: Any, words: str, *args: Any, **keywords: Any) -> None:
        texts.append(words)
        draw(self, at, words, *args, **keywords)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    annotate(video, tmp_path / "out.mp4", STEPS, FRAMES)
    assert [texts[i : i + 4] for i in range(0, len(texts), 4)] == [
        ["no prediction yet", "", "looked at 0 of 0", "0 GMACs"],
        ["cat 50.0 %", "looked", "looked at 1 of 1", "250 MMACs"],
        ["dog 62.5 %", "skipped", "looked at 1 of 2", "500 MMACs"],
        ["cat 75.0 %", "looked", "looked at 2 of 3", "1.25 GMACs"],
        ["cat 100.0 %", "skipped", "looked at 2 of 4", "1.5 GMACs"],
    ]
    texts.clear()
    # An agent that skips first: nothing is predicted before it looks.
    skips = {"box_px": None, "class": None, "probability": None, "gmacs": 0.0}
    annotate(video, tmp_path / "skipped.mp4", [STEPS[0] | skips, *STEPS[1:]], FRAMES)
    assert texts[4:8] == ["no prediction yet", "skipped", "looked at 0 of 1", "0 GMACs"]
    texts.clear()
    # A short video: its last frame stands for three; and a name that is too long for a line.
    late = [step | {"frame": 9, "class": "very " * 9 + "\nlong"} for step in STEPS]
    annotate(video, tmp_path / "late.mp4", [STEPS[0], *late[1:]], FRAMES)
    assert texts[4:8] == ["cat 50.0 %", "looked", "looked at 1 of 1", "250 MMACs"]
    assert texts[9:] == ["skipped", "looked at 2 of 4", "1.5 GMACs"]
    assert texts[8].startswith("very very very")
    assert texts[8].endswith("… 100.0 %")


def test_large_videos_are_not_enlarged(tmp_path: Path) -> None:
    frames = np.full((2, 362, 640, 3), 90, dtype=np.uint8)
    path = write(tmp_path / "large.mp4", frames, Fraction(10))
    annotate(path, tmp_path / "out.mp4", STEPS[:1], FRAMES)
    height, width = decord.VideoReader(str(tmp_path / "out.mp4"))[0].shape[:2]
    assert width == 640
    assert 362 < height < 362 + 120


def test_a_frame_that_cannot_be_decoded_is_told_and_nothing_is_left(
    video: Path, tmp_path: Path
) -> None:
    with av.open(str(video)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0)]
    content = bytearray(video.read_bytes())
    position, size = packets[6]
    content[position + 4 : position + size] = bytes(size - 4)
    video.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(
        VideoError, match=r"video.mp4(: frame \d+ is damaged| cannot be decoded .*): replace"
    ):
        annotate(video, tmp_path / "out.mp4", STEPS, FRAMES)
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_leaves_nothing(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *args: object) -> None:
        path.write_bytes(b"a part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_mp4", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match="No space left on device.*give another --annotate"):
        annotate(video, tmp_path / "out.mp4", STEPS, FRAMES)
    assert sorted(tmp_path.iterdir()) == before


def test_frames_that_were_read_in_another_order_are_shown_at_their_times(
    video: Path, tmp_path: Path
) -> None:
    """As a recognizer reads them whose every prefix is spread over the video."""
    for name, steps in (("one", STEPS), ("other", [STEPS[t] for t in (1, 0, 3, 2)])):
        annotate(video, tmp_path / f"{name}.mp4", steps, FRAMES)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "other.mp4").read_bytes()
