from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from focusgym.feature_cache import (
    AugmentConfig,
    Clip,
    VideoError,
    count_frames,
    read_frames,
    read_many,
    read_view,
)
from focusgym.feature_cache.videos.mp4 import write_mp4
from focusgym.recognizer import FrameConfig


def clip(path: Path, n: int = 9, height: int = 48, width: int = 64) -> Clip:
    """Write a clip in which the grey level of frame i is 10 + 20·i."""
    levels = (10 + 20 * np.arange(n, dtype=np.uint8))[:, None, None, None]
    write_mp4(np.broadcast_to(levels, (n, height, width, 3)).copy(), path)
    return Clip(str(path), path.name)


def folder(path: Path, n: int = 9, template: str = "image_%05d.jpg") -> Clip:
    """Write the same clip as numbered images."""
    path.mkdir(parents=True)
    for i in range(n):
        Image.new("RGB", (64, 64), (10 + 20 * i,) * 3).save(path / (template % (i + 1)))
    return Clip(str(path), path.name, images=template, n_images=n)


def levels(frames: torch.Tensor) -> np.ndarray:
    return frames.float().mean((1, 2, 3)).numpy()


def test_frames_are_the_sampled_ones(tmp_path: Path) -> None:
    frames, view = read_frames(clip(tmp_path / "a.mp4", height=64), FrameConfig(3, 64))
    assert view.frame_indices.tolist() == [1, 4, 7]
    assert (view.crop_px, view.flipped) == ((0, 0, 64, 64), False)
    assert frames.dtype == torch.uint8
    assert frames.shape == (3, 3, 64, 64)
    np.testing.assert_allclose(levels(frames), [30, 90, 150], atol=3)


def test_images_are_counted_from_one(tmp_path: Path) -> None:
    frames, view = read_frames(folder(tmp_path / "a", template="%06d.jpg"), FrameConfig(3, 64))
    assert view.frame_indices.tolist() == [1, 4, 7]
    np.testing.assert_allclose(levels(frames), [30, 90, 150], atol=1)


def test_segments_are_sampled_within_their_seconds(tmp_path: Path) -> None:
    video = clip(tmp_path / "a.mp4", n=12, height=64)
    with av.open(video.path) as container:
        fps = float(container.streams.video[0].average_rate or 0)
    part = Clip(video.path, start_s=4 / fps, end_s=10 / fps)
    frames, view = read_frames(part, FrameConfig(3, 64))
    assert view.frame_indices.tolist() == [5, 7, 9]
    np.testing.assert_allclose(levels(frames), [110, 150, 190], atol=3)
    assert (count_frames(video), count_frames(part)) == (12, 6)
    assert count_frames(folder(tmp_path / "images", n=3)) == 3
    for start_s, end_s in ((100.0, None), (0.0, 100.0)):
        with pytest.raises(VideoError, match=r"the list asks for .* but the file lasts .* correct"):
            read_frames(Clip(video.path, start_s=start_s, end_s=end_s), FrameConfig(3, 64))


def test_the_short_side_is_resized_and_the_centre_cropped(tmp_path: Path) -> None:
    frames = np.zeros((3, 40, 80, 3), dtype=np.uint8)
    frames[:, :, 20:60] = 200  # the central square is bright, the rest black
    write_mp4(frames, tmp_path / "a.mp4")
    source = Clip(str(tmp_path / "a.mp4"))
    seen, view = read_frames(source, FrameConfig(1, 20, resize_px=20))
    assert view.crop_px == (10, 0, 30, 20)
    assert seen.shape == (1, 3, 20, 20)
    assert seen[..., 2:-2].float().mean() == pytest.approx(200, abs=4)
    wide, _ = read_frames(source, FrameConfig(1, 20, resize_px=40))
    assert wide.float().mean() == pytest.approx(200, abs=4)


