"""Kinds of files on which frames were read wrongly, or refused without need; each made here."""

from __future__ import annotations

import os
import shutil
import socket
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from video_files import N_FRAMES, compare, encoder_options, picture, plain_decode, write_video

from focusgym.feature_cache import (
    Clip,
    VideoError,
    View,
    count_frames,
    read_frames,
    read_index,
    read_view,
)
from focusgym.feature_cache.videos import clips, index
from focusgym.feature_cache.videos.clips import read_pixels
from focusgym.recognizer import FrameConfig

FRAMES = FrameConfig(6, 64, 64)


def indices(path: Path, config: FrameConfig = FRAMES, **segment: float) -> list[int]:
    """Return the places of the frames that are read, after comparing their pictures."""
    clip = Clip(str(path), **segment)
    pixels = read_pixels(clip, lambda first, n: first + np.arange(n))
    shown = plain_decode(path).pictures[pixels.indices].astype(int)
    assert np.abs(shown - pixels.pictures).mean((1, 2, 3)).max() < 0.5
    return read_frames(clip, config)[1].frame_indices.tolist()


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_key_frames_that_are_refreshed_part_by_part(
    container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding cannot begin at them, though the file says so."""
    path = write_video(tmp_path / f"a.{container}", "h264", container, "intra_refresh")
    with av.open(str(path)) as opened:
        marked = sum(packet.is_keyframe for packet in opened.demux(video=0))
    assert marked > 2
    monkeypatch.setattr(index, "SHORT_FRAMES", 10)
    assert len(read_index(str(path)).keys) == 1
    assert compare(path) == "pyav in order"


def test_a_cut_clip_has_the_frames_that_its_edit_list_shows(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", "h264", "mp4", "edit_list")
    with av.open(str(path)) as container:
        n_coded = sum(packet.size > 0 for packet in container.demux(video=0))
    assert count_frames(Clip(str(path))) == len(plain_decode(path).pictures) == N_FRAMES - 7
    assert n_coded == N_FRAMES
    assert indices(path) == [4, 13, 22, 30, 39, 48]


def test_segments_are_presentation_times(tmp_path: Path) -> None:
    # 30 frames at 25 per second, 30 more at 3.125 per second.
    path = write_video(tmp_path / "a.mp4", "h264", "mp4", "variable_rate")
    times = np.array([time or 0 for time in plain_decode(path).times_s])
    for start_s, end_s in ((0.0, 1.0), (0.5, 4.0), (1.2, 10.8), (4.0, 10.0)):
        inside = np.flatnonzero((times >= start_s - 1e-6) & (times < end_s - 1e-6))
        sampled = indices(path, FrameConfig(200, 64, 64), start_s=start_s, end_s=end_s)
        assert sorted(set(sampled)) == inside.tolist()
    # No frame begins between these: the one that is on display stands for them.
    assert set(indices(path, start_s=2.0, end_s=2.1)) == {int((times <= 2.0).sum()) - 1}
    assert count_frames(Clip(str(path), start_s=9.0)) == int((times >= 9.0).sum())
    with pytest.raises(VideoError, match=r"asks for 11 s to its end, but the file lasts 10.80 s"):
        count_frames(Clip(str(path), start_s=11))
    with pytest.raises(VideoError, match=r"asks for 0 s to 11.9 s, but the file lasts 10.80 s"):
        count_frames(Clip(str(path), end_s=11.9))
    assert count_frames(Clip(str(path), end_s=11.7)) == N_FRAMES, "lists round up"


@pytest.mark.parametrize(
    ("codec", "container"), [("h264", "mkv"), ("mpeg2", "ts"), ("mpeg2", "mpg")]
)
def test_segments_count_from_the_first_frame(codec: str, container: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"a.{container}", codec, container, "late_start")
    assert (plain_decode(path).times_s[0] or 0) > 0.4
    assert indices(path, FrameConfig(4, 64, 64), start_s=0.4, end_s=0.56) == [10, 11, 12, 13]
    assert indices(path) == [5, 15, 25, 35, 45, 55]


def test_a_cut_clip_with_sound_from_the_cut_on(tmp_path: Path) -> None:
    """As `ffmpeg -ss 3 -c copy` leaves it: sound begins at 0 s, pictures 0.6 s later."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options=encoder_options("h264", "closed_gop"))
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        sound = out.add_stream("aac", rate=8000)
        for number in range(35):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = 15 + number, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        for number in range(16):
            samples = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp")
            samples.sample_rate = 8000
            samples.pts, samples.time_base = 1024 * number, Fraction(1, 8000)
            out.mux(sound.encode(samples))
        out.mux(sound.encode())
    assert plain_decode(path).times_s[0] == pytest.approx(0.6)
    assert indices(path, FrameConfig(7, 64, 64)) == [2, 7, 12, 17, 22, 27, 32]


@pytest.mark.parametrize("n", [1, 60])
def test_rates_that_a_header_does_not_say_or_no_camera_has(n: int, tmp_path: Path) -> None:
    for codec, container in (("vp8", "ogv"), ("vp8", "ivf"), ("h264", "avi")):
        path = write_video(tmp_path / f"{n}.{container}", codec, container, "b_frames", n=n)
        assert compare(path) == "pyav in order"
    path = tmp_path / f"{n}.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=12_000, options={"threads": "1", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(n):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        out.mux(stream.encode())
    assert compare(path) == "pyav in order"


@pytest.mark.parametrize("name", ["10:30.mp4", "http:x.mp4", "pipe:0.mp4", "%03d a.mp4", "-x.mp4"])
def test_names_are_never_addresses(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "a.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (name, f"./{name}", str(tmp_path / name)):
        _, view = read_frames(Clip(path), FRAMES)
        assert view.frame_indices.tolist() == [5, 15, 25, 35, 45, 55]


writes_matrices = pytest.mark.skipif(
    not hasattr(av.VideoStream, "set_display_matrix"), reason="PyAV before 18 writes no matrices"
)


@writes_matrices
@pytest.mark.parametrize("structure", ["rotated", "mirrored"])
def test_pictures_are_upright(structure: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", "h264", "mp4", structure)
    assert compare(path) == "pyav in order"
    pixels = read_pixels(Clip(str(path)), lambda first, n: np.array([0])).pictures[0].astype(int)
    red = (pixels[..., 0] - pixels[..., 1] > 80).nonzero()
    # The red corner was top left: a quarter turn or a mirror brings it to the top right.
    assert pixels.shape[:2] == ((128, 96) if structure == "rotated" else (96, 128))
    assert red[0].mean() < pixels.shape[0] / 4
    assert red[1].mean() > 3 * pixels.shape[1] / 4


@writes_matrices
def test_an_angle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = 46341  # √½ in 16.16 fixed point: an eighth of a turn
    monkeypatch.setattr("video_files.ROTATED", (half, half, 0, -half, half, 0, 0, 0, 1 << 30))
    path = write_video(tmp_path / "a.mp4", "h264", "mp4", "rotated")
    with pytest.raises(VideoError, match=r"a\.mp4 is to be shown at an angle that is no multiple"):
        read_frames(Clip(str(path)), FRAMES)


def test_images_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    shown = Image.fromarray(picture(5)[:64, :64])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter
    shown.transpose(Image.Transpose.ROTATE_90).save(
        tmp_path / "image_00001.jpg", exif=exif, quality=95, subsampling=0
    )
    clip = Clip(str(tmp_path), images="image_%05d.jpg", n_images=1)
    frames, _ = read_frames(clip, FrameConfig(1, 64))
    apart = frames[0].permute(1, 2, 0).numpy().astype(int) - np.asarray(shown)
    assert np.abs(apart).mean() < 3


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.mp4"))
    for path, kind in (
        (tmp_path / "pipe.mp4", "a named pipe"),
        (tmp_path / "socket.mp4", "a socket"),
        (Path("/dev/zero"), "a device"),
    ):
        with pytest.raises(VideoError, match=f"{path} is {kind}, not a file: write the video into"):
            read_frames(Clip(str(path)), FRAMES)
    with pytest.raises(VideoError, match=r"is a folder: give a video file in it"):
        read_frames(Clip(str(tmp_path)), FRAMES)
    with pytest.raises(VideoError, match=r"is no name of a file: check the path"):
        read_frames(Clip("a\0b.mp4"), FRAMES)


def test_sound_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp")
        samples.sample_rate, samples.pts = 8000, 0
        out.mux(sound.encode(samples))
        out.mux(sound.encode())
    with pytest.raises(VideoError, match=r"a\.m4a holds no video, only sound \(QuickTime / MOV\)"):
        read_frames(Clip(str(tmp_path / "a.m4a")), FRAMES)
    # A song with a cover: an MP3 whose ID3 tag holds a JPEG.
    Image.fromarray(picture(3)).save(tmp_path / "cover.jpg")
    cover = b"\0image/jpeg\0\x03\0" + (tmp_path / "cover.jpg").read_bytes()
    frame = b"APIC" + struct.pack(">I", len(cover)) + b"\0\0" + cover
    size = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    silence = (b"\xff\xfb\x90\x64" + bytes(413)) * 20
    (tmp_path / "song.mp3").write_bytes(b"ID3\x03\0\0" + size + frame + silence)
    with pytest.raises(VideoError, match=r"song\.mp3 holds no video, only sound and a cover pict"):
        read_frames(Clip(str(tmp_path / "song.mp3")), FRAMES)


def test_playlists_and_texts_are_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "part.ts", "h264", "ts")
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:3", "#EXTINF:2.4,", "part.ts", "#EXT-X-ENDLIST"]
    (tmp_path / "list.m3u8").write_text("\n".join(lines))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile part.ts\n")
    (tmp_path / "far.mp4").write_text("\n".join([*lines[:3], "http://127.0.0.1:9/a.ts"]))
    (tmp_path / "dash.mp4").write_text("<?xml version='1.0'?>\n<MPD><Period/></MPD>")
    (tmp_path / "call.sdp").write_text("v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n")
    for name in ("list.m3u8", "list.mp4", "far.mp4", "dash.mp4", "call.sdp"):
        with pytest.raises(VideoError, match=r"is a playlist, which names other.*: give the video"):
            read_frames(Clip(str(tmp_path / name)), FRAMES)
    (tmp_path / "notes.txt").write_text("a text " * 400)
    with pytest.raises(VideoError, match=r"notes\.txt (is text|holds no video|cannot be decoded)"):
        read_frames(Clip(str(tmp_path / "notes.txt")), FRAMES)


def test_a_codec_without_a_decoder_is_named_as_that(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mpg", "mjpeg", "mpg")
    with pytest.raises(VideoError, match=r"there is no decoder here for its codec: encode it anew"):
        read_frames(Clip(str(path)), FRAMES)


@pytest.mark.parametrize("muxer", ["mpegts", "matroska", "mp4"])
@pytest.mark.parametrize("steps", [1, 6])
def test_sizes_that_change_on_the_way_are_refused(muxer: str, steps: int, tmp_path: Path) -> None:
    path = tmp_path / "a.video"
    with av.open(str(path), "w", format=muxer) as out:
        target = out.add_stream("libx264", rate=25)
        target.width, target.height, target.pix_fmt = 128, 96, "yuv420p"
        for part, width in enumerate((128, 64)):
            encoder = av.CodecContext.create("libx264", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, 96, "yuv420p"
            encoder.time_base, encoder.options = Fraction(1, 25), {"bf": "0", "threads": "1"}
            frames = [
                av.VideoFrame.from_ndarray(picture(number, width), format="rgb24")
                for number in range(10)
            ]
            for number, frame in enumerate([*frames, None]):
                if frame is not None:
                    frame.pts, frame.time_base = 10 * part + number, Fraction(1, 25)
                for packet in encoder.encode(frame):
                    packet.stream = target
                    out.mux(packet)
    message = r"changes its frames' size on the way \(64×96 and 128×96 px\): encode it anew"
    clip, config = Clip(str(path)), FrameConfig(steps, 64, 64)
    with pytest.raises(VideoError, match=message):
        read_frames(clip, config)
    with pytest.raises(VideoError, match=message):
        read_view(clip, config, View(np.array([0, 15]), (0, 0, 64, 64), False), plainly=True)


def test_frames_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    Image.new("P", (12_000, 12_000)).save(tmp_path / "a.gif")
    with pytest.raises(VideoError, match=r"has frames without a size, or of more than 67,108"):
        read_frames(Clip(str(tmp_path / "a.gif")), FRAMES)


def test_an_index_that_is_wrong_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every frame that is decoded the time is compared; seeking gives way to order."""
    path = write_video(tmp_path / "a.mp4", "h264", "mp4", "closed_gop")
    right = read_index(str(path))
    for wrong, decoder in (
        (replace(right, times_s=right.times_s[:40]), "pyav in order"),
        (replace(right, decoder="pyav", pts=right.pts + 1), "pyav in order"),
        (replace(right, decoder="pyav", keys=((0, 10**12),)), "pyav"),
    ):
        monkeypatch.setattr(clips, "read_index", lambda path, wrong=wrong: wrong)
        assert compare(path) == decoder


def test_damage_in_the_middle_is_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", "h264", "mp4", "closed_gop")
    with av.open(str(path)) as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0)]
    data = bytearray(path.read_bytes())
    position, size = places[30]
    data[position + 4 : position + size] = bytes(size - 4)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"a\.mp4(: frame \d+ is damaged| cannot be decoded)"):
        read_frames(Clip(str(path)), FrameConfig(60, 64, 64))


def test_every_suffix_of_a_video_is_seen(tmp_path: Path) -> None:
    from focusgym.feature_cache import read_videos

    suffixes = ["m4v", "mpg", "wmv", "flv", "3gp", "ts", "gif", "mts", "vob", "ogv", "MPEG", "nut"]
    for name in ("jump", "run"):
        (tmp_path / name).mkdir()
        for suffix in suffixes:
            shutil.copy(write_video(tmp_path / "a.mp4", n=2), tmp_path / name / f"{name}.{suffix}")
    (tmp_path / "a.mp4").unlink()
    listed = read_videos(tmp_path)
    assert listed.classes == ["jump", "run"]
    assert len(listed.videos) == 2 * len(suffixes)
    assert listed.notes == ()