def test_augmented_views_are_the_stated_crop_and_flip(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (4, 8, 10, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    write_mp4(noise, tmp_path / "a.mp4")  # 80×64 pixels
    source, config = Clip(str(tmp_path / "a.mp4"), "a"), FrameConfig(2, 48, resize_px=64)
    plain_frames, _ = read_frames(source, FrameConfig(4, 64, resize_px=64))
    views = []
    for number in range(12):
        frames, view = read_frames(source, config, AugmentConfig(12), number)
        left, top, right, bottom = view.crop_px
        # The middle 64 columns of the file, which the plain reading shows; area-like resizing.
        x0, x1 = max(left, 8), min(right, 72)
        crop = plain_frames[view.frame_indices][:, :, top:bottom, x0 - 8 : x1 - 8].float()
        scale = 48 / (right - left)
        columns = slice(round((x0 - left) * scale), round((x1 - left) * scale))
        size = (48, columns.stop - columns.start)
        expected = functional.interpolate(crop, size=size, mode="bilinear", antialias=True)
        shown = (frames.flip(-1) if view.flipped else frames)[..., columns].float()
        assert (shown - expected)[..., 2:-2].abs().mean() < 4
        assert torch.equal(read_view(source, config, view), frames)
        again, same = read_frames(source, config, AugmentConfig(12), number)
        assert torch.equal(again, frames)
        assert same.crop_px == view.crop_px
        views.append((view.crop_px, view.flipped, tuple(view.frame_indices)))
    assert len(set(views)) > 6
    assert {flipped for _, flipped, _ in views} == {True, False}
    kept = [read_frames(source, config, AugmentConfig(12, flip=False), i)[1] for i in range(12)]
    assert not any(view.flipped for view in kept)
    assert [view.crop_px for view in kept] == [crop for crop, _, _ in views]


def test_with_pillow_frames_are_what_pillow_makes_of_them(tmp_path: Path) -> None:
    """Resized, cut out, resized again and mirrored: as for testing, and as for training."""
    rng = np.random.default_rng(0)
    for i in (1, 2, 3):
        noise = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i:05d}.png")
    source = Clip(str(tmp_path), "a", images="%05d.png", n_images=3)
    config, seen = FrameConfig(3, 24, 32, resizer="pillow"), set()
    for number in range(-1, 6):
        augment = None if number < 0 else AugmentConfig(6)
        frames, view = read_frames(source, config, augment, max(0, number))
        for frame, index in zip(frames, view.frame_indices, strict=True):
            picture = Image.open(tmp_path / f"{index + 1:05d}.png")
            picture = picture.resize((44, 32), Image.Resampling.BILINEAR).crop(view.crop_px)
            picture = picture.resize((24, 24), Image.Resampling.BILINEAR)
            if view.flipped:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            np.testing.assert_array_equal(frame.permute(1, 2, 0).numpy(), np.asarray(picture))
        assert torch.equal(read_view(source, config, view), frames)
        seen.add((view.crop_px[2] - view.crop_px[0], view.flipped))
    assert {flipped for _, flipped in seen} == {True, False}
    assert len({width for width, _ in seen}) > 2


def test_many_videos_come_in_order(tmp_path: Path) -> None:
    clips = [clip(tmp_path / f"{n}.mp4", n=n, height=64) for n in range(1, 10)]
    last_indices = [view.frame_indices.max() for _, view in read_many(clips, FrameConfig(9, 64))]
    assert last_indices == list(range(9))


def test_unreadable_videos_are_named(tmp_path: Path) -> None:
    config = FrameConfig(2, 64)
    with pytest.raises(VideoError, match=r"gone\.mp4: no such video: check the path$"):
        read_frames(Clip(str(tmp_path / "gone.mp4")), config)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video")
    for name in ("empty", "text"):
        damaged = Clip(str(tmp_path / f"{name}.mp4"))
        message = rf"{name}\.mp4 cannot be decoded .*: replace the file, or leave it out"
        with pytest.raises(VideoError, match=message):
            read_frames(damaged, config)
        with pytest.raises(VideoError, match=message):
            count_frames(damaged)
    readable = clip(tmp_path / "a.mp4")
    with pytest.raises(VideoError, match=r"a\.mp4: its frames are 64×48 px, expected 64×64.*made"):
        read_frames(readable, config)
    with pytest.raises(VideoError, match="gone"):
        list(read_many([Clip(str(tmp_path / "gone.mp4"))], config))
    _, view = read_frames(readable, FrameConfig(2, 48, 48))
    shorter = clip(tmp_path / "a.mp4", n=2)
    with pytest.raises(
        VideoError, match=r"frame 6 was asked for, but there are 2: the file has changed; put"
    ):
        read_view(shorter, FrameConfig(2, 48, 48), view)


def with_index_in_front(source: Path, target: Path) -> list[int]:
    """Rewrite an .mp4 with its header first, as for streaming; returns where each frame ends."""
    options = {"movflags": "faststart"}
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    with av.open(str(target)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    return [int(packet.pos or 0) + packet.size for packet in packets]


def test_videos_that_end_early_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_mp4(rng.integers(0, 256, (40, 64, 64, 3), dtype=np.uint8), tmp_path / "a.mp4")
    ends = with_index_in_front(tmp_path / "a.mp4", tmp_path / "b.mp4")
    data = (tmp_path / "b.mp4").read_bytes()
    read_frames(Clip(str(tmp_path / "b.mp4")), FrameConfig(4, 64))  # the whole file is fine
    cut = tmp_path / "cut.mp4"
    for n in (5, 20, 36):  # after whole frames: nothing in the stream is damaged
        cut.write_bytes(data[: ends[n - 1]])
        message = rf"ends early: it should last 5\.00 s, and its frames end after {n / 8:.2f} s"
        with pytest.raises(VideoError, match=message):
            read_frames(Clip(str(cut)), FrameConfig(4, 64))
    for n in (5, 20, 36):  # within a frame
        cut.write_bytes(data[: ends[n - 1] + 20])
        with pytest.raises(VideoError, match=r"cut\.mp4 (ends early|cannot be decoded)"):
            read_frames(Clip(str(cut)), FrameConfig(4, 64))


def test_a_real_video_that_ends_early_is_named(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "gestures" / "videos" / "carret" / "carret_10.mp4"
    ends = with_index_in_front(source, tmp_path / "b.mp4")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "b.mp4").read_bytes()[: ends[65]])
    message = r"cut\.mp4 ends early: it should last 3\.27 s, and its frames end after 2\.\d+ s"
    with pytest.raises(VideoError, match=message):
        read_frames(Clip(str(tmp_path / "cut.mp4")), FrameConfig(8, 224, 256))


@pytest.mark.parametrize("suffix", ["mkv", "avi"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_other_containers_that_end_early_are_named(
    suffix: str, share: float, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    intact = tmp_path / f"a.{suffix}"
    write_mp4(rng.integers(0, 256, (60, 64, 64, 3), dtype=np.uint8), intact)
    config = FrameConfig(4, 64)
    read_frames(Clip(str(intact)), config)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(intact.read_bytes()[: int(intact.stat().st_size * share)])
    with pytest.raises(VideoError, match=r"cut\.\w+ (ends early|cannot be decoded)"):
        read_frames(Clip(str(cut)), config)


def test_metadata_that_is_not_utf8_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    write_mp4(np.zeros((8, 64, 64, 3), dtype=np.uint8), path)
    data = path.read_bytes()
    at = data.index(b"ISFT") + 8
    path.write_bytes(data[:at] + b"Caf\xe9" + data[at + 4 :])
    assert count_frames(Clip(str(path))) == 8


def test_headers_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    write_mp4(np.zeros((8, 64, 64, 3), dtype=np.uint8), path)
    data = bytearray(path.read_bytes())
    at = data.index(b"strh") + 8 + 20  # scale and rate of the stream
    data[at : at + 8] = (2**31 - 1).to_bytes(4, "little") + (1).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(VideoError, match="has a damaged header .* frames per second.: replace"):
        count_frames(Clip(str(path)))


def test_odd_real_clips_are_read_whole(real_data: Path) -> None:
    for path in sorted((real_data / "clips").iterdir()):
        frames, view = read_frames(Clip(str(path)), FrameConfig(8, 224, 256))
        assert frames.float().std() > 10
        with av.open(str(path)) as container:
            shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert view.frame_indices.max() < len(shown)
        assert count_frames(Clip(str(path))) == pytest.approx(len(shown), abs=1)


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    source = folder(tmp_path / "a")
    (tmp_path / "a" / "image_00005.jpg").write_text("not an image")
    with pytest.raises(VideoError, match=r"image_00005\.jpg cannot be read .*: replace the image"):
        read_frames(source, FrameConfig(3, 64))
    (tmp_path / "a" / "image_00005.jpg").unlink()
    with pytest.raises(VideoError, match=r"image_00005\.jpg cannot be read"):
        read_frames(source, FrameConfig(3, 64))
    Image.new("RGB", (32, 64)).save(tmp_path / "a" / "image_00005.jpg")
    with pytest.raises(VideoError, match="holds images of different sizes .*: extract them again"):
        read_frames(source, FrameConfig(3, 64))


def test_an_image_is_a_video_of_one_frame(tmp_path: Path) -> None:
    """It is cut as frames are, and repeated where more are asked for."""
    noise = np.random.default_rng(3).integers(0, 256, (80, 70, 3)).astype(np.uint8)
    path = tmp_path / "a.PNG"
    Image.fromarray(noise).save(path)
    for steps in (1, 3):
        clip = Clip(str(path), "a", n_images=1)
        frames, view = read_frames(clip, FrameConfig(steps, 64, 70))
        assert view.frame_indices.tolist() == [0] * steps
        assert count_frames(clip) == 1
        for frame in frames:
            np.testing.assert_array_equal(frame.permute(1, 2, 0), noise[8:72, 3:67])
    path.write_text("not an image")
    with pytest.raises(VideoError, match=r"a\.PNG cannot be read .*replace the image, or leave it"):
        read_frames(Clip(str(path), "a", n_images=1), FrameConfig(1, 64))
